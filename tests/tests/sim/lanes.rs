//! Lanes do not disturb each other: heartbeats pass whatever else the link carries.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use quicraft_tests::sim::{ECHO, LIMIT, Latencies, MS, SimCluster, SimNode, SimSpec, Sink, Terms};
use quicraft_tests::switch::{Conditions, megabits};
use quicraft_transport::link::{CallLane, Request};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, interval};

const ROUND_TRIP: Duration = Duration::from_millis(100);
/// What the receivers of snapshots store: less than the link carries.
const DISK_BYTES_PER_SECOND: u64 = 5_000_000;
/// Half a bandwidth-delay product. CUBIC fills it while it looks for the bandwidth, and nothing that
/// an end does can shorten the way through it: 50 ms.
const QUEUE_BYTES: u64 = 625_000;
const MIB: u64 = 1 << 20;

/// Three nodes and four groups; every path carries 100 Mbit/s.
async fn cluster() -> SimCluster {
    let conditions = Conditions {
        bandwidth: Some(megabits(100)),
        queue_bytes: Some(QUEUE_BYTES),
        ..Conditions::delayed(ROUND_TRIP / 2)
    };
    SimCluster::start(SimSpec::new(3, 4, ROUND_TRIP).on(conditions)).await
}

/// A small call on Control every 50 ms, whether the one before is answered or not: what a heartbeat
/// would take at each moment. Ends with `until`.
async fn heartbeats(from: &SimNode, to: u64, until: impl Future) -> Latencies {
    let beat = async || {
        let start = Instant::now();
        let answer = from.call(to, CallLane::Control, ECHO, 0, "beat", LIMIT);
        answer.await.expect("a heartbeat");
        start.elapsed()
    };
    let mut ticks = interval(50 * MS);
    let mut beating = FuturesUnordered::new();
    let mut took = Latencies::default();
    let mut until = pin!(until);
    let mut ended = false;
    while !ended || !beating.is_empty() {
        tokio::select! {
            _ = &mut until, if !ended => ended = true,
            _ = ticks.tick(), if !ended => beating.push(beat()),
            Some(beat) = beating.next() => took.push(beat),
        }
    }
    took
}

/// Sends zeros that nobody holds in memory, and returns when the receiver has stored them.
async fn transfer(from: &SimNode, to: u64, bytes: u64) {
    let request = Request::new(ECHO, 0, Bytes::new());
    let zeros = tokio::io::repeat(0).take(bytes);
    let stored = from.peer(to).transfer(request, bytes, zeros, LIMIT).await;
    assert_eq!(stored.expect("a transfer"), bytes.to_be_bytes()[..]);
}

/// Sends `count` snapshots at once over one link, `bytes` in all, while heartbeats are measured and
/// groups run on it. Returns how long it took.
async fn saturate(count: u64, bytes: u64) -> Duration {
    let cluster = cluster().await;
    let leader = cluster.leader(1).await;
    let other = cluster.nodes().find(|node| node.id != leader.id);
    let other = other.expect("three nodes");
    let sink = Sink::new(DISK_BYTES_PER_SECOND);
    let _serving = other
        .transport
        .register(ECHO, std::sync::Arc::new(sink))
        .expect("registered");
    let terms = Terms::of(&cluster);

    let start = Instant::now();
    let transfers = (0..count).map(|_| transfer(leader, other.id, bytes / count));
    let took = heartbeats(leader, other.id, join_all(transfers)).await;
    assert!(
        took.p99() < ROUND_TRIP + 100 * MS,
        "{count} at once: p50 {:?}, p99 {:?}, longest {:?} of {}",
        took.p50(),
        took.p99(),
        took.max(),
        took.len(),
    );
    assert_eq!(Terms::of(&cluster), terms, "{count} at once: an election");
    start.elapsed()
}

/// The bytes that nobody reads yet fill the windows of streams and of the link. One stream is held
/// by its own window; several without a budget take all that the link has, and a heartbeat waits
/// for credit that comes at the pace of the disk.
/// L1, L9: budgets and priorities.
#[tokio::test(start_paused = true)]
async fn heartbeats_pass_a_saturating_snapshot() {
    for (count, mib) in [(1, 24), (4, 40)] {
        let took = saturate(count, mib * MIB).await;
        let disk = Duration::from_secs(mib * MIB / DISK_BYTES_PER_SECOND);
        assert!(took > disk, "the disk is the bottleneck: {took:?}");
    }
}

/// The same in real time, where threads run beside each other. More bytes than the link's window,
/// or nothing would have to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_pass_a_saturating_snapshot_in_real_time() {
    saturate(4, 40 * MIB).await;
}
