//! What the survivors learn of a crash, and how fast the crashed node is back.

use std::time::Duration;

use futures_util::future::join_all;
use quicraft_tests::sim::{ECHO, LIMIT, MS, SimCluster, SimSpec};
use quicraft_transport::link::CallLane;
use quicraft_transport::{Event, LinkState};
use tokio::time::Instant;

const ROUND_TRIP: Duration = Duration::from_millis(20);

fn is_down(event: &Event, node: u64) -> bool {
    matches!(event, Event::LinkDown { peer, .. } if peer.get() == node)
}

/// A restarted process answers packets for its former run with a stateless reset that its peers
/// can verify, because its keys are those of the former run. Without them they would hold the old
/// link until it was silent for its idle timeout.
/// T7: the keys of the former run.
#[tokio::test(start_paused = true)]
async fn a_survivor_learns_of_a_crash_in_one_round_trip() {
    let mut cluster = SimCluster::start(SimSpec::new(3, 1, ROUND_TRIP)).await;
    cluster.crash(3).await;
    let survivor = cluster.node(1);
    assert_eq!(survivor.link(3).state, LinkState::Up, "nobody told it");
    let mut events = survivor.transport.events();
    cluster.restart(3).await;

    // One packet is enough: a heartbeat of the leader, or a probe of the link.
    let survivor = cluster.node(1);
    let ping = survivor.call(3, CallLane::Control, ECHO, 0, "x", LIMIT);
    let start = Instant::now();
    let down = async {
        loop {
            if is_down(&events.recv().await.expect("events"), 3) {
                return start.elapsed();
            }
        }
    };
    let (cut, took) = tokio::join!(ping, down);
    assert!(cut.is_err(), "{cut:?}");
    assert!(took <= ROUND_TRIP + 5 * MS, "{took:?}");
}

/// Crashes a node and starts it again, while the others hold their links to it. Both ends must
/// agree on the new link within 300 ms of the first dial, whoever dials.
async fn restarted(id: u64) {
    let mut cluster = SimCluster::start(SimSpec::new(3, 4, ROUND_TRIP)).await;
    cluster.crash(id).await;
    let survivors: Vec<u64> = cluster.nodes().map(|node| node.id).collect();
    for &survivor in &survivors {
        let link = cluster.node(survivor).link(id);
        assert_eq!(link.state, LinkState::Up, "{survivor} holds the old link");
    }
    let start = Instant::now();
    cluster.restart(id).await;
    let boot = cluster.node(id).transport.boot();
    // A survivor learns of the crash when it sends something. Where it dials (the smaller id does),
    // nobody else can: a heartbeat would do, or in an idle pair the next keep-alive.
    let told = survivors.iter().map(|&survivor| {
        let survivor = cluster.node(survivor);
        survivor.call(id, CallLane::Control, ECHO, 0, "x", LIMIT)
    });
    let linked = async {
        for &survivor in &survivors {
            cluster.node(id).link_up(survivor).await;
            let survivor = cluster.node(survivor);
            let up = survivor.link_until(id, |link| {
                link.state == LinkState::Up && link.boot == Some(boot)
            });
            up.await;
        }
        start.elapsed()
    };
    let (_, took) = tokio::join!(join_all(told), linked);
    assert!(took <= 300 * MS, "{took:?}");
    for &survivor in &survivors {
        let link = cluster.node(survivor).link(id);
        assert_eq!((link.links, link.links_max), (1, 1), "one link at a time");
        assert_eq!(link.epoch, Some(2));
    }
    // It takes part again.
    cluster.led().await;
    let leader = cluster.leader(1).await;
    leader.group(1).write("after").await.expect("a commit");
    cluster.node(id).group(1).machine.wait_for(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_is_admitted_at_once() {
    restarted(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_that_dials_is_admitted_at_once() {
    restarted(1).await;
}
