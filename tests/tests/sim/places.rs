//! The places of unproven peers, each limit at the limit and one past it, on the real quinn: who has
//! to prove its address, for whom the reserve is, who is refused and who is not answered.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use quicraft_tests::sim::{Attacker, MS, SimCluster, SimSpec, Stranger};
use quicraft_tests::switch::{address, host};
use quicraft_transport::NodeId;
use quicraft_transport::close::CloseCode;
use quicraft_transport::limits::{
    HANDSHAKE_LIMIT, HANDSHAKES_HARD_MAX, HANDSHAKES_PER_SOURCE_MAX, HANDSHAKES_RESERVED,
    HANDSHAKES_SOFT_MAX, HELLOS_PENDING_MAX, HELLOS_PER_NODE_MAX,
};
use quinn::{Connection, ConnectionError};
use tokio::time::{Instant, sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The nodes of the roster beside node 1. None of them runs.
const PEERS: std::ops::RangeInclusive<u64> = 2..=6;
/// Node 1 alone, with half-open handshakes in it.
struct Node {
    cluster: SimCluster,
    attackers: Vec<Attacker>,
    /// When the first of them was begun.
    start: Instant,
    /// The port of the next that tries to enter.
    port: Cell<u16>,
}

impl Node {
    async fn new() -> Self {
        Self::of(|_| {}).await
    }

    async fn of(change: impl FnOnce(&mut SimSpec)) -> Self {
        let mut spec = SimSpec::new(*PEERS.end(), 0, ROUND_TRIP);
        change(&mut spec);
        let mut cluster = SimCluster::start_unlinked(spec).await;
        for peer in PEERS {
            cluster.crash(peer).await;
        }
        Self {
            cluster,
            attackers: Vec::new(),
            start: Instant::now(),
            port: Cell::new(1_000),
        }
    }

    /// Begins handshakes from a host; the hosts of peers have their numbers.
    async fn attack(&mut self, number: u8, count: usize, validated: bool) {
        let from = SocketAddr::new(host(number), if validated { 98 } else { 97 });
        let credentials = self.cluster.credentials(2);
        let switch = &self.cluster.switch;
        let mut attacker = Attacker::new(switch, &[from], address(1), &credentials, validated);
        attacker.begin(count);
        attacker.wait(4 * ROUND_TRIP).await;
        self.attackers.push(attacker);
    }

    /// Takes all places up to the soft limit, without a proven address.
    async fn fill_to_soft_limit(&mut self) {
        self.attack(200, HANDSHAKES_SOFT_MAX, false).await;
    }

    /// Takes places of strangers with proven addresses, from as many hosts as that takes.
    async fn strangers(&mut self, count: usize) {
        let mut left = count;
        for number in 100.. {
            let of_source = left.min(HANDSHAKES_PER_SOURCE_MAX);
            if of_source == 0 {
                return;
            }
            self.attack(number, of_source, true).await;
            left -= of_source;
        }
    }

    /// What becomes of one more handshake from a host: how long TLS takes, or how it ends; `None` if
    /// there is no answer within three round trips.
    async fn one_more(&self, number: u8) -> Option<Result<Duration, ConnectionError>> {
        let port = self.port.get();
        self.port.set(port + 1);
        let from = SocketAddr::new(host(number), port);
        let credentials = self.cluster.credentials(2);
        let stranger = Stranger::new(&self.cluster.switch, from, &credentials);
        let start = Instant::now();
        let connected = timeout(3 * ROUND_TRIP, stranger.connect(address(1))).await;
        let took = start.elapsed();
        // If it has entered, its place comes back when the node knows.
        sleep(ROUND_TRIP).await;
        connected.ok().map(|connected| connected.map(|_| took))
    }

    /// How long quinn remembers a connection that has failed: three probe timeouts.
    fn remembered(&self) -> Duration {
        3 * (3 * self.cluster.spec().transport.initial_rtt + 25 * MS)
    }
}

const DIRECT: Duration = ROUND_TRIP;
/// A Retry is a round trip more.
const RETRIED: Duration = Duration::from_millis(20);
const STRANGER: u8 = 99;
const STRANGERS: usize = HANDSHAKES_HARD_MAX - HANDSHAKES_RESERVED;

async fn expect(node: &Node, number: u8, expected: Option<Duration>, case: &str) {
    let became = node.one_more(number).await;
    let became = became.map(|became| became.expect(case));
    assert_eq!(became, expected, "{case}");
}

/// T6: who proves its address first.
#[tokio::test(start_paused = true)]
async fn past_the_soft_limit_an_address_is_proven_first() {
    for (pending, expected) in [
        (0, DIRECT),
        (HANDSHAKES_SOFT_MAX - 1, DIRECT),
        (HANDSHAKES_SOFT_MAX, RETRIED),
        (10 * HANDSHAKES_SOFT_MAX, RETRIED),
    ] {
        let mut node = Node::new().await;
        node.attack(200, pending, false).await;
        let case = format!("{pending} pending");
        // That it is a peer can be claimed by anybody, too.
        for number in [STRANGER, 2] {
            expect(&node, number, Some(expected), &case).await;
        }
    }
}

/// T6: for whom the reserve is, and who is not answered.
#[tokio::test(start_paused = true)]
async fn the_reserve_is_kept_for_known_peers() {
    let validated = STRANGERS - HANDSHAKES_SOFT_MAX;
    for (pending, stranger) in [(validated - 1, Some(RETRIED)), (validated, None)] {
        let mut node = Node::new().await;
        node.fill_to_soft_limit().await;
        node.strangers(pending).await;
        let case = format!("{pending} validated strangers");
        expect(&node, STRANGER, stranger, &case).await;
        // Others may claim to be it as often as they like.
        node.attack(2, 1_000, false).await;
        expect(&node, 2, Some(RETRIED), &case).await;
    }
    // Known peers may fill it, too, and then all places are taken.
    for (reserved, expected) in [
        (HANDSHAKES_RESERVED - 1, Some(RETRIED)),
        (HANDSHAKES_RESERVED, None),
    ] {
        let mut node = Node::new().await;
        node.fill_to_soft_limit().await;
        node.strangers(validated).await;
        let half = HANDSHAKES_RESERVED / 2;
        node.attack(3, half, true).await;
        node.attack(4, reserved - half, true).await;
        let case = format!("{reserved} of the reserve");
        expect(&node, 2, expected, &case).await;
    }
}

/// Where the roster lists it, where its name leads, and where it came from when it was elsewhere; as
/// long as it may enter.
/// T6: who is a known peer.
#[tokio::test(start_paused = true)]
async fn a_peer_is_known_where_it_was_met() {
    const ELSEWHERE: u8 = 50;
    for named in [false, true] {
        let mut node = Node::of(|spec| spec.named = named).await;
        // Node 1 finds nobody at the address that it knows, and node 2 dials.
        let cluster = &mut node.cluster;
        cluster.restart_at(2, address(ELSEWHERE)).await;
        cluster.linked().await;
        cluster.crash(2).await;
        node.start = Instant::now();
        node.fill_to_soft_limit().await;
        node.strangers(STRANGERS - HANDSHAKES_SOFT_MAX).await;
        for (number, expected) in [
            (STRANGER, None),
            (2, Some(RETRIED)),
            (3, Some(RETRIED)),
            (ELSEWHERE, Some(RETRIED)),
        ] {
            let case = format!("{number}, named: {named}");
            expect(&node, number, expected, &case).await;
        }
        for peer in [2, 3] {
            let peer = NodeId::new(peer).expect("not 0");
            node.cluster.node(1).transport.roster().remove(peer);
        }
        // Its follower takes note of it.
        sleep(MS).await;
        for number in [2, 3, ELSEWHERE] {
            expect(&node, number, None, "it was removed").await;
        }
        expect(&node, 4, Some(RETRIED), "it was not").await;
    }
}

/// T6: what one source may have, a stranger or a peer.
#[tokio::test(start_paused = true)]
async fn a_source_has_a_share() {
    for (number, neighbour) in [(STRANGER, 98), (2, 3)] {
        for (pending, refused) in [
            (HANDSHAKES_PER_SOURCE_MAX - 1, false),
            (HANDSHAKES_PER_SOURCE_MAX, true),
            (1_000, true),
        ] {
            let mut node = Node::new().await;
            node.fill_to_soft_limit().await;
            node.attack(number, pending, true).await;
            let case = format!("{pending} of {number}");
            let became = node.one_more(number).await;
            let became = became.unwrap_or_else(|| panic!("{case}: no answer"));
            match became {
                Ok(took) => assert!(!refused && took == RETRIED, "{case}: {took:?}"),
                Err(ConnectionError::ConnectionClosed(close)) => {
                    let code = quinn_proto::TransportErrorCode::CONNECTION_REFUSED;
                    assert!(refused && close.error_code == code, "{case}: {close}");
                }
                Err(other) => panic!("{case}: {other}"),
            }
            // Others have theirs.
            expect(&node, neighbour, Some(RETRIED), &case).await;
        }
    }
}

/// A place comes back when its handshake has failed and quinn has forgotten it.
/// T6: TLS has its time.
#[tokio::test(start_paused = true)]
async fn a_place_comes_back_in_time() {
    let mut node = Node::new().await;
    node.fill_to_soft_limit().await;
    let back = HANDSHAKE_LIMIT + node.remembered() + ROUND_TRIP / 2;
    sleep(node.start + back - 10 * MS - Instant::now()).await;
    expect(&node, STRANGER, Some(RETRIED), "before").await;
    sleep(node.start + back + 10 * MS - Instant::now()).await;
    expect(&node, STRANGER, Some(DIRECT), "behind").await;
}

/// A host may set all of it.
#[tokio::test(start_paused = true)]
async fn places_are_settings() {
    let mut node = Node::of(|spec| {
        spec.transport.handshakes_soft_max = 1;
        spec.transport.handshakes_max = 4;
        spec.transport.handshakes_reserved = 2;
        spec.transport.handshakes_per_source_max = 1;
        spec.transport.handshake_limit = 200 * MS;
    })
    .await;
    expect(&node, STRANGER, Some(DIRECT), "none").await;
    node.attack(200, 1, false).await;
    expect(&node, STRANGER, Some(RETRIED), "one").await;
    node.attack(100, 1, true).await;
    expect(&node, STRANGER, None, "two strangers").await;
    expect(&node, 2, Some(RETRIED), "a peer").await;
    node.attack(3, 1, true).await;
    assert!(matches!(node.one_more(3).await, Some(Err(_))), "its share");
    sleep(200 * MS + node.remembered()).await;
    expect(&node, STRANGER, Some(DIRECT), "behind the limit").await;
}

/// Connections of a node that owe their hello.
async fn owing(node: &Node, id: u64, count: usize) -> Vec<Connection> {
    let number = u8::try_from(100 + id).expect("few nodes");
    let credentials = node.cluster.credentials(id);
    let port = node.port.get();
    node.port.set(port + 1);
    let from = SocketAddr::new(host(number), port);
    let stranger = Stranger::new(&node.cluster.switch, from, &credentials);
    let connects = (0..count).map(|_| stranger.connect(address(1)));
    let connected = futures_util::future::join_all(connects).await;
    // Their places come back when the node knows, too, before others need theirs.
    sleep(ROUND_TRIP).await;
    connected
        .into_iter()
        .map(|connection| connection.expect("TLS is done"))
        .collect()
}

async fn overloaded(connections: &[Connection]) {
    for connection in connections {
        let code = CloseCode::from_wire(Stranger::closed(connection).await);
        assert_eq!(code, Some(CloseCode::Overloaded));
    }
}

/// As many connections of one node may owe their hello as the limit says, as many of all, and not one
/// more.
/// T6: before proof.
#[tokio::test(start_paused = true)]
async fn hellos_that_are_owed_are_bounded() {
    let nodes = (HELLOS_PENDING_MAX / HELLOS_PER_NODE_MAX) as u64;
    assert_eq!(HELLOS_PENDING_MAX % HELLOS_PER_NODE_MAX, 0);
    let node = Node::new().await;
    let mut all = Vec::new();
    for id in 2..2 + nodes {
        all.extend(owing(&node, id, HELLOS_PER_NODE_MAX).await);
        if id == 2 {
            overloaded(&owing(&node, id, 1).await).await;
        }
    }
    overloaded(&owing(&node, 2 + nodes, 1).await).await;
    for connection in &all {
        let code = CloseCode::from_wire(Stranger::closed(connection).await);
        assert_eq!(code, Some(CloseCode::HelloTimeout));
    }
}
