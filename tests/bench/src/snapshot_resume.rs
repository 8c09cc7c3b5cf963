//! What a snapshot costs on a bad day: three cuts of its link, and a receiver that is killed.
//!
//! The sender cuts its own link when a quarter, a half and three quarters of the snapshot have left,
//! and counts what leaves on the Snapshot lane, over all links. In a second run the parent kills the
//! receiver half way and starts it again on its address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openraft::network::RaftNetworkV2;
use quicraft_transport::{Event, LinkState, NodeId, Transport};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::{Instant, sleep, timeout};

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
}

// --- The parent -----------------------------------------------------------------------------------

/// Lets a snapshot through three cuts and through a restart, and compares what was sent with the
/// bound.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let bytes = options.mib * MIB;
    let cut = one_run(options.mib, true).await?;
    let restarted = one_run(options.mib, false).await?;
    let ratio = |report: &Report| report.sent_bytes as f64 / bytes as f64;
    println!("snapshot of {} MiB", options.mib);
    println!(
        "{:>22} {:>9} {:>7} {:>8} {:>6} {:>9}",
        "", "sent MiB", "ratio", "resumes", "tries", "seconds"
    );
    for (name, (report, _)) in [("three cuts", &cut), ("receiver killed", &restarted)] {
        println!(
            "{name:>22} {:>9.1} {:>7.3} {:>8} {:>6} {:>9.2}",
            report.sent_bytes as f64 / MIB as f64,
            ratio(report),
            report.resumes,
            report.tries,
            report.seconds,
        );
    }
    let completed_after_restart = restarted.1 == bytes;
    if options.json {
        let json = serde_json::json!({
            "snapshot_mib": options.mib,
            "sent_bytes": cut.0.sent_bytes,
            "ratio": ratio(&cut.0),
            "cuts": cut.0.cuts,
            "resumes": cut.0.resumes,
            "completed_after_restart": completed_after_restart,
            "restart_sent_bytes": restarted.0.sent_bytes,
        });
        println!("{json}");
    }
    if (cut.0.cuts, cut.0.resumes) != (3, 3) || cut.1 != bytes {
        return Err(format!("{} bytes came: {:?}", cut.1, cut.0).into());
    }
    if ratio(&cut.0) > options.ratio {
        return Err(format!("{:.3}, the bound is {}", ratio(&cut.0), options.ratio).into());
    }
    if !completed_after_restart {
        return Err(format!("{} bytes came behind the restart", restarted.1).into());
    }
    Ok(())
}

/// One snapshot: what its sender says, and how many bytes were installed.
async fn one_run(mib: u64, cuts: bool) -> Result<(Report, u64), Failure> {
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
    println!("ready");
    parent.hear().await?;
    pair::report(&receiver.stop().await?)
}

async fn send(transport: &Transport, snapshot: &Path, cuts: bool) -> Result<Report, Failure> {
    let peer = pair::other(SENDER)?;
    let mut network = pair::network(transport, &snapshot.with_extension("sent")).await;
    let bytes = tokio::fs::metadata(snapshot).await?.len();
    let mut events = transport.events();
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
        seconds: started.elapsed().as_secs_f64(),
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
