//! Stores and entries as the tests need them; a value says which group and index it is of.

use bytes::Bytes;
use futures_util::stream;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage as _, RaftStateMachine as _};
use openraft::testing::log_id as openraft_log_id;
use openraft::type_config::TypeConfigExt as _;
use openraft::type_config::alias::OneshotReceiverOf;
use quicraft_examples::kv::store::{GroupLog, GroupMachine};
use quicraft_examples::kv::types::{Entry, LogId};
use quicraft_examples::kv::{Command, DataFolder, Store, StoreOptions, TypeConfig};
use redb::StorageBackend;
use tempfile::TempDir;

pub(crate) const CLUSTER: &str = "test.example";

pub(crate) fn folder() -> (TempDir, DataFolder) {
    folder_of(1)
}

pub(crate) fn folder_of(node: u64) -> (TempDir, DataFolder) {
    let parent = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&parent.path().join("data"), CLUSTER, node).unwrap();
    (parent, folder)
}

/// A store on `backend`; the folder is only for snapshots and goes with the guard.
pub(crate) fn store_on(backend: impl StorageBackend) -> (TempDir, Store) {
    let (parent, folder) = folder();
    let store = Store::open_on(folder, backend, StoreOptions::default()).unwrap();
    (parent, store)
}

pub(crate) fn log_id(index: u64) -> LogId {
    openraft_log_id::<TypeConfig>(1, 1, index)
}

pub(crate) fn key(index: u64) -> Bytes {
    // Some keys come again, so that puts replace.
    Bytes::from(format!("key-{}", index % 7))
}

pub(crate) fn value(group: u64, index: u64) -> Bytes {
    Bytes::from(format!("group {group}, index {index}"))
}

/// Every tenth is blank and every tenth deletes; the others put.
pub(crate) fn entry(group: u64, index: u64) -> Entry {
    let payload = match index % 10 {
        3 => EntryPayload::Blank,
        6 => EntryPayload::Normal(Command::delete(key(index))),
        _ => EntryPayload::Normal(Command::put(key(index), value(group, index))),
    };
    Entry {
        log_id: log_id(index),
        payload,
    }
}

pub(crate) fn put(index: u64, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Entry {
    let payload = EntryPayload::Normal(Command::put(key, value));
    Entry {
        log_id: log_id(index),
        payload,
    }
}

/// Appends and returns what tells that it is durable.
pub(crate) async fn append(
    log: &mut GroupLog,
    entries: Vec<Entry>,
) -> OneshotReceiverOf<TypeConfig, std::io::Result<()>> {
    let (sender, flushed) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sender))
        .await
        .unwrap();
    flushed
}

pub(crate) async fn apply(machine: &mut GroupMachine, entries: Vec<Entry>) -> std::io::Result<()> {
    machine
        .apply(stream::iter(
            entries.into_iter().map(|entry| Ok((entry, None))),
        ))
        .await
}
