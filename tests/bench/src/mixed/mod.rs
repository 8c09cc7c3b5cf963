//! How late heartbeats and votes are while a snapshot, and then large append batches, run at full rate
//! on the same connection: Quicraft's lanes beside tonic's one channel.

mod beats;
mod load;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quicraft_transport::TransportConfig;
use quicraft_transport::link::CallLane;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::pair::{Failure, LIMIT};
use crate::peers::PeerName;
use crate::peers::credentials::Nodes;
use crate::peers::own::Quicraft;
use crate::peers::tonic::Tonic;
use crate::report::{Latencies, Spread, Table};
use beats::beat;
use load::{Carrier, Load, carry};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each figure is taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement, behind a fifth of it to warm up.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The largest datagram of Quicraft's path, bytes.
    #[arg(long, default_value_t = TransportConfig::default().datagram_bytes_max)]
    datagram_bytes_max: u16,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

const PEERS: [PeerName; 2] = [PeerName::Quicraft, PeerName::Tonic];

/// The figures of a peer under a load, over all rounds.
#[derive(Debug, Default)]
struct Figures {
    p50_ms: Spread,
    p99_ms: Spread,
    p999_ms: Spread,
    /// Of the load; none while idle.
    mb_per_second: Spread,
}

type All = BTreeMap<(PeerName, Load), Figures>;

/// Beats under every load in every round, and compares.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let measured = Duration::try_from_secs_f64(options.seconds)?;
    let nodes = Nodes::issue()?;
    let mut config = TransportConfig::default();
    config.datagram_bytes_max = options.datagram_bytes_max;
    let quicraft = Quicraft::start(&nodes, config).await?;
    let tonic = Tonic::start(&nodes).await?;
    let mut all = All::new();
    for round in 0..options.rounds as usize {
        for load in Load::ALL {
            for turn in 0..PEERS.len() {
                let peer = PEERS[(turn + round) % PEERS.len()];
                let taken = match peer {
                    PeerName::Quicraft => {
                        under(quicraft.caller(CallLane::Control)?, load, measured).await
                    }
                    _ => under(tonic.caller(), load, measured).await,
                };
                let (latencies, rate) =
                    taken.map_err(|error| format!("{peer}, {}: {error}", load.key()))?;
                let figures = all.entry((peer, load)).or_default();
                figures.add(load, &latencies, rate)?;
            }
        }
    }
    println!(
        "a heartbeat each 2 ms and a vote each 20 ms beside a load; {} rounds of {} s; median \
         (lowest..highest)",
        options.rounds, options.seconds
    );
    println!("{}", table(&all));
    if options.json {
        println!("{}", report(&all));
    }
    Ok(())
}

/// Beats while a load runs from before the first to behind the last of them.
async fn under<C: Carrier>(
    carrier: C,
    load: Load,
    measured: Duration,
) -> Result<(Latencies, f64), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let carrying = carry(carrier.clone(), load, Arc::clone(&stop));
    let carrying = tokio::spawn(carrying);
    let latencies = beat(&carrier, measured / 5, measured).await;
    if load != Load::Idle && carrying.is_finished() {
        // It tells why.
        carrying.await?.map_err(|error| -> Failure { error })?;
        return Err("the load ended before the heartbeats".into());
    }
    stop.store(true, Ordering::Relaxed);
    let rate = timeout(LIMIT, carrying).await??;
    Ok((latencies?, rate.map_err(|error| -> Failure { error })?))
}

impl Figures {
    fn add(&mut self, load: Load, latencies: &Latencies, rate: f64) -> Result<(), Failure> {
        let millis = |share: f64| latencies.micros_at(share) / 1_000.0;
        self.p50_ms.add(millis(0.5))?;
        self.p99_ms.add(millis(0.99))?;
        self.p999_ms.add(millis(0.999))?;
        if load == Load::Idle {
            return Ok(());
        }
        self.mb_per_second.add(rate)
    }

    fn json(&self) -> Value {
        let mut figures = Map::new();
        for (name, spread) in [
            ("p50_ms", &self.p50_ms),
            ("p99_ms", &self.p99_ms),
            ("p999_ms", &self.p999_ms),
            ("mb_per_second", &self.mb_per_second),
        ] {
            if let Some(median) = spread.median() {
                figures.insert(name.to_owned(), json!(median));
            }
        }
        Value::Object(figures)
    }
}

fn table(all: &All) -> Table {
    let columns = ["peer", "beside", "MB/s", "p50 ms", "p99 ms", "p99.9 ms"];
    let mut table = Table::new(columns);
    for ((peer, load), figures) in all {
        table.row([
            peer.to_string(),
            load.key().to_owned(),
            format!("{:.0}", figures.mb_per_second),
            format!("{:.2}", figures.p50_ms),
            format!("{:.2}", figures.p99_ms),
            format!("{:.2}", figures.p999_ms),
        ]);
    }
    table
}

/// Quicraft's keys have no prefix.
fn report(all: &All) -> Value {
    let mut report = Map::new();
    let mut medians: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for ((peer, load), figures) in all {
        let prefix = match peer {
            PeerName::Quicraft => String::new(),
            other => format!("{}_", other.key()),
        };
        let key = format!("{prefix}{}_p99_ms", load.key());
        report.insert(key, json!(figures.p99_ms.median()));
        let of_peer = medians.entry(peer.key()).or_default();
        of_peer.insert(load.key().to_owned(), figures.json());
    }
    report.insert("medians".to_owned(), json!(medians));
    Value::Object(report)
}
