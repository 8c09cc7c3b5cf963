//! The groups of a node: which of them run here, and how one is opened on the node's store.
//!
//! It must not know how a group's members are chosen, nor what a request is.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quicraft_manager::{
    Group, GroupName, GroupSpec, NewFamilyError, RaftManager, ShardFamily, StartGroupError,
};
use quicraft_transport::GroupId;
use quicraft_transport::raft::FileSnapshots;

use super::store::{GroupMachine, Store, StoreError};
use super::types::TypeConfig;

/// The family of the groups that hold keys: `kv/0`, `kv/1` and so on.
pub const FAMILY: &str = "kv";

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
}

/// The groups that run on this node, by their numbers. Cloning gives another handle on the same ones.
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

    /// Starts a group on what the store has of it.
    pub(super) async fn open(
        &self,
        manager: &RaftManager,
        name: GroupName,
        id: u64,
    ) -> Result<KvGroup, OpenError> {
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
        let spec = GroupSpec::new(
            name,
            GroupId::new(id),
            Arc::clone(&self.raft),
            log,
            machine,
            self.snapshots.clone(),
        );
        let group = manager.start_group(spec).await?;
        self.lock().insert(id, group.clone());
        Ok(group)
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
