//! Bad days: node processes are killed, stopped, paused and started again under load, at times that
//! a seed has drawn, and then everything must be as it was.
//!
//! The invariant: nothing acknowledged is lost; and within 10 s of the last event each node has one
//! link to each other node and never had two, no call is in flight, and the tasks and descriptors
//! are as many as before the first event.

pub mod options;
pub mod plan;
pub mod report;
pub mod rest;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use self::options::BadDaysOptions;
use self::plan::{Action, Event, plan};
use self::report::{BadDaysReport, Findings};
use self::rest::{rest, steady};
use super::client::Clients;
use super::error::ClusterError;
use super::limits::{LAST_WORDS, PACE, READERS, STOP};
use super::load::Load;
use super::nodes::{Nodes, lost_its_port};
use super::observed::Observed;
use super::readback::{read_back, settle};
use super::start::start;
use super::status::Status;
use super::workload::Workload;

/// Has the bad days and looks at what they leave.
///
/// # Errors
///
/// [`ClusterError`], when it cannot be done; what is wrong with the cluster is in the report.
pub async fn bad_days(
    options: &BadDaysOptions,
    nodes: &mut Nodes,
) -> Result<BadDaysReport, ClusterError> {
    let mut observed = Observed::default();
    let workload = Workload::new(options.seed, options.groups, options.value_bytes);
    // Without connections that are kept: each would be a descriptor and a task of a node.
    let watchers = start(nodes, workload, 0, &mut observed).await?;
    let written = touch(&watchers, options.groups, 0).await?;
    // Digests of what is nearly nothing are compared again at the end.
    settle(nodes, &watchers, &mut observed).await.map(drop)?;
    let before = steady(nodes, &watchers, &mut observed).await?;

    let clients = Clients::new(nodes.urls(), options.groups, options.clients, workload)?;
    let load = Load::endless(&Arc::new(clients), options.clients, written, PACE);
    let events = plan(options.seed, nodes.len(), options.events);
    let bad_stops = happen_all(&events, nodes, &watchers, &mut observed).await?;
    let last = Instant::now();
    let written = load.enough();
    let finished = load.finish(&[]).await?;

    let rest = rest(nodes, &watchers, &mut observed, &before, last).await?;
    let digests_differ = settle(nodes, &watchers, &mut observed).await?;
    let readback = read_back(&watchers, nodes.len(), written, READERS).await?;
    if let Some(example) = &readback.example {
        eprintln!("kv-cluster: {example}");
    }
    let still = observed.ask_all(&watchers, nodes.len()).await;
    let flapped = still.map_or(true, |still| links_total(&still) != links_total(&rest.all));
    let findings = Findings {
        events: &events,
        bad_stops,
        written,
        totals: &finished.totals,
        before,
        rest,
        observed: &observed,
        digests_differ,
        readback: &readback,
        flapped,
    };
    Ok(BadDaysReport::new(options, findings))
}

/// Links of all nodes since they started.
fn links_total(all: &[Status]) -> u64 {
    let links = all.iter().flat_map(|status| &status.links);
    links.map(|link| link.links_total).sum()
}

/// Writes from number `first` on until every group has a new entry. Returns the number after the
/// last.
async fn touch(clients: &Clients, groups: u64, first: u64) -> Result<u64, ClusterError> {
    let workload = clients.workload();
    let mut left: BTreeSet<u64> = (0..groups).collect();
    let mut number = first;
    while !left.is_empty() {
        clients.write(number).await?;
        left.remove(&workload.group(&workload.key(number)));
        number += 1;
    }
    Ok(number)
}

/// Lets the events happen, each at its time or, if what was before took longer, as long after it
/// as it was meant to be. Returns what went wrong with nodes that were asked to stop.
async fn happen_all(
    events: &[Event],
    nodes: &mut Nodes,
    watchers: &Clients,
    observed: &mut Observed,
) -> Result<Vec<String>, ClusterError> {
    let mut faults = Vec::new();
    let mut before = Duration::ZERO;
    // Whether a node answered right before it was asked to stop.
    let mut heard = vec![false; nodes.len()];
    for event in events {
        sleep(event.at.saturating_sub(before)).await;
        before = event.at;
        let node = event.node;
        match event.action {
            Action::Kill => {
                hear(nodes, node, watchers, observed).await;
                nodes.kill(node).await.map(drop)?;
            }
            Action::Terminate => {
                heard[node] = hear(nodes, node, watchers, observed).await;
                nodes.terminate(node).await?;
            }
            Action::Pause => nodes.pause(node).await?,
            Action::Continue => nodes.go_on(node).await.map(drop)?,
            Action::Restart => {
                let status = nodes.ended(node, STOP).await?;
                // A node that was still starting has no hand for the signal yet.
                if let Some(status) = status.filter(|status| heard[node] && !status.success()) {
                    faults.push(format!("node {} stopped badly ({status})", nodes.id(node)));
                }
                nodes.start(node)?;
            }
        }
        revive(nodes)?;
    }
    Ok(faults)
}

/// What a node has seen of its links ends with it, so it is asked before. Returns whether it
/// answered; one that is paused cannot.
async fn hear(nodes: &Nodes, node: usize, watchers: &Clients, observed: &mut Observed) -> bool {
    if nodes.is_paused(node) {
        return false;
    }
    match timeout(LAST_WORDS, watchers.status(node)).await {
        Ok(Ok(status)) => {
            observed.note(&status);
            true
        }
        _ => false,
    }
}

/// Starts a node again that came up while somebody else had one of its ports.
fn revive(nodes: &mut Nodes) -> Result<(), ClusterError> {
    match nodes.check() {
        Err(ClusterError::NodeEnded { node, status }) if lost_its_port(status) => {
            let place = (0..nodes.len()).find(|&place| nodes.id(place) == node);
            place.map_or(Ok(()), |place| nodes.start(place))
        }
        checked => checked,
    }
}
