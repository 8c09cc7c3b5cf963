//! Snapshots: out to a file and in from one, whole or not at all.

use std::fs;
use std::io::Write as _;

use bytes::Bytes;
use openraft::Snapshot;
use openraft::storage::{RaftSnapshotBuilder as _, RaftStateMachine as _, StorageHelper};
use quicraft_examples::kv::store::GroupMachine;
use quicraft_examples::kv::types::SnapshotMeta;
use quicraft_examples::kv::{DataFolder, Store, StoreError, StoreOptions};
use tokio::io::AsyncReadExt as _;

use crate::disk::Disk;
use crate::entries::{CLUSTER, apply, entry, put, store_on};

/// Enough keys for several batches of an installation.
const KEYS: u64 = 3000;
const VALUE: usize = 1000;

async fn fill(machine: &mut GroupMachine) {
    let entries = (1..=KEYS).map(|index| put(index, format!("{index}"), vec![7; VALUE]));
    apply(machine, entries.collect()).await.unwrap();
}

async fn build(machine: &mut GroupMachine) -> (SnapshotMeta, tokio::fs::File) {
    let mut builder = machine.try_create_snapshot_builder(true).await.unwrap();
    let Snapshot { meta, snapshot } = builder.build_snapshot().await.unwrap();
    (meta, snapshot)
}

async fn bytes_of(mut file: tokio::fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await.unwrap();
    bytes
}

fn file_of(bytes: &[u8]) -> tokio::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    tokio::fs::File::from_std(file)
}

#[tokio::test]
async fn a_snapshot_carries_the_whole_state() {
    let (_one, leader) = store_on(Disk::new());
    let (_, mut machine) = leader.group(5).unwrap();
    fill(&mut machine).await;
    let (meta, file) = build(&mut machine).await;

    let disk = Disk::new();
    let (_two, follower) = store_on(disk.clone());
    let (_, mut behind) = follower.group(5).unwrap();
    let (_, mut other) = follower.group(6).unwrap();
    apply(&mut behind, vec![put(1, "old", "gone after the snapshot")])
        .await
        .unwrap();
    apply(&mut other, vec![put(1, "old", "of another group")])
        .await
        .unwrap();
    behind.install_snapshot(&meta, file).await.unwrap();

    assert_eq!(
        follower.state(5).unwrap().digest,
        leader.state(5).unwrap().digest
    );
    assert_eq!(behind.applied_state().await.unwrap().0, meta.last_log_id);
    assert_eq!(follower.get(5, "old".into()).await.unwrap(), None);
    assert_eq!(
        follower.get(6, "old".into()).await.unwrap().unwrap(),
        "of another group"
    );
    for index in [1, 2, KEYS / 2, KEYS] {
        let value = follower
            .get(5, format!("{index}").into())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(value, vec![7; VALUE]);
    }
    // What comes after it goes on in both alike.
    for machine in [&mut machine, &mut behind] {
        apply(machine, vec![entry(5, KEYS + 1)]).await.unwrap();
    }
    let digest = leader.state(5).unwrap().digest;
    assert_eq!(follower.state(5).unwrap().digest, digest);

    // The follower can send it on, and a snapshot of its own says the same.
    let current = behind.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, meta);
    let (_, own) = build(&mut behind).await;
    let (_, theirs) = build(&mut machine).await;
    assert_eq!(bytes_of(own).await, bytes_of(theirs).await);

    follower.close().await.unwrap();
    let (_three, reopened) = store_on(disk.crash(0));
    assert_eq!(reopened.state(5).unwrap().digest, digest);
    assert!(reopened.get(5, "1".into()).await.unwrap().is_some());
    assert_eq!(reopened.get(5, "old".into()).await.unwrap(), None);
}

#[tokio::test]
async fn a_damaged_snapshot_changes_nothing() {
    let (_one, leader) = store_on(Disk::new());
    let (_, mut machine) = leader.group(5).unwrap();
    fill(&mut machine).await;
    let (meta, file) = build(&mut machine).await;
    let whole = bytes_of(file).await;

    let (_two, follower) = store_on(Disk::new());
    let (_, mut behind) = follower.group(5).unwrap();
    apply(&mut behind, vec![put(1, "old", "value")])
        .await
        .unwrap();
    let before = follower.state(5).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let longer = [whole.as_slice(), b"x"].concat();
    let broken = [
        flipped(0),
        flipped(9),
        flipped(whole.len() / 2),
        flipped(whole.len() - 1),
        flipped(whole.len() - 40),
        whole[..whole.len() - 1].to_vec(),
        whole[..4].to_vec(),
        longer,
    ];
    for bytes in broken {
        let error = behind
            .install_snapshot(&meta, file_of(&bytes))
            .await
            .unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref().unwrap();
        assert!(
            matches!(error, StoreError::Snapshot { group: 5, .. }),
            "{error}"
        );
    }
    // A whole one, but of another group or of another time.
    let (_, mut other) = follower.group(6).unwrap();
    other
        .install_snapshot(&meta, file_of(&whole))
        .await
        .unwrap_err();
    behind
        .install_snapshot(&SnapshotMeta::default(), file_of(&whole))
        .await
        .unwrap_err();
    assert_eq!(follower.state(5).unwrap(), before);
    assert_eq!(
        follower.get(5, "old".into()).await.unwrap().unwrap(),
        "value"
    );
    assert!(behind.get_current_snapshot().await.unwrap().is_none());
    behind
        .install_snapshot(&meta, file_of(&whole))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_crash_while_installing_leaves_the_old_state_or_the_new() {
    let (_one, leader) = store_on(Disk::new());
    let (_, mut machine) = leader.group(5).unwrap();
    fill(&mut machine).await;
    let (meta, file) = build(&mut machine).await;

    let disk = Disk::new();
    let (_two, follower) = store_on(disk.clone());
    let (_, mut behind) = follower.group(5).unwrap();
    apply(&mut behind, vec![put(1, "old", "value")])
        .await
        .unwrap();
    let old = follower.state(5).unwrap().digest;
    disk.hold_syncs();
    let installing = tokio::spawn(async move { behind.install_snapshot(&meta, file).await });
    // All rows are written, the switch is in its fsync.
    disk.sync_is_held().await;
    let new = leader.state(5).unwrap().digest;
    for seed in 0..20 {
        let (_folder, store) = store_on(disk.crash(seed));
        let state = store.state(5).unwrap();
        let old_value = store.get(5, "old".into()).await.unwrap();
        let new_value = store.get(5, "1".into()).await.unwrap();
        if state.digest == new {
            assert_eq!(
                (old_value, new_value),
                (None, Some(Bytes::from(vec![7; VALUE])))
            );
        } else {
            // The old state was applied without fsync, so it may be gone as well.
            assert!(state.digest == old || state.applied.is_none());
            assert_eq!(old_value.is_some(), state.digest == old);
            assert_eq!(new_value, None);
        }
    }
    disk.release_syncs();
    installing.await.unwrap().unwrap();
    let (_folder, store) = store_on(disk.crash(0));
    assert_eq!(store.state(5).unwrap().digest, new);
}

#[tokio::test]
async fn only_the_newest_snapshot_is_kept_and_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let open = || {
        let folder = DataFolder::open(&path, CLUSTER, 1).unwrap();
        Store::open(folder, StoreOptions::default()).unwrap()
    };
    let files = || {
        let folder = fs::read_dir(path.join("snapshots")).unwrap();
        let mut names: Vec<_> = folder
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let store = open();
    let (log, mut machine) = store.group(5).unwrap();
    apply(&mut machine, vec![entry(5, 1)]).await.unwrap();
    build(&mut machine).await;
    let first = files();
    apply(&mut machine, vec![entry(5, 2)]).await.unwrap();
    let (meta, _) = build(&mut machine).await;
    let second = files();
    assert_eq!((first.len(), second.len()), (1, 1), "{first:?}, {second:?}");
    assert_ne!(first, second);
    store.close().await.unwrap();
    drop((store, log, machine));

    fs::write(path.join("snapshots/group-5-9.part"), "unfinished").unwrap();
    let store = open();
    let (_, mut machine) = store.group(5).unwrap();
    assert_eq!(files(), second, "what was not finished is removed");
    let current = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, meta);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_state_that_a_crash_took_back_comes_from_the_snapshot_again() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let open = |disk: Disk| {
        let folder = DataFolder::open(&path, CLUSTER, 1).unwrap();
        Store::open_on(folder, disk, StoreOptions::default()).unwrap()
    };
    let disk = Disk::new();
    let store = open(disk.clone());
    let (log, mut machine) = store.group(5).unwrap();
    apply(&mut machine, (1..=9).map(|index| entry(5, index)).collect())
        .await
        .unwrap();
    build(&mut machine).await;
    let before = store.state(5).unwrap();
    // Power fails before anything was synced, except for the snapshot's file.
    let crashed = (0..).map(|seed| disk.crash(seed)).find(|disk| {
        let (_folder, store) = store_on(disk.clone());
        store.state(5).unwrap().applied.is_none()
    });
    store.close().await.unwrap();
    drop((store, log, machine));

    let store = open(crashed.unwrap());
    assert_eq!(store.state(5).unwrap().applied, None);
    let (mut log, mut machine) = store.group(5).unwrap();
    let state = StorageHelper::new(&mut log, &mut machine)
        .with_id(1)
        .get_initial_state()
        .await;
    state.unwrap();
    assert_eq!(store.state(5).unwrap(), before);
    store.close().await.unwrap();
}
