//! How much memory a snapshot costs: two processes, a file here, a file there.
//!
//! Each process resets the kernel's count of its peak before the transfer and reads it behind it.

use std::error::Error;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::storage::Snapshot;
use openraft::{BasicNode, Config, Raft, RaftNetworkFactory, SnapshotMeta};
use quicraft_certs::{
    Authority, ClusterName, CredentialFiles, CredentialSettings, CredentialStore, Credentials,
    NodeId,
};
use quicraft_tests::raft::{MemLog, TypeConfig};
use quicraft_transport::raft::{FileSnapshots, RaftFactory, serve};
use quicraft_transport::{GroupId, LinkState, Roster, RosterEntry, Transport};
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use crate::file_machine::FileMachine;
use crate::memory;

type Failure = Box<dyn Error>;

const GROUP: GroupId = GroupId::new(1);
const LIMIT: Duration = Duration::from_secs(300);
const MIB: u64 = 1024 * 1024;

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

// --- The parent -----------------------------------------------------------------------------------

/// A child process that talks in lines.
struct Node {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    fn start(options: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("snapshot-memory-node")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Self {
            _child: child,
            stdin,
            lines: BufReader::new(stdout).lines(),
        })
    }

    async fn say(&mut self, line: &str) -> Result<(), Failure> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }

    async fn hear(&mut self) -> Result<String, Failure> {
        let line = timeout(LIMIT, self.lines.next_line()).await??;
        line.ok_or_else(|| "a process ended early".into())
    }
}

/// Starts both processes, lets them transfer, and compares their peaks with the bound.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(ClusterName::new("bench.example")?)?;
    for id in [1, 2] {
        authority.issue(NodeId::new(id)?)?.write(folder.path())?;
    }
    let snapshot = folder.path().join("snapshot");
    make_snapshot(&snapshot, options.mib).await?;
    let (folder_text, snapshot_text) =
        (folder.path().to_string_lossy(), snapshot.to_string_lossy());
    let mut receiver = Node::start(&["--id", "2", "--folder", &folder_text])?;
    let mut sender = Node::start(&[
        "--id",
        "1",
        "--folder",
        &folder_text,
        "--snapshot",
        &snapshot_text,
    ])?;
    let addresses = (sender.hear().await?, receiver.hear().await?);
    sender.say(&addresses.1).await?;
    receiver.say(&addresses.0).await?;
    receiver.say("measure").await?;
    if receiver.hear().await? != "measuring" {
        return Err("the receiver is not ready".into());
    }
    sender.say("measure").await?;
    let sent: Report = serde_json::from_str(&sender.hear().await?)?;
    receiver.say("report").await?;
    let received: Report = serde_json::from_str(&receiver.hear().await?)?;
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

async fn make_snapshot(path: &PathBuf, mib: u64) -> Result<(), Failure> {
    let mut file = File::create(path).await?;
    for number in 0..mib {
        // Bytes that differ from one MiB to the next, so that a swap would be noticed.
        let byte = u8::try_from(number % 251)?;
        file.write_all(&vec![byte; usize::try_from(MIB)?]).await?;
    }
    file.sync_all().await?;
    Ok(())
}

// --- A node ---------------------------------------------------------------------------------------

/// Runs one node: says its address, hears the peer's, and sends or receives.
pub(crate) async fn run_node(options: NodeOptions) -> Result<(), Failure> {
    let named = |name: &str| options.folder.join(name);
    let id = options.id;
    let files = CredentialFiles::new(
        named("ca.crt"),
        named(&format!("node-{id}.crt")),
        named(&format!("node-{id}.key")),
    );
    let credentials = Credentials::load(&files, &CredentialSettings::default())?;
    let transport = Transport::builder(CredentialStore::new(credentials))
        .bind("127.0.0.1:0".parse()?)
        .roster(Roster::closed())
        .start()?;
    println!("{}", transport.local_addr().ok_or("no address")?);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let peer = NodeId::new(3 - id)?;
    let address = hear(&mut lines).await?.parse()?;
    transport
        .roster()
        .insert(RosterEntry::new(peer, vec![address]))?;
    let mut events = transport.events();
    while transport.peer(peer).status().state != LinkState::Up {
        timeout(LIMIT, events.recv()).await??;
    }
    match options.snapshot {
        Some(snapshot) => send(&transport, &mut lines, snapshot).await,
        None => receive(&transport, &mut lines, named("received")).await,
    }
}

async fn hear(lines: &mut Lines<BufReader<Stdin>>) -> Result<String, Failure> {
    let line = timeout(LIMIT, lines.next_line()).await??;
    line.ok_or_else(|| "the parent is gone".into())
}

async fn send(
    transport: &Transport,
    lines: &mut Lines<BufReader<Stdin>>,
    snapshot: PathBuf,
) -> Result<(), Failure> {
    hear(lines).await?;
    let folder = snapshot.with_extension("sent");
    let mut factory: RaftFactory<TypeConfig, _> =
        RaftFactory::new(&transport.handle(), GROUP, FileSnapshots::new(folder));
    let mut network = factory.new_snapshot_client(2, &BasicNode::default()).await;
    let file = File::open(&snapshot).await?;
    let bytes = file.metadata().await?.len();
    let vote = openraft::Vote::new_committed(1, 1);
    let last_log_id = Some(openraft::testing::log_id::<TypeConfig>(1, 1, 1000));
    let meta = SnapshotMeta {
        last_log_id,
        ..SnapshotMeta::default()
    };
    memory::reset_peak()?;
    let (before, started) = (memory::resident()?, Instant::now());
    let option = RPCOption::new(Duration::from_secs(60));
    let data = Snapshot {
        meta,
        snapshot: file,
    };
    let never = std::future::pending();
    network.full_snapshot(vote, data, never, option).await?;
    let seconds = started.elapsed().as_secs_f64();
    say(&Report {
        before,
        peak: memory::peak()?,
        bytes,
        seconds,
    })
}

async fn receive(
    transport: &Transport,
    lines: &mut Lines<BufReader<Stdin>>,
    folder: PathBuf,
) -> Result<(), Failure> {
    std::fs::create_dir_all(&folder)?;
    let snapshots = || FileSnapshots::new(folder.clone());
    let machine = FileMachine::new();
    let network = RaftFactory::new(&transport.handle(), GROUP, snapshots());
    let config = Arc::new(Config::default());
    let raft = Raft::new(2, config, network, MemLog::new(), machine.clone()).await?;
    let serving = serve(&transport.handle(), GROUP, raft.clone(), snapshots())?;
    hear(lines).await?;
    memory::reset_peak()?;
    let (before, started) = (memory::resident()?, Instant::now());
    println!("measuring");
    hear(lines).await?;
    let seconds = started.elapsed().as_secs_f64();
    let report = Report {
        before,
        peak: memory::peak()?,
        bytes: machine.installed(),
        seconds,
    };
    drop(serving);
    raft.shutdown().await?;
    say(&report)
}

fn say(report: &Report) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}
