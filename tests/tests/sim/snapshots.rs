//! A snapshot that a broken link cuts goes on where it ended.

use std::io::Cursor;
use std::time::Duration;

use bytes::BufMut;
use openraft::errors::StreamingError;
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::storage::Snapshot;
use openraft::testing::log_id;
use openraft::type_config::alias::CommittedLeaderIdOf;
use openraft::{BasicNode, RaftNetworkFactory, SnapshotMeta, Vote};
use quicraft_tests::raft::TypeConfig;
use quicraft_tests::sim::{LIMIT, MS, SimCluster, SimNode, SimSpec};
use quicraft_tests::switch::{Conditions, host, megabits};
use quicraft_transport::raft::{MemorySnapshots, RaftFactory};
use quicraft_transport::{Event, GroupId, LinkState, NodeId};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

pub(super) const MIB: u64 = 1 << 20;
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Bytes of snapshots in flight on a link: what a cut may cost.
const IN_FLIGHT: u64 = 4 * MIB;

/// Paths on which a MiB takes 84 ms, so that there is a middle to cut.
fn spec(nodes: u64) -> SimSpec {
    let conditions = Conditions {
        bandwidth: Some(megabits(100)),
        ..Conditions::delayed(ROUND_TRIP / 2)
    };
    SimSpec::new(nodes, 1, ROUND_TRIP).on(conditions)
}

/// Bytes that left on the Snapshot lane to a peer, over all links.
fn sent(from: &SimNode, to: u64) -> u64 {
    let lanes = from.link(to).lanes;
    let snapshots = lanes.iter().find(|lane| lane.lane.name() == "snapshot");
    snapshots.map_or(0, |lane| lane.sent_bytes)
}

async fn sent_reaches(from: &SimNode, to: u64, bytes: u64) {
    let reached = async {
        while sent(from, to) < bytes {
            sleep(5 * MS).await;
        }
    };
    timeout(LIMIT, reached).await.expect("the snapshot moves");
}

fn resumed(events: &mut broadcast::Receiver<Event>) -> Vec<u64> {
    std::iter::from_fn(|| events.try_recv().ok())
        .filter_map(|event| match event {
            Event::SnapshotResumed { offset, .. } => Some(offset),
            _ => None,
        })
        .collect()
}

async fn cut(by: &SimNode, peer: u64) {
    let id = NodeId::new(peer).expect("an id");
    assert!(by.transport.suspend_peer(id));
    by.link_until(peer, |link| link.state != LinkState::Up)
        .await;
    assert!(by.transport.resume_peer(id));
}

/// Makes a node miss `mib` commands of a MiB each and the log of them, and returns the leader.
pub(super) async fn left_behind(cluster: &SimCluster, mib: u64) -> (&SimNode, &SimNode) {
    let leader = cluster.leader(1).await;
    let lagging = cluster.nodes().find(|node| node.id != leader.id);
    let lagging = lagging.expect("three nodes");
    let others: Vec<_> = cluster
        .nodes()
        .filter(|node| node.id != lagging.id)
        .map(|node| host(u8::try_from(node.id).expect("small")))
        .collect();
    let apart = host(u8::try_from(lagging.id).expect("small"));
    cluster.switch.partition(&[apart], &others);
    let group = leader.group(1);
    for number in 0..mib {
        let byte = u8::try_from(number % 251).expect("a byte");
        let command = vec![byte; usize::try_from(MIB).expect("small")];
        group.write(command).await.expect("a commit");
    }
    let last = group.log.last_index().expect("a log");
    group.raft.trigger().snapshot().await.expect("a snapshot");
    let wait = group.raft.wait(Some(LIMIT));
    let built = wait.metrics(
        |metrics| metrics.snapshot.is_some_and(|id| id.index == last),
        "a snapshot",
    );
    built.await.expect("a snapshot");
    group.raft.trigger().purge_log(last).await.expect("a purge");
    let wait = group.raft.wait(Some(LIMIT));
    let purged = wait.metrics(
        |metrics| metrics.purged.is_some_and(|id| id.index == last),
        "a purge",
    );
    purged.await.expect("a purge");
    (leader, lagging)
}

/// R11, R14: three cuts, by either end and by the network, cost no more than what was in flight.
#[tokio::test(start_paused = true)]
async fn w18_a_snapshot_survives_three_cuts() {
    const SNAPSHOT: u64 = 24;
    let cluster = SimCluster::start(spec(3)).await;
    let (leader, lagging) = left_behind(&cluster, SNAPSHOT).await;
    let mut events = (leader.transport.events(), lagging.transport.events());
    cluster.switch.heal();
    for quarter in 1..=3 {
        sent_reaches(leader, lagging.id, SNAPSHOT * MIB * quarter / 4).await;
        match quarter {
            1 => cut(leader, lagging.id).await,
            2 => cut(lagging, leader.id).await,
            _ => {
                let ends = [leader, lagging].map(|node| node.id);
                let [one, other] = ends.map(|id| host(u8::try_from(id).expect("small")));
                cluster.switch.block(one, other);
                // It sends into the void until its budget or its patience is at its end.
                leader
                    .link_until(lagging.id, |link| link.state != LinkState::Up)
                    .await;
                cluster.switch.unblock(one, other);
            }
        }
    }
    let commands = usize::try_from(SNAPSHOT).expect("small");
    let whole = lagging.group(1).machine.wait_for(commands);
    timeout(LIMIT, whole).await.expect("all of it");
    let total = sent(leader, lagging.id);

    assert_eq!(
        lagging.group(1).machine.applied(),
        leader.group(1).machine.applied()
    );
    assert_eq!(lagging.group(1).machine.snapshots_installed(), 1);
    let (at_sender, at_receiver) = (resumed(&mut events.0), resumed(&mut events.1));
    assert_eq!(at_receiver.len(), 3, "{at_receiver:?}");
    assert_eq!(at_sender, at_receiver);
    assert!(at_receiver.is_sorted_by(|a, b| a < b), "{at_receiver:?}");
    // Frames of heads take some of it.
    let allowed = SNAPSHOT * MIB + 3 * IN_FLIGHT + 4_096;
    let ratio = total as f64 / (SNAPSHOT * MIB) as f64;
    assert!(
        total <= allowed,
        "{total} bytes were sent, {ratio:.3} of the snapshot"
    );
    // Without what the cuts cost, a snapshot is sent once.
    assert!(total >= SNAPSHOT * MIB, "{total} bytes cannot be all");
}

/// R14: a receiver that has lost what it kept gets all of it again.
#[tokio::test(start_paused = true)]
async fn a_snapshot_survives_a_restart_of_its_receiver() {
    let mut cluster = SimCluster::start(spec(3)).await;
    let (leader, lagging) = left_behind(&cluster, 8).await;
    let (leader, lagging) = (leader.id, lagging.id);
    cluster.switch.heal();
    sent_reaches(cluster.node(leader), lagging, 4 * MIB).await;
    cluster.crash(lagging).await;
    cluster.restart(lagging).await;
    let (leader, lagging) = (cluster.node(leader), cluster.node(lagging));
    let mut events = lagging.transport.events();
    let machine = &lagging.group(1).machine;
    timeout(LIMIT, machine.wait_for(8))
        .await
        .expect("all of it");
    assert_eq!(machine.applied(), leader.group(1).machine.applied());
    assert_eq!(resumed(&mut events), [0; 0], "nothing was there to resume");
}

/// A snapshot as the machine of the tests reads it: one command of 8 MiB.
fn one_command(byte: u8) -> Snapshot<CommittedLeaderIdOf<TypeConfig>, u64, BasicNode, Data> {
    let command = vec![byte; usize::try_from(8 * MIB).expect("small")];
    let mut bytes = Vec::new();
    bytes.put_u64(1_000);
    bytes.put_u64(8 * MIB);
    bytes.put_slice(&command);
    Snapshot {
        meta: SnapshotMeta {
            last_log_id: Some(log_id::<TypeConfig>(1, 1, 1_000)),
            ..SnapshotMeta::default()
        },
        snapshot: Cursor::new(bytes),
    }
}

type Data = Cursor<Vec<u8>>;

/// R14: a part that is not a part of what comes is thrown away, and the snapshot starts again.
#[tokio::test(start_paused = true)]
async fn a_part_with_other_bytes_is_not_built_upon() {
    let cluster = SimCluster::start_unlinked(spec(2)).await;
    cluster.linked().await;
    let (sender, receiver) = (cluster.node(1), cluster.node(2));
    let mut events = receiver.transport.events();
    let handle = sender.transport.handle();
    let mut factory: RaftFactory<TypeConfig, _> =
        RaftFactory::new(&handle, GroupId::new(1), MemorySnapshots::new());
    let mut network = factory.new_snapshot_client(2, &BasicNode::default()).await;
    let mut send = async |byte| {
        let option = RPCOption::new(LIMIT);
        let never = std::future::pending();
        let vote = Vote::new_committed(1, 1);
        network
            .full_snapshot(vote, one_command(byte), never, option)
            .await
    };
    let half = async {
        // More than can be in flight, so that a part is stored.
        sent_reaches(sender, 2, IN_FLIGHT + 2 * MIB).await;
        cut(sender, 2).await;
    };
    let (broken, ()) = tokio::join!(send(1), half);
    broken.expect_err("the link is cut");
    sender.link_up(2).await;
    // The same key, the same length, other bytes.
    let differs = send(2).await.expect_err("a part of another one is kept");
    assert!(matches!(differs, StreamingError::Network(_)), "{differs}");
    send(2).await.expect("the second time from 0");
    let applied = receiver.group(1).machine.applied();
    assert!(applied[0].command.iter().all(|&byte| byte == 2));
    assert_eq!(resumed(&mut events), [0; 0], "nothing was resumed");
    // And once more, after its answer was lost: there is nothing to send.
    let before = sent(sender, 2);
    send(2).await.expect("it has it");
    assert_eq!(sent(sender, 2), before);
}
