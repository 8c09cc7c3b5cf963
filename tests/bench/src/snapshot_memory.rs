//! How much memory a snapshot costs: two processes, a file here, a file there.
//!
//! Each process resets the kernel's count of its peak before the transfer and reads it behind it.

use std::path::{Path, PathBuf};

use openraft::network::RaftNetworkV2;
use quicraft_transport::Transport;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::memory;
use crate::pair::{self, Failure, Home, MIB, Node, Parent, RECEIVER, Receiver, SENDER};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Size of the snapshot, MiB.
    #[arg(long, default_value_t = 256)]
    mib: u64,
    /// The most that a process may grow, MiB; more is a failure.
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
    /// The snapshot to send; the receiver has none.
    #[arg(long)]
    snapshot: Option<PathBuf>,
}

/// What a process says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    before: u64,
    peak: u64,
    bytes: u64,
    seconds: f64,
}

/// Starts both processes, lets them transfer, and compares their peaks with the bound.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let home = Home::new(options.mib).await?;
    let folder = home.path().to_string_lossy();
    let snapshot = home.snapshot.to_string_lossy();
    let start = |id: u64, more: &[&str]| {
        let id = id.to_string();
        let options = [&["--id", &id, "--folder", &*folder], more].concat();
        Node::start("snapshot-memory-node", &options)
    };
    let mut receiver = start(RECEIVER, &[])?;
    let mut sender = start(SENDER, &["--snapshot", &snapshot])?;
    let addresses = (sender.hear().await?, receiver.hear().await?);
    sender.say(&addresses.1).await?;
    receiver.say(&addresses.0).await?;
    receiver.say("measure").await?;
    receiver.expect("measuring").await?;
    sender.say("measure").await?;
    let sent: Report = sender.report().await?;
    receiver.say("report").await?;
    let received: Report = receiver.report().await?;
    if received.bytes != options.mib * MIB {
        return Err(format!("{} bytes were installed", received.bytes).into());
    }
    let growth = |report: &Report| report.peak.saturating_sub(report.before) as f64 / MIB as f64;
    println!("snapshot of {} MiB in {:.2} s", options.mib, sent.seconds);
    for (name, report) in [("sender", &sent), ("receiver", &received)] {
        let before = report.before as f64 / MIB as f64;
        println!(
            "{name:>9}: {before:.1} MiB before, peak {:.1} MiB more",
            growth(report)
        );
    }
    if options.json {
        let json = serde_json::json!({
            "snapshot_mib": options.mib,
            "seconds": sent.seconds,
            "sender_growth_mib": growth(&sent),
            "receiver_growth_mib": growth(&received),
        });
        println!("{json}");
    }
    let most = growth(&sent).max(growth(&received));
    if most > options.growth_mib as f64 {
        return Err(format!("grew by {most:.1} MiB, the bound is {}", options.growth_mib).into());
    }
    Ok(())
}

/// Runs one node: says its address, hears the peer's, and sends or receives.
pub(crate) async fn run_node(options: NodeOptions) -> Result<(), Failure> {
    let NodeOptions {
        id,
        folder,
        snapshot,
    } = options;
    let mut parent = Parent::new();
    let bind = "127.0.0.1:0".parse()?;
    let transport = pair::meet(id, &folder, bind, &mut parent).await?;
    match snapshot {
        Some(snapshot) => send(&transport, &mut parent, &snapshot).await,
        None => receive(&transport, &mut parent, &folder.join("received")).await,
    }
}

async fn send(transport: &Transport, parent: &mut Parent, snapshot: &Path) -> Result<(), Failure> {
    parent.hear().await?;
    let mut network = pair::network(transport, &snapshot.with_extension("sent")).await;
    let data = pair::open(snapshot).await?;
    let bytes = data.snapshot.metadata().await?.len();
    let vote = openraft::Vote::new_committed(1, SENDER);
    memory::reset_peak()?;
    let (before, started) = (memory::resident()?, Instant::now());
    let never = std::future::pending();
    let sent = network.full_snapshot(vote, data, never, pair::option());
    sent.await?;
    pair::report(&Report {
        before,
        peak: memory::peak()?,
        bytes,
        seconds: started.elapsed().as_secs_f64(),
    })
}

async fn receive(transport: &Transport, parent: &mut Parent, folder: &Path) -> Result<(), Failure> {
    let receiver = Receiver::start(transport, folder).await?;
    parent.hear().await?;
    memory::reset_peak()?;
    let (before, started) = (memory::resident()?, Instant::now());
    println!("measuring");
    parent.hear().await?;
    let seconds = started.elapsed().as_secs_f64();
    let peak = memory::peak()?;
    let bytes = receiver.stop().await?;
    pair::report(&Report {
        before,
        peak,
        bytes,
        seconds,
    })
}
