//! Groups come and go; a name and a number belong to one of them.

use quicraft_manager::{
    OperationError, RaftManagerConfig, RequestError, RequestOptions, StartGroupError,
};
use quicraft_tests::raft::Command;
use quicraft_tests::sim::{LIMIT, MS};
use tokio::time::Instant;

use super::cluster::{Managed, name, start_group};

#[tokio::test(start_paused = true)]
async fn a_name_and_a_number_are_given_once() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let manager = &managed.managers[&1];
    let raft = &managed.cluster.spec().raft;
    let same = start_group(manager, "orders/0", 2, raft).await.err();
    assert!(
        matches!(same, Some(StartGroupError::NameTaken { .. })),
        "{same:?}"
    );
    let number = start_group(manager, "orders/1", 1, raft).await.err();
    let Some(StartGroupError::IdTaken { holder, .. }) = number else {
        panic!("{number:?}");
    };
    assert_eq!(holder, name("orders/0"));
    // Neither left anything behind.
    start_group(manager, "orders/1", 2, raft)
        .await
        .expect("free");
    assert_eq!(manager.group_names(), [name("orders/0"), name("orders/1")]);
}

/// A removed group answers nobody, and its name and number are free.
#[tokio::test(start_paused = true)]
async fn a_removed_group_is_gone_for_everybody() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let manager = &managed.managers[&leader];
    manager
        .remove_group(&name("orders/0"))
        .await
        .expect("removed");
    let again = manager.remove_group(&name("orders/0")).await;
    assert!(
        matches!(again, Err(OperationError::UnknownGroup { .. })),
        "{again:?}"
    );
    let options = || RequestOptions::until(Instant::now() + LIMIT);
    let here = managed
        .group(leader)
        .propose(Command::new("x"), options())
        .await;
    assert!(
        matches!(here, Err(RequestError::Stopped { .. })),
        "{here:?}"
    );
    // The others elect another leader.
    let there = managed
        .group(follower)
        .propose(Command::new("y"), options())
        .await;
    assert_ne!(there.expect("two of three are left").leader, leader);
    let raft = &managed.cluster.spec().raft;
    start_group(manager, "orders/0", 1, raft)
        .await
        .expect("free again");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_all_groups_and_starts_none() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let manager = &managed.managers[&1];
    let raft = &managed.cluster.spec().raft;
    for shard in 1..70 {
        let text = format!("orders/{shard}");
        start_group(manager, &text, 1 + shard, raft)
            .await
            .expect("started");
    }
    let results = manager.shut_down().await;
    assert_eq!(results.len(), 70);
    for result in results {
        result
            .result
            .unwrap_or_else(|error| panic!("{}: {error}", result.group));
    }
    assert_eq!(manager.group_names(), []);
    let late = start_group(manager, "late", 99, raft).await.err();
    assert!(
        matches!(late, Some(StartGroupError::ShuttingDown { .. })),
        "{late:?}"
    );
    assert_eq!(manager.shut_down().await.len(), 0);
}

/// As many at a time as the setting says and not one more, and the results in the order of names.
#[tokio::test(start_paused = true)]
async fn what_is_done_to_all_groups_is_bounded() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let mut config = RaftManagerConfig::default();
    config.parallelism = 3;
    let managed = Managed::start(&[1, 2, 3], config).await;
    let manager = &managed.managers[&1];
    for shard in 1..10 {
        let raft = &managed.cluster.spec().raft;
        let text = format!("orders/{shard}");
        start_group(manager, &text, 1 + shard, raft)
            .await
            .expect("started");
    }
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let results = manager.for_all_groups(|group| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Box::pin(async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(10 * MS).await;
            now.fetch_sub(1, Ordering::SeqCst);
            if group.id().get() == 4 {
                let group = group.name().clone();
                return Err(OperationError::Failed {
                    group,
                    reason: "no".to_owned(),
                });
            }
            Ok(group.id().get())
        })
    });
    let results = results.await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let names: Vec<_> = results.iter().map(|result| result.group.clone()).collect();
    assert_eq!(names, manager.group_names());
    let failed = results
        .iter()
        .filter(|result| result.result.is_err())
        .count();
    assert_eq!((results.len(), failed), (10, 1));
}
