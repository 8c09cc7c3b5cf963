//! The cluster in a group's state machine, and a group that is forgotten.

use openraft::EntryPayload;
use openraft::storage::{
    RaftLogStorage as _, RaftSnapshotBuilder as _, RaftStateMachine as _, Snapshot,
};
use quicraft_examples::kv::types::Entry;
use quicraft_examples::kv::{Command, KvNode, StoreOptions};
use quicraft_examples::kv::{DataFolder, Store};
use quicraft_manager::{GroupName, MetaCommand, NewGroup, NodeStanding};

use crate::disk::Disk;
use crate::entries::{CLUSTER, append, apply, entry, log_id, put, store_on};

fn meta(index: u64, command: MetaCommand) -> Entry {
    Entry {
        log_id: log_id(index),
        payload: EntryPayload::Normal(command.into()),
    }
}

fn found() -> MetaCommand {
    MetaCommand::Found {
        uid: 7,
        founder: KvNode::new("h1:1", "h1:2").record(1),
        joining: vec![KvNode::new("h2:1", "h2:2").record(2)],
        meta: NewGroup::new(GroupName::parse("meta").unwrap(), [1, 2]).numbered(9),
        groups: Vec::new(),
    }
}

#[tokio::test]
async fn the_cluster_outlives_crashes_and_goes_with_snapshots() {
    let disk = Disk::new();
    let (_one, store) = store_on(disk.clone());
    let (_, mut machine) = store.group(9).unwrap();
    let cluster = store.cluster(9).unwrap();
    let mut changes = cluster.changes();
    assert_eq!(cluster.state().uid, 0);
    apply(&mut machine, vec![meta(1, found())]).await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(changes.borrow_and_update().uid, 7);
    let seat = MetaCommand::Seat { node: 2 };
    // A refused one changes nothing, and counts as applied.
    let refused = MetaCommand::Seat { node: 3 };
    apply(&mut machine, vec![meta(2, refused), meta(3, seat)])
        .await
        .unwrap();
    let state = cluster.state();
    assert!(state.nodes[&2].seated);
    assert_eq!(state.standing(3), None);
    // Another group knows nothing of it.
    assert_eq!(store.cluster(8).unwrap().state().uid, 0);

    let mut builder = machine.try_create_snapshot_builder(true).await.unwrap();
    let Snapshot { meta, snapshot } = builder.build_snapshot().await.unwrap();
    let behind_disk = Disk::new();
    let (_two, follower) = store_on(behind_disk.clone());
    let (_, mut behind) = follower.group(9).unwrap();
    let followed = follower.cluster(9).unwrap();
    behind.install_snapshot(&meta, snapshot).await.unwrap();
    assert_eq!(followed.state(), state);

    // What comes after it goes on in both alike.
    for machine in [&mut machine, &mut behind] {
        let leave = MetaCommand::Leave { node: 2 };
        apply(machine, vec![self::meta(4, leave)]).await.unwrap();
    }
    let leaving = Some(NodeStanding::Leaving);
    assert_eq!(followed.state().standing(2), leaving);
    assert_eq!(followed.state(), cluster.state());
    assert_eq!(follower.state(9).unwrap(), store.state(9).unwrap());
    for (store, disk) in [(store, disk), (follower, behind_disk)] {
        let (applied, state) = (store.state(9).unwrap(), store.cluster(9).unwrap().state());
        store.close().await.unwrap();
        let (_three, reopened) = store_on(disk.crash(0));
        assert_eq!(reopened.state(9).unwrap(), applied);
        assert_eq!(reopened.cluster(9).unwrap().state(), state);
    }
}

/// A crash takes applies back that were not synced; the cluster goes back with the applied index.
#[tokio::test]
async fn a_crash_takes_the_cluster_and_the_applied_index_back_together() {
    let disk = Disk::new();
    let (_one, store) = store_on(disk.clone());
    let (_, mut machine) = store.group(9).unwrap();
    apply(&mut machine, vec![meta(1, found())]).await.unwrap();
    for seed in 0..8 {
        let (_two, crashed) = store_on(disk.crash(seed));
        let applied = crashed.state(9).unwrap().applied.is_some();
        let founded = crashed.cluster(9).unwrap().state().uid != 0;
        assert_eq!(applied, founded, "seed {seed}");
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_forgotten_group_begins_anew() {
    let disk = Disk::new();
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let open = |disk: &Disk| {
        let folder = DataFolder::open(&path, CLUSTER, 1).unwrap();
        Store::open_on(folder, disk.clone(), StoreOptions::default()).unwrap()
    };
    let store = open(&disk);
    for group in [1, 2] {
        let (mut log, mut machine) = store.group(group).unwrap();
        let entries: Vec<_> = (1..=20).map(|index| entry(group, index)).collect();
        let flushed = append(&mut log, entries.clone()).await;
        flushed.await.unwrap().unwrap();
        apply(&mut machine, entries).await.unwrap();
        let mut builder = machine.try_create_snapshot_builder(true).await.unwrap();
        builder.build_snapshot().await.unwrap();
    }
    let kept = store.state(2).unwrap();
    store.erase(1).await.unwrap();
    store.erase(1).await.unwrap();

    // Also after a crash right behind it, and when rows of the new life stand beside the old.
    let crashed = disk.crash(1);
    store.close().await.unwrap();
    drop(store);
    for _ in 0..2 {
        let store = open(&crashed);
        let (mut log, mut machine) = store.group(1).unwrap();
        let state = log.get_log_state().await.unwrap();
        if state.last_log_id.is_none() {
            assert_eq!(state.last_purged_log_id, None);
            assert_eq!(store.state(1).unwrap().applied, None);
            assert!(machine.get_current_snapshot().await.unwrap().is_none());
            assert_eq!(store.get(1, "key-1".into()).await.unwrap(), None);
            let again = vec![put(1, "new", "life")];
            append(&mut log, again.clone())
                .await
                .await
                .unwrap()
                .unwrap();
            apply(&mut machine, again).await.unwrap();
        }
        let value = store.get(1, "new".into()).await.unwrap().unwrap();
        assert_eq!(value, "life");
        assert_eq!(store.get(1, "key-1".into()).await.unwrap(), None);
        assert_eq!(store.state(2).unwrap(), kept, "its neighbour");
        drop((log, machine));
        store.close().await.unwrap();
    }
}

#[test]
fn a_change_of_the_cluster_is_no_key() {
    let command = Command::from(MetaCommand::Leave { node: 2 });
    assert!(command.to_string().starts_with("meta("), "{command}");
}
