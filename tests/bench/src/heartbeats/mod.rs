//! What heartbeats of many groups to one peer cost, beside gRPC with a call for each: processor time,
//! datagrams, and the memory of an idle group.
//!
//! The groups beat at their own pace, so a peer that cannot keep it is asked less often. That is why
//! processor time is compared for each heartbeat that was answered.

mod driver;
mod own;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use self::driver::{Beats, INTERVAL, Window, drive};
use self::own::{Groups, Leader};
use crate::memory;
use crate::pair::Failure;
use crate::peers::credentials::Nodes;
use crate::peers::tonic::{Tonic, TonicCaller};
use crate::peers::{Caller, PeerFailure};
use crate::report::{Spread, Table, ratio};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Numbers of groups.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1_000, 10_000])]
    groups: Vec<usize>,
    /// Who is measured.
    #[arg(long, value_delimiter = ',', default_values_t = Who::ALL, value_enum)]
    peers: Vec<Who>,
    /// Quicraft's window, milliseconds; its default unless it is given.
    #[arg(long)]
    window_ms: Option<f64>,
    /// How often each figure is taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement, behind a fifth of it to warm up.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// Whose heartbeats they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Who {
    /// Ours.
    Quicraft,
    /// A unary call for each, all on one channel.
    Tonic,
    /// Nobody's: what the tasks and timers of the measurement cost by themselves. It is part of what
    /// is told of the others.
    Driver,
}

impl Who {
    const ALL: [Self; 3] = [Self::Quicraft, Self::Tonic, Self::Driver];

    const fn key(self) -> &'static str {
        match self {
            Self::Quicraft => "quicraft",
            Self::Tonic => "tonic",
            Self::Driver => "driver",
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key())
    }
}

/// As many bytes as one of ours has in a frame, with its group.
const HEARTBEAT: Bytes = Bytes::from_static(&[3; 10]);

/// A group over gRPC.
struct OverTonic(TonicCaller);

impl Beats for OverTonic {
    async fn beat(&mut self) -> Result<(), PeerFailure> {
        self.0.call(HEARTBEAT).await.map(drop)
    }
}

impl Beats for Leader {
    async fn beat(&mut self) -> Result<(), PeerFailure> {
        Self::beat(self).await
    }
}

struct Nobody;

impl Beats for Nobody {
    async fn beat(&mut self) -> Result<(), PeerFailure> {
        Ok(())
    }
}

/// Over all rounds.
#[derive(Debug, Default)]
struct Figures {
    heartbeats_per_second: Spread,
    cpu_us_per_heartbeat: Spread,
    cpu_ms_per_second: Spread,
    /// Of Quicraft alone.
    datagrams_per_second: Spread,
}

impl Figures {
    fn add(&mut self, who: Who, window: Window) -> Result<(), Failure> {
        self.heartbeats_per_second
            .add(window.heartbeats_per_second)?;
        self.cpu_us_per_heartbeat.add(window.cpu_us_per_heartbeat)?;
        self.cpu_ms_per_second.add(window.cpu_ms_per_second)?;
        if who == Who::Quicraft {
            self.datagrams_per_second.add(window.counted_per_second)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "heartbeats_per_second": self.heartbeats_per_second.median(),
            "cpu_us_per_heartbeat": self.cpu_us_per_heartbeat.median(),
            "cpu_ms_per_second": self.cpu_ms_per_second.median(),
            "datagrams_per_second": self.datagrams_per_second.median(),
        })
    }
}

type All = BTreeMap<(usize, Who), Figures>;

/// The memory of a group that does nothing but heartbeats, bytes.
#[derive(Clone, Copy, Debug)]
struct IdleGroup {
    asks: f64,
    answers: f64,
}

/// Drives every number of groups in every round, and compares.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let measured = Duration::try_from_secs_f64(options.seconds)?;
    let window = options.window_ms.map(|ms| ms / 1_000.0);
    let window = window.map(Duration::try_from_secs_f64).transpose()?;
    let nodes = Nodes::issue()?;
    let mut quicraft = Groups::start(&nodes, window).await?;
    let most = options.groups.iter().copied().max().unwrap_or(1);
    let idle = idle_group(&mut quicraft, most).await?;
    let tonic = Tonic::start(&nodes).await?;
    let mut all = All::new();
    for round in 0..options.rounds as usize {
        for groups in &options.groups {
            for turn in 0..options.peers.len() {
                let who = options.peers[(turn + round) % options.peers.len()];
                let window = beat(who, *groups, measured, &quicraft, &tonic).await;
                let window = window.map_err(|error| format!("{who}, {groups} groups: {error}"))?;
                all.entry((*groups, who)).or_default().add(who, window)?;
            }
        }
    }
    println!(
        "a heartbeat of each group each {INTERVAL:?} to one peer; {} rounds of {} s; median \
         (lowest..highest)",
        options.rounds, options.seconds
    );
    println!("{}", table(&all));
    println!(
        "an idle group, of {most}: {:.0} bytes at the node that leads, {:.0} at the one that follows",
        idle.asks, idle.answers
    );
    if options.json {
        println!("{}", report(&all, idle)?);
    }
    Ok(())
}

/// What each of so many groups adds to the memory of this process. The heap is young, so little of
/// what was freed is used again.
async fn idle_group(quicraft: &mut Groups, groups: usize) -> Result<IdleGroup, Failure> {
    let before = memory::resident()?;
    quicraft.serve(groups)?;
    let served = memory::resident()?;
    let mut leaders = Vec::with_capacity(groups);
    for group in 0..groups {
        leaders.push(quicraft.leader(group).await);
    }
    let beats = leaders.iter_mut().map(Leader::beat);
    for answer in futures_util::future::join_all(beats).await {
        answer.map_err(|error| -> Failure { error })?;
    }
    let led = memory::resident()?;
    let each = |more: u64, less: u64| more.saturating_sub(less).max(1) as f64 / groups as f64;
    Ok(IdleGroup {
        asks: each(led, served),
        answers: each(served, before),
    })
}

async fn beat(
    who: Who,
    groups: usize,
    measured: Duration,
    quicraft: &Groups,
    tonic: &Tonic,
) -> Result<Window, Failure> {
    match who {
        Who::Quicraft => {
            let mut leaders = Vec::with_capacity(groups);
            for group in 0..groups {
                leaders.push(quicraft.leader(group).await);
            }
            drive(leaders, measured, || quicraft.datagrams()).await
        }
        Who::Tonic => {
            let callers = (0..groups).map(|_| OverTonic(tonic.caller())).collect();
            drive(callers, measured, || Ok(0)).await
        }
        Who::Driver => {
            let nobody = (0..groups).map(|_| Nobody).collect();
            drive(nobody, measured, || Ok(0)).await
        }
    }
}

fn table(all: &All) -> Table {
    let columns = [
        "groups",
        "who",
        "heartbeats/s",
        "CPU us each",
        "CPU ms/s",
        "datagrams/s",
    ];
    let mut table = Table::new(columns);
    for ((groups, who), figures) in all {
        table.row([
            groups.to_string(),
            who.to_string(),
            format!("{:.0}", figures.heartbeats_per_second),
            format!("{:.2}", figures.cpu_us_per_heartbeat),
            format!("{:.1}", figures.cpu_ms_per_second),
            format!("{:.0}", figures.datagrams_per_second),
        ]);
    }
    table
}

fn report(all: &All, idle: IdleGroup) -> Result<Value, Failure> {
    let mut report = Map::new();
    let figures = |groups: usize, who: Who| all.get(&(groups, who));
    for groups in [1, 100, 1_000, 10_000] {
        if let (Some(ours), Some(tonic)) =
            (figures(groups, Who::Quicraft), figures(groups, Who::Tonic))
        {
            let ratio = ratio(&ours.cpu_us_per_heartbeat, &tonic.cpu_us_per_heartbeat)?;
            report.insert(format!("cpu_{groups}_vs_tonic"), json!(ratio));
        }
    }
    if let (Some(many), Some(few)) = (figures(1_000, Who::Quicraft), figures(100, Who::Quicraft)) {
        let ratio = ratio(&many.datagrams_per_second, &few.datagrams_per_second)?;
        report.insert("datagrams_1000_vs_100".to_owned(), json!(ratio));
    }
    let larger = idle.asks.max(idle.answers);
    report.insert("bytes_per_idle_group".to_owned(), json!(larger));
    report.insert("bytes_per_led_group".to_owned(), json!(idle.asks));
    report.insert("bytes_per_followed_group".to_owned(), json!(idle.answers));
    let mut medians: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for ((groups, who), figures) in all {
        let of_peer = medians.entry(who.key()).or_default();
        of_peer.insert(groups.to_string(), figures.json());
    }
    report.insert("medians".to_owned(), json!(medians));
    Ok(Value::Object(report))
}
