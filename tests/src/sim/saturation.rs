//! A link full of snapshots, and heartbeats on it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use quicraft_transport::link::{CallLane, Request};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, interval};

use super::{ECHO, LIMIT, Latencies, MS, SimCluster, SimNode, SimSpec, Sink, Terms};
use crate::switch::{Conditions, megabits};

/// Snapshots that are sent at once over one link of three nodes with four groups. Every path
/// carries 100 Mbit/s at a round trip of 100 ms, and the receiver stores 5 MB/s, all snapshots
/// together: it is slower than the link.
#[derive(Debug, Clone)]
pub struct Saturation {
    /// How many snapshots.
    pub transfers: u64,
    /// Bytes of all of them together.
    pub bytes: u64,
    /// Bytes that may wait at the bottleneck of a path. CUBIC fills it while it looks for the
    /// bandwidth, and nothing that an end does shortens the way through it.
    pub queue_bytes: u64,
}

/// What was seen meanwhile.
#[derive(Debug)]
pub struct Saturated {
    /// How long the snapshots took.
    pub took: Duration,
    /// What small calls on Control took, one every 50 ms.
    pub heartbeats: Latencies,
    /// What they took meanwhile on a link without snapshots: what the machine itself costs.
    pub beside: Latencies,
    /// Whether any group had an election.
    pub elected: bool,
}

impl Saturation {
    /// The round trip of an empty path.
    pub const ROUND_TRIP: Duration = Duration::from_millis(100);
    /// What the receiver stores.
    pub const DISK_BYTES_PER_SECOND: u64 = 5_000_000;

    /// Runs it.
    ///
    /// # Panics
    ///
    /// If a transfer or a heartbeat fails.
    pub async fn run(&self) -> Saturated {
        let conditions = Conditions {
            bandwidth: Some(megabits(100)),
            queue_bytes: Some(self.queue_bytes),
            ..Conditions::delayed(Self::ROUND_TRIP / 2)
        };
        let spec = SimSpec::new(3, 4, Self::ROUND_TRIP).on(conditions);
        let cluster = SimCluster::start(spec).await;
        let leader = cluster.leader(1).await;
        let followers: Vec<_> = cluster
            .nodes()
            .filter(|node| node.id != leader.id)
            .collect();
        let [other, beside] = followers[..] else {
            panic!("three nodes");
        };
        let _serving = [other, beside].map(|node| {
            let sink = Arc::new(Sink::new(Self::DISK_BYTES_PER_SECOND));
            let serving = node.transport.register(ECHO, sink);
            serving.unwrap_or_else(|error| panic!("{error}"))
        });
        let terms = Terms::of(&cluster);
        let start = Instant::now();
        let bytes = self.bytes / self.transfers;
        let transfers = join_all((0..self.transfers).map(|_| transfer(leader, other.id, bytes)));
        let mut on_busy = Latencies::default();
        let busy = async { on_busy = heartbeats(leader, other.id, transfers).await };
        let beside = heartbeats(leader, beside.id, busy).await;
        Saturated {
            took: start.elapsed(),
            heartbeats: on_busy,
            beside,
            elected: Terms::of(&cluster) != terms,
        }
    }
}

/// A small call on Control every 50 ms, whether the one before is answered or not: what a heartbeat
/// would take at each moment. Ends with `until`.
async fn heartbeats(from: &SimNode, to: u64, until: impl Future) -> Latencies {
    let beat = async || {
        let start = Instant::now();
        let answer = from.call(to, CallLane::Control, ECHO, 0, "beat", LIMIT);
        match answer.await {
            Ok(_) => start.elapsed(),
            Err(error) => panic!("a heartbeat: {error}"),
        }
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
    match from.peer(to).transfer(request, bytes, zeros, LIMIT).await {
        Ok(stored) => assert_eq!(stored, bytes.to_be_bytes()[..], "all bytes are stored"),
        Err(error) => panic!("a transfer: {error}"),
    }
}
