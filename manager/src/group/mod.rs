//! One group on this node, with its types: proposals and reads from any node, and the Raft itself.

mod act;
mod action;
mod answer;
pub(crate) mod asked;
mod change;
mod goal;
mod leading;
mod operations;
mod plan;
mod request;
mod service;
mod transfer;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::linearizable_read::{Linearizer, ReadLogId};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{Raft, RaftTypeConfig, ReadPolicy};
use quicraft_transport::raft::{RaftFactory, SnapshotIo};
use quicraft_transport::{GroupId, Registration, TransportHandle};
use tokio::time::Instant;

pub use action::{ActionOutcome, GroupAction};
pub use goal::{Changed, GroupGoal, GroupProgress, GroupRefusal, GroupStep, Transferred};
pub use operations::{GroupOperations, GroupStatus};
pub use request::{Proposed, RequestOptions};

use crate::config::RaftManagerConfig;
use crate::forward::{Guide, Origin};
use crate::raft_config::staggered;
use crate::{ClusterNode, GroupName, RequestError, StartGroupError};
use service::GroupService;
pub(crate) use service::policy_byte;

/// What a group is started with.
#[derive(Debug)]
#[non_exhaustive]
pub struct GroupSpec<L, SM, S> {
    /// Its name, for people.
    pub name: GroupName,
    /// Its number on the wire: the same on every node, and never given to another group.
    pub id: GroupId,
    /// openraft's settings, before [`RaftManagerConfig::stagger_elections`].
    pub raft: Arc<openraft::Config>,
    /// The log.
    pub log: L,
    /// The state machine.
    pub machine: SM,
    /// How a snapshot becomes bytes.
    pub snapshots: S,
}

impl<L, SM, S> GroupSpec<L, SM, S> {
    /// All of it.
    #[must_use]
    pub const fn new(
        name: GroupName,
        id: GroupId,
        raft: Arc<openraft::Config>,
        log: L,
        machine: SM,
        snapshots: S,
    ) -> Self {
        Self {
            name,
            id,
            raft,
            log,
            machine,
            snapshots,
        }
    }
}

/// A group that runs on this node. Cloning gives another handle on the same one.
///
/// Dropping handles stops nothing: the manager holds the group until it is removed.
pub struct Group<C: RaftTypeConfig, SM: RaftStateMachine<C>> {
    pub(crate) inner: Arc<GroupInner<C, SM>>,
}

pub(crate) struct GroupInner<C: RaftTypeConfig, SM: RaftStateMachine<C>> {
    pub(crate) origin: Origin,
    pub(crate) raft: Raft<C, SM>,
    /// Peers reach the group as long as it is here.
    registration: Mutex<Option<Registration>>,
}

impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> Clone for Group<C, SM> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> fmt::Debug for Group<C, SM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", self.name())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> Group<C, SM> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &GroupName {
        &self.inner.origin.name
    }

    /// Its number on the wire.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.inner.origin.id
    }

    /// openraft's own handle, for what the manager does not offer.
    #[must_use]
    pub fn raft(&self) -> &Raft<C, SM> {
        &self.inner.raft
    }
}

impl<C, SM> Group<C, SM>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::D: Clone,
    SM: RaftStateMachine<C>,
{
    /// Starts a group: peers reach it before it may campaign.
    pub(crate) async fn start<L, S>(
        handle: &TransportHandle,
        config: Arc<RaftManagerConfig>,
        spec: GroupSpec<L, SM, S>,
    ) -> Result<Self, StartGroupError>
    where
        C::Node: ClusterNode,
        L: RaftLogStorage<C>,
        S: SnapshotIo<Data = SM::SnapshotData> + Clone,
    {
        let GroupSpec { name, id, .. } = spec;
        let factory = RaftFactory::<C, S>::new(handle, id, spec.snapshots.clone());
        let node = handle.node_id().get();
        let raft = if config.stagger_elections {
            Arc::new(staggered(&spec.raft, id.get(), node))
        } else {
            spec.raft
        };
        let built = Raft::build(node, raft, factory, spec.log, spec.machine).await;
        let raft = built.map_err(|source| StartGroupError::Raft {
            group: name.clone(),
            reason: source.to_string(),
        })?;
        let service = GroupService::new(handle, raft.clone(), spec.snapshots, &config);
        let registration = handle.register(id, Arc::new(service)).map_err(|source| {
            StartGroupError::Registered {
                group: name.clone(),
                source,
            }
        })?;
        raft.run();
        Ok(Self {
            inner: Arc::new(GroupInner {
                origin: Origin::new(name, id, handle.clone(), config),
                raft,
                registration: Mutex::new(Some(registration)),
            }),
        })
    }

    /// Proposes a command from whatever node this is, and returns what applying it on the leader
    /// gave.
    ///
    /// This node is asked first if it leads, then whoever it takes for the leader; hints are
    /// followed at once, and elections are waited out, up to the deadline. A command whose fate is
    /// unknown is not sent again, unless it is [`RequestOptions::idempotent`].
    ///
    /// # Errors
    ///
    /// [`RequestError`]; [`RequestError::Unknown`] is the only one after which the command may have
    /// been run, beside [`RequestError::Failed`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the command may have been run or not, and may still be.
    pub async fn propose(
        &self,
        command: C::D,
        options: RequestOptions,
    ) -> Result<Proposed<C>, RequestError> {
        self.inner.origin.accepts()?;
        request::propose(&self.inner, command, options).await
    }

    /// Waits until a read of the state machine of this node sees everything that was acknowledged
    /// before the call, and returns the log index that it has applied at least. It works on every
    /// node that has the group, leader or not.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; a read has no fate, so it may always be made again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read(&self, policy: ReadPolicy, deadline: Instant) -> Result<u64, RequestError> {
        self.inner.origin.accepts()?;
        let (asked, point) = request::read_point(&self.inner, policy, deadline).await?;
        self.applied(asked, point, deadline).await
    }

    async fn applied(
        &self,
        asked: u64,
        point: ReadLogId<C>,
        deadline: Instant,
    ) -> Result<u64, RequestError> {
        let inner = &self.inner;
        let wait = deadline.saturating_duration_since(Instant::now());
        let linearizer = Linearizer::new(asked, point.clone(), None);
        match linearizer.try_await_ready(&inner.raft, Some(wait)).await {
            Ok(Ok(_)) => Ok(point.index()),
            Ok(Err(behind)) => Err(RequestError::NoLeader {
                group: inner.origin.name.clone(),
                leader: Some(inner.origin.node_at(asked)),
                waited: wait,
                last: format!("this node has applied {:?} of {point}", behind.applied()),
            }),
            Err(error) => Err(RequestError::Failed {
                group: inner.origin.name.clone(),
                asked: inner.origin.node_at(inner.origin.me()),
                reason: error.to_string(),
            }),
        }
    }
}

impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> GroupInner<C, SM> {
    /// Takes the group from the reach of peers and of this node's host.
    pub(crate) fn close(&self) {
        self.origin.close();
        let mut registration = self
            .registration
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        drop(registration.take());
    }
}

impl<C, SM> Guide for GroupInner<C, SM>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    fn leader(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().current_leader
    }

    fn others(&self) -> Vec<u64> {
        let me = self.origin.me();
        let members = self.raft.voter_ids();
        members.filter(|&node| node != me).collect()
    }

    async fn another_than(&self, leader: Option<u64>) {
        let mut metrics = self.raft.server_metrics();
        while metrics.borrow_watched().current_leader == leader {
            if metrics.changed().await.is_err() {
                // The Raft has stopped, which the next attempt finds.
                std::future::pending::<()>().await;
            }
        }
    }

    fn note(&self, _node: u64, _served: bool) {
        // The Raft knows better.
    }
}
