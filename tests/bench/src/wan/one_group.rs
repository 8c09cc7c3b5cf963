//! One group: a client alone, and then many at once.

use std::time::Duration;

use futures_util::future::try_join_all;
use openraft::errors::{ClientWriteError, RaftError};
use quicraft_tests::sim::{Latencies, SimCluster};
use tokio::time::{Instant, sleep};

use super::setting::Setting;
use crate::pair::Failure;

/// Bytes of a command.
const COMMAND: usize = 160;

/// What one group gave.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) alone: Latencies,
    pub(super) together: Latencies,
    pub(super) writes_per_second: f64,
    pub(super) leader_changes: u64,
}

pub(super) async fn write(
    setting: &Setting,
    clients: u32,
    time: Duration,
) -> Result<Taken, Failure> {
    let cluster = SimCluster::start(setting.spec(1)).await;
    let terms = terms(&cluster);
    let alone = client(&cluster, 1, Instant::now() + time).await?;
    let (start, end) = (Instant::now(), Instant::now() + time);
    // They start at different times, so that their writes do not join in a few appends.
    let together = (0..clients).map(|number| {
        let cluster = &cluster;
        async move {
            sleep(setting.round_trip() * number / clients).await;
            client(cluster, 1, end).await
        }
    });
    let together: Latencies = try_join_all(together)
        .await?
        .into_iter()
        .flatten()
        .collect();
    let took = start.elapsed();
    Ok(Taken {
        writes_per_second: together.len() as f64 / took.as_secs_f64(),
        alone,
        together,
        leader_changes: self::terms(&cluster) - terms,
    })
}

/// The terms of all groups, summed up: one more for each election.
pub(super) fn terms(cluster: &SimCluster) -> u64 {
    let highest = |group| cluster.nodes().map(|node| node.term(group)).max();
    cluster.groups().filter_map(highest).sum()
}

/// Writes one command after the other until it is time.
async fn client(cluster: &SimCluster, group: u64, end: Instant) -> Result<Latencies, Failure> {
    let mut times = Latencies::default();
    while Instant::now() < end {
        times.push(commit(cluster, group).await?);
    }
    Ok(times)
}

/// How long a commit took, the wait for another leader in it.
pub(super) async fn commit(cluster: &SimCluster, group: u64) -> Result<Duration, Failure> {
    let start = Instant::now();
    let mut leader = match leading(cluster, group) {
        Some(node) => cluster.node(node),
        None => cluster.leader(group).await,
    };
    loop {
        match leader.group(group).write(vec![7; COMMAND]).await {
            Ok(_) => return Ok(start.elapsed()),
            Err(RaftError::APIError(
                ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_),
            )) => leader = cluster.leader(group).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Who leads, as it sees itself.
fn leading(cluster: &SimCluster, group: u64) -> Option<u64> {
    let mut nodes = cluster.nodes().map(|node| node.id);
    nodes.find(|&node| cluster.node(node).current_leader(group) == Some(node))
}
