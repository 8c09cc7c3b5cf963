//! A job from its first process to its last, and what is left behind: nothing.

use std::io::Write as _;
use std::process::ExitCode;

use super::bad_days::bad_days;
use super::bad_days::options::BadDaysOptions;
use super::change::{change, check};
use super::drill::drill;
use super::error::ClusterError;
use super::killed_changes::killed_changes;
use super::killed_changes::options::{FOUNDERS, KilledChangesOptions};
use super::layout::Layout;
use super::limits::KILL_AT_PERCENT;
use super::load::Load;
use super::nodes::Nodes;
use super::observed::Observed;
use super::options::Options;
use super::power_on::{PowerOnOptions, power_on};
use super::readback::{read_back, settle};
use super::report::{Outcome, Report};
use super::rotate::options::RotateOptions;
use super::rotate::rotate;
use super::start::start;
use super::workload::Workload;
use crate::kv::process::one_line;
use crate::kv::stop::StopSignal;

/// What is to be done with a cluster of node processes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Job {
    /// The main job: writes, and a leader that is killed.
    Main(Options),
    /// Many troubles of single nodes.
    BadDays(BadDaysOptions),
    /// Nodes that die in the middle of a change that they run.
    KilledChanges(KilledChangesOptions),
    /// All nodes at once.
    PowerOn(PowerOnOptions),
    /// New certificates while the nodes work.
    Rotate(RotateOptions),
}

impl Job {
    fn nodes(&self) -> Result<Nodes, ClusterError> {
        match self {
            Self::Main(options) if options.kill_leader && options.nodes < 3 => {
                Err(ClusterError::TooFewNodes)
            }
            Self::Main(options) => {
                check(options)?;
                Nodes::prepare(options.nodes, options.groups)
            }
            Self::BadDays(options) => Nodes::prepare(options.nodes, options.groups),
            Self::KilledChanges(options) => {
                Nodes::laid_out(Layout::new(FOUNDERS, options.groups)?.drilling_changes())
            }
            // It is about links; nobody writes.
            Self::PowerOn(options) => Nodes::prepare(options.nodes, 1),
            Self::Rotate(options) => Nodes::laid_out(
                Layout::new(options.nodes, options.groups)?.calling(options.calls_per_node()),
            ),
        }
    }

    async fn work(&self, nodes: &mut Nodes) -> Result<Box<dyn Outcome>, ClusterError> {
        Ok(match self {
            Self::Main(options) => Box::new(main_job(options, nodes).await?),
            Self::BadDays(options) => Box::new(bad_days(options, nodes).await?),
            Self::KilledChanges(options) => Box::new(killed_changes(options, nodes).await?),
            Self::PowerOn(options) => Box::new(power_on(options, nodes).await?),
            Self::Rotate(options) => Box::new(rotate(options, nodes).await?),
        })
    }

    const fn keep(&self) -> bool {
        match self {
            Self::Main(options) => options.keep,
            Self::BadDays(options) => options.keep,
            Self::KilledChanges(_) | Self::PowerOn(_) | Self::Rotate(_) => false,
        }
    }

    const fn json(&self) -> bool {
        match self {
            Self::Main(options) => options.json,
            Self::BadDays(options) => options.json,
            Self::KilledChanges(options) => options.json,
            Self::PowerOn(options) => options.json,
            Self::Rotate(options) => options.json,
        }
    }
}

/// Runs a job. The result goes to standard output; what is wrong goes to standard error, and the
/// exit code is not 0 then. No process and, without `--keep`, no file is left behind.
#[must_use]
pub fn run(job: &Job) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| ClusterError::System {
            what: "threads",
            source,
        });
    let result = runtime.and_then(|runtime| runtime.block_on(supervise(job)));
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
async fn supervise(job: &Job) -> Result<bool, ClusterError> {
    let mut signal = StopSignal::listen().map_err(|source| ClusterError::System {
        what: "signals",
        source,
    })?;
    let mut nodes = job.nodes()?;
    let result = tokio::select! {
        result = job.work(&mut nodes) => result,
        () = signal.next() => Err(ClusterError::Interrupted),
    };
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            nodes.kill_all().await;
            if !matches!(error, ClusterError::Interrupted) {
                eprint!("{}", nodes.logs());
                tell(&nodes.panics());
            }
            return Err(error);
        }
    };
    show(&*report, job, &nodes);
    if job.keep() {
        eprintln!("the nodes run until ctrl-c");
        signal.next().await;
    }
    let mut faults = report.faults();
    tokio::select! {
        stopped = nodes.stop() => faults.extend(stopped),
        () = signal.next() => {}
    }
    nodes.kill_all().await;
    faults.extend(nodes.panics());
    tell(&faults);
    if !faults.is_empty() {
        eprint!("{}", nodes.logs());
    }
    if job.keep() {
        eprintln!("their folder is kept: {}", nodes.keep().display());
    }
    Ok(faults.is_empty())
}

fn tell(faults: &[String]) {
    for fault in faults {
        eprintln!("kv-cluster: {fault}");
    }
}

/// All steps of the main job in their order.
async fn main_job(options: &Options, nodes: &mut Nodes) -> Result<Report, ClusterError> {
    let mut observed = Observed::default();
    let workload = Workload::new(options.seed, options.groups, options.value_bytes);
    let clients = start(nodes, workload, options.clients, &mut observed).await?;
    let mut load = if options.changes() {
        Load::anywhere(&clients, options.clients, options.period())
    } else {
        Load::start(&clients, options.clients, options.writes)
    };
    let mut drilled = None;
    if options.kill_leader {
        let enough = options.writes.saturating_mul(KILL_AT_PERCENT) / 100;
        load.reached(enough).await?;
        let groups = options.groups;
        let seed = options.seed;
        drilled = Some(drill(nodes, &clients, &mut observed, &load, groups, seed).await?);
    }
    let mut written = options.writes;
    let mut changed = None;
    if options.changes() {
        changed = Some(change(options, nodes, &clients, &mut observed, &load).await?);
        load.reached(options.writes).await?;
        written = load.enough();
    }
    let led = drilled.as_ref().map_or(&[][..], |drill| &drill.led);
    let finished = load.finish(led).await?;
    let differ = settle(nodes, &clients, &mut observed).await?;
    let found = read_back(&clients, nodes.len(), written, options.clients).await?;
    if let Some(example) = &found.example {
        eprintln!("kv-cluster: {example}");
    }
    Ok(Report::new(
        options,
        &finished,
        drilled.as_ref(),
        changed.as_ref(),
        &observed,
        differ,
        &found,
    ))
}

/// Prints the result: the JSON, if it is wanted, on the last line.
fn show(report: &dyn Outcome, job: &Job, nodes: &Nodes) {
    let mut out = String::new();
    if job.keep() {
        for url in nodes.urls() {
            out.push_str(&format!("{url}/status\n"));
        }
    }
    out.push_str(&report.table());
    out.push('\n');
    if job.json() {
        match report.json() {
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
