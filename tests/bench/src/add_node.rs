//! What it takes to take a node into many idle groups: the time beside that of one group alone, who
//! is without a leader meanwhile, and the memory of a group on a node. All nodes live in this process,
//! on an in-memory network.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use quicraft_manager::{ChangeOptions, GroupRole, GroupSelection, RaftManager};
use quicraft_tests::managed::{ManagedCluster, ManagedSpec, orders};
use serde::Serialize;

use crate::memory;

/// The nodes that found the cluster.
const FOUNDERS: [u64; 3] = [1, 2, 3];
/// The node that is taken in.
const NEW: u64 = 4;
/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(300);
/// How often all groups are looked at. Shorter than any election.
const LOOK: Duration = Duration::from_millis(100);

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The groups.
    #[arg(long, default_value_t = 1_000)]
    groups: u32,
    /// Groups that are changed at the same time.
    #[arg(long, default_value_t = 32)]
    parallelism: usize,
    /// Groups that are joined one by one, for the time of one alone.
    #[arg(long, default_value_t = 21)]
    alone: u32,
    /// Prints one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    groups: u32,
    parallelism: usize,
    alone_median_ms: f64,
    together_ms: f64,
    /// What the median of one alone allows: 2 x (groups / parallelism) x median.
    allowed_ms: f64,
    /// The most groups that any of the founders knew no leader of, at any look.
    leaderless_max: usize,
    looks: usize,
    /// Resident bytes per group and node, before the new node came.
    memory_per_group_and_node: f64,
}

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    if options.groups <= options.alone || options.alone == 0 {
        return Err("--groups must be more than --alone, and --alone at least 1".into());
    }
    let empty = memory::resident()?;
    let mut spec = ManagedSpec::new(FOUNDERS, options.groups);
    // A third of the heartbeats of a small cluster: with a thousand groups nobody sends more.
    spec.raft.heartbeat_interval = 500;
    spec.raft.election_timeout_min = 2_500;
    spec.raft.election_timeout_max = 5_000;
    let mut cluster = ManagedCluster::new(spec);
    for id in FOUNDERS {
        cluster.begin(id).await;
    }
    cluster.all_formed(LIMIT).await;
    let resident = memory::resident()?.saturating_sub(empty);
    let parts = f64::from(options.groups) * FOUNDERS.len() as f64;

    cluster.configure(NEW, [1, 2, 3, NEW]);
    cluster.begin(NEW).await;
    let manager = cluster.node(1).manager.clone();
    let change = || ChangeOptions::until(tokio::time::Instant::now() + LIMIT);
    let none = GroupSelection::Some(BTreeSet::new());
    manager
        .add_node(cluster.record(NEW), none, &change())
        .await?;

    let mut alone = Vec::new();
    for shard in 0..options.alone {
        let one = GroupSelection::Some(BTreeSet::from([orders(shard)]));
        let started = Instant::now();
        let role = Some(GroupRole::Voter);
        manager.place(NEW, one, role, &change()).await?;
        alone.push(started.elapsed());
    }
    alone.sort_unstable();
    let alone = alone[alone.len() / 2];

    let watch = Watch::start(FOUNDERS.map(|id| cluster.node(id).manager.clone()).to_vec());
    let started = Instant::now();
    let together = change().parallel(options.parallelism);
    let record = cluster.record(NEW);
    manager
        .add_node(record, GroupSelection::All, &together)
        .await?;
    let together = started.elapsed();
    let (leaderless_max, looks) = watch.end().await?;

    let rest = f64::from(options.groups - options.alone);
    let report = Report {
        groups: options.groups,
        parallelism: options.parallelism,
        alone_median_ms: alone.as_secs_f64() * 1e3,
        together_ms: together.as_secs_f64() * 1e3,
        allowed_ms: 2.0 * rest / options.parallelism as f64 * alone.as_secs_f64() * 1e3,
        leaderless_max,
        looks,
        memory_per_group_and_node: resident as f64 / parts,
    };
    println!(
        "{} groups of {} nodes, {} at a time, took {:.0} ms; one alone takes {:.1} ms (median of {}), which allows {:.0} ms\n\
         at {} looks at most {} groups had no leader; {:.1} KiB per group and node",
        options.groups - options.alone,
        FOUNDERS.len(),
        report.parallelism,
        report.together_ms,
        report.alone_median_ms,
        options.alone,
        report.allowed_ms,
        report.looks,
        report.leaderless_max,
        report.memory_per_group_and_node / 1024.0,
    );
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    let kept = report.together_ms <= report.allowed_ms && report.leaderless_max == 0;
    kept.then_some(())
        .ok_or_else(|| "a promise was not kept".into())
}

/// Looks at the leaders of all groups until it is told to end.
struct Watch {
    end: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(usize, usize)>,
}

impl Watch {
    fn start(managers: Vec<RaftManager>) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let task = tokio::spawn(async move {
            let mut most = 0;
            let mut looks = 0;
            while !ended.load(Ordering::Relaxed) {
                let leaderless = managers.iter().map(|manager| {
                    let groups = manager.group_status().into_iter();
                    groups.filter(|group| group.leader.is_none()).count()
                });
                most = most.max(leaderless.max().unwrap_or(0));
                looks += 1;
                tokio::time::sleep(LOOK).await;
            }
            (most, looks)
        });
        Self { end, task }
    }

    async fn end(self) -> Result<(usize, usize), tokio::task::JoinError> {
        self.end.store(true, Ordering::Relaxed);
        self.task.await
    }
}
