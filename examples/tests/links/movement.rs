//! The one link of each pair of nodes when a node is paused, moves, or can be reached from one side
//! only.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use quicraft_examples::cluster::layout::Layout;
use quicraft_examples::cluster::status::missing;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, GROUPS, LONG, MIDDLE, ends, links_total};

/// A link is back this long after SIGCONT. The promise is one second; the rest is for a machine
/// that runs all other tests at the same time.
const BACK: Duration = Duration::from_secs(1 + 2);

/// A node that moved has its links this long after it started: the window of a probe, at most 3 s,
/// two round trips, and the same for a busy machine.
const MOVED: Duration = Duration::from_secs(3 + 2);

#[tokio::test]
async fn a_node_that_is_paused_for_two_seconds_keeps_its_links() {
    let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
    let before = cluster.whole().await;
    cluster.nodes.pause(MIDDLE).await.unwrap();
    // Shorter than the idle timeout of 4 s.
    sleep(Duration::from_secs(2)).await;
    let resumed = cluster.nodes.go_on(MIDDLE).await.unwrap();

    let after = cluster.whole().await;
    assert!(resumed.elapsed() < BACK, "{:?}", resumed.elapsed());
    cluster.works().await;
    let later = cluster.whole().await;
    for all in [&after, &later] {
        assert_eq!(ends(all), ends(&before));
        assert_eq!(links_total(all), links_total(&before));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_is_paused_for_too_long_has_its_links_back_at_once() {
    let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
    let before = cluster.whole().await;
    cluster.nodes.pause(MIDDLE).await.unwrap();
    // The others give it up after 4 s of silence.
    sleep(Duration::from_secs(6)).await;
    let resumed = cluster.nodes.go_on(MIDDLE).await.unwrap();

    let old = ends(&before);
    let paused = cluster.nodes.id(MIDDLE);
    let after = cluster.until("new links of the paused node", |all| {
        let kept = ends(all)
            .into_iter()
            .find(|end| end.0 == paused && old.contains(end));
        kept.map(|(_, peer, _)| format!("a new link to {peer}"))
    });
    let after = after.await;
    eprintln!("back {:?} after SIGCONT", resumed.elapsed());
    assert!(resumed.elapsed() < BACK, "{:?}", resumed.elapsed());
    cluster.works().await;
    // Once they are back they stay: no dial of the pause's time takes their place.
    let later = cluster.whole().await;
    assert_eq!(ends(&later), ends(&after));
    cluster.stop().await;
}

/// Waits for writes that each of two nodes has led.
async fn both_lead(cluster: &mut Cluster) {
    let mut led = BTreeSet::new();
    let begun = Instant::now();
    loop {
        cluster.works().await;
        let all = cluster.until("leaders", missing).await;
        led.extend(
            all.iter()
                .filter(|one| !one.led().is_empty())
                .map(|one| one.node),
        );
        if led.len() == 2 {
            return;
        }
        assert!(begun.elapsed() < LONG, "only {led:?} ever led");
        // Whoever leads everything does not lead on after a restart.
        let node = all.iter().position(|one| !one.led().is_empty()).unwrap();
        cluster.nodes.kill(node).await.unwrap();
        cluster.nodes.start(node).unwrap();
    }
}

#[tokio::test]
async fn one_direction_of_reachability_is_enough() {
    for (blind, peer) in [(1, 2), (2, 1)] {
        // Packets arrive here, and nobody ever answers.
        let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nowhere = hole.local_addr().unwrap().port();
        let layout = Layout::new(2, GROUPS).unwrap();
        let mut cluster = Cluster::start(layout.telling(blind, peer, nowhere)).await;
        let all = cluster.whole().await;
        for link in all.iter().flat_map(|status| &status.links) {
            assert_eq!(link.dialled_by, Some(peer), "{blind} cannot dial");
        }
        both_lead(&mut cluster).await;
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_moves_dials_those_who_do_not_know_where_it_is() {
    for node in [0, 2] {
        let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
        for how in ["crash", "stop"] {
            if how == "crash" {
                cluster.nodes.kill(node).await.map(drop).unwrap();
            } else {
                cluster.nodes.terminate(node).await.unwrap();
                let status = cluster.nodes.ended(node, LONG).await.unwrap();
                assert!(status.is_some_and(|status| status.success()), "{status:?}");
            }
            cluster.nodes.relocate(node).unwrap();
            cluster.nodes.start(node).unwrap();
            let all = cluster.whole().await;
            let links = all[node].links.iter();
            let took = links.filter_map(|link| link.established_in_ms).max();
            let took = Duration::from_millis(took.unwrap());
            eprintln!("node {} back after a {how}, moved: {took:?}", node + 1);
            assert!(took < MOVED, "{how}: {took:?}");
            cluster.works().await;
        }
        cluster.stop().await;
    }
}
