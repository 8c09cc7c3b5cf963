//! What is done to groups of any type: the object-safe face of a group.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use openraft::RaftTypeConfig;
use openraft::async_runtime::{Instant as _, WatchReceiver as _};
use openraft::errors::{InitializeError, RaftError};
use openraft::log_id::RaftLogId;
use openraft::storage::RaftStateMachine;
use quicraft_transport::GroupId;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::act::Stuck;
use super::{
    ActionOutcome, Changed, Group, GroupAction, GroupGoal, GroupInner, GroupProgress, Transferred,
    act, asked, change, leading, transfer,
};
use crate::watch::{self, GroupSample};
use crate::{ClusterNode, GroupName, NodeRecord, OperationError};

/// How a group stands on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub name: GroupName,
    /// Its number on the wire.
    #[serde(with = "watch::number")]
    pub id: GroupId,
    /// Why it does not run any more, if it has failed.
    pub failure: Option<String>,
    /// The term, as openraft writes it.
    pub term: String,
    /// Who leads, as this node knows it.
    pub leader: Option<u64>,
    /// The voters, in the order of their ids.
    pub voters: Vec<u64>,
    /// The learners, in the order of their ids.
    pub learners: Vec<u64>,
    /// The last entry of the log.
    pub last_log_index: Option<u64>,
    /// The last applied entry.
    pub applied_index: Option<u64>,
    /// The last entry that the newest snapshot holds.
    pub snapshot_index: Option<u64>,
    /// On the leader: the time since a majority acknowledged that it leads.
    pub since_quorum: Option<Duration>,
}

/// A group of any type config, as whatever is done to many groups sees it.
pub trait GroupOperations: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &GroupName;
    /// Its number on the wire.
    fn id(&self) -> GroupId;
    /// How it stands on this node.
    fn status(&self) -> GroupStatus;
    /// The same with what changes all the time, and what a leader knows of the others. It does not
    /// wait.
    fn sample(&self) -> GroupSample;
    /// Yields whenever its term, leader or members have changed, at once if they have since it
    /// started, and ends with its Raft. Changes that nobody took in between are one.
    fn moves(&self) -> BoxStream<'static, ()>;
    /// Accepts no proposal and no read of this node's host any more. Those of peers are still served,
    /// and the group can still be moved.
    fn refuse_requests(&self);
    /// Waits until the requests of this node's host are answered, and returns how many are not when
    /// the time is up. To be called after [`GroupOperations::refuse_requests`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    fn settle(&self, deadline: Instant) -> BoxFuture<'_, usize>;
    /// Takes it from the reach of peers and of this node's host, then shuts its Raft down. A second
    /// call finds nothing to do.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the Raft goes on ending by itself.
    fn shut_down(&self) -> BoxFuture<'_, Result<(), OperationError>>;
    /// Takes one step of the group towards a goal, at its leader, wherever that is, and returns the
    /// step. Ask again until it is [`GroupStep::Done`](crate::GroupStep::Done); whoever asks, and
    /// whatever became of an earlier attempt, the group goes on from where it is.
    ///
    /// Two that change the same group at once do not undo each other: each step holds only against
    /// the membership that it was planned on.
    ///
    /// # Errors
    ///
    /// [`OperationError`]; [`OperationError::is_retryable`] says whether to ask again.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the step may be taken or not; ask again.
    fn change(
        &self,
        goal: GroupGoal,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Changed, OperationError>>;
    /// How the group stands, as its leader sees it.
    ///
    /// # Errors
    ///
    /// [`OperationError`]; [`OperationError::is_retryable`] says whether to ask again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    fn progress(&self, deadline: Instant) -> BoxFuture<'_, Result<GroupProgress, OperationError>>;
    /// Hands leadership to a voter, wherever the leader is, and waits until it has it.
    ///
    /// # Errors
    ///
    /// [`OperationError::Refused`] says that the node may not lead now, or who leads in its place;
    /// [`OperationError::is_retryable`] says whether to ask again.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, leadership may move or not.
    fn transfer(
        &self,
        to: u64,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Transferred, OperationError>>;
    /// Does something on this node, and waits for what comes of it.
    ///
    /// # Errors
    ///
    /// [`OperationError::Timeout`], [`OperationError::Failed`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the action goes on.
    fn act(
        &self,
        action: GroupAction,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<ActionOutcome, OperationError>>;
    /// Founds the group with these voters, of which this node is one. A group that was founded
    /// already is left as it is.
    ///
    /// # Errors
    ///
    /// [`OperationError::InvalidNode`], [`OperationError::Failed`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the group may be founded or not; call it again.
    fn found(&self, voters: Vec<NodeRecord>) -> BoxFuture<'_, Result<(), OperationError>>;
}

impl<C, SM> GroupOperations for Group<C, SM>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::Node: ClusterNode,
    SM: RaftStateMachine<C>,
{
    fn name(&self) -> &GroupName {
        Self::name(self)
    }

    fn id(&self) -> GroupId {
        Self::id(self)
    }

    fn status(&self) -> GroupStatus {
        status(&self.inner)
    }

    fn sample(&self) -> GroupSample {
        watch::sample(&self.inner, status(&self.inner))
    }

    fn moves(&self) -> BoxStream<'static, ()> {
        watch::moves(&self.inner)
    }

    fn refuse_requests(&self) {
        self.inner.origin.refuse();
    }

    fn settle(&self, deadline: Instant) -> BoxFuture<'_, usize> {
        self.inner.origin.settle(deadline).boxed()
    }

    fn shut_down(&self) -> BoxFuture<'_, Result<(), OperationError>> {
        shut_down(&self.inner).boxed()
    }

    fn change(
        &self,
        goal: GroupGoal,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Changed, OperationError>> {
        let inner = &self.inner;
        let lag_max = inner.origin.config.promote_lag_max;
        async move {
            let here = || change::change(&inner.raft, lag_max, goal.clone(), deadline).boxed();
            asked::change(&inner.origin, &**inner, Some(&here), &goal, deadline).await
        }
        .boxed()
    }

    fn progress(&self, deadline: Instant) -> BoxFuture<'_, Result<GroupProgress, OperationError>> {
        let inner = &self.inner;
        async move {
            let here = || async { leading::progress(&inner.raft) }.boxed();
            asked::progress(&inner.origin, &**inner, Some(&here), deadline).await
        }
        .boxed()
    }

    fn transfer(
        &self,
        to: u64,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Transferred, OperationError>> {
        let inner = &self.inner;
        let lag_max = inner.origin.config.promote_lag_max;
        async move {
            let here = || transfer::transfer(&inner.raft, lag_max, to, deadline).boxed();
            asked::transfer(&inner.origin, &**inner, Some(&here), to, deadline).await
        }
        .boxed()
    }

    fn act(
        &self,
        action: GroupAction,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<ActionOutcome, OperationError>> {
        act_here(&self.inner, action, deadline).boxed()
    }

    fn found(&self, voters: Vec<NodeRecord>) -> BoxFuture<'_, Result<(), OperationError>> {
        found(&self.inner, voters).boxed()
    }
}

async fn act_here<C, SM>(
    inner: &GroupInner<C, SM>,
    action: GroupAction,
    deadline: Instant,
) -> Result<ActionOutcome, OperationError>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let started = Instant::now();
    let group = inner.origin.name.clone();
    let lag_max = inner.origin.config.promote_lag_max;
    let acted = act::act(&inner.raft, lag_max, action, deadline).await;
    acted.map_err(|stuck| match stuck {
        Stuck::Failed(reason) => OperationError::Failed { group, reason },
        Stuck::Late => OperationError::Timeout {
            group,
            limit: started.elapsed(),
        },
    })
}

async fn found<C, SM>(
    inner: &GroupInner<C, SM>,
    voters: Vec<NodeRecord>,
) -> Result<(), OperationError>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::Node: ClusterNode,
    SM: RaftStateMachine<C>,
{
    let group = || inner.origin.name.clone();
    for voter in &voters {
        voter
            .validate()
            .map_err(|source| OperationError::InvalidNode {
                group: group(),
                source,
            })?;
    }
    let nodes = voters.iter().map(|voter| (voter.node, C::Node::of(voter)));
    let nodes: BTreeMap<_, _> = nodes.collect();
    match inner.raft.initialize(nodes).await {
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(OperationError::Failed {
            group: group(),
            reason: error.to_string(),
        }),
    }
}

fn status<C, SM>(inner: &GroupInner<C, SM>) -> GroupStatus
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let metrics = inner.raft.metrics().borrow_watched().clone();
    let membership = metrics.membership_config.membership();
    let mut learners: Vec<_> = membership.learner_ids().collect();
    let mut voters: Vec<_> = membership.voter_ids().collect();
    learners.sort_unstable();
    voters.sort_unstable();
    GroupStatus {
        name: inner.origin.name.clone(),
        id: inner.origin.id,
        failure: metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string),
        term: metrics.current_term.to_string(),
        leader: metrics.current_leader,
        voters,
        learners,
        last_log_index: metrics.last_log_index,
        applied_index: metrics.last_applied.as_ref().map(RaftLogId::index),
        snapshot_index: metrics.snapshot.as_ref().map(RaftLogId::index),
        since_quorum: metrics.last_quorum_acked.map(|at| at.elapsed()),
    }
}

async fn shut_down<C, SM>(inner: &GroupInner<C, SM>) -> Result<(), OperationError>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    inner.close();
    let limit = inner.origin.config.shutdown_timeout;
    match timeout(limit, inner.raft.shutdown()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(OperationError::Failed {
            group: inner.origin.name.clone(),
            reason: error.to_string(),
        }),
        Err(_) => Err(OperationError::Timeout {
            group: inner.origin.name.clone(),
            limit,
        }),
    }
}
