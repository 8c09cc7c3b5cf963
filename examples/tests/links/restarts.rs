//! How soon a node that was killed is back, at its address and at another one.

use std::time::Duration;

use quicraft_examples::cluster::layout::Layout;
use quicraft_examples::cluster::status::Status;

use crate::cluster::{Cluster, GROUPS, MIDDLE};

/// Kills of each kind.
const ROUNDS: usize = 5;

/// Calls a second that each node makes: so there is a packet that finds out that a peer is gone.
const CALLS: u64 = 40;

/// From the first packet to admission, on the address of the run before. The promise is 300 ms; the
/// rest is for unoptimized nodes on a machine that runs all other tests at the same time.
const SAME_ADDRESS: Duration = Duration::from_millis(300 + 700);

/// The same on another address: the window of a probe, which is 1 s on loopback, two round trips, and
/// the rest as above.
const OTHER_ADDRESS: Duration = Duration::from_millis(1_000 + 700);

/// The slowest of the links of a restarted node: from its first packet to admission, and from the
/// start of its transport.
fn slowest(all: &[Status]) -> (Duration, Duration) {
    let links = || all[MIDDLE].links.iter();
    let millis = |millis: Option<u64>| Duration::from_millis(millis.unwrap());
    (
        links()
            .filter(|link| link.handshake_ms.is_some())
            .map(|link| millis(link.handshake_ms))
            .max()
            .unwrap(),
        links()
            .map(|link| millis(link.established_in_ms))
            .max()
            .unwrap(),
    )
}

#[tokio::test]
async fn a_killed_node_is_admitted_at_once() {
    let layout = Layout::new(3, GROUPS).unwrap().calling(CALLS);
    let mut cluster = Cluster::start(layout).await;
    for moves in [false, true] {
        let limit = if moves { OTHER_ADDRESS } else { SAME_ADDRESS };
        let mut figures = Vec::new();
        for _ in 0..ROUNDS {
            let before = cluster.whole().await;
            cluster.nodes.kill(MIDDLE).await.unwrap();
            if moves {
                cluster.nodes.relocate(MIDDLE).unwrap();
            }
            cluster.nodes.start(MIDDLE).unwrap();
            let boot = |all: &[Status]| all[0].links[0].boot.clone();
            let old = boot(&before);
            let back = cluster.until("links of the new run", |all| {
                (boot(all) == old).then(|| "the new run".to_owned())
            });
            let (admitted, linked) = slowest(&back.await);
            figures.push((admitted, linked));
        }
        let worst = figures.iter().map(|figures| figures.0).max().unwrap();
        eprintln!("moves: {moves}; admitted and linked within {figures:?}");
        assert!(worst < limit, "{worst:?}");
        cluster.works().await;
    }
    cluster.stop().await;
}
