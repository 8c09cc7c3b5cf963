//! The bounds of the store: at the limit, and one past it.

use futures_util::poll;
use quicraft_examples::kv::store::limits::{APPLY_ENTRIES, QUEUE_BYTES, UNSYNCED_COMMITS};

use crate::disk::Disk;
use crate::entries::{append, apply, entry, put, store_on};

#[tokio::test]
async fn a_full_queue_makes_the_next_append_wait() {
    /// Just under 1 MiB with what stands around the value, so that 32 make the queue's 32 MiB.
    const VALUE: usize = 1024 * 1024 - 200;
    let fitting = QUEUE_BYTES as u64 / (1024 * 1024);
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let (mut log, _) = store.group(1).unwrap();
    let (mut other, _) = store.group(2).unwrap();
    disk.hold_syncs();
    let mut waiting = Vec::new();
    for index in 1..=fitting {
        let mut one = Box::pin(append(&mut log, vec![put(index, "k", vec![7; VALUE])]));
        let std::task::Poll::Ready(flushed) = poll!(&mut one) else {
            panic!("append {index} of {fitting} has room");
        };
        drop(one);
        waiting.push(flushed);
    }
    // Not even the smallest one of another group has room; it waits, and is not lost.
    let mut past = Box::pin(append(&mut other, vec![entry(2, 1)]));
    assert!(poll!(&mut past).is_pending());
    disk.release_syncs();
    waiting.push(past.await);
    for flushed in waiting {
        flushed.await.unwrap().unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_long_row_of_unsynced_commits_ends_with_a_sync() {
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let (_, mut machine) = store.group(1).unwrap();
    let limit = u64::from(UNSYNCED_COMMITS);
    for index in 1..=limit {
        apply(&mut machine, vec![entry(1, index)]).await.unwrap();
    }
    assert_eq!(
        (store.stats().unsynced_commits, store.stats().synced_commits),
        (limit, 0)
    );
    apply(&mut machine, vec![entry(1, limit + 1)])
        .await
        .unwrap();
    assert_eq!(
        (store.stats().unsynced_commits, store.stats().synced_commits),
        (limit, 1)
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn many_entries_are_applied_in_several_commits() {
    let (_folder, store) = store_on(Disk::new());
    let (_, mut machine) = store.group(1).unwrap();
    let limit = APPLY_ENTRIES as u64;
    apply(
        &mut machine,
        (1..=limit).map(|index| entry(1, index)).collect(),
    )
    .await
    .unwrap();
    assert_eq!(store.stats().unsynced_commits, 1);
    let more = (limit + 1..=2 * limit + 1).map(|index| entry(1, index));
    apply(&mut machine, more.collect()).await.unwrap();
    assert_eq!(store.stats().unsynced_commits, 3);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_orderly_end_leaves_nothing_to_apply_again() {
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let (_, mut machine) = store.group(1).unwrap();
    apply(&mut machine, vec![entry(1, 1)]).await.unwrap();
    let state = store.state(1).unwrap();
    store.close().await.unwrap();
    for seed in 0..8 {
        let (_folder, store) = store_on(disk.crash(seed));
        assert_eq!(store.state(1).unwrap(), state);
    }
}
