//! A peer that was away is caught up with the moment it is back.

use std::time::Duration;

use quicraft_tests::sim::{LIMIT, MS, SimCluster, SimSpec};
use quicraft_transport::LinkState;
use tokio::time::{Instant, sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const AWAY: Duration = Duration::from_secs(30);

/// What was committed while a node was away reaches it within a few round trips from its link on,
/// without a backoff in between: one for the request that waits for it, one for what came after.
#[tokio::test(start_paused = true)]
async fn the_first_append_leaves_when_the_link_is_back() {
    // Wherever in the pace of a backoff the link comes back.
    for more in [0, 300, 700] {
        let mut cluster = SimCluster::start(SimSpec::new(3, 1, ROUND_TRIP)).await;
        cluster.commit(1, "before").await;
        let leader = cluster.leader(1).await.id;
        let away = (1..=3).rfind(|&id| id != leader).expect("another");
        cluster.crash(away).await;
        let gone = Instant::now();
        let mut commits = 1;
        while gone.elapsed() < AWAY + more * MS {
            let leader = cluster.node(leader).group(1);
            leader.write("meanwhile").await.expect("a commit");
            commits += 1;
            sleep(1_100 * MS).await;
        }
        cluster.restart(away).await;
        let up = cluster
            .node(leader)
            .link_until(away, |link| link.state == LinkState::Up);
        up.await;
        let start = Instant::now();
        let machine = &cluster.node(away).group(1).machine;
        assert!(
            machine.applied().len() < commits,
            "{more} ms: nothing was missing"
        );
        let caught_up = timeout(LIMIT, machine.wait_for(commits)).await;
        caught_up.expect("all commits");
        let took = start.elapsed();
        assert!(took <= 2 * ROUND_TRIP, "{more} ms: {took:?}");
    }
}
