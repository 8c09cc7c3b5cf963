//! One snapshot beside the peers: bytes a second in one direction, and what a byte costs.
//!
//! Quicraft and bare quinn carry it twice: with datagrams of the default size, which any path takes,
//! and with those of a jumbo path, which loopback is.
//!
//! Quicraft, gRPC and TLS over TCP each bring every piece into memory of its own before they send it,
//! as one does who reads a file, from bytes that are in the processor's cache; their receivers have
//! every byte once in memory of their own and discard it. Nobody touches a disk and nobody hashes:
//! `snapshot-resume` shows that of Quicraft alone. Bare quinn, the ceiling, sends one piece again and
//! again and looks at no byte.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quicraft_transport::TransportConfig;
use quicraft_transport::link::CallLane;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::pair::{Failure, LIMIT, MIB};
use crate::peers::PeerFailure;
use crate::peers::bare::Bare;
use crate::peers::credentials::Nodes;
use crate::peers::own::Quicraft;
use crate::peers::tls::Tls;
use crate::peers::tonic::{Tonic, TonicCaller};
use crate::report::{Spread, Table, processor_time, ratio};

const KIB: usize = 1024;

/// The largest datagram of a jumbo path: an Ethernet frame of 9,000 bytes less the headers.
const JUMBO_BYTES: u16 = 8_952;

/// Bytes of one write of those who have no messages; larger ones were not faster.
const CHUNK_BYTES: usize = 256 * KIB;

/// Sent before the first round, so that windows are open and the path's datagram size is found.
const WARM_UP_MIB: u64 = 32;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Size of the snapshot, MiB.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// Who carries it.
    #[arg(long, value_delimiter = ',', default_values_t = Way::ALL, value_enum)]
    ways: Vec<Way>,
    /// How often each figure is taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// A peer with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Way {
    QuicraftDefault,
    QuicraftJumbo,
    BareDefault,
    BareJumbo,
    #[value(name = "tonic-64k")]
    Tonic64K,
    #[value(name = "tonic-256k")]
    Tonic256K,
    #[value(name = "tonic-1m")]
    Tonic1M,
    Tls,
}

/// Of one channel; which message size is best depends on the machine.
const TONICS: [Way; 3] = [Way::Tonic64K, Way::Tonic256K, Way::Tonic1M];

impl Way {
    const ALL: [Self; 8] = [
        Self::QuicraftDefault,
        Self::BareDefault,
        Self::Tonic64K,
        Self::Tonic256K,
        Self::Tonic1M,
        Self::Tls,
        Self::QuicraftJumbo,
        Self::BareJumbo,
    ];

    const fn key(self) -> &'static str {
        match self {
            Self::QuicraftDefault => "quicraft_default",
            Self::QuicraftJumbo => "quicraft_jumbo",
            Self::BareDefault => "bare_default",
            Self::BareJumbo => "bare_jumbo",
            Self::Tonic64K => "tonic_64k",
            Self::Tonic256K => "tonic_256k",
            Self::Tonic1M => "tonic_1m",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QuicraftDefault => "Quicraft, default datagrams",
            Self::QuicraftJumbo => "Quicraft, jumbo path",
            Self::BareDefault => "bare quinn, default datagrams",
            Self::BareJumbo => "bare quinn, jumbo path",
            Self::Tonic64K => "tonic gRPC, 64 KiB messages",
            Self::Tonic256K => "tonic gRPC, 256 KiB messages",
            Self::Tonic1M => "tonic gRPC, 1 MiB messages",
            Self::Tls => "TLS over TCP",
        })
    }
}

/// All of them, up for the whole run.
struct Peers {
    quicraft_default: Quicraft,
    quicraft_jumbo: Quicraft,
    bare_default: Bare,
    bare_jumbo: Bare,
    tonic: Tonic,
    tls: Tls,
}

impl Peers {
    async fn start() -> Result<Self, Failure> {
        let nodes = Nodes::issue()?;
        let usual = TransportConfig::default();
        let mut jumbo = usual.clone();
        jumbo.datagram_bytes_max = JUMBO_BYTES;
        Ok(Self {
            bare_default: Bare::start(&nodes, usual.datagram_bytes_max).await?,
            bare_jumbo: Bare::start(&nodes, JUMBO_BYTES).await?,
            quicraft_default: Quicraft::start(&nodes, usual).await?,
            quicraft_jumbo: Quicraft::start(&nodes, jumbo).await?,
            tonic: Tonic::start(&nodes).await?,
            tls: Tls::start(&nodes).await?,
        })
    }

    /// Carries `mib` MiB in one go.
    async fn carry(&self, way: Way, mib: u64) -> Result<(), PeerFailure> {
        let own = |own: &Quicraft| {
            own.caller(CallLane::Call)
                .map_err(|error| error.to_string())
        };
        match way {
            Way::QuicraftDefault => own(&self.quicraft_default)?.bulk(mib * MIB).await,
            Way::QuicraftJumbo => own(&self.quicraft_jumbo)?.bulk(mib * MIB).await,
            Way::BareDefault => bare(&self.bare_default, mib).await,
            Way::BareJumbo => bare(&self.bare_jumbo, mib).await,
            Way::Tonic64K => tonic(&self.tonic.caller(), 64 * KIB, mib).await,
            Way::Tonic256K => tonic(&self.tonic.caller(), 256 * KIB, mib).await,
            Way::Tonic1M => tonic(&self.tonic.caller(), 1_024 * KIB, mib).await,
            Way::Tls => {
                let (chunk, count) = pieces(CHUNK_BYTES, mib);
                self.tls.caller().bulk(&chunk, count).await
            }
        }
    }
}

async fn bare(bare: &Bare, mib: u64) -> Result<(), PeerFailure> {
    let (chunk, count) = pieces(CHUNK_BYTES, mib);
    bare.bulk(chunk, count).await
}

async fn tonic(caller: &TonicCaller, message_bytes: usize, mib: u64) -> Result<(), PeerFailure> {
    let (message, count) = pieces(message_bytes, mib);
    caller.bulk(message, count).await
}

/// A piece, and how many of it are `mib` MiB.
fn pieces(bytes: usize, mib: u64) -> (Bytes, u64) {
    (Bytes::from(vec![7; bytes]), mib * MIB / bytes as u64)
}

/// The figures of one way over all rounds.
#[derive(Debug, Default)]
struct Figures {
    mb_per_second: Spread,
    cpu_s_per_gb: Spread,
}

type All = BTreeMap<Way, Figures>;

/// Lets each way carry the snapshot in each round, and compares.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let peers = Arc::new(Peers::start().await?);
    let carry = async |way: Way, mib: u64| {
        let peers = Arc::clone(&peers);
        // On the workers: the thread of `main` would be one more.
        let carrying = tokio::spawn(async move { peers.carry(way, mib).await });
        let carried = timeout(LIMIT, carrying).await??;
        carried.map_err(|error| Failure::from(format!("{way}: {error}")))
    };
    for way in &options.ways {
        carry(*way, WARM_UP_MIB.min(options.mib)).await?;
    }
    let mut all = All::new();
    for round in 0..options.rounds as usize {
        for turn in 0..options.ways.len() {
            let way = options.ways[(turn + round) % options.ways.len()];
            let (cpu, started) = (processor_time()?, Instant::now());
            carry(way, options.mib).await?;
            let (elapsed, cpu) = (started.elapsed(), processor_time()? - cpu);
            all.entry(way).or_default().add(options.mib, elapsed, cpu)?;
        }
    }
    println!(
        "a snapshot of {} MiB; {} rounds; median (lowest..highest)",
        options.mib, options.rounds
    );
    println!("{}", table(&all));
    notes(&peers, &options.ways);
    let ratios = ratios(&all)?;
    for (name, ratio) in &ratios {
        println!("{name:>20} {ratio:.3}");
    }
    if options.json {
        println!("{}", report(&all, &ratios));
    }
    Ok(())
}

impl Figures {
    fn add(&mut self, mib: u64, elapsed: Duration, cpu: Duration) -> Result<(), Failure> {
        let megabytes = (mib * MIB) as f64 / 1e6;
        self.mb_per_second.add(megabytes / elapsed.as_secs_f64())?;
        self.cpu_s_per_gb.add(cpu.as_secs_f64() / megabytes * 1e3)
    }

    fn json(&self) -> Value {
        json!({
            "mb_per_second": self.mb_per_second.median(),
            "cpu_s_per_gb": self.cpu_s_per_gb.median(),
        })
    }
}

fn table(all: &All) -> Table {
    let mut table = Table::new(["peer", "MB/s", "CPU s/GB"]);
    for (way, figures) in all {
        table.row([
            way.to_string(),
            format!("{:.0}", figures.mb_per_second),
            format!("{:.2}", figures.cpu_s_per_gb),
        ]);
    }
    table
}

/// What the table does not show.
fn notes(peers: &Peers, ways: &[Way]) {
    println!(
        "Quicraft's receiver reports what it has taken, and its sender waits for the reports;"
    );
    println!("the peers leave that to their windows. None of them hashes what it carries here.");
    for (way, bare) in [
        (Way::BareDefault, &peers.bare_default),
        (Way::BareJumbo, &peers.bare_jumbo),
    ] {
        if ways.contains(&way) {
            println!(
                "{way}: datagrams of {} bytes at the end",
                bare.datagram_bytes()
            );
        }
    }
}

/// The throughput of Quicraft for each of a peer, where both were measured; tonic's best.
fn ratios(all: &All) -> Result<Vec<(&'static str, f64)>, Failure> {
    let of = |way: Way| all.get(&way).map(|figures| &figures.mb_per_second);
    let tonic = TONICS.into_iter().filter_map(of).max_by(|one, other| {
        let (one, other) = (one.median(), other.median());
        one.partial_cmp(&other).unwrap_or(std::cmp::Ordering::Equal)
    });
    let (usual, jumbo) = (of(Way::QuicraftDefault), of(Way::QuicraftJumbo));
    let mut ratios = Vec::new();
    for (name, ours, theirs) in [
        ("default_vs_bare", usual, of(Way::BareDefault)),
        ("default_vs_tonic", usual, tonic),
        ("default_vs_tls", usual, of(Way::Tls)),
        ("jumbo_vs_bare", jumbo, of(Way::BareJumbo)),
        ("jumbo_vs_tonic", jumbo, tonic),
        ("jumbo_vs_tls", jumbo, of(Way::Tls)),
    ] {
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            ratios.push((name, ratio(ours, theirs)?));
        }
    }
    Ok(ratios)
}

fn report(all: &All, ratios: &[(&str, f64)]) -> Value {
    let mut report: Map<String, Value> = ratios
        .iter()
        .map(|(name, ratio)| ((*name).to_owned(), json!(ratio)))
        .collect();
    let medians: Map<String, Value> = all
        .iter()
        .map(|(way, figures)| (way.key().to_owned(), figures.json()))
        .collect();
    report.insert("medians".to_owned(), json!(medians));
    Value::Object(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(mb_per_second: f64) -> Figures {
        let mut figures = Figures::default();
        figures.mb_per_second.add(mb_per_second).unwrap();
        figures
    }

    #[test]
    fn tonic_is_compared_by_its_best_message_size() {
        let all: All = [
            (Way::QuicraftJumbo, figures(600.0)),
            (Way::Tonic64K, figures(100.0)),
            (Way::Tonic256K, figures(300.0)),
            (Way::Tonic1M, figures(200.0)),
        ]
        .into();
        assert_eq!(ratios(&all).unwrap(), [("jumbo_vs_tonic", 2.0)]);
    }

    #[test]
    fn pieces_are_the_whole() {
        let (piece, count) = pieces(64 * KIB, 3);
        assert_eq!(piece.len() as u64 * count, 3 * MIB);
    }
}
