//! What a transport starts ends with it.

use std::time::Duration;

use quicraft_tests::sim::{ECHO, LIMIT, MS, SimCluster, SimSpec, Sink};
use quicraft_transport::link::{CallLane, Request};
use quicraft_transport::{Event, LinkState};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn alive_until(wanted: usize) {
    let waiting = async {
        while alive() > wanted {
            sleep(MS).await;
        }
    };
    let ended = timeout(LIMIT, waiting).await;
    assert!(ended.is_ok(), "{} tasks, {wanted} before the node", alive());
}

/// Links, calls, a session and a transfer are under way when both transports are dropped.
#[tokio::test(start_paused = true)]
async fn dropping_the_transport_ends_all_its_tasks() {
    // The switch has a task of its own.
    let before = alive() + 1;
    let mut cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, 10 * MS)).await;
    cluster.linked().await;
    let (one, two) = (cluster.take(1), cluster.take(2));
    let serving = two
        .transport
        .register(ECHO, std::sync::Arc::new(Sink::new(1_000_000)))
        .expect("registered");
    let peer = one.peer(2);
    let (mut sender, mut receiver) = peer.session(ECHO, 0, LIMIT);
    sender.send("a request".into()).await.expect("sent");
    receiver
        .next()
        .await
        .expect("an answer")
        .expect("an answer");
    let transfer = {
        let zeros = tokio::io::repeat(0).take(50_000_000);
        peer.transfer(
            Request::new(ECHO, 0, bytes::Bytes::new()),
            50_000_000,
            zeros,
            LIMIT,
        )
    };
    let cut = timeout(Duration::from_secs(1), transfer).await;
    assert!(cut.is_err(), "a transfer that was under way");
    assert!(alive() > before + 4, "{} tasks", alive());
    drop(one);
    drop(two);
    alive_until(before).await;
    // Handles that a host forgot keep the data folders locked; without them nothing does.
    drop((serving, sender, receiver, peer));
    cluster.restart(1).await;
    cluster.restart(2).await;
    cluster.linked().await;
}

/// A shutdown lets a call in flight end, tells the peers at once, and joins all tasks.
/// L4: going away.
#[tokio::test(start_paused = true)]
async fn a_shutdown_in_order_tells_the_peers() {
    let mut cluster = SimCluster::start_unlinked(SimSpec::new(3, 0, 10 * MS)).await;
    cluster.linked().await;
    let leaving = cluster.take(3);
    let echo = std::sync::Arc::new(Sink::new(1));
    let serving = cluster
        .node(1)
        .transport
        .register(ECHO, echo)
        .expect("registered");
    let watchers: Vec<_> = cluster
        .nodes()
        .map(|node| node.transport.events())
        .collect();
    let peer = leaving.peer(1);
    let in_flight = peer.call(
        CallLane::Call,
        Request::new(ECHO, 500, "x".into()),
        Instant::now() + LIMIT,
    );
    let start = Instant::now();
    let (answer, report) = tokio::join!(in_flight, async {
        // The call was polled first, so it is on its way.
        leaving.transport.shutdown(Duration::from_secs(5)).await
    });
    answer.expect("a call in flight may end");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert!(report.tasks_ended, "{report:?}");
    assert_eq!((report.links_closed, report.calls_cut), (2, 0));
    drop(serving);
    for (node, mut events) in cluster.nodes().zip(watchers) {
        let mut seen = Vec::new();
        while let Ok(event) = events.try_recv() {
            match event {
                Event::GoingAway { peer } => seen.push((peer.get(), None)),
                Event::LinkDown { peer, code, .. } => seen.push((peer.get(), code)),
                _ => {}
            }
        }
        let shutdown = Some(quicraft_transport::close::CloseCode::Shutdown);
        assert_eq!(seen, [(3, None), (3, shutdown)], "node {}", node.id);
        assert_ne!(node.link(3).state, LinkState::Up);
        let refused = node
            .call(3, CallLane::Control, ECHO, 0, "x", 5_000 * MS)
            .await;
        assert!(refused.is_err());
    }
}
