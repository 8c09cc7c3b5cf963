//! What a commit costs when the nodes are far apart.

use std::time::Duration;

use futures_util::future::join_all;
use quicraft_tests::sim::{Latencies, MS, SimCluster, SimNode, SimSpec};
use tokio::time::{Instant, sleep};

/// The round trip of two continents.
const ROUND_TRIP: Duration = Duration::from_millis(100);

async fn commit(leader: &SimNode, bytes: usize) -> Duration {
    let start = Instant::now();
    leader
        .group(1)
        .write(vec![7; bytes])
        .await
        .expect("a commit");
    start.elapsed()
}

/// With one append at a time a commit takes two round trips when the next one follows at once,
/// because the follower has to be told that the one before is committed: 206 ms.
#[tokio::test(start_paused = true)]
async fn a_commit_costs_one_round_trip() {
    let cluster = SimCluster::start(SimSpec::new(3, 1, ROUND_TRIP).wide()).await;
    let leader = cluster.leader(1).await;
    let mut took = Latencies::default();
    for _ in 0..50 {
        took.push(commit(leader, 200).await);
    }
    assert!(took.quantile(0.0) >= ROUND_TRIP, "{took:?}");
    assert!(took.p50() < 130 * MS, "{took:?}");
}

/// Each client writes again as soon as its write is committed. The clients start at different
/// times, so that their writes do not join in few appends.
#[tokio::test(start_paused = true)]
async fn at_least_64_appends_are_in_flight() {
    const CLIENTS: u32 = 64;
    const WRITES: u32 = 8;
    let cluster = SimCluster::start(SimSpec::new(3, 1, ROUND_TRIP).wide()).await;
    let leader = cluster.leader(1).await;
    let start = Instant::now();
    let clients = join_all((0..CLIENTS).map(|client| async move {
        sleep(client * 2 * MS).await;
        let mut took = Latencies::default();
        for _ in 0..WRITES {
            took.push(commit(leader, 200).await);
        }
        took
    }));
    let most = async {
        let mut most = 0;
        loop {
            for other in cluster.nodes().filter(|other| other.id != leader.id) {
                most = most.max(leader.link(other.id).in_flight);
            }
            if most >= 64 {
                return most;
            }
            sleep(MS).await;
        }
    };
    let mut most = Box::pin(most);
    let mut seen = 0;
    let mut clients = Box::pin(clients);
    let took = loop {
        tokio::select! {
            took = &mut clients => break took,
            in_flight = &mut most, if seen == 0 => seen = in_flight,
        }
    };
    let took: Latencies = took.into_iter().flatten().collect();
    assert!(seen >= 64, "never 64 in flight");
    assert!(took.p50() < 130 * MS, "p50 {:?}", took.p50());
    // One append at a time: every 206 ms one commit of each client at best.
    let per_second = f64::from(CLIENTS * WRITES) / start.elapsed().as_secs_f64();
    let stop_and_wait = f64::from(CLIENTS) / 0.206;
    assert!(
        per_second > 1.4 * stop_and_wait,
        "{per_second} writes a second"
    );
}
