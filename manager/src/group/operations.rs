//! What is done to groups of any type: the object-safe face of a group.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::RaftTypeConfig;
use openraft::async_runtime::{Instant as _, WatchReceiver as _};
use openraft::log_id::RaftLogId;
use openraft::storage::RaftStateMachine;
use quicraft_transport::GroupId;
use tokio::time::timeout;

use super::{Group, GroupInner};
use crate::{GroupName, OperationError};

/// How a group stands on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub name: GroupName,
    /// Its number on the wire.
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
    /// Takes it from the reach of peers and of this node's host, then shuts its Raft down. A second
    /// call finds nothing to do.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the Raft goes on ending by itself.
    fn shut_down(&self) -> BoxFuture<'_, Result<(), OperationError>>;
}

impl<C, SM> GroupOperations for Group<C, SM>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    fn name(&self) -> &GroupName {
        &self.inner.name
    }

    fn id(&self) -> GroupId {
        self.inner.id
    }

    fn status(&self) -> GroupStatus {
        status(&self.inner)
    }

    fn shut_down(&self) -> BoxFuture<'_, Result<(), OperationError>> {
        shut_down(&self.inner).boxed()
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
        name: inner.name.clone(),
        id: inner.id,
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
    let limit = inner.config.shutdown_timeout;
    match timeout(limit, inner.raft.shutdown()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(OperationError::Failed {
            group: inner.name.clone(),
            reason: error.to_string(),
        }),
        Err(_) => Err(OperationError::Timeout {
            group: inner.name.clone(),
            limit,
        }),
    }
}
