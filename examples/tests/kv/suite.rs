//! openraft's own suite for storages, on a real file and in memory.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use quicraft_examples::kv::store::{GroupLog, GroupMachine};
use quicraft_examples::kv::{Store, StoreOptions, TypeConfig};
use redb::backends::InMemoryBackend;
use tempfile::TempDir;

use crate::entries::{append, apply, entry, folder, store_on};

struct OnFile;

impl StoreBuilder<TypeConfig, GroupLog, GroupMachine, (TempDir, Store)> for OnFile {
    async fn build(
        &self,
    ) -> Result<((TempDir, Store), GroupLog, GroupMachine), StorageError<TypeConfig>> {
        let (parent, folder) = folder();
        let store = Store::open(folder, StoreOptions::default()).unwrap();
        let (log, machine) = store.group(1).unwrap();
        Ok(((parent, store), log, machine))
    }
}

/// The tested group has neighbours, whose rows must not be seen.
struct InMemory;

impl StoreBuilder<TypeConfig, GroupLog, GroupMachine, (TempDir, Store)> for InMemory {
    async fn build(
        &self,
    ) -> Result<((TempDir, Store), GroupLog, GroupMachine), StorageError<TypeConfig>> {
        let (parent, store) = store_on(InMemoryBackend::new());
        for neighbour in [6, 8] {
            let (mut log, mut machine) = store.group(neighbour).unwrap();
            let entries: Vec<_> = (0..20).map(|index| entry(neighbour, index)).collect();
            append(&mut log, entries.clone())
                .await
                .await
                .unwrap()
                .unwrap();
            apply(&mut machine, entries).await.unwrap();
        }
        let (log, machine) = store.group(7).unwrap();
        Ok(((parent, store), log, machine))
    }
}

#[tokio::test]
async fn the_suite_passes_on_a_file() {
    Suite::test_all(OnFile).await.unwrap();
}

#[tokio::test]
async fn the_suite_passes_in_memory() {
    Suite::test_all(InMemory).await.unwrap();
}
