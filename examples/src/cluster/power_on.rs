//! The power comes back: all nodes start at the same moment, and every two of them need a link.
//!
//! Two times are measured. One runs from just before the first process is made; the other from the
//! look at the system's sockets that finds every node's UDP port bound, at most 2 ms after the last
//! of them was. Both end when the youngest of the links went up, by the word of its ends: a status
//! says how long each link has been there, so asking late does not make the time longer.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::client::Clients;
use super::error::ClusterError;
use super::limits::{BOUND, GLANCE, START, START_ATTEMPTS};
use super::nodes::{Nodes, lost_its_port};
use super::observed::Observed;
use super::report::{Outcome, millis};
use super::seen::udp_ports;
use super::status::{Status, missing, not_one_link};
use super::wait::{Look, until};
use super::workload::Workload;

/// The flags of `kv-cluster power-on`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct PowerOnOptions {
    /// Node processes to start
    #[arg(long, default_value_t = 9, value_parser = RangedU64ValueParser::<u64>::new().range(2..=16))]
    pub nodes: u64,
    /// Milliseconds that the mesh may take from the last bound socket on
    #[arg(long, default_value_t = 2_000)]
    pub mesh_ms: u64,
    /// Handshakes for each pair, on average, that are too many
    #[arg(long, default_value_t = 2)]
    pub handshakes: u64,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

/// What the start has shown.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PowerOnReport {
    /// Node processes.
    pub nodes: u64,
    /// Pairs of nodes.
    pub pairs: u64,
    /// From the last bound socket to the last link.
    pub mesh_ms: u64,
    /// What it may be.
    pub mesh_limit_ms: u64,
    /// From just before the first process was made to the last link.
    pub mesh_since_spawn_ms: u64,
    /// The most live connections that a pair of nodes had at any time.
    pub links_max: u64,
    /// Links that were established, one for each pair if none was lost or replaced.
    pub links_established: u64,
    /// QUIC handshakes that were begun, counted where they were dialled, whatever became of them.
    pub handshakes: u64,
    /// The same for each pair, on average.
    pub handshakes_per_pair: f64,
    /// What is too many of them.
    pub handshakes_limit: u64,
}

/// Starts all nodes at once and waits for a link between every two.
///
/// # Errors
///
/// [`ClusterError`], when the mesh is not there in time or a node ends by itself.
pub async fn power_on(
    options: &PowerOnOptions,
    nodes: &mut Nodes,
) -> Result<PowerOnReport, ClusterError> {
    for _ in 0..START_ATTEMPTS {
        match mesh(options, nodes).await {
            Err(ClusterError::NodeEnded { status, .. }) if lost_its_port(status) => {
                nodes.redraw().await?;
            }
            result => return result,
        }
    }
    Err(ClusterError::Ports {
        attempts: START_ATTEMPTS,
    })
}

async fn mesh(options: &PowerOnOptions, nodes: &mut Nodes) -> Result<PowerOnReport, ClusterError> {
    let groups = nodes.layout().groups();
    let clients = Clients::new(nodes.urls(), groups, 1, Workload::new(0, groups, 0))?;
    let mut observed = Observed::default();
    let spawned = Instant::now();
    nodes.start_all()?;
    let bound = all_bound(nodes).await?;
    let (all, youngest) = until("a link between every two nodes", START, async || {
        nodes.check()?;
        let answer = observed.ask_all(&clients, nodes.len()).await;
        let now = Instant::now();
        let all = match answer {
            Ok(all) => all,
            Err(missing) => return Ok(Look::Missing(missing)),
        };
        let missing = missing(&all).or_else(|| not_one_link(&all));
        Ok(missing.map_or_else(|| Look::There((youngest(&all, now), all)), Look::Missing))
    })
    .await
    .map(|(youngest, all)| (all, youngest))?;
    let pairs = options.nodes * (options.nodes - 1) / 2;
    let links = all.iter().flat_map(|status| &status.links);
    let established: u64 = links.map(|link| link.links_total).sum();
    let handshakes: u64 = all.iter().map(|status| status.handshakes.dialled).sum();
    Ok(PowerOnReport {
        nodes: options.nodes,
        pairs,
        mesh_ms: millis(youngest.saturating_duration_since(bound)),
        mesh_limit_ms: options.mesh_ms,
        mesh_since_spawn_ms: millis(youngest.saturating_duration_since(spawned)),
        links_max: observed.links_max(),
        // Each is counted at both of its ends.
        links_established: established / 2,
        handshakes,
        handshakes_per_pair: handshakes as f64 / pairs.max(1) as f64,
        handshakes_limit: options.handshakes,
    })
}

/// When the socket of every node is bound. The nodes bind it before they look at their data.
async fn all_bound(nodes: &mut Nodes) -> Result<Instant, ClusterError> {
    let wanted = nodes.layout().raft_ports();
    let deadline = Instant::now() + BOUND;
    loop {
        nodes.check()?;
        let ports = udp_ports()?;
        let now = Instant::now();
        let missing = wanted.iter().filter(|port| !ports.contains(port)).count();
        if missing == 0 {
            return Ok(now);
        }
        if now >= deadline {
            return Err(ClusterError::NotInTime {
                what: "the sockets of all nodes",
                limit: BOUND,
                missing: format!("{missing} of them"),
            });
        }
        sleep(GLANCE).await;
    }
}

/// When the last end of a link learnt that it is up, by answers that were complete at `now`.
fn youngest(all: &[Status], now: Instant) -> Instant {
    let links = all.iter().flat_map(|status| &status.links);
    let age = links.map(|link| link.since_ms).min().unwrap_or(0);
    now.checked_sub(Duration::from_millis(age)).unwrap_or(now)
}

impl Outcome for PowerOnReport {
    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.mesh_ms > self.mesh_limit_ms {
            faults.push(format!(
                "the mesh took {} ms from the last socket on, and may take {}",
                self.mesh_ms, self.mesh_limit_ms
            ));
        }
        if self.links_max != 1 {
            faults.push(format!(
                "a pair of nodes had {} links at once instead of 1",
                self.links_max
            ));
        }
        if self.handshakes >= self.handshakes_limit * self.pairs {
            faults.push(format!(
                "{} handshakes for {} pairs are {} or more for each",
                self.handshakes, self.pairs, self.handshakes_limit
            ));
        }
        faults
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("nodes, pairs", format!("{}, {}", self.nodes, self.pairs));
        row("mesh after the last socket", format!("{} ms", self.mesh_ms));
        row(
            "mesh after the first process",
            format!("{} ms", self.mesh_since_spawn_ms),
        );
        row("most links of a pair", self.links_max.to_string());
        row("links established", self.links_established.to_string());
        row(
            "handshakes for each pair",
            format!("{:.2}", self.handshakes_per_pair),
        );
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mesh_ms: u64, links_max: u64, handshakes: u64) -> PowerOnReport {
        PowerOnReport {
            nodes: 9,
            pairs: 36,
            mesh_ms,
            mesh_limit_ms: 2_000,
            mesh_since_spawn_ms: 0,
            links_max,
            links_established: 36,
            handshakes,
            handshakes_per_pair: 0.0,
            handshakes_limit: 2,
        }
    }

    #[test]
    fn each_promise_is_held_at_its_limit() {
        assert!(report(2_000, 1, 71).faults().is_empty());
        assert_eq!(report(2_001, 1, 71).faults().len(), 1);
        assert_eq!(report(2_000, 2, 71).faults().len(), 1);
        assert_eq!(report(2_000, 1, 72).faults().len(), 1);
    }
}
