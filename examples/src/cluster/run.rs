//! The main job from its first process to its last, and what is left behind: nothing.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use super::client::Clients;
use super::drill::drill;
use super::error::ClusterError;
use super::limits::{KILL_AT_PERCENT, START, START_ATTEMPTS};
use super::load::Load;
use super::nodes::{Nodes, lost_its_port};
use super::observed::Observed;
use super::options::Options;
use super::readback::{read_back, settle};
use super::report::Report;
use super::status::{Status, missing};
use super::wait::{Look, until};
use super::workload::Workload;
use crate::kv::process::one_line;
use crate::kv::stop::StopSignal;

/// Runs the main job. The result goes to standard output; what is wrong goes to standard error, and
/// the exit code is not 0 then. No process and, without `--keep`, no file is left behind.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| ClusterError::System {
            what: "threads",
            source,
        });
    let result = runtime.and_then(|runtime| runtime.block_on(supervise(options)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kv-cluster: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs the job until it is done or somebody asks to stop, and cleans up in any case. Returns
/// whether the cluster kept its promises.
async fn supervise(options: &Options) -> Result<bool, ClusterError> {
    if options.kill_leader && options.nodes < 3 {
        return Err(ClusterError::TooFewNodes);
    }
    let mut signal = StopSignal::listen().map_err(|source| ClusterError::System {
        what: "signals",
        source,
    })?;
    let mut nodes = Nodes::prepare(options.nodes, options.groups)?;
    let result = tokio::select! {
        result = job(options, &mut nodes) => result,
        () = signal.next() => Err(ClusterError::Interrupted),
    };
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            nodes.kill_all().await;
            if !matches!(error, ClusterError::Interrupted) {
                eprint!("{}", nodes.logs());
            }
            return Err(error);
        }
    };
    show(&report, options, &nodes);
    if options.keep {
        eprintln!("the nodes run until ctrl-c");
        signal.next().await;
    }
    let mut faults = report.faults();
    tokio::select! {
        stopped = nodes.stop() => faults.extend(stopped),
        () = signal.next() => {}
    }
    nodes.kill_all().await;
    for fault in &faults {
        eprintln!("kv-cluster: {fault}");
    }
    if !faults.is_empty() {
        eprint!("{}", nodes.logs());
    }
    if options.keep {
        eprintln!("their folder is kept: {}", nodes.keep().display());
    }
    Ok(faults.is_empty())
}

/// All steps in their order.
async fn job(options: &Options, nodes: &mut Nodes) -> Result<Report, ClusterError> {
    let mut observed = Observed::default();
    let clients = start(options, nodes, &mut observed).await?;
    let mut load = Load::start(&clients, options.clients, options.writes);
    let mut drilled = None;
    if options.kill_leader {
        let enough = options.writes.saturating_mul(KILL_AT_PERCENT) / 100;
        load.reached(enough).await?;
        let groups = options.groups;
        let seed = options.seed;
        drilled = Some(drill(nodes, &clients, &mut observed, &load, groups, seed).await?);
    }
    let led = drilled.as_ref().map_or(&[][..], |drill| &drill.led);
    let finished = load.finish(led).await?;
    let differ = settle(nodes, &clients, &mut observed).await?;
    let found = read_back(&clients, nodes.len(), options.writes, options.clients).await?;
    if let Some(example) = &found.example {
        eprintln!("kv-cluster: {example}");
    }
    Ok(Report::new(
        options,
        &finished,
        drilled.as_ref(),
        &observed,
        differ,
        &found,
    ))
}

/// Starts the nodes and waits until they are a cluster; with other ports when somebody takes one
/// in between.
async fn start(
    options: &Options,
    nodes: &mut Nodes,
    observed: &mut Observed,
) -> Result<Arc<Clients>, ClusterError> {
    for _ in 0..START_ATTEMPTS {
        let workload = Workload::new(options.seed, options.groups, options.value_bytes);
        let urls = nodes.urls().to_vec();
        let clients = Clients::new(urls, options.groups, options.clients, workload)?;
        nodes.start_all()?;
        match formed(nodes, &clients, observed).await {
            Ok(all) => {
                for (node, status) in all.iter().enumerate() {
                    for group in status.led() {
                        clients.remember(group, node);
                    }
                }
                return Ok(Arc::new(clients));
            }
            Err(ClusterError::NodeEnded { status, .. }) if lost_its_port(status) => {
                nodes.kill_all().await;
                *nodes = Nodes::prepare(options.nodes, options.groups)?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(ClusterError::Ports {
        attempts: START_ATTEMPTS,
    })
}

/// Waits until every group has a leader and every two nodes a link.
async fn formed(
    nodes: &mut Nodes,
    clients: &Clients,
    observed: &mut Observed,
) -> Result<Vec<Status>, ClusterError> {
    until("a leader in every group", START, async || {
        nodes.check()?;
        Ok(match observed.ask_all(clients, nodes.len()).await {
            Err(missing) => Look::Missing(missing),
            Ok(all) => missing(&all).map_or(Look::There(all), Look::Missing),
        })
    })
    .await
}

/// Prints the result: the JSON, if it is wanted, on the last line.
fn show(report: &Report, options: &Options, nodes: &Nodes) {
    let mut out = String::new();
    if options.keep {
        for url in nodes.urls() {
            out.push_str(&format!("{url}/status\n"));
        }
    }
    out.push_str(&report.table());
    out.push('\n');
    if options.json {
        match serde_json::to_string(report) {
            Ok(json) => out.push_str(&json),
            Err(error) => eprintln!("kv-cluster: no JSON: {error}"),
        }
        out.push('\n');
    }
    let mut stdout = std::io::stdout().lock();
    // Whoever has closed our output does not want the result.
    drop(
        stdout
            .write_all(out.as_bytes())
            .and_then(|()| stdout.flush()),
    );
}
