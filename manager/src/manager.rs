//! The groups of a node, of whatever types, and what is done to all of them. It must not know what a
//! group holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::future::BoxFuture;
use openraft::RaftTypeConfig;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use quicraft_transport::raft::SnapshotIo;
use quicraft_transport::{GroupId, TransportHandle};
use tokio::sync::broadcast;

use crate::cluster::{Cluster, ClusterError, FormationReport};
use crate::config::{InvalidConfig, RaftManagerConfig};
use crate::far::{FarGroup, RemoteGroup};
use crate::group::{Group, GroupOperations, GroupSpec, GroupStatus};
use crate::many::each_group;
use crate::watch::{Event, NodeReport, Watched, Watcher};
use crate::{ClusterNode, GroupName, Meta, OperationError, StartGroupError};

/// Any number of Raft groups of any type configs on one transport.
///
/// Cloning gives another handle on the same manager. Dropping handles stops nothing but the task that
/// watches the groups, with the last one; call [`RaftManager::shut_down`] before the transport's own
/// shutdown.
///
/// A host that wants metrics installs its recorder of the `metrics` facade before it makes a manager:
/// handles are made once.
#[derive(Clone)]
pub struct RaftManager {
    shared: Arc<Shared>,
}

struct Shared {
    transport: TransportHandle,
    config: Arc<RaftManagerConfig>,
    groups: Mutex<Groups>,
    cluster: Mutex<Option<Arc<Cluster>>>,
    watcher: Watcher,
}

#[derive(Default)]
struct Groups {
    by_name: BTreeMap<GroupName, Slot>,
    stopping: bool,
}

/// What a name stands for. A group that is being started holds its name and its number already.
enum Slot {
    Starting(GroupId),
    Running(Arc<dyn GroupOperations>),
}

impl Slot {
    fn id(&self) -> GroupId {
        match self {
            Self::Starting(id) => *id,
            Self::Running(group) => group.id(),
        }
    }
}

/// What came of an operation on one group.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupResult<T> {
    /// The group.
    pub group: GroupName,
    /// What came of it.
    pub result: Result<T, OperationError>,
}

impl std::fmt::Debug for RaftManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftManager")
            .field("node", &self.shared.transport.node_id())
            .field("groups", &self.group_names())
            .finish_non_exhaustive()
    }
}

impl RaftManager {
    /// A manager without groups.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] names a setting that cannot be.
    pub fn new(
        transport: TransportHandle,
        config: RaftManagerConfig,
    ) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let every = config.watch_interval;
        let shared = Arc::new(Shared {
            watcher: Watcher::new(&transport),
            transport,
            config: Arc::new(config),
            groups: Mutex::default(),
            cluster: Mutex::default(),
        });
        // Not before the manager is whole: a task that is faster would find none and end.
        let watched: Weak<dyn Watched> = Arc::<Shared>::downgrade(&shared);
        shared.watcher.start(every, watched);
        Ok(Self { shared })
    }

    /// Everything that happens from now on in the groups of this node, and in the cluster as this
    /// node knows it, up to [`EVENTS_KEPT_MAX`](crate::EVENTS_KEPT_MAX) events behind.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.watcher.events().subscribe()
    }

    /// What this node says of itself now: its machine, its groups, its links.
    #[must_use]
    pub fn report(&self) -> NodeReport {
        self.shared.watcher.report(&*self.shared)
    }

    /// Raises an event of another part of the manager.
    pub(crate) fn raise(&self, event: Event) {
        self.shared.watcher.events().raise(event);
    }

    /// Follows the cluster as the `meta` group applies it, for events and for the report.
    pub(crate) fn follow_meta(&self, meta: &Meta) {
        self.shared.watcher.follow(meta);
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &RaftManagerConfig {
        &self.shared.config
    }

    /// The transport that it runs on.
    #[must_use]
    pub fn transport(&self) -> &TransportHandle {
        &self.shared.transport
    }

    /// The cluster, if it was begun.
    pub(crate) fn cluster(&self) -> Result<Arc<Cluster>, ClusterError> {
        let cluster = self.shared.cluster();
        cluster
            .as_ref()
            .map(Arc::clone)
            .ok_or(ClusterError::NotStarted)
    }

    /// Begins the cluster, once.
    pub(crate) fn begin_cluster(
        &self,
        start: impl FnOnce() -> Result<Arc<Cluster>, ClusterError>,
    ) -> Result<(), ClusterError> {
        if self.groups().stopping {
            return Err(ClusterError::ShuttingDown);
        }
        let mut slot = self.shared.cluster();
        if slot.is_none() {
            *slot = Some(start()?);
        }
        Ok(())
    }

    /// Starts a group on this node: peers reach it before it may campaign.
    ///
    /// # Errors
    ///
    /// [`StartGroupError`]; nothing of the group runs then.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the group is not here, and its name and number are free again.
    pub async fn start_group<C, L, SM, S>(
        &self,
        spec: GroupSpec<L, SM, S>,
    ) -> Result<Group<C, SM>, StartGroupError>
    where
        C: RaftTypeConfig<NodeId = u64>,
        C::D: Clone,
        C::Node: ClusterNode,
        L: RaftLogStorage<C>,
        SM: RaftStateMachine<C, SnapshotData = S::Data>,
        S: SnapshotIo + Clone,
    {
        let place = self.reserve(&spec.name, spec.id)?;
        let config = Arc::clone(&self.shared.config);
        let group = Group::start(&self.shared.transport, config, spec).await?;
        if let Err(stopping) = place.fill(Arc::new(group.clone())) {
            drop(group.shut_down().await);
            return Err(stopping);
        }
        self.raise(Event::GroupOpened {
            group: group.name().clone(),
            id: group.id(),
        });
        self.shared.watcher.wake();
        Ok(group)
    }

    /// A group that this node does not host, whatever its types: an operator's way to it. `members`
    /// names its present members whenever one has to be found that leads; it is called often and
    /// must not block. A group that this node hosts has [`RaftManager::operations`].
    #[must_use]
    pub fn far_group(
        &self,
        name: GroupName,
        id: GroupId,
        members: impl Fn() -> Vec<u64> + Send + Sync + 'static,
    ) -> FarGroup {
        let config = Arc::clone(&self.shared.config);
        let handle = self.shared.transport.clone();
        FarGroup::new(name, id, handle, config, Arc::new(members))
    }

    /// A group that this node does not host, with its types: a client's way to it. `members` as for
    /// [`RaftManager::far_group`].
    #[must_use]
    pub fn remote_group<C>(
        &self,
        name: GroupName,
        id: GroupId,
        members: impl Fn() -> Vec<u64> + Send + Sync + 'static,
    ) -> RemoteGroup<C> {
        RemoteGroup::new(self.far_group(name, id, members))
    }

    fn reserve(&self, name: &GroupName, id: GroupId) -> Result<Place<'_>, StartGroupError> {
        let mut groups = self.groups();
        let group = name.clone();
        if groups.stopping {
            return Err(StartGroupError::ShuttingDown { group });
        }
        if groups.by_name.contains_key(name) {
            return Err(StartGroupError::NameTaken { group });
        }
        let holder = groups.by_name.iter().find(|(_, slot)| slot.id() == id);
        if let Some((holder, _)) = holder {
            let holder = holder.clone();
            return Err(StartGroupError::IdTaken { group, id, holder });
        }
        groups.by_name.insert(group.clone(), Slot::Starting(id));
        Ok(Place {
            manager: self,
            name: Some(group),
        })
    }

    /// Takes a group from this node: from the reach of peers first, then its Raft is shut down. What
    /// it has stored stays with the host.
    ///
    /// # Errors
    ///
    /// [`OperationError::UnknownGroup`], or that the Raft did not end in order; the group is gone
    /// from the manager all the same.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the group is gone, and its Raft may go on ending by itself.
    pub async fn remove_group(&self, name: &GroupName) -> Result<(), OperationError> {
        let group = self.operations(name)?;
        // Its number stays taken until its Raft is down.
        let result = group.shut_down().await;
        self.groups().by_name.remove(name);
        self.raise(Event::GroupClosed {
            group: name.clone(),
        });
        result
    }

    /// The names of all groups of this node, in order.
    #[must_use]
    pub fn group_names(&self) -> Vec<GroupName> {
        self.running()
            .iter()
            .map(|group| group.name().clone())
            .collect()
    }

    /// A group of any type.
    ///
    /// # Errors
    ///
    /// [`OperationError::UnknownGroup`].
    pub fn operations(&self, name: &GroupName) -> Result<Arc<dyn GroupOperations>, OperationError> {
        match self.groups().by_name.get(name) {
            Some(Slot::Running(group)) => Ok(Arc::clone(group)),
            Some(Slot::Starting(_)) | None => Err(OperationError::UnknownGroup {
                group: name.clone(),
            }),
        }
    }

    /// How all groups stand on this node, in the order of their names.
    #[must_use]
    pub fn group_status(&self) -> Vec<GroupStatus> {
        self.running().iter().map(|group| group.status()).collect()
    }

    /// Does something to every group of this node, [`RaftManagerConfig::parallelism`] at a time, and
    /// returns what came of each, in the order of the names. One failure stops no other.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, groups whose turn has not come are left alone.
    pub async fn for_all_groups<T, F>(&self, operation: F) -> Vec<GroupResult<T>>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn GroupOperations>) -> BoxFuture<'static, Result<T, OperationError>>,
    {
        // The futures are made one by one before the loop, because rustc cannot prove that a stream of
        // closures over `dyn GroupOperations` is `Send`.
        let pending: Vec<_> = self
            .running()
            .into_iter()
            .map(|group| (group.name().clone(), operation(group)))
            .collect();
        each_group(pending, self.shared.config.parallelism, |done| done).await
    }

    /// Starts no group any more, and returns those that run.
    pub(crate) fn begin_stopping(&self) -> Vec<Arc<dyn GroupOperations>> {
        self.groups().stopping = true;
        self.running()
    }

    /// Ends what the cluster has under way here: nobody is asked and nobody answered any more.
    pub(crate) async fn end_cluster(&self) {
        let cluster = self.shared.cluster().take();
        if let Some(cluster) = cluster {
            cluster.shut_down().await;
        }
    }

    /// Knows these groups no more, and looks at none of the others.
    pub(crate) fn forget<'a>(&self, names: impl Iterator<Item = &'a GroupName>) {
        for name in names {
            self.groups().by_name.remove(name);
            self.raise(Event::GroupClosed {
                group: name.clone(),
            });
        }
        self.shared.watcher.stop();
    }

    /// The groups that run here, in the order of their names.
    pub(crate) fn running(&self) -> Vec<Arc<dyn GroupOperations>> {
        self.shared.running()
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.shared.groups()
    }
}

impl Shared {
    fn groups(&self) -> MutexGuard<'_, Groups> {
        // A map is whole between two calls, whoever panicked.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self) -> MutexGuard<'_, Option<Arc<Cluster>>> {
        // It is set and taken in one step, whoever panicked.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched for Shared {
    fn running(&self) -> Vec<Arc<dyn GroupOperations>> {
        let groups = self.groups();
        let running = groups.by_name.values().filter_map(|slot| match slot {
            Slot::Running(group) => Some(Arc::clone(group)),
            Slot::Starting(_) => None,
        });
        running.collect()
    }

    fn formation(&self) -> Option<FormationReport> {
        let cluster = self.cluster().as_ref().map(Arc::clone);
        cluster.map(|cluster| cluster.report())
    }
}

/// A name and a number that are held for a group that is being started; given back when dropped.
struct Place<'a> {
    manager: &'a RaftManager,
    name: Option<GroupName>,
}

impl Place<'_> {
    fn fill(mut self, group: Arc<dyn GroupOperations>) -> Result<(), StartGroupError> {
        let mut groups = self.manager.groups();
        let stopping = groups.stopping;
        let Some(name) = self.name.take() else {
            return Ok(());
        };
        if stopping {
            groups.by_name.remove(&name);
            return Err(StartGroupError::ShuttingDown { group: name });
        }
        groups.by_name.insert(name, Slot::Running(group));
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.manager.groups().by_name.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use quicraft_certs::{Authority, ClusterName, CredentialStore, NodeId};
    use quicraft_transport::{Roster, Transport};

    use super::*;

    /// The task may have its first turn on another thread while the manager is still being made. That
    /// is too short to be hit by a test here; a drill that counts the tasks of nodes found it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_manager_is_watched_until_it_is_dropped() {
        let authority = Authority::new(ClusterName::new("watched.test").unwrap()).unwrap();
        let issued = authority.issue(NodeId::new(1).unwrap()).unwrap();
        let store = CredentialStore::new(issued.credentials(&authority).unwrap());
        let transport = Transport::builder(store)
            .bind("127.0.0.1:0".parse().unwrap())
            .roster(Roster::closed())
            .start()
            .unwrap();
        let config = RaftManagerConfig::default();
        let manager = RaftManager::new(transport.handle(), config).unwrap();
        let shared = Arc::downgrade(&manager.shared);
        for _ in 0..100 {
            tokio::task::yield_now().await;
            assert!(manager.shared.watcher.runs());
        }
        drop(manager);
        // The watcher's task keeps it only for the length of a look.
        while shared.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }
}
