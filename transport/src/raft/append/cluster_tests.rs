//! The pipeline between real Rafts in one process.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use openraft::BasicNode;
use openraft::async_runtime::WatchReceiver;
use tokio::io::AsyncRead;
use tokio::time::Instant;

use crate::raft::dispatcher::{AnyRaftService, RaftService};
use crate::raft::limits::APPEND_HOLD_LIMIT;
use crate::raft::snapshot::MemorySnapshots;
use crate::raft::testing::{Machine, TestRaft, WiredFactory, Wiring, raft, spawn};
use crate::raft::wire::FrameLimits;
use crate::service::{CallContext, Service, SessionReplies, SessionRequests};
use crate::{Refusal, RefusalCode};

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
            RaftService::with_parts(raft, MemorySnapshots::new(), raise, spawn()),
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

/// A peer that is away for half a minute costs a wake-up for each time that a request is held, and the
/// request leaves the moment it is back.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_away_is_asked_once_for_each_hold() {
    let cluster = Cluster::start(WIDE).await;
    cluster.connect(3);
    let leader = cluster.leader().await;
    write(&leader, "a".to_owned()).await;
    let away = (1..=3).rfind(|id| id != leader.node_id()).unwrap();
    let (raft, machine) = &cluster.nodes[&away];
    let applied = async |lines: usize| {
        while machine.lines().len() < lines {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    applied(1).await;
    raft.runtime_config().elect(false);
    cluster.wiring.disconnect(away);
    write(&leader, "b".to_owned()).await;

    let before = cluster.wiring.streams_to(away);
    let lasting = Duration::from_secs(30);
    let writing = async {
        for _ in 0..lasting.as_secs() {
            write(&leader, "c".to_owned()).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    writing.await;
    let asked = cluster.wiring.streams_to(away) - before;
    let held = lasting.as_secs() / APPEND_HOLD_LIMIT.as_secs();
    let held = usize::try_from(held).unwrap();
    assert!(
        (held - 1..=held + 2).contains(&asked),
        "{asked} in {lasting:?}"
    );

    cluster.connect(away);
    let start = Instant::now();
    applied(2 + 30).await;
    assert!(
        start.elapsed() < Duration::from_millis(10),
        "{:?}",
        start.elapsed()
    );
}

/// A node on which the group does not run.
struct Elsewhere;

impl Service for Elsewhere {
    fn session(&self, _: CallContext, _: SessionRequests) -> Result<SessionReplies, Refusal> {
        let refusal = Refusal::new(RefusalCode::UnknownGroup, "not here");
        Ok(futures_util::stream::iter([Err(refusal)]).boxed())
    }
}

impl AnyRaftService for Elsewhere {
    fn take_snapshot(
        &self,
        _: CallContext,
        _: Bytes,
        _: u64,
        _: Pin<Box<dyn AsyncRead + Send>>,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        unreachable!("its log is never that far behind")
    }
}

/// A peer that is there and refuses is asked at the pace of the backoff.
#[tokio::test(start_paused = true)]
async fn a_peer_that_refuses_is_asked_at_the_pace_of_the_backoff() {
    let cluster = Cluster::start(WIDE).await;
    cluster.wiring.connect(3, Elsewhere);
    let leader = cluster.leader().await;
    write(&leader, "a".to_owned()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = cluster.wiring.streams_to(3);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = cluster.wiring.streams_to(3) - before;
    assert!((9..=11).contains(&asked), "{asked} append streams in 10 s");
}
