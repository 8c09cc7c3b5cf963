//! The log: what can be read when, limits of a read, and that groups do not see each other.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use quicraft_examples::kv::store::GroupLog;
use quicraft_examples::kv::store::limits::{READ_BYTES, TAIL_BYTES};

use crate::disk::Disk;
use crate::entries::{append, entry, log_id, put, store_on};

async fn indexes(log: &mut GroupLog) -> Vec<u64> {
    let mut reader = log.get_log_reader().await;
    let entries = reader.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| entry.log_id.index).collect()
}

#[tokio::test]
async fn an_entry_is_readable_before_it_is_durable() {
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let (mut log, _) = store.group(1).unwrap();
    disk.hold_syncs();
    let flushed = append(&mut log, vec![entry(1, 1), entry(1, 2)]).await;
    disk.sync_is_held().await;
    assert_eq!(indexes(&mut log).await, [1, 2]);
    // What overtakes it in memory is seen too, although the disk still has to do both.
    log.truncate_after(Some(log_id(1))).await.unwrap();
    let again = append(&mut log, vec![put(2, "other", "value")]).await;
    let read = log
        .get_log_reader()
        .await
        .try_get_log_entries(2..3)
        .await
        .unwrap();
    assert_eq!(read, [put(2, "other", "value")]);
    disk.release_syncs();
    flushed.await.unwrap().unwrap();
    again.await.unwrap().unwrap();
    let read = log
        .get_log_reader()
        .await
        .try_get_log_entries(1..)
        .await
        .unwrap();
    assert_eq!(read, [entry(1, 1), put(2, "other", "value")]);

    store.close().await.unwrap();
    let (_folder, store) = store_on(disk.crash(0));
    let (mut log, _) = store.group(1).unwrap();
    let read = log
        .get_log_reader()
        .await
        .try_get_log_entries(..)
        .await
        .unwrap();
    assert_eq!(
        read,
        [entry(1, 1), put(2, "other", "value")],
        "the same from the disk"
    );
}

#[tokio::test]
async fn groups_do_not_see_each_others_truncation_and_purge() {
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let mut logs = Vec::new();
    // Neighbours, the first, and the last that there can be.
    for group in [0, 1, 2, u64::MAX] {
        let (mut log, _) = store.group(group).unwrap();
        let entries = (1..=9).map(|index| entry(group, index)).collect();
        append(&mut log, entries).await.await.unwrap().unwrap();
        logs.push(log);
    }
    logs[1].truncate_after(Some(log_id(6))).await.unwrap();
    logs[1].purge(log_id(2)).await.unwrap();
    logs[3].truncate_after(None).await.unwrap();
    let check = async |logs: &mut [GroupLog]| {
        assert_eq!(indexes(&mut logs[0]).await, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(indexes(&mut logs[1]).await, [3, 4, 5, 6]);
        assert_eq!(indexes(&mut logs[2]).await, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(indexes(&mut logs[3]).await, [0; 0]);
    };
    check(&mut logs).await;
    store.close().await.unwrap();

    let (_folder, store) = store_on(disk.crash(0));
    let mut logs: Vec<_> = [0, 1, 2, u64::MAX]
        .map(|group| store.group(group).unwrap().0)
        .into();
    check(&mut logs).await;
    let state = logs[1].get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(2)));
    assert_eq!(state.last_log_id, Some(log_id(6)));
}

#[tokio::test]
async fn a_purge_beyond_the_end_leaves_an_empty_log_that_goes_on_after_it() {
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let (mut log, _) = store.group(1).unwrap();
    append(&mut log, vec![entry(1, 1), entry(1, 2)])
        .await
        .await
        .unwrap()
        .unwrap();
    log.purge(log_id(2000)).await.unwrap();
    append(&mut log, vec![entry(1, 2001)])
        .await
        .await
        .unwrap()
        .unwrap();
    assert_eq!(indexes(&mut log).await, [2001]);
    store.close().await.unwrap();
    let (_folder, store) = store_on(disk.crash(0));
    let (mut log, _) = store.group(1).unwrap();
    assert_eq!(indexes(&mut log).await, [2001]);
}

#[tokio::test]
async fn a_read_for_replication_is_limited_in_bytes_but_never_empty() {
    // Half the limit less what stands around the value: two fit, three do not.
    let half = Bytes::from(vec![7; READ_BYTES / 2 - 64]);
    let whole = Bytes::from(vec![7; READ_BYTES + 1]);
    assert!(half.len() > TAIL_BYTES, "these come from the disk");
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let (mut log, _) = store.group(1).unwrap();
    for index in 1..=4 {
        let flushed = append(&mut log, vec![put(index, "k", half.clone())]).await;
        flushed.await.unwrap().unwrap();
    }
    append(&mut log, vec![put(5, "k", whole)])
        .await
        .await
        .unwrap()
        .unwrap();
    let mut reader = log.get_log_reader().await;
    let read =
        async |reader: &mut <GroupLog as openraft::storage::RaftLogStorage<_>>::LogReader,
               start| {
            let entries = reader.limited_get_log_entries(start, 6).await.unwrap();
            entries
                .iter()
                .map(|entry| entry.log_id.index)
                .collect::<Vec<_>>()
        };
    assert_eq!(read(&mut reader, 1).await, [1, 2]);
    assert_eq!(read(&mut reader, 4).await, [4]);
    assert_eq!(
        read(&mut reader, 5).await,
        [5],
        "one entry over the limit still comes"
    );
    // The same rules hold for what is still in memory.
    disk.hold_syncs();
    let flushed = append(
        &mut log,
        (6..=9).map(|i| put(i, "k", half.clone())).collect(),
    )
    .await;
    let entries = reader.limited_get_log_entries(6, 10).await.unwrap();
    assert_eq!(entries.len(), 2);
    let entries: Vec<_> = reader
        .entries_stream(1..10)
        .await
        .try_collect()
        .await
        .unwrap();
    assert_eq!(entries.len(), 9, "a stream comes in pieces, but whole");
    disk.release_syncs();
    flushed.await.unwrap().unwrap();
    let entries = reader.try_get_log_entries(1..10).await.unwrap();
    assert_eq!(entries.len(), 9, "without a limit all come");
}
