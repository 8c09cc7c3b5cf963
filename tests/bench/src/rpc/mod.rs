//! Small calls beside the peers: how many a second, how late, and what a call costs.
//!
//! All peers are up for the whole run, and each round asks them one after the other, each time in
//! another order, so that a machine that is busy for a while is unfair to nobody.

mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use quicraft_transport::TransportConfig;
use quicraft_transport::link::CallLane;
use serde_json::{Map, Value, json};

use crate::pair::Failure;
use crate::peers::PeerName;
use crate::peers::bare::Bare;
use crate::peers::credentials::Nodes;
use crate::peers::own::Quicraft;
use crate::peers::tls::Tls;
use crate::peers::tonic::Tonic;
use crate::report::{Spread, Table, ratio};
use window::{Plan, Window, window};

/// The largest datagram of both users of quinn, as by Quicraft's default.
fn datagram_bytes_max() -> u16 {
    TransportConfig::default().datagram_bytes_max
}

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Calls that each peer has in flight at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1_024])]
    in_flight: Vec<usize>,
    /// Who is asked.
    #[arg(long, value_delimiter = ',', default_values_t = PeerName::ALL, value_enum)]
    peers: Vec<PeerName>,
    /// How often each figure is taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement, behind a fifth of it to warm up.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

struct Peers {
    quicraft: Quicraft,
    tonic: Tonic,
    tls: Tls,
    bare: Bare,
}

impl Peers {
    async fn start() -> Result<Self, Failure> {
        let nodes = Nodes::issue()?;
        Ok(Self {
            quicraft: Quicraft::start(&nodes, TransportConfig::default()).await?,
            tonic: Tonic::start(&nodes).await?,
            tls: Tls::start(&nodes).await?,
            bare: Bare::start(&nodes, datagram_bytes_max()).await?,
        })
    }

    async fn ask(&self, peer: PeerName, in_flight: usize, plan: &Plan) -> Result<Window, Failure> {
        let taken = match peer {
            PeerName::Quicraft => {
                window(self.quicraft.caller(CallLane::Call)?, in_flight, plan).await
            }
            PeerName::Tonic => window(self.tonic.caller(), in_flight, plan).await,
            PeerName::Tls => window(self.tls.caller(), in_flight, plan).await,
            PeerName::Bare => window(self.bare.caller(), in_flight, plan).await,
        };
        taken.map_err(|error| format!("{peer} with {in_flight} in flight: {error}").into())
    }
}

/// The figures of a peer at one number in flight, over all rounds.
#[derive(Debug, Default)]
struct Figures {
    calls_per_second: Spread,
    p50_us: Spread,
    p99_us: Spread,
    p999_us: Spread,
    cpu_us_per_call: Spread,
}

impl Figures {
    fn add(&mut self, window: &Window) -> Result<(), Failure> {
        self.calls_per_second.add(window.calls_per_second)?;
        self.p50_us.add(window.latencies.micros_at(0.5))?;
        self.p99_us.add(window.latencies.micros_at(0.99))?;
        self.p999_us.add(window.latencies.micros_at(0.999))?;
        self.cpu_us_per_call.add(window.cpu_us_per_call)
    }

    fn json(&self) -> Value {
        json!({
            "calls_per_second": self.calls_per_second.median(),
            "p50_us": self.p50_us.median(),
            "p99_us": self.p99_us.median(),
            "p999_us": self.p999_us.median(),
            "cpu_us_per_call": self.cpu_us_per_call.median(),
        })
    }
}

/// By number in flight and peer.
type All = BTreeMap<(usize, PeerName), Figures>;

/// Asks every peer in every round, and compares.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let plan = Plan::new(Duration::try_from_secs_f64(options.seconds)?);
    let peers = Peers::start().await?;
    let mut all = All::new();
    for round in 0..options.rounds as usize {
        for in_flight in &options.in_flight {
            for turn in 0..options.peers.len() {
                let peer = options.peers[(turn + round) % options.peers.len()];
                let window = peers.ask(peer, *in_flight, &plan).await?;
                all.entry((*in_flight, peer)).or_default().add(&window)?;
            }
        }
    }
    let (request, reply) = (crate::peers::REQUEST.len(), crate::peers::REPLY.len());
    println!(
        "calls of {request} B, replies of {reply} B; {} rounds of {} s; median (lowest..highest)",
        options.rounds, options.seconds
    );
    println!("{}", table(&all));
    let ratios = ratios(&all)?;
    println!("Quicraft's medians, each for one of the peer");
    println!("{}", ratio_table(&ratios));
    if options.json {
        println!("{}", report(&all, &ratios));
    }
    Ok(())
}

fn table(all: &All) -> Table {
    let columns = [
        "in flight",
        "peer",
        "calls/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "CPU us/call",
    ];
    let mut table = Table::new(columns);
    for ((in_flight, peer), figures) in all {
        table.row([
            in_flight.to_string(),
            peer.to_string(),
            format!("{:.0}", figures.calls_per_second),
            format!("{:.0}", figures.p50_us),
            format!("{:.0}", figures.p99_us),
            format!("{:.0}", figures.p999_us),
            format!("{:.2}", figures.cpu_us_per_call),
        ]);
    }
    table
}

/// Quicraft's medians, each for one of another peer.
#[derive(Debug)]
struct Ratios {
    in_flight: usize,
    peer: PeerName,
    calls: f64,
    p50: f64,
    cpu: f64,
}

/// Against every peer that was asked beside Quicraft.
fn ratios(all: &All) -> Result<Vec<Ratios>, Failure> {
    let mut ratios = Vec::new();
    for ((in_flight, peer), theirs) in all {
        let ours = all.get(&(*in_flight, PeerName::Quicraft));
        let Some(ours) = ours.filter(|_| *peer != PeerName::Quicraft) else {
            continue;
        };
        ratios.push(Ratios {
            in_flight: *in_flight,
            peer: *peer,
            calls: ratio(&ours.calls_per_second, &theirs.calls_per_second)?,
            p50: ratio(&ours.p50_us, &theirs.p50_us)?,
            cpu: ratio(&ours.cpu_us_per_call, &theirs.cpu_us_per_call)?,
        });
    }
    Ok(ratios)
}

fn ratio_table(ratios: &[Ratios]) -> Table {
    let mut table = Table::new(["in flight", "peer", "calls/s", "p50", "CPU/call"]);
    for ratios in ratios {
        table.row([
            ratios.in_flight.to_string(),
            ratios.peer.to_string(),
            format!("{:.2}", ratios.calls),
            format!("{:.2}", ratios.p50),
            format!("{:.3}", ratios.cpu),
        ]);
    }
    table
}

/// Keys as `calls_256_vs_tonic`, and all medians.
fn report(all: &All, ratios: &[Ratios]) -> Value {
    let mut report = Map::new();
    for ratios in ratios {
        let (in_flight, peer) = (ratios.in_flight, ratios.peer.key());
        for (what, ratio) in [
            ("calls", ratios.calls),
            ("p50", ratios.p50),
            ("cpu", ratios.cpu),
        ] {
            report.insert(format!("{what}_{in_flight}_vs_{peer}"), json!(ratio));
        }
    }
    let mut medians: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for ((in_flight, peer), figures) in all {
        let of_peer = medians.entry(peer.key()).or_default();
        of_peer.insert(in_flight.to_string(), figures.json());
    }
    report.insert("medians".to_owned(), json!(medians));
    Value::Object(report)
}
