//! A disk that fails: everybody who waited is told, and nothing is written any more.

use openraft::storage::RaftLogStorage as _;
use quicraft_examples::kv::StoreError;
use quicraft_examples::kv::types::Vote;

use crate::disk::Disk;
use crate::entries::{append, apply, entry, store_on};

fn typed(error: &std::io::Error) -> &StoreError {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[tokio::test]
async fn a_failed_commit_fails_all_who_wait_and_all_who_come() {
    let disk = Disk::new();
    let (_folder, store) = store_on(disk.clone());
    let (mut one, mut machine) = store.group(1).unwrap();
    let (mut two, _) = store.group(2).unwrap();
    append(&mut one, vec![entry(1, 1)])
        .await
        .await
        .unwrap()
        .unwrap();

    disk.hold_syncs();
    let first = append(&mut one, vec![entry(1, 2)]).await;
    disk.sync_is_held().await;
    let second = append(&mut two, vec![entry(2, 1)]).await;
    disk.fail();
    disk.release_syncs();
    for waiting in [first, second] {
        let error = waiting.await.unwrap().unwrap_err();
        assert!(
            matches!(typed(&error), StoreError::Database { .. }),
            "{error}"
        );
    }
    let error = two.save_vote(&Vote::new(1, 1)).await.unwrap_err();
    assert!(
        matches!(typed(&error), StoreError::Database { .. }),
        "{error}"
    );
    let error = apply(&mut machine, vec![entry(1, 1)]).await.unwrap_err();
    assert!(
        matches!(typed(&error), StoreError::Database { .. }),
        "{error}"
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let (_folder, store) = store_on(Disk::new());
    let (mut log, _) = store.group(1).unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    let error = log.save_vote(&Vote::new(1, 1)).await.unwrap_err();
    assert!(matches!(typed(&error), StoreError::Closed), "{error}");
}

#[tokio::test]
async fn one_group_too_many_is_refused() {
    let (_folder, store) = store_on(Disk::new());
    let limit = quicraft_examples::kv::store::limits::GROUPS as u64;
    for group in 0..limit {
        store.group(group).unwrap();
    }
    let error = store.group(limit).unwrap_err();
    assert!(matches!(error, StoreError::TooManyGroups { group, .. } if group == limit));
    store.group(0).unwrap();
}
