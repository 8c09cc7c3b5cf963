//! The pipeline between real Rafts in one process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::BasicNode;
use openraft::async_runtime::WatchReceiver;

use crate::raft::dispatcher::RaftService;
use crate::raft::snapshot::MemorySnapshots;
use crate::raft::testing::{Machine, TestRaft, WiredFactory, Wiring, raft};
use crate::raft::wire::FrameLimits;

/// Limits that nothing here reaches.
const WIDE: FrameLimits = FrameLimits {
    frame_bytes: 1 << 20,
    entry_bytes: 1 << 20,
};

/// Three nodes in one process with our bytes between them. Node 3 is not reachable at first.
struct Cluster {
    wiring: Wiring,
    nodes: BTreeMap<u64, (TestRaft, Machine)>,
}

impl Cluster {
    async fn start(limits: FrameLimits) -> Self {
        let wiring = Wiring::default();
        let mut nodes = BTreeMap::new();
        for own in 1..=3 {
            let factory = WiredFactory {
                own,
                wiring: wiring.clone(),
                limits,
            };
            nodes.insert(own, raft(own, factory).await);
        }
        let cluster = Self { wiring, nodes };
        cluster.connect(1);
        cluster.connect(2);
        let members: BTreeMap<u64, BasicNode> =
            (1..=3).map(|id| (id, BasicNode::default())).collect();
        cluster.nodes[&1].0.initialize(members).await.unwrap();
        cluster
    }

    fn connect(&self, node: u64) {
        let raft = self.nodes[&node].0.clone();
        let raise = Arc::new(|_| {});
        self.wiring.connect(
            node,
            RaftService::with_events(raft, MemorySnapshots::new(), raise),
        );
    }

    /// A leader that a quorum has confirmed; without that it takes no writes.
    async fn leader(&self) -> TestRaft {
        let limit = Some(Duration::from_secs(30));
        let known = self.nodes[&1].0.wait(limit);
        let known = known.metrics(|metrics| metrics.current_leader.is_some(), "a leader");
        let leader = self.nodes[&known.await.unwrap().current_leader.unwrap()]
            .0
            .clone();
        let confirmed = leader.wait(limit);
        let confirmed = confirmed.metrics(|metrics| metrics.last_quorum_acked.is_some(), "a lease");
        confirmed.await.unwrap();
        leader
    }
}

/// A write that is acknowledged, or the test fails.
async fn write(leader: &TestRaft, line: String) {
    let written = tokio::time::timeout(Duration::from_secs(30), leader.client_write(line));
    written.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn three_rafts_elect_replicate_and_catch_up_over_these_bytes() {
    // Frames so small that nearly every request is split.
    let cluster = Cluster::start(FrameLimits {
        frame_bytes: 200,
        entry_bytes: 150,
    })
    .await;
    let leader = cluster.leader().await;

    let writes = (0..200).map(|line| write(&leader, format!("line {line}")));
    futures_util::future::join_all(writes).await;
    let last = leader.metrics().borrow_watched().last_log_index;
    cluster.connect(3);
    for (raft, machine) in cluster.nodes.values() {
        let wait = raft.wait(Some(Duration::from_secs(60)));
        wait.applied_index(last, "all lines everywhere")
            .await
            .unwrap();
        let lines = machine.lines();
        assert_eq!(lines.len(), 200);
        assert_eq!(lines, cluster.nodes[leader.node_id()].1.lines());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_far_behind_gets_a_snapshot() {
    let cluster = Cluster::start(FrameLimits {
        frame_bytes: 1 << 20,
        entry_bytes: 1 << 20,
    })
    .await;
    let leader = cluster.leader().await;
    for line in 0..50 {
        write(&leader, format!("line {line}")).await;
    }
    let last = leader.metrics().borrow_watched().last_log_index;
    leader.trigger().snapshot().await.unwrap();
    let wait = leader.wait(Some(Duration::from_secs(30)));
    wait.metrics(
        |metrics| metrics.purged.map(|id| id.index()) == last,
        "purged",
    )
    .await
    .unwrap();
    cluster.connect(3);
    let (raft, machine) = &cluster.nodes[&3];
    let wait = raft.wait(Some(Duration::from_secs(60)));
    wait.metrics(
        |metrics| metrics.snapshot.map(|id| id.index()) == last,
        "a snapshot",
    )
    .await
    .unwrap();
    assert_eq!(machine.lines().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_peer_is_asked_at_the_pace_of_the_backoff() {
    let cluster = Cluster::start(WIDE).await;
    let leader = cluster.leader().await;
    write(&leader, "a".to_owned()).await;
    let before = cluster.wiring.streams();
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Heartbeats to two nodes, ten a second, and a session a second after the backoff has grown.
    // Without the backoff this loop would not even let the clock of the test go on.
    let streams = cluster.wiring.streams() - before;
    assert!(streams < 300, "{streams} append streams in 10 s");
}
