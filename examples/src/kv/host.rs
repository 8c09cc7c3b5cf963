//! A running node of the key-value store: its store, and a manager that runs its groups on the
//! transport.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::SnapshotPolicy;
use quicraft_manager::{
    ClusterError, ClusterSpec, InvalidConfig, Meta, NewFamilyError, NewGroup, OperationError,
    RaftManager, RaftManagerConfig, ShardFamily,
};
use quicraft_transport::TransportHandle;
use quicraft_transport::raft::FileSnapshots;

use super::config::Config;
use super::groups::{Groups, KvGroup, OpenError, family};
use super::store::{Store, StoreError};

/// How long a snapshot may make no progress. openraft's default of 200 ms is shorter than one
/// fsync of a busy disk.
const SNAPSHOT_PROGRESS: Duration = Duration::from_secs(10);

/// How long a group may take to shut down; what is not down then is left to the end of the process,
/// which loses nothing, because everything acknowledged is on the disk.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// How long one look at the forming cluster takes; another follows.
const LOOK: Duration = Duration::from_secs(60);

/// Why a node does not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The settings do not make a Raft configuration.
    #[error("openraft refuses the settings")]
    Config(#[source] Box<openraft::ConfigError>),
    /// The settings do not make a manager.
    #[error("the manager refuses the settings")]
    Manager(#[from] InvalidConfig),
    /// The number of groups cannot be.
    #[error("the groups cannot be; correct --groups")]
    Family(#[from] NewFamilyError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A group does not open.
    #[error("a group does not open")]
    Open(#[from] OpenError),
    /// The cluster does not take this node, or cannot be.
    #[error("this node is in no cluster")]
    Cluster(#[source] Box<ClusterError>),
    /// Groups did not shut down.
    #[error("{count} groups did not shut down, among them")]
    Shutdown {
        /// How many.
        count: usize,
        /// The first.
        #[source]
        first: Box<OperationError>,
    },
}

impl From<ClusterError> for HostError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

/// A running node.
///
/// Dropping it leaves the groups running until their last handle is gone; call
/// [`KvHost::shutdown`].
#[derive(Debug)]
pub struct KvHost {
    config: Config,
    store: Store,
    family: ShardFamily,
    manager: RaftManager,
    groups: Groups,
    cluster: Meta,
    stopping: AtomicBool,
}

impl KvHost {
    /// Starts the node on `store`; peers are reached over `transport`. Returns when it has begun to
    /// take part in the cluster; the groups open as the cluster gives them to this node.
    ///
    /// When none of the nodes of the configuration has data, they found the cluster together, and
    /// each group has all of them as its members. The groups take turns in who founds them, in the
    /// order of the node ids, so that leaders are spread from the start. A node that the cluster
    /// does not have waits to be added.
    ///
    /// # Errors
    ///
    /// [`HostError`]; nothing runs then.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, some groups may run; drop the transport and the store as well.
    pub async fn start(
        config: Config,
        store: Store,
        transport: TransportHandle,
        snapshots: FileSnapshots,
    ) -> Result<Self, HostError> {
        let raft = Arc::new(raft_config(&config)?);
        let groups = Groups::new(store.clone(), raft, snapshots);
        let (spec, cluster) = groups.meta().await?;
        let host = Self {
            family: family(config.groups)?,
            manager: RaftManager::new(transport, manager_config(&config))?,
            groups,
            cluster: cluster.clone(),
            stopping: AtomicBool::new(false),
            store,
            config,
        };
        let factory = Arc::new(host.groups.clone());
        let of_cluster = host.cluster_spec();
        let begun = host
            .manager
            .initialize_cluster(of_cluster, cluster, spec, factory);
        match begun.await {
            Ok(()) => Ok(host),
            Err(error) => {
                if let Err(down) = host.shutdown().await {
                    tracing::warn!(target: "quicraft::kv", error = %down, "a failed start");
                }
                Err(error.into())
            }
        }
    }

    /// The cluster as the configuration wants it.
    fn cluster_spec(&self) -> ClusterSpec {
        let nodes = &self.config.nodes;
        let records = nodes.iter().map(|(&id, node)| node.record(id));
        let founders = nodes.keys().cycle();
        let groups = (0..).zip(self.family.groups()).zip(founders);
        let groups = groups.map(|((id, name), &founder)| {
            let group = NewGroup::new(name, nodes.keys().copied());
            group.numbered(id).founded_by(founder)
        });
        ClusterSpec::new(self.config.node, records).with_groups(groups)
    }

    /// What the node was started with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The node's store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// What runs the groups.
    #[must_use]
    pub const fn manager(&self) -> &RaftManager {
        &self.manager
    }

    /// The cluster as it is applied here.
    #[must_use]
    pub const fn cluster(&self) -> &Meta {
        &self.cluster
    }

    /// The groups that the keys are spread over.
    #[must_use]
    pub const fn family(&self) -> &ShardFamily {
        &self.family
    }

    /// The groups with keys that run here, by their numbers.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<u64, KvGroup> {
        self.groups.all()
    }

    /// The group with keys of this number, if it runs here.
    #[must_use]
    pub fn group(&self, id: u64) -> Option<KvGroup> {
        self.groups.get(id)
    }

    /// The number of the group of `key`.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> u64 {
        u64::from(self.family.shard_of(key))
    }

    /// Waits until it is certain that this node cannot be in the cluster, and says why. It never
    /// ends for one that can.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn refused(&self) -> ClusterError {
        loop {
            match self.manager.wait_for_cluster_formation(LOOK).await {
                // One that was in it once may be removed, and then tells so.
                Ok(_) | Err(ClusterError::NotStarted | ClusterError::ShuttingDown) => {
                    std::future::pending::<()>().await;
                }
                Err(error) if error.is_retryable() => {}
                Err(error) => return error,
            }
        }
    }

    /// Whether the node is going away and takes no requests any more.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Takes no more requests from clients; replication goes on. The first step of stopping.
    pub fn refuse_requests(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Stops the node: refuses requests, takes every group from the reach of peers, shuts the groups
    /// down, and closes the store. Stop serving HTTP before, and the transport after.
    ///
    /// # Errors
    ///
    /// [`HostError::Shutdown`] or [`HostError::Store`]; the store is closed in any case.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the node is partly down; call it again.
    pub async fn shutdown(&self) -> Result<(), HostError> {
        self.refuse_requests();
        let down = self.manager.shut_down().await;
        self.store.close().await?;
        let failed: Vec<_> = down.into_iter().filter_map(|it| it.result.err()).collect();
        let count = failed.len();
        let first = failed.into_iter().next().map(Box::new);
        first.map_or(Ok(()), |first| Err(HostError::Shutdown { count, first }))
    }
}

/// The manager's settings that follow from the node's.
fn manager_config(config: &Config) -> RaftManagerConfig {
    let mut manager = RaftManagerConfig::default();
    manager.requests_max = config.max_requests;
    manager.shutdown_timeout = SHUTDOWN;
    manager
}

/// openraft's configuration. Times are given in milliseconds; a longer one than there is room for
/// was refused by [`Config::new`].
pub(super) fn raft_config(config: &Config) -> Result<openraft::Config, HostError> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let raft = &config.raft;
    openraft::Config {
        cluster_name: config.cluster.clone(),
        heartbeat_interval: millis(raft.heartbeat),
        election_timeout_min: millis(raft.election_min),
        election_timeout_max: millis(raft.election_max),
        enable_pre_vote: Some(raft.pre_vote),
        // A leader sends entries before its own disk has them. After a crash it may have lost some
        // that its followers hold; leading on in the same term, it would give their log ids to
        // other entries, and the followers, who compare log ids only, would keep the old ones.
        enable_leader_restore: Some(false),
        install_snapshot_timeout: millis(SNAPSHOT_PROGRESS),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(raft.snapshot_every),
        max_in_snapshot_log_to_keep: raft.keep_entries,
        ..openraft::Config::default()
    }
    .validate()
    .map_err(|error| HostError::Config(Box::new(error)))
}
