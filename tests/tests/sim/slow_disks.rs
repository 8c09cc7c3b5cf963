//! A slow disk of one group is that group's alone.

use std::time::Duration;

use futures_util::future::join_all;
use quicraft_tests::sim::{Latencies, MS, SimCluster, SimNode, SimSpec, Terms};
use tokio::time::{Instant, sleep};

const ROUND_TRIP: Duration = Duration::from_millis(10);
const GROUPS: u64 = 16;
/// The group with the slow log.
const SLOW: u64 = 1;

/// Writes to every group of a list, one group after the other, for this long. Commits of one group
/// are 50 ms apart or more.
async fn write_to(cluster: &SimCluster, groups: &[u64], lasting: Duration) -> Latencies {
    let leaders = groups
        .iter()
        .map(async |&group| (group, cluster.leader(group).await));
    let leaders: Vec<(u64, &SimNode)> = join_all(leaders).await;
    let start = Instant::now();
    let mut took = Latencies::default();
    while start.elapsed() < lasting {
        for (group, leader) in &leaders {
            let start = Instant::now();
            leader.group(*group).write("x").await.expect("a commit");
            took.push(start.elapsed());
        }
        sleep(50 * MS).await;
    }
    took
}

/// The slow log is the leader's own in one run, a follower's in the other. The slow group is
/// written to all the time, so that its appends are under way on the same links.
async fn slow_log(on_leader: bool) {
    let cluster = SimCluster::start(SimSpec::new(3, GROUPS, ROUND_TRIP)).await;
    let leader = cluster.leader(SLOW).await;
    let slow = cluster
        .nodes()
        .find(|node| (node.id == leader.id) == on_leader)
        .expect("three nodes");
    slow.group(SLOW).log.set_flush_delay(500 * MS);
    let others: Vec<u64> = cluster.groups().filter(|&group| group != SLOW).collect();
    let terms = Terms::of(&cluster).without(SLOW);

    // Two longest election timeouts, and some.
    let lasting = Duration::from_secs(5);
    let (of_slow, took) = tokio::join!(
        write_to(&cluster, &[SLOW], lasting),
        write_to(&cluster, &others, lasting)
    );
    assert_eq!(Terms::of(&cluster).without(SLOW), terms, "an election");
    // The two nodes with fast disks are a majority.
    assert!(of_slow.p50() < ROUND_TRIP + 10 * MS, "{:?}", of_slow.p50());
    assert!(took.p50() < ROUND_TRIP + 5 * MS, "p50 {:?}", took.p50());
    assert!(
        took.max() < ROUND_TRIP + 10 * MS,
        "longest {:?}",
        took.max()
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_log_does_not_disturb_other_groups() {
    slow_log(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_log_of_the_leader_does_not_disturb_other_groups() {
    slow_log(true).await;
}
