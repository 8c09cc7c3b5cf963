//! A running node of the key-value store: its store and one Raft per group, over any network.
//!
//! The network comes from the caller, one factory per group; nothing here knows how it works.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openraft::errors::{InitializeError, RaftError};
use openraft::network::{NetSnapshot, RaftNetworkFactory};
use openraft::{Raft, SnapshotPolicy};
use tokio::time::timeout;

use super::config::Config;
use super::shard::group_of;
use super::store::{GroupMachine, Store, StoreError};
use super::types::TypeConfig;

/// The Raft of one group.
pub type GroupRaft = Raft<TypeConfig, GroupMachine>;

/// How long a snapshot may make no progress. openraft's default of 200 ms is shorter than one
/// fsync of a busy disk.
const SNAPSHOT_PROGRESS: Duration = Duration::from_secs(10);

/// How long all groups together may take to shut down; what is not down then is left to the end of
/// the process, which loses nothing, because everything acknowledged is on the disk.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Why a node does not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The settings do not make a Raft configuration.
    #[error("openraft refuses the settings")]
    Config(#[source] Box<openraft::ConfigError>),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A group's Raft did not start.
    #[error("group {group} does not start")]
    Group {
        /// The group.
        group: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Groups did not shut down in time.
    #[error("{groups} groups were not down after {} s", SHUTDOWN.as_secs())]
    ShutdownTimeout {
        /// How many.
        groups: usize,
    },
}

/// A running node.
///
/// Dropping it leaves the Rafts running until their last handle is gone; call
/// [`KvHost::shutdown`].
#[derive(Debug)]
pub struct KvHost {
    config: Config,
    store: Store,
    groups: BTreeMap<u64, GroupRaft>,
    stopping: AtomicBool,
}

impl KvHost {
    /// Starts all groups of `config` on `store`.
    ///
    /// For each group `network` gives the factory that its Raft calls peers with, and `register`
    /// gets the Raft before it runs, so that no peer's call comes too early or too late.
    ///
    /// On a store that is empty a group is founded with all nodes of the configuration, by exactly
    /// one of them: the groups take turns, in the order of the node ids, so that leaders are spread
    /// from the start. Founding again, or on a node that has data, changes nothing.
    ///
    /// # Errors
    ///
    /// [`HostError`]; Rafts that were started already are shut down.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, some groups may be registered; drop the network and the store as well.
    pub async fn start<N>(
        config: Config,
        store: Store,
        network: impl Fn(u64) -> N,
        mut register: impl FnMut(u64, &GroupRaft),
    ) -> Result<Self, HostError>
    where
        N: RaftNetworkFactory<TypeConfig>,
        N::Network: NetSnapshot<TypeConfig, SnapshotData = tokio::fs::File>,
    {
        let raft_config = Arc::new(raft_config(&config)?);
        let mut host = Self {
            groups: BTreeMap::new(),
            stopping: AtomicBool::new(false),
            store,
            config,
        };
        for group in 0..host.config.groups {
            let started = host.start_group(group, &raft_config, network(group), &mut register);
            if let Err(error) = started.await {
                let down = host.shutdown(|_| {}).await;
                if let Err(down) = down {
                    tracing::warn!(target: "quicraft::kv", error = %down, "a failed start");
                }
                return Err(error);
            }
        }
        Ok(host)
    }

    async fn start_group<N>(
        &mut self,
        group: u64,
        raft_config: &Arc<openraft::Config>,
        network: N,
        register: &mut impl FnMut(u64, &GroupRaft),
    ) -> Result<(), HostError>
    where
        N: RaftNetworkFactory<TypeConfig>,
        N::Network: NetSnapshot<TypeConfig, SnapshotData = tokio::fs::File>,
    {
        let failed = |source: io::Error| HostError::Group { group, source };
        let store = self.store.clone();
        let opened = tokio::task::spawn_blocking(move || store.group(group)).await;
        let (log, machine) = opened.map_err(|error| failed(io::Error::other(error)))??;
        let raft = Raft::build(
            self.config.node,
            Arc::clone(raft_config),
            network,
            log,
            machine,
        )
        .await
        .map_err(|error| failed(io::Error::other(error)))?;
        register(group, &raft);
        raft.run();
        self.groups.insert(group, raft.clone());
        if founder_of(group, &self.config) == Some(self.config.node) {
            match raft.initialize(self.config.nodes.clone()).await {
                // It was founded before.
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(failed(io::Error::other(error))),
            }
        }
        Ok(())
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

    /// All groups with their Rafts.
    #[must_use]
    pub const fn groups(&self) -> &BTreeMap<u64, GroupRaft> {
        &self.groups
    }

    /// The group of `key`, and its Raft.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> (u64, Option<&GroupRaft>) {
        let group = group_of(key, self.config.groups);
        (group, self.groups.get(&group))
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

    /// Stops the node: refuses requests, calls `unregister` for every group so that no peer's call
    /// reaches it any more, shuts the Rafts down together, and closes the store. Stop serving HTTP
    /// before, and the network after.
    ///
    /// # Errors
    ///
    /// [`HostError::ShutdownTimeout`] or [`HostError::Store`]; the store is closed in any case.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the node is partly down; call it again.
    pub async fn shutdown(&self, unregister: impl FnMut(u64)) -> Result<(), HostError> {
        self.refuse_requests();
        self.groups.keys().copied().for_each(unregister);
        let mut down: FuturesUnordered<_> =
            self.groups.values().map(|raft| raft.shutdown()).collect();
        let all = async {
            while let Some(one) = down.next().await {
                if let Err(error) = one {
                    tracing::warn!(target: "quicraft::kv", error = %error, "a group panicked");
                }
            }
        };
        let in_time = timeout(SHUTDOWN, all).await;
        self.store.close().await?;
        in_time.map_err(|_| HostError::ShutdownTimeout { groups: down.len() })
    }
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
