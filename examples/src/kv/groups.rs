//! The groups of a node: which of them run here, and how one is opened on the node's store.
//!
//! It must not know how a group's members are chosen, nor what a request is.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use quicraft_manager::{
    FactoryError, Group, GroupFactory, GroupName, GroupSpec, InvalidGroupName, Meta,
    NewFamilyError, RaftManager, ShardFamily, StartGroupError,
};
use quicraft_transport::GroupId;
use quicraft_transport::raft::FileSnapshots;

use super::store::limits::SHARDS;
use super::store::{GroupLog, GroupMachine, Store, StoreError};
use super::types::TypeConfig;

/// The family of the groups that hold keys: `kv/0`, `kv/1` and so on.
pub const FAMILY: &str = "kv";

/// The number of the group that holds the cluster: one more than the last that a shard can have.
pub const META: u64 = SHARDS as u64;

/// What the manager needs to run a group of the store.
pub type KvSpec = GroupSpec<GroupLog, GroupMachine, FileSnapshots>;

/// A group of the store, as the manager runs it.
pub type KvGroup = Group<TypeConfig, GroupMachine>;

/// Why a group does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store failed.
    #[error("the store of group {group} does not open")]
    Store {
        /// The group.
        group: GroupName,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The task that reads the store has ended.
    #[error("the store of group {group} cannot be read")]
    Task {
        /// The group.
        group: GroupName,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manager does not start it.
    #[error(transparent)]
    Start(#[from] StartGroupError),
    /// Its name cannot be.
    #[error(transparent)]
    Name(#[from] InvalidGroupName),
}

/// The groups with keys that run on this node, by their numbers. Cloning gives another handle on the same ones.
///
/// A group has one number everywhere: in the store, on the wire, and, for a shard, in its name.
#[derive(Debug, Clone)]
pub struct Groups {
    store: Store,
    raft: Arc<openraft::Config>,
    snapshots: FileSnapshots,
    open: Arc<Mutex<BTreeMap<u64, KvGroup>>>,
}

impl Groups {
    pub(super) fn new(store: Store, raft: Arc<openraft::Config>, snapshots: FileSnapshots) -> Self {
        let open = Arc::default();
        Self {
            store,
            raft,
            snapshots,
            open,
        }
    }

    /// What the group that holds the cluster is started with, and the cluster as it is applied here.
    pub(super) async fn meta(&self) -> Result<(KvSpec, Meta), OpenError> {
        let name = meta_name()?;
        let spec = self.spec(name.clone(), META).await?;
        let cluster = self.store.cluster(META);
        let cluster = cluster.map_err(|source| OpenError::Store {
            group: name,
            source,
        })?;
        Ok((spec, cluster))
    }

    /// Starts a group on what the store has of it. One that runs goes on.
    async fn start(
        &self,
        manager: &RaftManager,
        name: GroupName,
        id: u64,
    ) -> Result<(), OpenError> {
        let spec = self.spec(name, id).await?;
        match manager.start_group(spec).await {
            Ok(group) => drop(self.lock().insert(id, group)),
            Err(StartGroupError::NameTaken { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn spec(&self, name: GroupName, id: u64) -> Result<KvSpec, OpenError> {
        let store = self.store.clone();
        let opened = tokio::task::spawn_blocking(move || store.group(id)).await;
        let opened = opened.map_err(|error| OpenError::Task {
            group: name.clone(),
            source: io::Error::other(error),
        })?;
        let (log, machine) = opened.map_err(|source| OpenError::Store {
            group: name.clone(),
            source,
        })?;
        Ok(GroupSpec::new(
            name,
            GroupId::new(id),
            Arc::clone(&self.raft),
            log,
            machine,
            self.snapshots.clone(),
        ))
    }

    /// The group of this number, if it runs here.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<KvGroup> {
        self.lock().get(&id).cloned()
    }

    /// All groups that run here.
    #[must_use]
    pub fn all(&self) -> BTreeMap<u64, KvGroup> {
        self.lock().clone()
    }

    /// No code panics while it holds this lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, KvGroup>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupFactory for Groups {
    fn open(
        &self,
        manager: RaftManager,
        name: GroupName,
        id: GroupId,
    ) -> BoxFuture<'static, Result<(), FactoryError>> {
        let groups = self.clone();
        async move { Ok(groups.start(&manager, name, id.get()).await?) }.boxed()
    }

    fn destroy(
        &self,
        _name: GroupName,
        id: GroupId,
    ) -> BoxFuture<'static, Result<(), FactoryError>> {
        let groups = self.clone();
        async move {
            groups.lock().remove(&id.get());
            Ok(groups.store.erase(id.get()).await?)
        }
        .boxed()
    }
}

/// The name of the group that holds the cluster.
pub(crate) fn meta_name() -> Result<GroupName, InvalidGroupName> {
    GroupName::single("meta")
}

/// The family of `groups` groups that hold keys.
///
/// The group of a key is part of the stored data: another function, or another number of groups,
/// would look for old keys in the wrong group.
///
/// # Errors
///
/// [`NewFamilyError`], for a number of groups that cannot be.
pub fn family(groups: u64) -> Result<ShardFamily, NewFamilyError> {
    ShardFamily::new(FAMILY, u32::try_from(groups).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::shard::group_of;
    use super::*;

    /// Keys were stored by [`group_of`], before families were.
    #[test]
    fn a_family_finds_keys_where_they_are() {
        for groups in [1, 3, 16, 64, 4096] {
            let family = family(groups).unwrap();
            for number in 0..1_000 {
                let key = format!("key-{number}");
                let shard = u64::from(family.shard_of(key.as_bytes()));
                assert_eq!(shard, group_of(key.as_bytes(), groups), "{key} of {groups}");
            }
        }
        assert!(family(0).is_err());
    }
}
