//! A rotation of certificates while the nodes work: first the leaf certificates, then the CA with a
//! time in which both are trusted. The nodes follow their files.
//!
//! The invariant: no call between nodes fails, no write has to be repeated, nobody is elected, and a
//! pair of nodes never has two links.

pub mod options;
pub mod report;
mod step;

use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::Authority;
use tokio::time::{Instant, sleep};

use self::options::RotateOptions;
use self::report::{Findings, RotateReport};
use self::step::{Step, lacks, outdated};
use super::client::Clients;
use super::error::ClusterError;
use super::limits::{HOLD, PACE, READERS, START, STEP};
use super::load::Load;
use super::nodes::Nodes;
use super::observed::Observed;
use super::readback::{read_back, settle};
use super::start::start;
use super::status::{Calls, Status};
use super::wait::{Look, until};
use super::workload::Workload;

/// Rotates all certificates and looks at what became of calls and writes meanwhile.
///
/// # Errors
///
/// [`ClusterError`], when a step is not done in time or a node ends by itself.
pub async fn rotate(
    options: &RotateOptions,
    nodes: &mut Nodes,
) -> Result<RotateReport, ClusterError> {
    let mut observed = Observed::default();
    let workload = Workload::new(options.seed, options.groups, options.value_bytes);
    let clients = start(nodes, workload, options.clients, &mut observed).await?;
    let load = Load::endless(&clients, options.clients, 0, PACE);
    let mut watch = Watch {
        nodes,
        clients: &clients,
        observed: &mut observed,
    };
    watch.until("links under load", START, outdated).await?;
    sleep(HOLD).await;
    let mut all = watch.until("links under load", START, outdated).await?;
    let (began, before, elections) = (Instant::now(), calls(&all), watch.observed.elections());
    let new = Authority::new(watch.nodes.authority().cluster().clone())?;
    let mut steps = Vec::new();
    for step in Step::ALL {
        let started = Instant::now();
        step.write(watch.nodes, &new)?;
        let done = watch.until(step.name(), STEP, |now| lacks(&all, now)).await;
        all = done?;
        steps.push((step, started.elapsed()));
        // Under load, and behind the drain of what was replaced.
        sleep(HOLD).await;
    }
    let last = watch.until("links under load", START, outdated).await?;
    let took = began.elapsed();
    let elections = observed.elections() - elections;

    let written = load.enough();
    let finished = load.finish(&[]).await?;
    let digests_differ = settle(nodes, &clients, &mut observed).await?;
    let readback = read_back(&clients, nodes.len(), written, READERS).await?;
    Ok(RotateReport::new(
        options,
        Findings {
            steps,
            took,
            before,
            after: calls(&last),
            elections,
            written,
            totals: &finished.totals,
            observed: &observed,
            digests_differ,
            readback: &readback,
        },
    ))
}

/// The calls of all nodes together.
fn calls(all: &[Status]) -> Calls {
    let mut sum = Calls::default();
    for calls in all.iter().map(|status| &status.calls) {
        sum.answered += calls.answered;
        sum.failed += calls.failed;
        sum.slowest_ms = sum.slowest_ms.max(calls.slowest_ms);
        sum.last_failure = calls.last_failure.clone().or(sum.last_failure);
    }
    sum
}

/// Who is looked at, and through whose eyes.
struct Watch<'a> {
    nodes: &'a mut Nodes,
    clients: &'a Arc<Clients>,
    observed: &'a mut Observed,
}

impl Watch<'_> {
    /// Waits until nothing is lacking in what the nodes say.
    async fn until(
        &mut self,
        what: &'static str,
        limit: Duration,
        lacking: impl Fn(&[Status]) -> Option<String>,
    ) -> Result<Vec<Status>, ClusterError> {
        until(what, limit, async || {
            self.nodes.check()?;
            let answers = self.observed.ask_all(self.clients, self.nodes.len()).await;
            Ok(match answers {
                Err(missing) => Look::Missing(missing),
                Ok(all) => lacking(&all).map_or(Look::There(all), Look::Missing),
            })
        })
        .await
    }
}
