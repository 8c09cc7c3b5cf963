//! The stores by themselves.

use std::time::Duration;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use quicraft_tests::raft::{InFiles, InMemory, Machine, MemLog, SnapshotStore, TypeConfig};

/// A fresh log and machine for each test of the suite.
struct Fresh<S> {
    snapshots: S,
    flush_delay: Duration,
}

impl<S: SnapshotStore> StoreBuilder<TypeConfig, MemLog, Machine<S>> for Fresh<S> {
    async fn build(&self) -> Result<((), MemLog, Machine<S>), StorageError<TypeConfig>> {
        let log = MemLog::new();
        log.set_flush_delay(self.flush_delay);
        Ok(((), log, Machine::new(self.snapshots.clone())))
    }
}

async fn pass_the_suite<S: SnapshotStore>(snapshots: S, flush_delay: Duration) {
    Suite::test_all(Fresh {
        snapshots,
        flush_delay,
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_stores_in_memory_pass_the_suite() {
    pass_the_suite(InMemory, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn the_stores_with_a_slow_disk_pass_the_suite() {
    pass_the_suite(InMemory, Duration::from_millis(500)).await;
}

#[tokio::test(start_paused = true)]
async fn the_stores_with_snapshots_in_files_pass_the_suite() {
    pass_the_suite(InFiles::new().unwrap(), Duration::ZERO).await;
}
