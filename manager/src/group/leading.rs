//! What the Raft of this node sees of its group while it leads. It must not know what is done about
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::{Instant as _, WatchReceiver as _};
use openraft::metrics::RaftMetrics;
use openraft::storage::RaftStateMachine;
use openraft::{Raft, RaftTypeConfig, ServerState};

use super::goal::GroupProgress;
use super::plan::View;
use crate::forward::Answer;

/// What it sees, if it leads; otherwise whom it takes for the leader.
pub(super) fn leading<C, SM>(raft: &Raft<C, SM>) -> Result<RaftMetrics<C>, Option<u64>>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let metrics = raft.metrics().borrow_watched().clone();
    if metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id) {
        Ok(metrics)
    } else {
        Err(metrics.current_leader.filter(|&node| node != metrics.id))
    }
}

/// What steps are planned on. A member that has acknowledged nothing for as long as the longest
/// election timeout has no known lag: it may be dead.
pub(super) fn view<C>(metrics: &RaftMetrics<C>, silent: Duration, lag_max: u64) -> View
where
    C: RaftTypeConfig<NodeId = u64>,
{
    let effective = &metrics.membership_config;
    let membership = effective.membership();
    let since = since_acked(metrics);
    let heard = |node: &u64| matches!(since.get(node), Some(Some(since)) if *since <= silent);
    let lag = lag(metrics).into_iter();
    View {
        me: metrics.id,
        configs: membership.get_joint_config().clone(),
        members: membership.nodes().map(|(&node, _)| node).collect(),
        committed: effective.log_id() == metrics.committed_membership_config.log_id(),
        lag: lag
            .filter(|(node, _)| heard(node))
            .filter_map(|(node, lag)| Some((node, lag?)))
            .collect(),
        lag_max,
    }
}

/// How the group stands, as this leader sees it.
pub(super) fn progress<C, SM>(raft: &Raft<C, SM>) -> Answer<GroupProgress>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let metrics = match leading(raft) {
        Ok(metrics) => metrics,
        Err(leader) => return Answer::NotLeader(leader),
    };
    let membership = metrics.membership_config.membership();
    let (voters, learners) = split(membership);
    Answer::Done(GroupProgress {
        leader: metrics.id,
        term: metrics.current_term.to_string(),
        joint: membership.get_joint_config().len() > 1,
        last_log_index: metrics.last_log_index,
        lag: lag(&metrics),
        since_acked: since_acked(&metrics),
        voters,
        learners,
    })
}

/// The voters and the learners, in the order of their ids.
pub(super) fn split<N>(membership: &openraft::Membership<u64, N>) -> (Vec<u64>, Vec<u64>)
where
    N: openraft::Node,
{
    let voters: BTreeSet<_> = membership.voter_ids().collect();
    let learners: BTreeSet<_> = membership.learner_ids().collect();
    (Vec::from_iter(voters), Vec::from_iter(learners))
}

/// Entries that each member lacks of what the leader has now.
fn lag<C>(metrics: &RaftMetrics<C>) -> BTreeMap<u64, Option<u64>>
where
    C: RaftTypeConfig<NodeId = u64>,
{
    let last = metrics.last_log_index.map_or(0, |index| index + 1);
    members(metrics, |node| {
        if node == metrics.id {
            return Some(0);
        }
        let matched = metrics.replication.as_ref()?.get(&node)?.as_ref()?;
        Some(last.saturating_sub(matched.index + 1))
    })
}

/// The age of the newest message that each member is known to have acknowledged.
fn since_acked<C>(metrics: &RaftMetrics<C>) -> BTreeMap<u64, Option<Duration>>
where
    C: RaftTypeConfig<NodeId = u64>,
{
    members(metrics, |node| {
        if node == metrics.id {
            return Some(Duration::ZERO);
        }
        let at = metrics.heartbeat.as_ref()?.get(&node)?.as_ref()?;
        Some(at.elapsed())
    })
}

fn members<C, T>(
    metrics: &RaftMetrics<C>,
    of: impl Fn(u64) -> Option<T>,
) -> BTreeMap<u64, Option<T>>
where
    C: RaftTypeConfig<NodeId = u64>,
{
    let nodes = metrics.membership_config.membership().nodes();
    nodes.map(|(&node, _)| (node, of(node))).collect()
}
