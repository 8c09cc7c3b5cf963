//! Appends of all groups that wait share one fsync.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::disk::Disk;
use crate::entries::{append, entry, store_on};

const GROUPS: u64 = 16;
const APPENDS: u64 = 4;

#[tokio::test]
async fn appends_of_many_groups_share_one_sync() {
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let mut logs: Vec<_> = (1..=GROUPS)
        .map(|group| store.group(group).unwrap().0)
        .collect();
    let (syncs, commits) = (disk.syncs(), store.stats().synced_commits);

    // The first append is in its fsync; what comes now has to wait.
    disk.hold_syncs();
    let mut waiting = vec![append(&mut logs[0], vec![entry(1, 1)]).await];
    disk.sync_is_held().await;
    for (group, log) in (1..).zip(&mut logs) {
        for index in 2..2 + APPENDS {
            waiting.push(append(log, vec![entry(group, index)]).await);
        }
    }
    disk.release_syncs();
    let flushed = timeout(Duration::from_secs(30), join_all(waiting))
        .await
        .unwrap();
    assert_eq!(flushed.len() as u64, 1 + GROUPS * APPENDS);
    for one in flushed {
        one.unwrap().unwrap();
    }

    let stats = store.stats();
    assert_eq!(stats.appends, 1 + GROUPS * APPENDS);
    assert_eq!(
        stats.synced_commits - commits,
        2,
        "one for the first, one for all others"
    );
    assert_eq!(disk.syncs() - syncs, 2, "a commit is one fsync");
    store.close().await.unwrap();
}
