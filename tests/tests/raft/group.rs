//! A group of three nodes that call each other in process.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::BasicNode;
use quicraft_tests::raft::{
    ChannelNetwork, Command, InFiles, InMemory, Machine, MemLog, RaftNode, SnapshotStore, config,
};
use tokio::time::{Instant, timeout};

const MS: Duration = Duration::from_millis(1);
/// Longer than any election with the harness's settings.
const LIMIT: Duration = Duration::from_secs(20);

async fn start<S: SnapshotStore>(
    network: &ChannelNetwork<S>,
    id: u64,
    log: MemLog,
    machine: Machine<S>,
) -> RaftNode<S> {
    let node = RaftNode::build(id, config(), network.factory(), log, machine)
        .await
        .unwrap();
    network.attach(id, node.raft.clone());
    node.raft.run();
    node
}

/// Three nodes that are one group and have a leader, which comes first.
async fn group<S: SnapshotStore>(network: &ChannelNetwork<S>, snapshots: &S) -> Vec<RaftNode<S>> {
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(start(network, id, MemLog::new(), Machine::new(snapshots.clone())).await);
    }
    let members: BTreeMap<u64, BasicNode> = (1..=3).map(|id| (id, BasicNode::default())).collect();
    nodes[0].raft.initialize(members).await.unwrap();
    for node in &nodes {
        node.leader(LIMIT).await;
    }
    let leader = nodes[0].leader(LIMIT).await;
    nodes.sort_by_key(|node| (node.id != leader, node.id));
    nodes[0].lease(LIMIT).await;
    nodes
}

async fn assert_all_applied<S: SnapshotStore>(nodes: &[RaftNode<S>], count: usize) {
    for node in nodes {
        timeout(LIMIT, node.machine.wait_for(count)).await.unwrap();
        assert_eq!(node.machine.applied(), nodes[0].machine.applied());
    }
}

async fn stop<S: SnapshotStore>(nodes: Vec<RaftNode<S>>) {
    join_all(nodes.iter().map(RaftNode::stop)).await;
}

/// Elects, writes, lets one node fall behind a purged log, and sees it catch up by snapshot.
async fn catch_up_by_snapshot<S: SnapshotStore>(snapshots: S) {
    let network = ChannelNetwork::new();
    let nodes = group(&network, &snapshots).await;
    let leader = &nodes[0];
    for number in 0..10_u8 {
        leader.write(vec![number; 100]).await.unwrap();
    }
    assert_all_applied(&nodes, 10).await;

    let lagging = &nodes[2];
    lagging.stop().await;
    assert!(network.detach(lagging.id));
    for number in 10..20_u8 {
        leader.write(vec![number; 100]).await.unwrap();
    }
    let last = leader.log.last_index().unwrap();
    leader.raft.trigger().snapshot().await.unwrap();
    leader
        .raft
        .wait(Some(LIMIT))
        .metrics(
            |metrics| metrics.snapshot.is_some_and(|id| id.index == last),
            "a snapshot",
        )
        .await
        .unwrap();
    leader.raft.trigger().purge_log(last).await.unwrap();
    leader
        .raft
        .wait(Some(LIMIT))
        .metrics(
            |metrics| metrics.purged.is_some_and(|id| id.index == last),
            "a purge",
        )
        .await
        .unwrap();
    assert!(leader.log.is_empty());

    let lagging = start(
        &network,
        lagging.id,
        lagging.log.clone(),
        lagging.machine.clone(),
    )
    .await;
    timeout(LIMIT, lagging.machine.wait_for(20)).await.unwrap();
    assert_eq!(lagging.machine.snapshots_installed(), 1);
    assert_eq!(lagging.machine.applied(), leader.machine.applied());

    // After the snapshot, the log goes on.
    leader.write("after").await.unwrap();
    timeout(LIMIT, lagging.machine.wait_for(21)).await.unwrap();
    assert_eq!(lagging.machine.applied()[20].command, "after");
    lagging.stop().await;
    stop(nodes).await;
}

#[tokio::test(start_paused = true)]
async fn a_lagging_node_catches_up_by_a_snapshot_in_memory() {
    catch_up_by_snapshot(InMemory).await;
}

#[tokio::test(start_paused = true)]
async fn a_lagging_node_catches_up_by_a_snapshot_in_a_file() {
    catch_up_by_snapshot(InFiles::new().unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn the_rest_elects_a_new_leader_when_the_leader_is_gone() {
    let network = ChannelNetwork::new();
    let nodes = group(&network, &InMemory).await;
    nodes[0].write("before").await.unwrap();
    assert_all_applied(&nodes, 1).await;
    network.detach(nodes[0].id);
    nodes[0].stop().await;
    let old = nodes[0].id;
    nodes[1]
        .raft
        .wait(Some(LIMIT))
        .metrics(
            |metrics| metrics.current_leader.is_some_and(|id| id != old),
            "another leader",
        )
        .await
        .unwrap();
    let leader = nodes[1].leader(LIMIT).await;
    let leader = nodes.iter().find(|node| node.id == leader).unwrap();
    leader.lease(LIMIT).await;
    leader.write("after").await.unwrap();
    assert_all_applied(&nodes[1..], 2).await;
    stop(nodes).await;
}

/// The ceiling of the promise about pipelining: at 100 ms of round trip a commit takes one round trip, also
/// when the next write comes at once, and 64 writers do not wait for each other.
#[tokio::test(start_paused = true)]
async fn a_commit_takes_one_round_trip_and_writers_share_it() {
    let network = ChannelNetwork::new();
    network.set_delay(50 * MS);
    let nodes = group(&network, &InMemory).await;
    let leader = &nodes[0];
    for _ in 0..20 {
        let start = Instant::now();
        leader.write("one").await.unwrap();
        let took = start.elapsed();
        assert!((100 * MS..=105 * MS).contains(&took), "{took:?}");
    }
    let start = Instant::now();
    join_all((0..64).map(|_| leader.write("many"))).await;
    let took = start.elapsed();
    assert!((100 * MS..=105 * MS).contains(&took), "{took:?}");
    stop(nodes).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_the_flush_of_a_majority() {
    let network = ChannelNetwork::new();
    let nodes = group(&network, &InMemory).await;
    let leader = &nodes[0];
    // How long a commit takes with the disks of this many nodes slow, the leader's first.
    for (slow, expected) in [
        (0, Duration::ZERO),
        (1, Duration::ZERO),
        (2, 500 * MS),
        (3, 500 * MS),
    ] {
        for node in &nodes[..slow] {
            node.log.set_flush_delay(500 * MS);
        }
        let start = Instant::now();
        leader.write("x").await.unwrap();
        // openraft's own timers may add a millisecond or two.
        let took = start.elapsed();
        assert!(
            (expected..=expected + 2 * MS).contains(&took),
            "{slow} slow disks: {took:?}"
        );
        tokio::time::sleep(500 * MS).await;
    }
    stop(nodes).await;
}

#[tokio::test(start_paused = true)]
async fn a_power_loss_takes_what_was_not_flushed_and_nothing_else() {
    let network = ChannelNetwork::new();
    let nodes = group(&network, &InMemory).await;
    let (leader, victim) = (&nodes[0], &nodes[2]);
    leader.write("flushed").await.unwrap();
    assert_all_applied(&nodes, 1).await;
    let flushed = victim.log.last_index();

    victim.log.set_flush_delay(Duration::from_secs(60));
    leader.write("not flushed").await.unwrap();
    // The log has it, the disk has not.
    let appended = async {
        while victim.log.last_index() == flushed {
            tokio::time::sleep(MS).await;
        }
    };
    timeout(LIMIT, appended).await.unwrap();
    network.detach(victim.id);
    victim.stop().await;
    victim.log.lose_power();
    assert_eq!(victim.log.last_index(), flushed);

    victim.log.set_flush_delay(Duration::ZERO);
    let machine = Machine::new(InMemory);
    let victim = start(&network, victim.id, victim.log.clone(), machine).await;
    timeout(LIMIT, victim.machine.wait_for(2)).await.unwrap();
    assert_eq!(victim.machine.applied(), leader.machine.applied());
    victim.stop().await;
    stop(nodes).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_on_a_follower_is_sent_to_the_leader() {
    let network = ChannelNetwork::new();
    let nodes = group(&network, &InMemory).await;
    let refused = nodes[1]
        .raft
        .client_write(Command::new("x"))
        .await
        .unwrap_err();
    assert_eq!(
        refused.forward_to_leader().and_then(|hint| hint.leader_id),
        Some(nodes[0].id)
    );
    stop(nodes).await;
}
