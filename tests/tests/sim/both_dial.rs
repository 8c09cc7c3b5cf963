//! Both ends dial: one direction of reachability is enough, and two dials at once make one link.

use std::time::Duration;

use quicraft_tests::sim::{Callers, LIMIT, MS, SimCluster, SimSpec};
use quicraft_tests::switch::{Conditions, host};
use quicraft_transport::LinkState;
use quicraft_transport::limits::DRAIN_LIMIT;
use tokio::time::{Instant, sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const PAIRS: [(u64, u64); 3] = [(1, 2), (1, 3), (2, 3)];

/// Both ends of a pair name the same link, and there was never another one beside it.
fn assert_one_link(cluster: &SimCluster, one: u64, two: u64, when: &str) {
    let (there, back) = (cluster.node(one).link(two), cluster.node(two).link(one));
    for link in [&there, &back] {
        let counted = (link.links, link.links_max, link.draining);
        assert_eq!(counted, (1, 1, 0), "{when}: {link:?}");
    }
    assert!(there.link_id.is_some(), "{when}: {there:?}");
    assert_eq!(there.link_id, back.link_id, "{when}");
    assert_ne!(there.dialled, back.dialled, "{when}");
}

/// Commits through each node as leader in turn, so that each link carries appends and votes in both
/// directions.
async fn lead_in_turn(cluster: &SimCluster) {
    for next in 1..=3 {
        let leader = cluster.leader(1).await;
        if leader.id != next {
            let raft = &leader.group(1).raft;
            let moved = raft.trigger().transfer_leader(next).await;
            moved.expect("the Raft runs");
            cluster.node(next).group(1).lease(LIMIT).await;
        }
        cluster.commit(1, "written").await;
    }
}

/// Every node is behind a firewall that those with a smaller id cannot open: the larger id has to
/// dial. Raft works all the same, from the start, after a loss of the links, and after crashes.
/// A11: either end may dial.
#[tokio::test(start_paused = true)]
async fn raft_works_where_only_the_larger_id_can_open() {
    let spec = SimSpec {
        guarded: PAIRS.map(|(smaller, larger)| (larger, smaller)).into(),
        ..SimSpec::new(3, 2, ROUND_TRIP)
    };
    let mut cluster = SimCluster::start(spec).await;
    lead_in_turn(&cluster).await;
    for (smaller, larger) in PAIRS {
        assert_one_link(&cluster, smaller, larger, "at the start");
        let refused = cluster
            .switch
            .counters(host(smaller as u8), host(larger as u8));
        assert!(refused.dropped.guarded > 0, "{refused:?}");
    }

    // The links are lost while all nodes live.
    for (one, two) in PAIRS {
        cluster.cut(one, two);
    }
    for (one, two) in PAIRS {
        for (node, peer) in [(one, two), (two, one)] {
            let down = cluster.node(node).link_until(peer, |link| link.links == 0);
            down.await;
        }
    }
    cluster.switch.heal();
    let start = Instant::now();
    cluster.linked().await;
    let took = start.elapsed();
    let config = &cluster.spec().transport;
    let limit = config.dial_limit + config.dial_backoff_max + 10 * ROUND_TRIP;
    assert!(took < limit, "{took:?}");
    lead_in_turn(&cluster).await;

    for id in [1, 3] {
        cluster.crash(id).await;
        cluster.restart(id).await;
        cluster.linked().await;
        lead_in_turn(&cluster).await;
    }
    for (one, two) in PAIRS {
        assert_one_link(&cluster, one, two, "after the crashes");
    }
}

/// Where both ends are behind firewalls, both dials are needed: each opens the way for the other.
#[tokio::test(start_paused = true)]
async fn two_firewalls_open_for_each_other() {
    let spec = SimSpec {
        guarded: vec![(1, 2), (2, 1)],
        ..SimSpec::new(2, 0, ROUND_TRIP)
    };
    let start = Instant::now();
    let cluster = SimCluster::start_unlinked(spec).await;
    cluster.linked().await;
    let config = &cluster.spec().transport;
    let limit = config.dial_grace + config.dial_limit + 10 * ROUND_TRIP;
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    assert_one_link(&cluster, 1, 2, "at the start");
}

/// Both ends dial at the same instant, and call each other from the first moment. Nothing is lost,
/// so no call may fail, whichever dial wins, and however the two directions differ.
/// H6, A6, A8, A11: crossing dials.
#[tokio::test(start_paused = true)]
async fn dials_that_cross_make_one_link_and_cost_no_call() {
    let crossing = (0..=40).step_by(5).map(|ms| (20, ms, 0));
    // And once with a grace, in which the calls of the larger id wait for the dial of the other.
    for (there, back, grace) in crossing.chain([(10, 10, 250)]) {
        let mut spec = SimSpec::new(2, 0, ROUND_TRIP).echoing();
        spec.transport.dial_grace = grace * MS;
        let cluster = SimCluster::start_unlinked(spec).await;
        let delayed = |ms| Conditions::delayed(ms * MS);
        cluster.switch.set_path(host(1), host(2), delayed(there));
        cluster.switch.set_path(host(2), host(1), delayed(back));
        let callers = Callers::start(&cluster, 3 * MS, LIMIT);
        sleep(Duration::from_secs(1)).await;
        let calls = callers.finish().await;
        let when = format!("{there} and {back} ms");
        let (failed, broken) = (
            calls.failed(),
            calls.broken(|node| cluster.sink(node).clone()),
        );
        assert!(failed.is_empty(), "{when}: {failed:?}");
        assert_eq!(broken, None, "{when}");
        assert!(calls.all().len() > 600, "{when}: {}", calls.all().len());
        // The loser, if there was one, has nothing to wait for.
        assert_one_link(&cluster, 1, 2, &when);
    }
}

/// One end closes the link and the other never hears of it. The half-open connection must not stand
/// in the way of a new one, whichever end closed.
/// A6: a half-open connection loses.
#[tokio::test(start_paused = true)]
async fn a_stranded_close_does_not_block_the_next_link() {
    for (closing, deaf) in [(1, 2), (2, 1)] {
        let cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
        cluster.linked().await;
        let before = cluster.node(closing).link(deaf).link_id;
        cluster.switch.silence(host(closing as u8));
        let peer = cluster.node(closing).peer(deaf).id();
        assert!(cluster.node(closing).transport.suspend_peer(peer));
        let closed = cluster
            .node(closing)
            .link_until(deaf, |link| link.links == 0);
        closed.await;
        sleep(100 * MS).await;
        assert_eq!(cluster.node(deaf).link(closing).state, LinkState::Up);
        cluster.switch.heal();
        assert!(cluster.node(closing).transport.resume_peer(peer));

        let start = Instant::now();
        let again = async {
            for (node, other) in [(closing, deaf), (deaf, closing)] {
                let new = cluster.node(node).link_until(other, |link| {
                    link.state == LinkState::Up && link.link_id != before
                });
                new.await;
            }
        };
        let again = timeout(LIMIT, again).await;
        again.expect("a new link");
        // The larger id waits for its grace; nothing else is waited for.
        let limit = cluster.spec().transport.dial_grace + 10 * ROUND_TRIP;
        let took = start.elapsed();
        assert!(took < limit, "{closing} closed: {took:?}");
        // The half-open one may drain at the deaf end for as long as any may.
        sleep(DRAIN_LIMIT).await;
        assert_one_link(&cluster, 1, 2, "after the drain");
    }
}

/// A drill costs one handshake, not one for each thing that the end of it changes. Only the end that
/// drills knows an address, so no other dial can cross its own.
#[tokio::test(start_paused = true)]
async fn a_resumed_peer_is_dialled_once() {
    for (drilling, drilled) in [(1, 2), (2, 1)] {
        let mut spec = SimSpec::new(2, 0, ROUND_TRIP);
        spec.advertised.insert(drilling, Vec::new());
        let cluster = SimCluster::start_unlinked(spec).await;
        cluster.linked().await;
        let peer = cluster.node(drilling).peer(drilled).id();
        let node = cluster.node(drilling);
        assert!(node.transport.suspend_peer(peer));
        node.link_until(drilled, |link| link.links == 0).await;
        sleep(Duration::from_secs(1)).await;
        assert!(node.transport.resume_peer(peer));
        cluster.linked().await;
        sleep(Duration::from_secs(10)).await;
        for (node, peer) in [(1, 2), (2, 1)] {
            let link = cluster.node(node).link(peer);
            assert_eq!(
                link.links_total, 2,
                "{drilling} drills, at {node}: {link:?}"
            );
        }
    }
}

/// Packets pass in one direction only: no link can be, and none is made for a moment. Dials have
/// their pauses, and the link is there soon after the other direction is.
#[tokio::test(start_paused = true)]
async fn a_path_of_one_direction_makes_no_link() {
    const LASTS: Duration = Duration::from_secs(60);
    for (from, to) in [(1, 2), (2, 1)] {
        let cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
        cluster.linked().await;
        cluster.cut_one_way(from, to);
        for (node, peer) in [(1, 2), (2, 1)] {
            let down = cluster.node(node).link_until(peer, |link| link.links == 0);
            down.await;
        }
        sleep(LASTS).await;
        for (node, peer) in [(1, 2), (2, 1)] {
            let link = cluster.node(node).link(peer);
            assert_eq!((link.links_total, link.links), (1, 0), "{link:?}");
            // Each dial waits a second for an answer, and then at least half of the longest wait;
            // the first few wait less.
            assert!(link.handshakes < 60, "{from} to {to}: {link:?}");
        }
        cluster.switch.heal();
        let start = Instant::now();
        cluster.linked().await;
        let config = &cluster.spec().transport;
        let limit = config.dial_limit + config.dial_backoff_max + 10 * ROUND_TRIP;
        assert!(start.elapsed() < limit, "{:?}", start.elapsed());
        sleep(DRAIN_LIMIT).await;
        assert_one_link(&cluster, 1, 2, "after the heal");
    }
}

/// A node that has said that it goes, and comes back, is there as soon as it can dial: nobody has
/// to wait for anything that its former run has left behind.
#[tokio::test(start_paused = true)]
async fn an_orderly_restart_is_back_at_once() {
    for id in [1, 2, 3] {
        for away in [0, 20, 1_000, 20_000] {
            let mut cluster = SimCluster::start_unlinked(SimSpec::new(3, 0, ROUND_TRIP)).await;
            cluster.linked().await;
            let report = cluster.stop(id, Duration::from_secs(2)).await;
            assert!(report.tasks_ended, "{report:?}");
            sleep(away * MS).await;
            cluster.restart(id).await;
            let start = Instant::now();
            cluster.linked().await;
            let limit = cluster.spec().transport.dial_grace + 5 * ROUND_TRIP;
            let took = start.elapsed();
            assert!(took < limit, "node {id}, away for {away} ms: {took:?}");
            sleep(DRAIN_LIMIT).await;
            for (one, two) in PAIRS {
                assert_one_link(&cluster, one, two, "after the restart");
            }
        }
    }
}
