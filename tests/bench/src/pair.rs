//! Two processes of this binary, a sender and a receiver of one snapshot, and the parent that talks
//! to both in lines. It must not know what is measured.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openraft::network::RPCOption;
use openraft::type_config::alias::SnapshotOf;
use openraft::{BasicNode, Config, Raft, RaftNetworkFactory, SnapshotMeta};
use quicraft_certs::{
    Authority, ClusterName, CredentialFiles, CredentialSettings, CredentialStore, Credentials,
    NodeId,
};
use quicraft_tests::raft::{MemLog, TypeConfig};
use quicraft_transport::raft::{FileSnapshots, RaftFactory, RaftNetwork, serve};
use quicraft_transport::{GroupId, LinkState, Registration, Roster, RosterEntry, Transport};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::file_machine::FileMachine;

pub(crate) type Failure = Box<dyn Error>;

const GROUP: GroupId = GroupId::new(1);
/// The sender has the smaller id.
pub(crate) const SENDER: u64 = 1;
pub(crate) const RECEIVER: u64 = 2;
pub(crate) const LIMIT: Duration = Duration::from_secs(300);
pub(crate) const MIB: u64 = 1024 * 1024;

// --- The parent -----------------------------------------------------------------------------------

/// A folder with the credentials of both, and a snapshot.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    pub(crate) snapshot: PathBuf,
}

impl Home {
    pub(crate) async fn new(mib: u64) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new(ClusterName::new("bench.example")?)?;
        for id in [SENDER, RECEIVER] {
            authority.issue(NodeId::new(id)?)?.write(folder.path())?;
        }
        let snapshot = folder.path().join("snapshot");
        make_snapshot(&snapshot, mib).await?;
        Ok(Self { folder, snapshot })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
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

/// A child process that talks in lines.
pub(crate) struct Node {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    pub(crate) fn start(subcommand: &str, options: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(subcommand)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Self {
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
        })
    }

    pub(crate) async fn say(&mut self, line: &str) -> Result<(), Failure> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }

    pub(crate) async fn hear(&mut self) -> Result<String, Failure> {
        let line = timeout(LIMIT, self.lines.next_line()).await??;
        line.ok_or_else(|| "a process ended early".into())
    }

    pub(crate) async fn expect(&mut self, word: &str) -> Result<(), Failure> {
        match self.hear().await? {
            heard if heard == word => Ok(()),
            heard => Err(format!("{word} was expected, not {heard}").into()),
        }
    }

    pub(crate) async fn report<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        Ok(serde_json::from_str(&self.hear().await?)?)
    }

    /// Ends it as a crash does, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }
}

// --- A node ---------------------------------------------------------------------------------------

/// Lines of the parent.
pub(crate) struct Parent(Lines<BufReader<Stdin>>);

impl Parent {
    pub(crate) fn new() -> Self {
        Self(BufReader::new(tokio::io::stdin()).lines())
    }

    pub(crate) async fn hear(&mut self) -> Result<String, Failure> {
        let line = timeout(LIMIT, self.0.next_line()).await??;
        line.ok_or_else(|| "the parent is gone".into())
    }
}

/// Tells the parent.
pub(crate) fn report(report: &impl Serialize) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}

/// The credentials of a node, from its files.
pub(crate) fn credentials(id: u64, folder: &Path) -> Result<Arc<CredentialStore>, Failure> {
    let named = |name: &str| folder.join(name);
    let files = CredentialFiles::new(
        named("ca.crt"),
        named(&format!("node-{id}.crt")),
        named(&format!("node-{id}.key")),
    );
    let credentials = Credentials::load(&files, &CredentialSettings::default())?;
    Ok(CredentialStore::new(credentials))
}

/// Starts the transport of a node, which knows nobody.
pub(crate) fn start(id: u64, folder: &Path, bind: SocketAddr) -> Result<Transport, Failure> {
    let builder = Transport::builder(credentials(id, folder)?);
    Ok(builder.bind(bind).roster(Roster::closed()).start()?)
}

/// Starts the transport of a node, tells the parent its address, and waits for a link to the other,
/// whose address the parent knows.
pub(crate) async fn meet(
    id: u64,
    folder: &Path,
    bind: SocketAddr,
    parent: &mut Parent,
) -> Result<Transport, Failure> {
    let transport = start(id, folder, bind)?;
    println!("{}", transport.local_addr().ok_or("no address")?);
    let peer = other(id)?;
    let address = parent.hear().await?.parse()?;
    transport
        .roster()
        .insert(RosterEntry::new(peer, vec![address]))?;
    linked(&transport, peer).await?;
    Ok(transport)
}

/// The other of the two.
pub(crate) fn other(id: u64) -> Result<NodeId, Failure> {
    Ok(NodeId::new(SENDER + RECEIVER - id)?)
}

/// Waits until there is a link.
pub(crate) async fn linked(transport: &Transport, peer: NodeId) -> Result<(), Failure> {
    let mut events = transport.events();
    while transport.peer(peer).status().state != LinkState::Up {
        // One that was lost is no reason to stop.
        drop(timeout(LIMIT, events.recv()).await?);
    }
    Ok(())
}

/// The sender's network.
pub(crate) async fn network(
    transport: &Transport,
    folder: &Path,
) -> RaftNetwork<TypeConfig, FileSnapshots> {
    let snapshots = FileSnapshots::new(folder);
    let mut factory = RaftFactory::new(&transport.handle(), GROUP, snapshots);
    factory
        .new_snapshot_client(RECEIVER, &BasicNode::default())
        .await
}

/// What openraft would say with a snapshot.
pub(crate) fn option() -> RPCOption {
    RPCOption::new(Duration::from_secs(60))
}

/// A snapshot of a log of 1,000 entries.
pub(crate) async fn open(path: &Path) -> Result<SnapshotOf<TypeConfig, File>, Failure> {
    let last_log_id = Some(openraft::testing::log_id::<TypeConfig>(1, SENDER, 1000));
    let meta = SnapshotMeta {
        last_log_id,
        ..SnapshotMeta::default()
    };
    let snapshot = File::open(path).await?;
    Ok(openraft::storage::Snapshot { meta, snapshot })
}

/// The receiver's group.
pub(crate) struct Receiver {
    raft: Raft<TypeConfig, FileMachine>,
    machine: FileMachine,
    serving: Registration,
}

impl Receiver {
    /// Receives into a folder, which is made if it is not there, and forgets what a crash left in it.
    pub(crate) async fn start(transport: &Transport, folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)?;
        let snapshots = || FileSnapshots::new(folder);
        snapshots().remove_partial()?;
        let machine = FileMachine::new();
        let network = RaftFactory::new(&transport.handle(), GROUP, snapshots());
        let config = Arc::new(Config::default());
        let raft = Raft::new(RECEIVER, config, network, MemLog::new(), machine.clone()).await?;
        let serving = serve(&transport.handle(), GROUP, raft.clone(), snapshots())?;
        Ok(Self {
            raft,
            machine,
            serving,
        })
    }

    /// Stops, and says how many bytes were installed.
    pub(crate) async fn stop(self) -> Result<u64, Failure> {
        drop(self.serving);
        self.raft.shutdown().await?;
        Ok(self.machine.installed())
    }
}
