//! Weaknesses that users of another transport met (tests/WEAKNESSES.md), each with the test that keeps
//! it out. What other rooms hold already has its name there.

use std::time::Duration;

use quicraft_tests::sim::{LIMIT, MS, RawHello, SimCluster, SimSpec, Stranger, Terms};
use quicraft_tests::switch::{address, host};
use quicraft_transport::close::CloseCode;
use quicraft_transport::raft::{MemorySnapshots, serve};
use quicraft_transport::{GroupId, LinkState};
use tokio::time::{sleep, timeout};

use super::snapshots::{MIB, left_behind};

const ROUND_TRIP: Duration = Duration::from_millis(20);

fn side(node: u64) -> std::net::IpAddr {
    host(u8::try_from(node).expect("small"))
}

/// A group that is not started yet on one node refuses some heartbeats. The next one goes out when it
/// is due, so nobody is elected; a breaker of three seconds would have starved the follower.
#[tokio::test(start_paused = true)]
async fn w15_a_failed_call_silences_nobody() {
    let mut cluster = SimCluster::start(SimSpec::new(3, 1, ROUND_TRIP)).await;
    let leader = cluster.leader(1).await.id;
    let follower = (1..=3).find(|&id| id != leader).expect("another");
    let mut follower = cluster.take(follower);
    let terms = Terms::of(&cluster);
    let term = follower.term(1);
    let group = follower.groups.get_mut(&1).expect("a group");
    let raft = group.node.raft.clone();
    let registered = GroupId::new(1);
    for _ in 0..5 {
        // Two or three heartbeats, which come every 200 ms, and fewer than an election takes.
        let link = follower.link(leader).links_total;
        let group = follower.groups.get_mut(&1).expect("a group");
        let placeholder = GroupId::new(77);
        let elsewhere = serve(
            &follower.transport,
            placeholder,
            raft.clone(),
            MemorySnapshots::new(),
        );
        drop(std::mem::replace(
            &mut group.serving,
            elsewhere.expect("free"),
        ));
        sleep(500 * MS).await;
        let back = serve(
            &follower.transport,
            registered,
            raft.clone(),
            MemorySnapshots::new(),
        );
        group.serving = back.expect("free again");
        sleep(500 * MS).await;
        assert_eq!(follower.link(leader).links_total, link, "the link stays");
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(Terms::of(&cluster), terms);
    assert_eq!(follower.term(1), term);
    assert_eq!(follower.current_leader(1), Some(leader));
}

/// A follower whose Raft has failed answers with an error. The leader goes on with the rest, and takes
/// the error for what it is: that of a peer.
#[tokio::test(start_paused = true)]
async fn w16_an_error_of_a_peer_is_not_our_own() {
    let mut cluster = SimCluster::start(SimSpec::new(3, 1, ROUND_TRIP)).await;
    let leader = cluster.leader(1).await.id;
    let other = (1..=3).find(|&id| id != leader).expect("another");
    cluster.node(other).group(1).stop().await;
    for _ in 0..10 {
        let leading = cluster.node(leader).group(1);
        leading.write("meanwhile").await.expect("two of three");
        sleep(500 * MS).await;
    }
    let failed = cluster.node(leader).group(1).raft.is_initialized().await;
    failed.expect("the leader's own Raft lives");
    assert_eq!(cluster.node(leader).link(other).state, LinkState::Up);
    cluster.crash(other).await;
    cluster.restart(other).await;
    let machine = &cluster.node(other).group(1).machine;
    let caught_up = timeout(LIMIT, machine.wait_for(10)).await;
    caught_up.expect("it takes part again");
}

/// Bytes travel as bytes: a snapshot and a batch of entries of any values cost what they weigh.
#[tokio::test(start_paused = true)]
async fn w17_bytes_cost_what_they_weigh() {
    const SIZE: u64 = 6;
    let cluster = SimCluster::start(SimSpec::new(3, 1, ROUND_TRIP)).await;
    // Entries first: the other follower gets them from the log.
    let (leader, lagging) = left_behind(&cluster, SIZE).await;
    let following = cluster
        .nodes()
        .find(|node| node.id != leader.id && node.id != lagging.id)
        .expect("three nodes");
    let machine = &following.group(1).machine;
    let all = usize::try_from(SIZE).expect("small");
    let applied = timeout(LIMIT, machine.wait_for(all)).await;
    applied.expect("all entries");
    let carried = |to: u64| {
        let counters = cluster.switch.counters(side(leader.id), side(to));
        counters.delivered_bytes
    };
    // Headers of packets and frames, and the handshake.
    let allowed = SIZE * MIB * 110 / 100;
    assert!(carried(following.id) >= SIZE * MIB);
    assert!(carried(following.id) < allowed, "{}", carried(following.id));
    let before = carried(lagging.id);
    cluster.switch.heal();
    let machine = &lagging.group(1).machine;
    let whole = timeout(LIMIT, machine.wait_for(all)).await;
    whole.expect("a snapshot");
    assert_eq!(machine.snapshots_installed(), 1);
    let cost = carried(lagging.id) - before;
    assert!((SIZE * MIB..allowed).contains(&cost), "{cost}");
}

/// A node is whom its certificate names, whatever it says; and the name of the node that it talks to
/// opens no door either.
#[tokio::test(start_paused = true)]
async fn w20_what_a_node_says_of_itself_proves_nothing() {
    let mut cluster = SimCluster::start_unlinked(SimSpec::new(3, 0, ROUND_TRIP)).await;
    cluster.crash(2).await;
    let liar = Stranger::new(&cluster.switch, address(99), &cluster.credentials(2));
    for claimed in [1, 3] {
        let hello = RawHello::new(claimed, 1);
        let (connection, ..) = liar.say(address(1), &hello.encode()).await;
        let code = Stranger::closed(&connection).await;
        assert_eq!(code, u64::from(CloseCode::IdMismatch.to_wire()));
    }
    // As itself it may come, and is met as what it is.
    let _link = liar.enter(address(1), &RawHello::new(2, 1)).await;
    cluster.node(1).link_up(2).await;
}
