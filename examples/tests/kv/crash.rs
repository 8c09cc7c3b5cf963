//! A crash at any moment loses nothing that was acknowledged, and what is applied again ends in
//! the same state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use quicraft_examples::kv::Store;
use quicraft_examples::kv::types::Vote;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::disk::Disk;
use crate::entries::{append, apply, entry, key, log_id, store_on};

const GROUPS: u64 = 4;
/// The power fails when this many appends were acknowledged.
const APPENDS: u64 = 120;

#[derive(Debug, Clone, Copy, Default)]
struct Acknowledged {
    index: u64,
    purged: u64,
    term: u64,
}

/// What one group was told is durable, written after it was told.
type Promises = Arc<Mutex<BTreeMap<u64, Acknowledged>>>;

async fn run_group(
    store: Store,
    group: u64,
    promises: Promises,
    total: Arc<watch::Sender<u64>>,
    stop: Arc<AtomicBool>,
) {
    let (mut log, mut machine) = store.group(group).unwrap();
    let mut index = 0;
    while !stop.load(Ordering::Relaxed) {
        let count = 1 + index % 3;
        let entries: Vec<_> = (index + 1..=index + count)
            .map(|i| entry(group, i))
            .collect();
        append(&mut log, entries.clone())
            .await
            .await
            .unwrap()
            .unwrap();
        index += count;
        promises.lock().unwrap().entry(group).or_default().index = index;
        apply(&mut machine, entries).await.unwrap();
        if index % 5 == 0 {
            log.save_vote(&Vote::new(index, 1)).await.unwrap();
            promises.lock().unwrap().entry(group).or_default().term = index;
        }
        if index > 30 && index % 4 == 0 {
            promises.lock().unwrap().entry(group).or_default().purged = index - 10;
            log.purge(log_id(index - 10)).await.unwrap();
        }
        total.send_modify(|total| *total += 1);
    }
}

/// Runs all groups until the power fails; returns what was promised, and the disk.
async fn run_until_the_power_fails(seed: u64) -> (BTreeMap<u64, Acknowledged>, Disk) {
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let promises = Promises::default();
    let (total, mut reached) = watch::channel(0);
    let (total, stop) = (Arc::new(total), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (1..=GROUPS)
        .map(|group| {
            let (promises, total, stop) =
                (Arc::clone(&promises), Arc::clone(&total), Arc::clone(&stop));
            tokio::spawn(run_group(store.clone(), group, promises, total, stop))
        })
        .collect();
    let enough = reached.wait_for(|&total| total >= APPENDS + seed % 17);
    timeout(Duration::from_secs(60), enough)
        .await
        .unwrap()
        .unwrap();
    // First what was promised, then the disk: what is promised in between is on it too.
    let promised = promises.lock().unwrap().clone();
    let crashed = disk.crash(seed);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        timeout(Duration::from_secs(60), task)
            .await
            .unwrap()
            .unwrap();
    }
    store.close().await.unwrap();
    (promised, crashed)
}

/// The state after all entries up to `index`, from a store that never crashed.
async fn reference(group: u64, index: u64) -> (Store, tempfile::TempDir) {
    let (folder, store) = store_on(Disk::new());
    let (_, mut machine) = store.group(group).unwrap();
    apply(&mut machine, (1..=index).map(|i| entry(group, i)).collect())
        .await
        .unwrap();
    (store, folder)
}

async fn check_group(store: &Store, group: u64, promised: Acknowledged) {
    let (mut log, mut machine) = store.group(group).unwrap();
    let state = log.get_log_state().await.unwrap();
    let last = state.last_log_id.map_or(0, |last| last.index);
    let purged = state.last_purged_log_id.map_or(0, |purged| purged.index);
    assert!(
        last >= promised.index,
        "group {group}: {last} of {}",
        promised.index
    );
    assert!(purged <= last);

    let mut reader = log.get_log_reader().await;
    let read = reader.try_get_log_entries(purged + 1..).await.unwrap();
    let wanted: Vec<_> = (purged + 1..=last)
        .map(|index| entry(group, index))
        .collect();
    assert_eq!(read, wanted, "group {group}: nothing torn, no hole");
    let vote = reader.read_vote().await.unwrap();
    assert!(
        vote.map_or(0, |vote| vote.leader_id.term) >= promised.term,
        "group {group}: the vote"
    );

    let applied = store
        .state(group)
        .unwrap()
        .applied
        .map_or(0, |applied| applied.index);
    assert!(
        applied >= purged,
        "group {group}: purged to {purged}, applied to {applied}"
    );
    assert!(
        applied <= last,
        "group {group}: applied to {applied}, the log ends at {last}"
    );
    let again = reader.try_get_log_entries(applied + 1..).await.unwrap();
    apply(&mut machine, again).await.unwrap();
    let (same, _folder) = reference(group, last).await;
    assert_eq!(
        store.state(group).unwrap().digest,
        same.state(group).unwrap().digest
    );
    for index in 0..7 {
        let wanted = same.get(group, key(index)).await.unwrap();
        assert_eq!(
            store.get(group, key(index)).await.unwrap(),
            wanted,
            "group {group}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_at_a_crash() {
    for seed in 0..16 {
        let (promised, disk) = run_until_the_power_fails(seed).await;
        let (_folder, store) = store_on(disk.clone());
        for (&group, &promised) in &promised {
            check_group(&store, group, promised).await;
        }
        // A second crash, right after the first start, changes nothing.
        let (_folder, store) = store_on(disk.crash(seed + 1));
        for (&group, &promised) in &promised {
            check_group(&store, group, promised).await;
        }
    }
}

/// The test above must be able to fail: a disk that has unsynced writes does lose them.
#[test]
fn the_disk_loses_what_was_not_synced() {
    use redb::StorageBackend as _;
    let disk = Disk::new();
    disk.write(0, &[1; 2048]).unwrap();
    disk.sync_data().unwrap();
    disk.write(0, &[2; 2048]).unwrap();
    let lost = AtomicU64::new(0);
    for seed in 0..100 {
        let mut found = [0; 2048];
        disk.crash(seed).read(0, &mut found).unwrap();
        for sector in found.chunks(512) {
            assert!(
                sector == [1; 512] || sector == [2; 512],
                "a sector is whole"
            );
            lost.fetch_add(u64::from(sector[0] == 1), Ordering::Relaxed);
        }
    }
    let lost = lost.into_inner();
    assert!(lost > 50 && lost < 350, "{lost} of 400 sectors were lost");
}
