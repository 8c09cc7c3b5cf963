//! Nodes whose addresses change, and nodes with several: they are found, and how fast.

use std::net::SocketAddr;
use std::time::Duration;

use quicraft_tests::sim::{Callers, Families, HOLE, LIMIT, MS, SimCluster, SimSpec};
use quicraft_tests::switch::{address, address_v6, host};
use quicraft_transport::{Event, LinkState, PeerAddress, TransportConfig};
use tokio::time::{Instant, sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(20);
/// An address where nobody is.
const DEAD: SocketAddr = address(200);

/// An idle link to the old address has to end, a dial that was sent there too, and then the next
/// one is due.
fn found_within(config: &TransportConfig) -> Duration {
    config.idle_timeout + config.dial_limit + config.dial_backoff_max + 10 * ROUND_TRIP
}

/// Only the nodes that did not move can open to the new address, so they have to find it.
fn hide(cluster: &SimCluster, moved: SocketAddr) {
    for node in cluster.nodes() {
        let here = cluster.address(node.id).ip();
        cluster.switch.guard(here, moved.ip(), HOLE);
    }
}

/// Waits until all others have a link to this run of a node, and returns how long that took.
async fn found(cluster: &SimCluster, id: u64) -> Duration {
    let start = Instant::now();
    let boot = cluster.node(id).transport.boot();
    for node in cluster.nodes().filter(|node| node.id != id) {
        let there = node.link_until(id, |link| {
            link.state == LinkState::Up && link.boot == Some(boot)
        });
        there.await;
        cluster.node(id).link_up(node.id).await;
        let link = node.link(id);
        assert_eq!((link.links, link.links_max), (1, 1), "{link:?}");
        assert_eq!(link.address, Some(cluster.address(id)));
    }
    start.elapsed()
}

/// A container that is started again elsewhere, behind one name.
#[tokio::test(start_paused = true)]
async fn a_node_that_restarts_elsewhere_is_found_by_its_name() {
    for id in [1, 3] {
        let spec = SimSpec {
            named: true,
            ..SimSpec::new(3, 0, ROUND_TRIP)
        };
        let mut cluster = SimCluster::start_unlinked(spec).await;
        cluster.linked().await;
        cluster.crash(id).await;
        hide(&cluster, address(13));
        let name = quicraft_tests::sim::name_of(id).0;
        cluster.names.set(&name, vec![address(13)]);
        cluster.restart_at(id, address(13)).await;
        let took = found(&cluster, id).await;
        let limit = found_within(&cluster.spec().transport);
        assert!(took < limit, "node {id} after {took:?}");
    }
}

/// An operator, or a state machine, says where the node is now.
#[tokio::test(start_paused = true)]
async fn a_node_that_restarts_elsewhere_is_found_by_the_roster() {
    for id in [1, 3] {
        let spec = SimSpec::new(3, 0, ROUND_TRIP);
        let mut cluster = SimCluster::start_unlinked(spec).await;
        cluster.linked().await;
        cluster.crash(id).await;
        hide(&cluster, address(13));
        cluster.restart_at(id, address(13)).await;
        cluster.advertise(id, vec![address(13).into()]);
        let took = found(&cluster, id).await;
        let limit = found_within(&cluster.spec().transport);
        assert!(took < limit, "node {id} after {took:?}");
    }
}

/// Nobody is told, and nobody needs to be: the node itself dials. The links of its former run are
/// probed first, for a second on a path as short as this.
/// A7, A11: found by its own dial.
#[tokio::test(start_paused = true)]
async fn a_node_that_restarts_elsewhere_comes_by_itself() {
    for id in [1, 3] {
        let spec = SimSpec::new(3, 0, ROUND_TRIP);
        let mut cluster = SimCluster::start_unlinked(spec).await;
        cluster.linked().await;
        cluster.crash(id).await;
        cluster.restart_at(id, address(13)).await;
        let took = found(&cluster, id).await;
        let probe = Duration::from_secs(1);
        let limit = probe + cluster.spec().transport.dial_grace + 10 * ROUND_TRIP;
        assert!(took < limit, "node {id} after {took:?}");
        for other in (1..=3).filter(|&other| other != id) {
            assert!(cluster.node(id).link(other).dialled, "it dialled {other}");
        }
    }
}

/// One dial tries all addresses, so a dead one costs its time and nothing more.
#[tokio::test(start_paused = true)]
async fn a_dead_first_address_costs_one_dial() {
    let mut spec = SimSpec::new(2, 0, ROUND_TRIP);
    for (node, live) in [(1, address(1)), (2, address(2))] {
        spec.advertised.insert(node, vec![DEAD.into(), live.into()]);
    }
    let start = Instant::now();
    let cluster = SimCluster::start_unlinked(spec).await;
    cluster.linked().await;
    let took = start.elapsed();
    let config = &cluster.spec().transport;
    assert!(
        took >= config.dial_limit,
        "the dead one was tried: {took:?}"
    );
    assert!(took < config.dial_limit + 10 * ROUND_TRIP, "{took:?}");
    assert_eq!(cluster.node(1).link(2).address, Some(address(2)));
    assert_eq!(cluster.node(2).link(1).address, Some(address(1)));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_ipv6_alone_commits() {
    let spec = SimSpec {
        families: (1..=3).map(|node| (node, Families::V6)).collect(),
        ..SimSpec::new(3, 1, ROUND_TRIP)
    };
    let mut cluster = SimCluster::start(spec).await;
    cluster.commit(1, "over IPv6").await;
    assert_eq!(cluster.node(1).link(2).address, Some(address_v6(2)));
    cluster.crash(2).await;
    cluster.restart(2).await;
    cluster.linked().await;
    cluster.commit(1, "again").await;
}

/// A node with both families reaches all; two with one each do not reach each other, and say so.
#[tokio::test(start_paused = true)]
async fn families_meet_at_a_node_with_both() {
    let families = [(1, Families::V6), (2, Families::Both), (3, Families::V4)];
    let spec = SimSpec {
        families: families.into(),
        ..SimSpec::new(3, 0, ROUND_TRIP)
    };
    let cluster = SimCluster::start_unlinked(spec).await;
    let mut events = cluster.node(3).transport.events();
    for (one, two) in [(1, 2), (2, 3)] {
        cluster.node(one).link_up(two).await;
        cluster.node(two).link_up(one).await;
    }
    let told = async {
        loop {
            if let Event::FamilyMismatch { peer } = events.recv().await.expect("events") {
                return peer.get();
            }
        }
    };
    assert_eq!(timeout(LIMIT, told).await.expect("an event"), 1);
    for (from, to) in [(1, 3), (3, 1)] {
        assert_ne!(cluster.node(from).link(to).state, LinkState::Up);
    }
}

/// Two nodes with both families try the other one when the first leads nowhere.
#[tokio::test(start_paused = true)]
async fn the_second_family_is_tried_when_the_first_is_dead() {
    let spec = SimSpec {
        families: [(1, Families::Both), (2, Families::Both)].into(),
        advertised: (1..=2)
            .map(|node: u8| {
                let both = [address_v6(node), address(node)];
                (u64::from(node), both.map(PeerAddress::from).into())
            })
            .collect(),
        ..SimSpec::new(2, 0, ROUND_TRIP)
    };
    let cluster = SimCluster::start_unlinked(spec).await;
    cluster.switch.block(address_v6(1).ip(), address_v6(2).ip());
    let start = Instant::now();
    cluster.linked().await;
    let took = start.elapsed();
    let limit = cluster.spec().transport.dial_limit + 10 * ROUND_TRIP;
    assert!(took < limit, "{took:?}");
    let carried = cluster.switch.counters(host(1), host(2));
    assert!(carried.delivered > 0, "{carried:?}");
}

/// Two nodes with calls in both directions; then the dialer has another address from one moment on.
async fn rebound(migration: bool) -> (SimCluster, Callers, u64) {
    let mut spec = SimSpec::new(2, 0, ROUND_TRIP).echoing();
    spec.transport.migration = migration;
    let mut cluster = SimCluster::start_unlinked(spec).await;
    cluster.linked().await;
    let callers = Callers::start(&cluster, 20 * MS, Duration::from_secs(2));
    sleep(Duration::from_secs(1)).await;
    let dialer = if cluster.node(1).link(2).dialled {
        1
    } else {
        2
    };
    cluster.rebind(dialer, address(11));
    (cluster, callers, dialer)
}

/// T4: connections migrate where the setting says so.
#[tokio::test(start_paused = true)]
async fn with_migration_a_new_address_of_the_dialer_keeps_the_link() {
    let (cluster, callers, dialer) = rebound(true).await;
    let acceptor = 3 - dialer;
    let before = cluster.node(dialer).link(acceptor).link_id;
    sleep(Duration::from_secs(10)).await;
    let calls = callers.finish().await;
    assert_eq!(calls.broken(|node| cluster.sink(node).clone()), None);
    assert!(calls.all().len() > 2 * 500, "{}", calls.all().len());
    let failed = calls.failed();
    assert!(failed.is_empty(), "{failed:?}");
    for (node, peer) in [(dialer, acceptor), (acceptor, dialer)] {
        let link = cluster.node(node).link(peer);
        assert!(link.link_id.is_some() && link.link_id == before, "{link:?}");
        assert_eq!((link.links_total, link.links_max), (1, 1), "{link:?}");
    }
    let seen = cluster.node(acceptor).link(dialer).address;
    assert_eq!(seen, Some(address(11)), "where the link is now");
}

/// T4: connections do not migrate.
#[tokio::test(start_paused = true)]
async fn without_migration_the_link_is_replaced() {
    let (cluster, callers, dialer) = rebound(false).await;
    let acceptor = 3 - dialer;
    let start = Instant::now();
    let before = cluster.node(dialer).link(acceptor).link_id;
    for (node, peer) in [(dialer, acceptor), (acceptor, dialer)] {
        let replaced = cluster.node(node).link_until(peer, |link| {
            link.link_id.is_some() && link.link_id != before
        });
        replaced.await;
    }
    let took = start.elapsed();
    let config = &cluster.spec().transport;
    // The idle timeout begins with the last packet that was sent after one was received.
    let limit = config.idle_timeout + config.keep_alive + found_within(config);
    assert!(took < limit, "{took:?}");
    sleep(Duration::from_secs(5)).await;
    let (there, back) = (
        cluster.node(dialer).link(acceptor),
        cluster.node(acceptor).link(dialer),
    );
    assert!(there.link_id.is_some() && there.link_id == back.link_id);
    assert_eq!((there.links_max, back.links_max), (1, 1));
    let calls = callers.finish().await;
    assert_eq!(calls.broken(|node| cluster.sink(node).clone()), None);
    assert!(
        !calls.failed().is_empty(),
        "the address was dead for a while"
    );
    let last = calls.failed().last().map(|called| called.at - start);
    assert!(
        last <= Some(took),
        "no call fails on the new link: {last:?}"
    );
}

/// A process that was stopped for less than the idle timeout keeps its link; one that was stopped
/// for longer has it back within a second, and never two.
#[tokio::test(start_paused = true)]
async fn a_paused_node_has_its_link_within_a_second() {
    for (node, pause) in [(1, 2_000), (3, 2_000), (1, 10_000), (3, 10_000)] {
        let cluster = SimCluster::start_unlinked(SimSpec::new(3, 0, ROUND_TRIP).echoing()).await;
        cluster.linked().await;
        let before = cluster.node(node).link(2).link_id;
        let callers = Callers::start(&cluster, 50 * MS, Duration::from_secs(1));
        cluster.pause(node);
        sleep(pause * MS).await;
        cluster.resume(node);
        sleep(Duration::from_secs(1)).await;
        for other in (1..=3).filter(|&other| other != node) {
            let (there, back) = (
                cluster.node(node).link(other),
                cluster.node(other).link(node),
            );
            for link in [&there, &back] {
                assert_eq!(link.state, LinkState::Up, "{node}, {pause} ms: {link:?}");
                assert_eq!((link.links, link.links_max), (1, 1), "{link:?}");
            }
            assert!(there.link_id.is_some() && there.link_id == back.link_id);
        }
        let kept = cluster.node(node).link(2).link_id == before;
        assert_eq!(kept, pause < 4_000, "{node}, {pause} ms");
        let calls = callers.finish().await;
        assert_eq!(calls.broken(|node| cluster.sink(node).clone()), None);
    }
}

/// A NAT forgets a node that the others cannot find by themselves. The links of both ends run out,
/// and then the node dials from where it is now.
#[tokio::test(start_paused = true)]
async fn w19_a_node_behind_a_forgetful_nat_comes_by_itself() {
    for id in [1, 3] {
        let spec = SimSpec::new(3, 0, ROUND_TRIP);
        let mut cluster = SimCluster::start_unlinked(spec).await;
        cluster.linked().await;
        let before = [1, 2, 3].map(|other| cluster.node(other).link(id).link_id);
        let start = Instant::now();
        cluster.rebind(id, address(11));
        for other in (1..=3).filter(|&other| other != id) {
            let node = cluster.node(other);
            let again = node.link_until(id, |link| {
                link.link_id.is_some() && link.link_id != before[other as usize - 1]
            });
            again.await;
            cluster.node(id).link_up(other).await;
            let (there, back) = (node.link(id), cluster.node(id).link(other));
            assert_eq!(there.link_id, back.link_id);
            assert_eq!(there.address, Some(address(11)));
            assert_eq!((there.links_max, back.links_max), (1, 1));
        }
        let config = &cluster.spec().transport;
        let limit = config.keep_alive + found_within(config);
        assert!(start.elapsed() < limit, "node {id}: {:?}", start.elapsed());
    }
}

/// A path fails over and the host gives its node another socket: the links are made anew from there
/// at once, not after an idle timeout, and no call that begins on them fails.
#[tokio::test(start_paused = true)]
async fn another_socket_makes_new_links_at_once() {
    for (id, migration) in [(1, false), (2, false), (1, true), (2, true)] {
        let mut spec = SimSpec::new(2, 0, ROUND_TRIP).echoing();
        spec.transport.migration = migration;
        let cluster = SimCluster::start_unlinked(spec).await;
        cluster.linked().await;
        let callers = Callers::start(&cluster, 10 * MS, Duration::from_secs(2));
        sleep(Duration::from_secs(1)).await;
        let before = cluster.node(1).link(2).link_id;
        let start = Instant::now();
        let socket = cluster.switch.socket(address(11));
        let moved = cluster.node(id).transport.rebind_abstract(socket);
        moved.expect("a socket");
        for (node, peer) in [(1, 2), (2, 1)] {
            let again = cluster.node(node).link_until(peer, |link| {
                link.link_id.is_some() && link.link_id != before
            });
            again.await;
        }
        let took = start.elapsed();
        assert!(took <= 5 * ROUND_TRIP, "{id}, {migration}: {took:?}");
        let there = cluster.node(3 - id).link(id).address;
        assert_eq!(there, Some(address(11)), "{id}, {migration}");
        sleep(Duration::from_secs(8)).await;
        let calls = callers.finish().await;
        assert_eq!(calls.broken(|node| cluster.sink(node).clone()), None);
        let last = calls.failed().last().map(|called| called.at - start);
        assert!(last <= Some(took), "{id}, {migration}: {last:?}");
        for (node, peer) in [(1, 2), (2, 1)] {
            let link = cluster.node(node).link(peer);
            let counted = (link.links, link.links_max, link.draining);
            assert_eq!(counted, (1, 1, 0), "{id}, {migration}: {link:?}");
        }
    }
}
