//! What a node pays for handshakes that nobody finishes: memory, bytes, and the time in which a real
//! peer gets in meanwhile. The node is a process of its own; this one is the attackers and the peer.

mod attacker;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use quicraft_transport::{PeerAddress, RosterEntry};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use self::attacker::Attacker;
use crate::memory;
use crate::pair::{self, Failure, Home, MIB, Node, Parent, RECEIVER, SENDER};

/// The real peer; it has the smaller id, so it dials.
const PEER: u64 = SENDER;
const VICTIM: u64 = RECEIVER;
/// Within this time the last handshakes are given up and forgotten: 3 s for TLS and half a second in
/// which quinn remembers them.
const GIVEN_UP: Duration = Duration::from_secs(4);
/// The flood is sent in as many steps, a millisecond apart at least.
const STEPS: usize = 1_000;

/// A way to flood a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Flood {
    /// All from one address, whose clients go silent at once.
    OneSource,
    /// Each from a port of its own.
    Ports,
    /// All from one address, whose clients answer a Retry and go silent then.
    Validated,
    /// The same from ten hosts.
    TenHosts,
}

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Handshakes that are begun.
    #[arg(long, default_value_t = 5_000)]
    handshakes: usize,
    /// The ways to measure; all unless some are named.
    #[arg(long, value_enum)]
    flood: Vec<Flood>,
    /// Seconds over which the handshakes are begun. Longer than the time for TLS, places come free
    /// and are taken again.
    #[arg(long, default_value_t = 1)]
    seconds: u32,
    /// The most that the node may grow, MiB; as much or more is a failure.
    #[arg(long, default_value_t = 8)]
    growth_mib: u64,
    /// The most bytes that it may answer for each that it got; as much or more is a failure.
    #[arg(long, default_value_t = 3.0)]
    answered: f64,
    /// The longest that the peer may take, milliseconds; more is a failure.
    #[arg(long, default_value_t = 1_000)]
    peer_ms: u64,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// The node that is flooded.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeOptions {
    #[arg(long)]
    folder: PathBuf,
}

/// What the node says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    before: u64,
    peak: u64,
}

/// What one way cost.
#[derive(Debug, Serialize)]
struct Cost {
    flood: Flood,
    handshakes: usize,
    growth_mib: f64,
    bytes_in: u64,
    bytes_out: u64,
    peer_seconds: f64,
}

impl Cost {
    fn ratio(&self) -> f64 {
        self.bytes_out as f64 / self.bytes_in as f64
    }

    /// Which bound it breaks.
    fn broken(&self, options: &Options) -> Option<String> {
        let longest = options.peer_ms as f64 / 1_000.0;
        if self.growth_mib >= options.growth_mib as f64 {
            return Some(format!("the node grew by {:.1} MiB", self.growth_mib));
        }
        if self.ratio() >= options.answered {
            return Some(format!("{:.2} bytes were sent for each", self.ratio()));
        }
        (self.peer_seconds > longest).then(|| format!("the peer took {:.2} s", self.peer_seconds))
    }
}

/// Floods a node in each way, and compares what that cost with the bounds.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let home = Home::new(0).await?;
    let floods = match &options.flood[..] {
        [] => Flood::value_variants(),
        named => named,
    };
    let mut costs = Vec::new();
    for &flood in floods {
        let cost = measure(flood, &options, home.path()).await?;
        println!(
            "{flood:?}: {} handshakes; the node grew by {:.1} MiB, got {} bytes and sent {} ({:.2} for \
             each); the peer was in after {:.3} s",
            cost.handshakes,
            cost.growth_mib,
            cost.bytes_in,
            cost.bytes_out,
            cost.ratio(),
            cost.peer_seconds,
        );
        costs.push(cost);
    }
    if options.json {
        println!("{}", serde_json::json!({ "floods": costs }));
    }
    let broken = costs.iter().find_map(|cost| {
        let broken = cost.broken(&options)?;
        Some(format!("{:?}: {broken}", cost.flood))
    });
    broken.map_or(Ok(()), |broken| Err(broken.into()))
}

async fn measure(flood: Flood, options: &Options, folder: &Path) -> Result<Cost, Failure> {
    let path = folder.to_string_lossy();
    let mut node = Node::start("handshake-flood-node", &["--folder", &*path])?;
    let target: SocketAddr = node.hear().await?.parse()?;
    let mut attackers = attackers(flood, options.handshakes, target, folder)?;
    node.say("measure").await?;
    node.expect("measuring").await?;
    let step = Duration::from_secs(options.seconds.into()) / STEPS as u32;
    let (start, each) = (Instant::now(), options.handshakes / attackers.len());
    let mut peer = None;
    for number in 1..=STEPS {
        if number == STEPS / 2 {
            peer = Some(tokio::spawn(enter(folder.to_owned(), target)));
        }
        for attacker in &mut attackers {
            attacker.begin(each * number / STEPS)?;
            // Thousands of sockets hold what they get until the end.
            if flood != Flood::Ports {
                attacker.listen()?;
            }
        }
        tokio::time::sleep_until(start + step * number as u32).await;
    }
    let end = Instant::now() + GIVEN_UP;
    while Instant::now() < end {
        for attacker in &mut attackers {
            attacker.listen()?;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let peer_seconds = match peer {
        Some(peer) => peer.await?.map_err(|error| error.to_string())?,
        None => return Err("the peer was not started".into()),
    };
    node.say("report").await?;
    let memory: Memory = node.report().await?;
    let sum = |bytes: fn(&Attacker) -> u64| attackers.iter().map(bytes).sum();
    Ok(Cost {
        flood,
        handshakes: each * attackers.len(),
        growth_mib: memory.peak.saturating_sub(memory.before) as f64 / MIB as f64,
        bytes_in: sum(Attacker::sent_bytes),
        bytes_out: sum(Attacker::received_bytes),
        peer_seconds,
    })
}

/// On other addresses than the peer's.
fn attackers(
    flood: Flood,
    handshakes: usize,
    target: SocketAddr,
    folder: &Path,
) -> Result<Vec<Attacker>, Failure> {
    let (hosts, ports) = match flood {
        Flood::OneSource | Flood::Validated => (1, 1),
        Flood::Ports => (1, handshakes),
        Flood::TenHosts => (10, 1),
    };
    let validated = matches!(flood, Flood::Validated | Flood::TenHosts);
    let credentials = pair::credentials(PEER, folder)?;
    let attacker = |number: u8| {
        let host = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2 + number));
        Attacker::new(host, ports, target, &credentials, validated)
    };
    (0..hosts).map(attacker).collect()
}

/// Starts the peer, and returns how many seconds it took until it had its link.
async fn enter(folder: PathBuf, victim: SocketAddr) -> Result<f64, String> {
    let told = |error: Failure| error.to_string();
    let start = Instant::now();
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let transport = pair::start(PEER, &folder, bind).map_err(told)?;
    let node = pair::other(PEER).map_err(told)?;
    let entry = RosterEntry::new(node, vec![PeerAddress::from(victim)]);
    let inserted = transport.roster().insert(entry);
    inserted.map_err(|error| error.to_string())?;
    let linked = timeout(Duration::from_secs(30), async {
        pair::linked(&transport, node).await.map_err(told)
    });
    linked.await.map_err(|_| "the peer never got in")??;
    Ok(start.elapsed().as_secs_f64())
}

/// Runs the node: says its address, and what the flood has cost.
pub(crate) async fn run_node(options: NodeOptions) -> Result<(), Failure> {
    let mut parent = Parent::new();
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let transport = pair::start(VICTIM, &options.folder, bind)?;
    // It knows the peer's host, and does not dial it.
    let peer = RosterEntry::new(pair::other(VICTIM)?, vec!["127.0.0.1:9".parse()?]);
    transport.roster().insert(peer.by_need())?;
    println!("{}", transport.local_addr().ok_or("no address")?);
    parent.hear().await?;
    memory::reset_peak()?;
    let before = memory::resident()?;
    println!("measuring");
    parent.hear().await?;
    let peak = memory::peak()?;
    pair::report(&Memory { before, peak })
}
