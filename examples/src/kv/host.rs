//! A running node of the key-value store: its store, and a manager that runs its groups on the
//! transport.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use openraft::SnapshotPolicy;
use openraft::errors::{InitializeError, RaftError};
use quicraft_manager::{
    GroupName, InvalidConfig, NewFamilyError, OperationError, RaftManager, RaftManagerConfig,
    ShardFamily,
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

/// Groups that are opened at the same time.
const OPENING: usize = 16;

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
    /// A group is not founded.
    #[error("group {group} is not founded: {reason}")]
    Found {
        /// The group.
        group: GroupName,
        /// What openraft says.
        reason: String,
    },
    /// Groups did not shut down.
    #[error("{count} groups did not shut down, among them")]
    Shutdown {
        /// How many.
        count: usize,
        /// The first.
        #[source]
        first: OperationError,
    },
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
    stopping: AtomicBool,
}

impl KvHost {
    /// Starts all groups of `config` on `store`; peers are reached over `transport`.
    ///
    /// On a store that is empty a group is founded with all nodes of the configuration, by exactly
    /// one of them: the groups take turns, in the order of the node ids, so that leaders are spread
    /// from the start. Founding again, or on a node that has data, changes nothing.
    ///
    /// # Errors
    ///
    /// [`HostError`]; groups that were started already are shut down.
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
        let host = Self {
            family: family(config.groups)?,
            manager: RaftManager::new(transport, manager_config(&config))?,
            groups: Groups::new(store.clone(), raft, snapshots),
            stopping: AtomicBool::new(false),
            store,
            config,
        };
        match host.start_groups().await {
            Ok(()) => Ok(host),
            Err(error) => {
                if let Err(down) = host.shutdown().await {
                    tracing::warn!(target: "quicraft::kv", error = %down, "a failed start");
                }
                Err(error)
            }
        }
    }

    async fn start_groups(&self) -> Result<(), HostError> {
        let starting = (0..).zip(self.family.groups());
        let mut started = stream::iter(starting)
            .map(|(id, name)| self.start_group(id, name))
            .buffer_unordered(OPENING);
        while let Some(result) = started.next().await {
            result?;
        }
        Ok(())
    }

    async fn start_group(&self, id: u64, name: GroupName) -> Result<(), HostError> {
        let group = self.groups.open(&self.manager, name, id).await?;
        if founder_of(id, &self.config) != Some(self.config.node) {
            return Ok(());
        }
        match group.raft().initialize(self.config.nodes.clone()).await {
            // It was founded before.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(HostError::Found {
                group: group.name().clone(),
                reason: error.to_string(),
            }),
        }
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

    /// All groups that run here, by their numbers.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<u64, KvGroup> {
        self.groups.all()
    }

    /// The number of the group of `key`, and the group, if it runs here.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> (u64, Option<KvGroup>) {
        let group = u64::from(self.family.shard_of(key));
        (group, self.groups.get(group))
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
        let first = failed.into_iter().next();
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

/// The node that founds a group: the nodes take turns.
fn founder_of(group: u64, config: &Config) -> Option<u64> {
    let turn = group.checked_rem(config.nodes.len() as u64)?;
    config
        .nodes
        .keys()
        .nth(usize::try_from(turn).ok()?)
        .copied()
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
