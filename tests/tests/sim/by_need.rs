//! Peers that are dialled only when a call needs them, and many that are dialled at once.

use std::time::Duration;

use bytes::Bytes;
use quicraft_tests::sim::{ECHO, LIMIT, MS, SimCluster, SimNode, SimSpec};
use quicraft_transport::close::CloseCode;
use quicraft_transport::limits::HANDSHAKES_SOFT_MAX;
use quicraft_transport::link::CallLane;
use quicraft_transport::{CallError, Dial, Event, LinkState, NodeId, RosterEntry};
use tokio::time::{Instant, sleep};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_secs(10);
/// TLS, hello and welcome, and the call itself; a round trip each, and one for what comes between.
const FIRST_CALL: Duration = Duration::from_millis(80);

fn spec(nodes: u64, dial: Dial) -> SimSpec {
    let mut spec = SimSpec {
        dial,
        ..SimSpec::new(nodes, 0, ROUND_TRIP)
    };
    spec.transport.idle_link_timeout = Some(IDLE);
    spec.echoing()
}

async fn call(from: &SimNode, to: u64) -> Result<Bytes, CallError> {
    from.call(to, CallLane::Call, ECHO, 0, "x", LIMIT).await
}

/// The first call dials, from whichever end, and waits for the link. Nothing is sent before it.
#[tokio::test(start_paused = true)]
async fn the_first_call_dials() {
    for (from, to) in [(1, 2), (2, 1)] {
        let cluster = SimCluster::start_unlinked(spec(2, Dial::ByNeed)).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(cluster.switch.total().sent, 0, "nobody has called");
        let start = Instant::now();
        call(cluster.node(from), to).await.expect("an answer");
        assert!(start.elapsed() <= FIRST_CALL, "{:?}", start.elapsed());
        // The other end uses the same link, at once.
        let start = Instant::now();
        call(cluster.node(to), from).await.expect("an answer");
        assert!(start.elapsed() <= ROUND_TRIP + MS, "{:?}", start.elapsed());
        for (node, peer) in [(from, to), (to, from)] {
            let link = cluster.node(node).link(peer);
            assert_eq!((link.links_total, link.links_max), (1, 1), "{link:?}");
        }
    }
}

/// Both ends call for the first time at the same moment: both dial, one link remains.
#[tokio::test(start_paused = true)]
async fn first_calls_of_both_ends_make_one_link() {
    let cluster = SimCluster::start_unlinked(spec(2, Dial::ByNeed)).await;
    sleep(Duration::from_secs(1)).await;
    let (there, back) = tokio::join!(call(cluster.node(1), 2), call(cluster.node(2), 1));
    there.expect("an answer");
    back.expect("an answer");
    sleep(Duration::from_secs(1)).await;
    let (there, back) = (cluster.node(1).link(2), cluster.node(2).link(1));
    assert!(there.link_id.is_some() && there.link_id == back.link_id);
    assert_eq!((there.links_max, back.links_max), (1, 1));
}

/// A call to a peer that is not there fails when its dial has, and does not hang.
#[tokio::test(start_paused = true)]
async fn a_first_call_to_nobody_fails_with_its_dial() {
    let mut cluster = SimCluster::start_unlinked(spec(2, Dial::ByNeed)).await;
    cluster.crash(2).await;
    let start = Instant::now();
    let failed = call(cluster.node(1), 2).await;
    assert!(
        matches!(failed, Err(CallError::Unreachable { .. })),
        "{failed:?}"
    );
    let limit = cluster.spec().transport.dial_limit;
    assert!(start.elapsed() <= limit + 10 * MS, "{:?}", start.elapsed());
    // It comes back, and so does the link, when somebody calls.
    cluster.restart(2).await;
    sleep(Duration::from_secs(5)).await;
    call(cluster.node(1), 2).await.expect("an answer");
}

/// Calls keep a link; without them it is closed after the setting and at most a quarter of it, by
/// one end, with a code that the other understands. Nobody dials again before the next call.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_not_used_is_closed_and_not_dialled_again() {
    let cluster = SimCluster::start_unlinked(spec(2, Dial::ByNeed)).await;
    call(cluster.node(1), 2).await.expect("an answer");
    // Calls of the other end count as well.
    for _ in 0..5 {
        sleep(IDLE - 100 * MS).await;
        call(cluster.node(2), 1).await.expect("an answer");
    }
    let mut events = [1, 2].map(|node| cluster.node(node).transport.events());
    let start = Instant::now();
    for (node, peer) in [(1, 2), (2, 1)] {
        let closed = cluster
            .node(node)
            .link_until(peer, |link| link.links == 0 && link.draining == 0);
        closed.await;
    }
    let took = start.elapsed();
    assert!(
        (IDLE - ROUND_TRIP..=IDLE * 5 / 4 + ROUND_TRIP * 3).contains(&took),
        "{took:?}"
    );
    sleep(6 * IDLE).await;
    for (node, events) in [1, 2].into_iter().zip(&mut events) {
        let mut ended = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let Event::LinkDown { code, .. } = event {
                ended.push(code);
            }
        }
        assert_eq!(ended, [Some(CloseCode::Idle)], "node {node}");
        let link = cluster.node(node).link(3 - node);
        assert_eq!(link.links_total, 1, "nobody dialled: {link:?}");
    }
    call(cluster.node(2), 1).await.expect("an answer");
    assert_eq!(cluster.node(1).link(2).links_total, 2);
}

/// A call may begin at any moment of the end of an idle link, at either end. It is answered, on the
/// old link or on a new one.
#[tokio::test(start_paused = true)]
async fn a_call_that_meets_the_end_of_an_idle_link_is_answered() {
    const SHORT: Duration = Duration::from_millis(200);
    let mut spec = spec(2, Dial::ByNeed);
    spec.transport.idle_link_timeout = Some(SHORT);
    let cluster = SimCluster::start_unlinked(spec).await;
    // From before the first look at the link to after the last message of its end, which waits a
    // second for a link in its place; from the end that dialled it, and from the other.
    let turns = [(1, 2), (1, 2), (2, 1), (2, 1)].into_iter().cycle();
    let gaps = (150..1_500).step_by(10).flat_map(|gap| [gap, gap]);
    for ((from, to), gap) in turns.zip(gaps) {
        sleep(gap * MS).await;
        let answer = call(cluster.node(from), to).await;
        answer.unwrap_or_else(|error| panic!("{from}, after {gap} ms: {error}"));
    }
    let link = cluster.node(1).link(2);
    assert!(link.links_total > 100, "it ends again and again: {link:?}");
    assert_eq!(link.links_max, 1);
}

/// A link that one of its ends wants to have is kept, however little it carries.
#[tokio::test(start_paused = true)]
async fn a_link_that_one_end_wants_is_kept() {
    for eager in [vec![1], vec![2], vec![1, 2]] {
        let cluster = SimCluster::start_unlinked(spec(2, Dial::ByNeed)).await;
        for &node in &eager {
            let peer = 3 - node;
            let id = NodeId::new(peer).expect("not 0");
            let entry = RosterEntry::new(id, vec![cluster.address(peer).into()]);
            let roster = cluster.node(node).transport.roster();
            roster.insert(entry).expect("a place");
        }
        cluster.linked().await;
        // The other end has used it, too.
        for (from, to) in [(1, 2), (2, 1)] {
            call(cluster.node(from), to).await.expect("an answer");
        }
        sleep(6 * IDLE).await;
        for (node, peer) in [(1, 2), (2, 1)] {
            let link = cluster.node(node).link(peer);
            assert_eq!(
                (link.state.clone(), link.links_total),
                (LinkState::Up, 1),
                "{eager:?}: {link:?}"
            );
        }
    }
}

/// More nodes than a node takes handshakes from before it asks for validated addresses.
const STORM: u64 = HANDSHAKES_SOFT_MAX as u64 + 8;

/// Waits until the mesh is complete, and returns how long that took and how many handshakes began.
async fn mesh(cluster: &SimCluster) -> (Duration, u64) {
    let start = Instant::now();
    let before = handshakes(cluster);
    cluster.linked().await;
    let took = start.elapsed();
    // What crossed comes to its end.
    sleep(Duration::from_secs(10)).await;
    for node in cluster.nodes() {
        for link in node.transport.status() {
            let counted = (link.links, link.links_max, link.draining);
            assert_eq!(counted, (1, 1, 0), "node {}: {link:?}", node.id);
        }
    }
    (took, handshakes(cluster) - before)
}

fn handshakes(cluster: &SimCluster) -> u64 {
    let links = cluster.nodes().flat_map(|node| node.transport.status());
    links.map(|link| link.handshakes).sum()
}

/// All nodes of a large cluster are powered on at the same instant. Measured: 90 ms, of which a
/// Retry is 20 ms; one handshake per pair.
/// T6: the limits on handshakes do not get in the way.
#[tokio::test(start_paused = true)]
async fn a_storm_of_dials_makes_a_mesh() {
    let cluster = SimCluster::start_unlinked(SimSpec::new(STORM, 0, ROUND_TRIP)).await;
    let events: Vec<_> = cluster
        .nodes()
        .map(|node| node.transport.events())
        .collect();
    let (took, begun) = mesh(&cluster).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    // Whoever finds a node at its limit gets no answer, and its dial fails.
    for mut events in events {
        while let Ok(event) = events.try_recv() {
            let failed = matches!(
                event,
                Event::DialFailed { .. } | Event::HandshakeFailed { .. } | Event::Refused { .. }
            );
            assert!(!failed, "{event:?}");
        }
    }
    // Both ends count.
    let pairs = STORM * (STORM - 1) / 2;
    assert!(begun <= 2 * pairs * 5 / 4, "{begun} for {pairs} pairs");
}

/// All nodes but one lose power, for so long that the one has given all of them up, and come back
/// at the same instant, while the turns of its dials are taken by those that get no answer. Measured:
/// 300 ms, 146 handshakes at both ends of 66 pairs.
#[tokio::test(start_paused = true)]
async fn a_power_cut_of_all_but_one_is_mended_at_once() {
    const NODES: u64 = 12;
    for survivor in [1, NODES] {
        let mut spec = SimSpec::new(NODES, 0, ROUND_TRIP);
        spec.transport.dials_max = 4;
        let mut cluster = SimCluster::start_unlinked(spec).await;
        mesh(&cluster).await;
        for id in (1..=NODES).filter(|&id| id != survivor) {
            cluster.crash(id).await;
        }
        sleep(Duration::from_secs(20)).await;
        for id in (1..=NODES).filter(|&id| id != survivor) {
            cluster.restart(id).await;
        }
        let (took, begun) = mesh(&cluster).await;
        assert!(took < Duration::from_secs(2), "{survivor}: {took:?}");
        let pairs = NODES * (NODES - 1) / 2;
        assert!(begun <= 2 * pairs * 3 / 2, "{begun} for {pairs} pairs");
    }
}
