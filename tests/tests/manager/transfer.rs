//! Leadership goes where it is asked to go, or the error says where it went.

use quicraft_manager::{GroupOperations as _, GroupRefusal, OperationError, RaftManagerConfig};
use quicraft_tests::sim::{LIMIT, MS};
use tokio::time::{Instant, sleep};

use super::cluster::Managed;
use super::load::Load;

/// Asked on each node in turn, under writes: it has moved when the call returns.
#[tokio::test(start_paused = true)]
async fn leadership_is_where_it_was_asked_to_be() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let load = Load::start(&managed, 1);
    let mut from = managed.led().await;
    for (asked, to) in [(1, 2), (1, 3), (2, 1), (3, 2), (2, 3), (3, 1)] {
        let start = Instant::now();
        let moved = managed.group(asked).transfer(to, start + LIMIT).await;
        let moved = moved.unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
        assert_eq!((moved.from, moved.to), (from, to));
        assert!(start.elapsed() < 500 * MS, "{:?}", start.elapsed());
        assert!(moved.took <= start.elapsed());
        assert_eq!(managed.led().await, to);
        from = to;
        sleep(50 * MS).await;
    }
    let acked = load.stop().await;
    acked.are_on(1, &managed.members[&1]).await;
    assert!(acked.longest < 500 * MS, "{:?}", acked.longest);
}

#[tokio::test(start_paused = true)]
async fn who_leads_already_has_nothing_to_do() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let start = Instant::now();
    let moved = managed.group(follower).transfer(leader, start + LIMIT);
    let moved = moved.await.expect("nothing to do");
    assert_eq!((moved.from, moved.to), (leader, leader));
    assert!(moved.took.is_zero());
}

/// Refused while leadership is still where it was.
#[tokio::test(start_paused = true)]
async fn nobody_leads_who_could_not() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let refusal = async |to| {
        let moved = managed.group(follower).transfer(to, Instant::now() + LIMIT);
        match moved.await {
            Err(OperationError::Refused {
                refusal,
                leader: says,
                ..
            }) => {
                assert_eq!(says.node, leader);
                refusal
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(9).await, GroupRefusal::NotVoter { node: 9 });
    // A follower that is not heard of any more.
    let gone = 6 - follower - leader;
    managed.cluster.cut(gone, leader);
    managed.cluster.cut(gone, follower);
    let silence = managed.lease();
    sleep(std::time::Duration::from_millis(silence) + 250 * MS).await;
    let refused = refusal(gone).await;
    assert!(
        matches!(refused, GroupRefusal::Lagging { node, entries: None, .. } if node == gone),
        "{refused:?}"
    );
    assert!(refused.is_retryable());
    assert_eq!(managed.members[&leader].leader(), Some(leader));
}

/// The node that should lead is cut off at that moment: the error says who leads in its place.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_fails_says_who_leads() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let gone = 6 - follower - leader;
    // The leader has heard of it.
    sleep(300 * MS).await;
    managed.cluster.cut(gone, leader);
    managed.cluster.cut(gone, follower);
    let moved = managed
        .group(follower)
        .transfer(gone, Instant::now() + LIMIT);
    let error = moved.await.expect_err("nobody hears of it");
    let OperationError::Refused {
        refusal:
            GroupRefusal::NotTransferred {
                to,
                leader: Some(now),
                ..
            },
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*to, *now), (gone, follower), "{error}");
    assert!(error.is_retryable());
}

/// Nobody leads in its place in time: that is said before the caller's deadline.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_takes_too_long_says_so_in_time() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let gone = 6 - follower - leader;
    // The leader has heard of it.
    sleep(300 * MS).await;
    managed.cluster.cut(gone, leader);
    managed.cluster.cut(gone, follower);
    let start = Instant::now();
    let moved = managed.group(follower).transfer(gone, start + 400 * MS);
    let error = moved.await.expect_err("nobody hears of it");
    assert!(start.elapsed() < 400 * MS, "{:?}", start.elapsed());
    assert!(
        matches!(
            &error,
            OperationError::Refused {
                refusal: GroupRefusal::NotTransferred { waited, .. },
                ..
            } if *waited >= 300 * MS
        ),
        "{error:?}"
    );
}
