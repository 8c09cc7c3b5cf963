//! Hands leadership over and waits for what comes of it. It must not know who asks.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::storage::RaftStateMachine;
use openraft::{Raft, RaftTypeConfig};
use tokio::time::{Instant, timeout_at};

use super::goal::{GroupRefusal, Transferred};
use super::leading::{leading, view};
use crate::forward::Answer;

/// After so long without an acknowledgement a member may be dead: as long as it takes a follower at
/// most to campaign against a leader that is.
pub(super) fn silence<C, SM>(raft: &Raft<C, SM>) -> Duration
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    Duration::from_millis(raft.config().election_timeout_max)
}

/// Hands the leadership of this node to another voter.
pub(super) async fn transfer<C, SM>(
    raft: &Raft<C, SM>,
    lag_max: u64,
    to: u64,
    deadline: Instant,
) -> Answer<Result<Transferred, GroupRefusal>>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let metrics = match leading(raft) {
        Ok(metrics) => metrics,
        Err(leader) => return Answer::NotLeader(leader),
    };
    let from = metrics.id;
    if to == from {
        let took = Duration::ZERO;
        return Answer::Done(Ok(Transferred { from, to, took }));
    }
    if let Err(refusal) = view(&metrics, silence(raft), lag_max).may_lead(to) {
        return Answer::Done(Err(refusal));
    }
    Answer::Done(hand_over(raft, from, to, deadline).await)
}

/// Hands leadership over, and waits until this node knows another leader.
///
/// It waits for seven eighths of the time that is left, so that its answer reaches whoever asked: the
/// reason is worth more to them than the last moment.
pub(super) async fn hand_over<C, SM>(
    raft: &Raft<C, SM>,
    from: u64,
    to: u64,
    deadline: Instant,
) -> Result<Transferred, GroupRefusal>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let started = Instant::now();
    let left = deadline.saturating_duration_since(started);
    let mut metrics = raft.server_metrics();
    let not = |leader| GroupRefusal::NotTransferred {
        to,
        leader,
        waited: started.elapsed(),
    };
    if raft.trigger().transfer_leader(to).await.is_err() {
        return Err(not(None));
    }
    let outcome = async {
        loop {
            let leader = metrics.borrow_watched().current_leader;
            match leader {
                Some(leader) if leader != from => return Some(leader),
                Some(_) | None => {}
            }
            if metrics.changed().await.is_err() {
                return None;
            }
        }
    };
    match timeout_at(started + left / 8 * 7, outcome).await {
        Ok(Some(leader)) if leader == to => Ok(Transferred {
            from,
            to,
            took: started.elapsed(),
        }),
        Ok(leader) => Err(not(leader)),
        Err(_) => Err(not(raft.server_metrics().borrow_watched().current_leader)),
    }
}
