//! What a snapshot costs on a bad day: three cuts of its link, and a receiver that is killed.
//!
//! The sender cuts its own link when a quarter, a half and three quarters of the snapshot have left,
//! and counts what leaves on the Snapshot lane, over all links. In a second run the parent kills the
//! receiver half way and starts it again on its address.
//!
//! Each end is a process and reads its own memory from the kernel: what it had with an idle link, and
//! its peak from there to the end. A file that is read or written is in the page cache, which is not
//! the process's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openraft::network::RaftNetworkV2;
use quicraft_transport::{Event, LinkState, NodeId, Transport};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::{Instant, sleep, timeout};

use crate::memory;
use crate::pair::{self, Failure, Home, LIMIT, MIB, Node, Parent, RECEIVER, Receiver, SENDER};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Size of the snapshot, MiB.
    #[arg(long, default_value_t = 256)]
    mib: u64,
    /// The most bytes that may leave through the cuts, for each byte of the snapshot; more is a
    /// failure.
    #[arg(long, default_value_t = 1.05)]
    ratio: f64,
    /// The most that a process may grow through the cuts, MiB; more is a failure.
    #[arg(long, default_value_t = 64)]
    growth_mib: u64,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// One of the two processes.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeOptions {
    #[arg(long)]
    id: u64,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// The snapshot to send; the receiver has none.
    #[arg(long)]
    snapshot: Option<PathBuf>,
    /// Whether the sender cuts its link at each quarter; otherwise it tells the parent of the half.
    #[arg(long)]
    cuts: bool,
}

/// What the sender says.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    sent_bytes: u64,
    cuts: u64,
    resumes: u64,
    tries: u64,
    seconds: f64,
    memory: Memory,
}

/// What the receiver says.
#[derive(Debug, Serialize, Deserialize)]
struct Received {
    bytes: u64,
    memory: Memory,
}

/// What a process had while its link was idle, and at its peak since, bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Memory {
    idle: u64,
    peak: u64,
}

impl Memory {
    /// Of a process that is idle now.
    fn idle() -> Result<Self, Failure> {
        memory::reset_peak()?;
        let idle = memory::resident()?;
        Ok(Self { idle, peak: idle })
    }

    fn ended(self) -> Result<Self, Failure> {
        let peak = memory::peak()?;
        Ok(Self { peak, ..self })
    }

    fn growth_mib(self) -> f64 {
        self.peak.saturating_sub(self.idle) as f64 / MIB as f64
    }
}

// --- The parent -----------------------------------------------------------------------------------

/// Lets a snapshot through three cuts and through a restart, and compares what was sent and what it
/// took with the bounds.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let bytes = options.mib * MIB;
    let cut = one_run(options.mib, true).await?;
    let restarted = one_run(options.mib, false).await?;
    print(
        &options,
        [("three cuts", &cut), ("receiver killed", &restarted)],
    );
    if options.json {
        println!("{}", report(bytes, &cut, &restarted));
    }
    let (sent, received) = &cut;
    if (sent.cuts, sent.resumes) != (3, 3) || received.bytes != bytes {
        return Err(format!("{} bytes came: {sent:?}", received.bytes).into());
    }
    if ratio(sent, bytes) > options.ratio {
        let bound = options.ratio;
        return Err(format!("{:.3}, the bound is {bound}", ratio(sent, bytes)).into());
    }
    if restarted.1.bytes != bytes {
        return Err(format!("{} bytes came behind the restart", restarted.1.bytes).into());
    }
    let most = [sent.memory, received.memory].map(Memory::growth_mib);
    let most = most[0].max(most[1]);
    if most > options.growth_mib as f64 {
        return Err(format!("grew by {most:.1} MiB, the bound is {}", options.growth_mib).into());
    }
    Ok(())
}

/// What both ends say of one run.
type Run = (Report, Received);

fn ratio(report: &Report, bytes: u64) -> f64 {
    report.sent_bytes as f64 / bytes as f64
}

fn mb_per_second(report: &Report, bytes: u64) -> f64 {
    bytes as f64 / 1e6 / report.seconds
}

fn print(options: &Options, runs: [(&str, &Run); 2]) {
    let bytes = options.mib * MIB;
    println!("snapshot of {} MiB, from a file into a file", options.mib);
    println!(
        "{:>16} {:>9} {:>7} {:>8} {:>6} {:>8} {:>6} {:>15} {:>17}",
        "",
        "sent MiB",
        "ratio",
        "resumes",
        "tries",
        "seconds",
        "MB/s",
        "sender grew MiB",
        "receiver grew MiB"
    );
    for (name, (report, received)) in runs {
        println!(
            "{name:>16} {:>9.1} {:>7.3} {:>8} {:>6} {:>8.2} {:>6.0} {:>15.1} {:>17.1}",
            report.sent_bytes as f64 / MIB as f64,
            ratio(report, bytes),
            report.resumes,
            report.tries,
            report.seconds,
            mb_per_second(report, bytes),
            report.memory.growth_mib(),
            received.memory.growth_mib(),
        );
    }
}

fn report(bytes: u64, cut: &Run, restarted: &Run) -> serde_json::Value {
    let (sent, received) = cut;
    serde_json::json!({
        "snapshot_mib": bytes / MIB,
        "sent_bytes": sent.sent_bytes,
        "ratio": ratio(sent, bytes),
        "cuts": sent.cuts,
        "resumes": sent.resumes,
        "seconds": sent.seconds,
        "mb_per_second": mb_per_second(sent, bytes),
        "sender_growth_mib": sent.memory.growth_mib(),
        "receiver_growth_mib": received.memory.growth_mib(),
        "completed_after_restart": restarted.1.bytes == bytes,
        "restart_sent_bytes": restarted.0.sent_bytes,
        "restart_seconds": restarted.0.seconds,
    })
}

/// One snapshot: what its sender says, and what its receiver says that lived to the end.
async fn one_run(mib: u64, cuts: bool) -> Result<Run, Failure> {
    let home = Home::new(mib).await?;
    let folder = home.path().to_string_lossy();
    let snapshot = home.snapshot.to_string_lossy();
    let start = |id: u64, more: &[&str]| {
        let id = id.to_string();
        let options = [&["--id", &id, "--folder", &*folder], more].concat();
        Node::start("snapshot-resume-node", &options)
    };
    let mut more = vec!["--snapshot", &*snapshot];
    if cuts {
        more.push("--cuts");
    }
    let mut sender = start(SENDER, &more)?;
    let mut receiver = start(RECEIVER, &[])?;
    let addresses = (sender.hear().await?, receiver.hear().await?);
    sender.say(&addresses.1).await?;
    receiver.say(&addresses.0).await?;
    receiver.expect("ready").await?;
    sender.say("send").await?;
    if !cuts {
        sender.expect("half").await?;
        receiver.kill().await?;
        receiver = start(RECEIVER, &["--bind", &addresses.1])?;
        let same = receiver.hear().await?;
        if same != addresses.1 {
            return Err(format!("the receiver is at {same} now").into());
        }
        receiver.say(&addresses.0).await?;
        receiver.expect("ready").await?;
    }
    let report = sender.report().await?;
    receiver.say("report").await?;
    let installed = receiver.report().await?;
    Ok((report, installed))
}

// --- A node ---------------------------------------------------------------------------------------

/// Runs one node: says its address, hears the peer's, and sends or receives.
pub(crate) async fn run_node(options: NodeOptions) -> Result<(), Failure> {
    let mut parent = Parent::new();
    let NodeOptions {
        id,
        folder,
        bind,
        snapshot,
        cuts,
    } = options;
    let transport = pair::meet(id, &folder, bind, &mut parent).await?;
    if let Some(snapshot) = snapshot {
        parent.hear().await?;
        let report = send(&transport, &snapshot, cuts).await?;
        return pair::report(&report);
    }
    let receiver = Receiver::start(&transport, &folder.join("received")).await?;
    let memory = Memory::idle()?;
    println!("ready");
    parent.hear().await?;
    let memory = memory.ended()?;
    let bytes = receiver.stop().await?;
    pair::report(&Received { bytes, memory })
}

async fn send(transport: &Transport, snapshot: &Path, cuts: bool) -> Result<Report, Failure> {
    let peer = pair::other(SENDER)?;
    let mut network = pair::network(transport, &snapshot.with_extension("sent")).await;
    let bytes = tokio::fs::metadata(snapshot).await?.len();
    let mut events = transport.events();
    let memory = Memory::idle()?;
    let started = Instant::now();
    let (mut tries, mut cut) = (0, 0);
    let sending = async {
        loop {
            tries += 1;
            let vote = openraft::Vote::new_committed(1, SENDER);
            let data = pair::open(snapshot).await?;
            let never = std::future::pending();
            let sent = network.full_snapshot(vote, data, never, pair::option());
            match sent.await {
                Ok(_) => return Ok::<_, Failure>(()),
                Err(error) => eprintln!("try {tries}: {error}"),
            }
            // As openraft does, after a peer that cannot be reached.
            sleep(Duration::from_millis(50)).await;
            pair::linked(transport, peer).await?;
        }
    };
    let disturbing = async {
        if cuts {
            for quarter in 1..=3 {
                sent_reaches(transport, peer, bytes * quarter / 4).await;
                cut_link(transport, peer).await?;
                cut += 1;
            }
        } else {
            sent_reaches(transport, peer, bytes / 2).await;
            println!("half");
        }
        std::future::pending::<Result<(), Failure>>().await
    };
    timeout(LIMIT, async {
        tokio::select! {
            sent = sending => sent,
            failed = disturbing => failed,
        }
    })
    .await??;
    let (seconds, memory) = (started.elapsed().as_secs_f64(), memory.ended()?);
    let mut resumes = 0;
    loop {
        match events.try_recv() {
            Ok(Event::SnapshotResumed { .. }) => resumes += 1,
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    Ok(Report {
        sent_bytes: sent_bytes(transport, peer),
        cuts: cut,
        resumes,
        tries,
        seconds,
        memory,
    })
}

fn sent_bytes(transport: &Transport, peer: NodeId) -> u64 {
    let lanes = transport.peer(peer).status().lanes;
    let snapshots = lanes.iter().find(|lane| lane.lane.name() == "snapshot");
    snapshots.map_or(0, |lane| lane.sent_bytes)
}

async fn sent_reaches(transport: &Transport, peer: NodeId, bytes: u64) {
    while sent_bytes(transport, peer) < bytes {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn cut_link(transport: &Transport, peer: NodeId) -> Result<(), Failure> {
    if !transport.suspend_peer(peer) {
        return Err("the peer is not in the roster".into());
    }
    while transport.peer(peer).status().state == LinkState::Up {
        sleep(Duration::from_millis(1)).await;
    }
    if !transport.resume_peer(peer) {
        return Err("the peer is not in the roster any more".into());
    }
    Ok(())
}
