//! What is read of a group at one moment. It must not know what was read before.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use openraft::RaftTypeConfig;
use openraft::async_runtime::{Instant as _, WatchReceiver as _};
use openraft::log_id::RaftLogId;
use openraft::storage::RaftStateMachine;
use openraft::vote::RaftTerm as _;

use crate::GroupStatus;
use crate::group::GroupInner;

/// A group of this node at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupSample {
    /// How it stands.
    pub status: GroupStatus,
    /// The term as a number, where the terms of the group's type config are numbers.
    pub term: Option<u64>,
    /// Whether it is being closed here: what fails now is no failure.
    pub closing: bool,
    /// Its openraft settings.
    pub config: Arc<openraft::Config>,
    /// On the leader: all other voters and learners, in the order of their ids.
    pub followers: Option<Vec<FollowerSample>>,
}

/// A voter or learner, as the leader of its group sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowerSample {
    /// The node.
    pub node: u64,
    /// The last entry of the leader's log that it is known to have.
    pub matched: Option<u64>,
    /// The time since the last message was sent that it has acknowledged; none if it has
    /// acknowledged none to this leader.
    pub since_acked: Option<Duration>,
}

/// Reads a group. It only borrows what openraft publishes, and does not wait.
pub(crate) fn sample<C, SM>(inner: &GroupInner<C, SM>, status: GroupStatus) -> GroupSample
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let me = inner.origin.me();
    let receiver = inner.raft.metrics();
    let metrics = receiver.borrow_watched();
    let acked = metrics.heartbeat.as_ref();
    // What a Raft that has ended said last is not true any more.
    let runs = metrics.running_state.is_ok();
    let replication = metrics.replication.as_ref().filter(|_| runs);
    let followers = replication.map(|matched| {
        let others = matched.iter().filter(|&(&node, _)| node != me);
        let read = others.map(|(&node, matched)| FollowerSample {
            node,
            matched: matched.as_ref().map(RaftLogId::index),
            since_acked: acked
                .and_then(|acked| acked.get(&node).copied().flatten())
                .map(|at| at.elapsed()),
        });
        read.collect()
    });
    GroupSample {
        status,
        term: metrics.current_term.as_u64(),
        closing: inner.origin.is_closed(),
        config: Arc::clone(inner.raft.config()),
        followers,
    }
}

/// Yields whenever openraft publishes another vote, leader or membership of a group.
pub(crate) fn moves<C, SM>(inner: &GroupInner<C, SM>) -> BoxStream<'static, ()>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let changes = inner.raft.server_metrics();
    let moves = stream::unfold(changes, |mut changes| async move {
        changes.changed().await.ok().map(|()| ((), changes))
    });
    moves.boxed()
}
