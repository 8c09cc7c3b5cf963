//! The nodes as operating-system processes: their files, how they are started, killed and stopped.
//!
//! A node is this very program with a hidden subcommand, so that the main job needs no other
//! binary. Its standard input is a pipe that we hold: however this process ends, the pipe ends with
//! it, and the nodes stop. Nothing here knows what the nodes do.

mod change;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::{Authority, ClusterName, CredentialFiles, NodeId};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::copy::copy;
use super::error::{ClusterError, file};
use super::layout::{CLUSTER, Layout};
use super::limits::{KILL, STOP};
use super::logs::{last_lines, panics};
use super::pause::{Pause, terminate};
use crate::kv::process::ADDRESS_IN_USE;

/// The hidden subcommand that makes this program a node.
pub const NODE_COMMAND: &str = "node";

#[derive(Debug)]
struct NodeProcess {
    id: u64,
    folder: PathBuf,
    data: PathBuf,
    certificates: CredentialFiles,
    /// Before the child, so that a stopped process is let go on before it is killed.
    pause: Option<Pause>,
    child: Option<Child>,
    /// It was asked to stop, so its end is no surprise.
    stopping: bool,
}

/// The data of a second process with the id of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TwinData {
    /// None: the disk was lost, or is another machine's.
    None,
    /// A copy of the node's, as it is now.
    Copied,
    /// The very folder of the node.
    Same,
}

impl NodeProcess {
    const fn new(id: u64, folder: PathBuf, data: PathBuf, certificates: CredentialFiles) -> Self {
        Self {
            id,
            folder,
            data,
            certificates,
            child: None,
            pause: None,
            stopping: false,
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// All nodes, in the order of their ids. Dropping it kills those that run and removes the folder.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<NodeProcess>,
    layout: Layout,
    authority: Arc<Authority>,
    // Dropped last: the processes write into it.
    folder: TempDir,
}

impl Nodes {
    /// Makes certificates and configurations for `nodes` nodes, on ports that are free now. No
    /// node runs yet.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; nothing is left on the disk then.
    pub fn prepare(nodes: u64, groups: u64) -> Result<Self, ClusterError> {
        Self::laid_out(Layout::new(nodes, groups)?)
    }

    /// Makes certificates and configurations for the nodes of `layout`. No node runs yet.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; nothing is left on the disk then.
    pub fn laid_out(layout: Layout) -> Result<Self, ClusterError> {
        let folder = place_for_nodes()?;
        let authority = Arc::new(Authority::new(ClusterName::new(CLUSTER)?)?);
        let mut nodes = Vec::new();
        for id in layout.ids() {
            let node = folder.path().join(format!("node-{id}"));
            fs::create_dir(&node).map_err(file("create", &node))?;
            let certificates = authority.issue(NodeId::new(id)?)?.write(&node)?;
            let data = node.join("data");
            layout.write(id, &node, &data, &certificates)?;
            nodes.push(NodeProcess::new(id, node, data, certificates));
        }
        Ok(Self {
            nodes,
            layout,
            authority,
            folder,
        })
    }

    /// A second process for the node at place `node`, elsewhere and with the same certificate, that
    /// nobody is told of. It is the only one of the nodes that are returned, and does not run yet.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; nothing is left on the disk then.
    pub fn twin(&self, node: usize, data: TwinData) -> Result<Self, ClusterError> {
        let id = self.id(node);
        let layout = self.layout.with_twin(id)?;
        let folder = place_for_nodes()?;
        let own = folder.path().join(format!("node-{id}"));
        fs::create_dir(&own).map_err(file("create", &own))?;
        let Some(first) = self.nodes.get(node) else {
            return Err(ClusterError::NoSuchNode { place: node });
        };
        let data = match data {
            TwinData::None => own.join("data"),
            TwinData::Same => first.data.clone(),
            TwinData::Copied => copy(&first.data, &own.join("data"))?,
        };
        let certificates = first.certificates.clone();
        layout.write(id, &own, &data, &certificates)?;
        Ok(Self {
            nodes: vec![NodeProcess::new(id, own, data, certificates)],
            layout,
            authority: Arc::clone(&self.authority),
            folder,
        })
    }

    /// The same nodes anew, without data and on other ports. Those that run are killed.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; no node runs then.
    pub async fn redraw(&mut self) -> Result<(), ClusterError> {
        self.kill_all().await;
        *self = Self::laid_out(self.layout.redrawn()?)?;
        Ok(())
    }

    /// Where the nodes are.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Who has issued the certificates of all nodes.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The files of the credentials of the node at place `node`; it follows them while it runs.
    #[must_use]
    pub fn certificates(&self, node: usize) -> Option<&CredentialFiles> {
        Some(&self.nodes.get(node)?.certificates)
    }

    /// Where each node serves HTTP: `http://host:port`.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.layout.urls()
    }

    /// Where the node at place `node` serves HTTP.
    #[must_use]
    pub fn url(&self, node: usize) -> Option<String> {
        self.layout.url(self.id(node))
    }

    /// The folder with the data of the node at place `node`.
    #[must_use]
    pub fn data(&self, node: usize) -> Option<&Path> {
        Some(&self.nodes.get(node)?.data)
    }

    /// The folder with everything of all nodes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The id of the node at place `node`.
    #[must_use]
    pub fn id(&self, node: usize) -> u64 {
        self.nodes.get(node).map_or(0, |node| node.id)
    }

    /// The place of the node with this id.
    #[must_use]
    pub fn place(&self, id: u64) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// Starts the node at place `node`; its log is continued.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when the process cannot be made.
    pub fn start(&mut self, node: usize) -> Result<(), ClusterError> {
        let Some(node) = self.nodes.get_mut(node) else {
            return Ok(());
        };
        let program = self.layout.program();
        let path = node.log();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(file("open", &path))?;
        let errors = log.try_clone().map_err(file("open", &path))?;
        let child = Command::new(program)
            .arg(NODE_COMMAND)
            .arg("--config")
            .arg(node.folder.join("node.toml"))
            .arg("--until-stdin-ends")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(file("start", program))?;
        node.child = Some(child);
        node.stopping = false;
        Ok(())
    }

    /// Starts all nodes.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when a process cannot be made.
    pub fn start_all(&mut self) -> Result<(), ClusterError> {
        (0..self.len()).try_for_each(|node| self.start(node))
    }

    /// The process id of the node at place `node`, while it runs.
    #[must_use]
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes.get(node)?.child.as_ref()?.id()
    }

    /// Whether the node at place `node` is paused.
    #[must_use]
    pub fn is_paused(&self, node: usize) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|node| node.pause.is_some())
    }

    /// Finds out whether a node that should run has ended.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NodeEnded`].
    pub fn check(&mut self) -> Result<(), ClusterError> {
        for node in &mut self.nodes {
            let Some(child) = node.child.as_mut().filter(|_| !node.stopping) else {
                continue;
            };
            let ended = child.try_wait().map_err(|source| ClusterError::System {
                what: "the state of a node's process",
                source,
            })?;
            if let Some(status) = ended {
                node.child = None;
                let node = node.id;
                return Err(ClusterError::NodeEnded { node, status });
            }
        }
        Ok(())
    }

    /// Kills the node at place `node` with SIGKILL and waits until the process is gone. A paused one
    /// dies as it is. Returns the moment of the signal.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when the system does not let us.
    pub async fn kill(&mut self, node: usize) -> Result<Instant, ClusterError> {
        let killed = Instant::now();
        if let Some(child) = self
            .nodes
            .get_mut(node)
            .and_then(|node| node.child.as_mut())
        {
            child.start_kill().map_err(|source| ClusterError::System {
                what: "to kill a node",
                source,
            })?;
        }
        // Before the process is reaped, so that its id is still its own.
        self.go_on(node).await?;
        self.ended(node, KILL).await?;
        Ok(killed)
    }

    /// Asks the node at place `node` to stop in order, with SIGTERM. [`Nodes::ended`] waits for it.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when the system does not let us.
    pub async fn terminate(&mut self, node: usize) -> Result<(), ClusterError> {
        let Some(pid) = self.pid(node) else {
            return Ok(());
        };
        if let Some(node) = self.nodes.get_mut(node) {
            node.stopping = true;
        }
        terminate(pid).await
    }

    /// Waits for the end of the node at place `node`. Returns how it ended, if it ran.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotInTime`] after `limit`, or what the system says.
    pub async fn ended(
        &mut self,
        node: usize,
        limit: Duration,
    ) -> Result<Option<ExitStatus>, ClusterError> {
        let id = self.id(node);
        let Some(node) = self.nodes.get_mut(node) else {
            return Ok(None);
        };
        let Some(child) = &mut node.child else {
            return Ok(None);
        };
        let ended = timeout(limit, child.wait()).await;
        let ended = ended.map_err(|_| ClusterError::NotInTime {
            what: "the end of a process",
            limit,
            missing: format!("node {id}"),
        })?;
        node.child = None;
        Ok(Some(ended.map_err(|source| ClusterError::System {
            what: "to wait for a node",
            source,
        })?))
    }

    /// Stops the process of the node at place `node` with SIGSTOP, if it runs.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when the system does not let us.
    pub async fn pause(&mut self, node: usize) -> Result<(), ClusterError> {
        if let Some(pid) = self.pid(node)
            && let Some(node) = self.nodes.get_mut(node)
        {
            node.pause = Some(Pause::begin(pid).await?);
        }
        Ok(())
    }

    /// Lets a paused node go on with SIGCONT. Returns the moment.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when the system does not let us.
    pub async fn go_on(&mut self, node: usize) -> Result<Instant, ClusterError> {
        match self.nodes.get_mut(node).and_then(|node| node.pause.take()) {
            Some(pause) => pause.end().await,
            None => Ok(Instant::now()),
        }
    }

    /// Asks all nodes to stop in order, and kills those that do not. Returns what went wrong.
    pub async fn stop(&mut self) -> Vec<String> {
        // A paused node would not hear us.
        for node in &mut self.nodes {
            node.pause = None;
        }
        let mut children: Vec<(u64, Child)> = self
            .nodes
            .iter_mut()
            .filter_map(|node| Some((node.id, node.child.take()?)))
            .collect();
        for (_, child) in &mut children {
            drop(child.stdin.take());
        }
        let deadline = Instant::now() + STOP;
        let mut faults = Vec::new();
        for (id, mut child) in children {
            match timeout_at(deadline, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => faults.push(format!("node {id} stopped badly ({status})")),
                Ok(Err(error)) => faults.push(format!("node {id} cannot be watched: {error}")),
                Err(_) => {
                    faults.push(format!(
                        "node {id} did not stop within {} s",
                        STOP.as_secs()
                    ));
                    kill_now(&mut child).await;
                }
            }
        }
        faults
    }

    /// Kills all nodes that run, and waits until they are gone.
    pub async fn kill_all(&mut self) {
        let children = self.nodes.iter_mut().filter_map(|node| node.child.take());
        for mut child in children {
            kill_now(&mut child).await;
        }
    }

    /// What the node at place `node` has logged.
    #[must_use]
    pub fn log(&self, node: usize) -> String {
        let text = self
            .nodes
            .get(node)
            .map(|node| fs::read_to_string(node.log()));
        text.and_then(Result::ok).unwrap_or_default()
    }

    /// Which nodes' logs tell of a panic, with the first lines that do.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        panics(self.all_logs())
    }

    /// The last lines of every node's log.
    #[must_use]
    pub fn logs(&self) -> String {
        last_lines(self.all_logs())
    }

    fn all_logs(&self) -> impl Iterator<Item = (u64, String)> {
        self.nodes.iter().map(|node| {
            let text = fs::read_to_string(node.log()).unwrap_or_default();
            (node.id, text)
        })
    }

    /// Leaves the folder on the disk, and says where.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// A folder for everything of some nodes.
fn place_for_nodes() -> Result<TempDir, ClusterError> {
    tempfile::Builder::new()
        .prefix("kv-cluster-")
        .tempdir()
        .map_err(file("create a folder in", &std::env::temp_dir()))
}

/// Whether a node ended because another process had one of its ports.
#[must_use]
pub fn lost_its_port(status: ExitStatus) -> bool {
    status.code() == Some(i32::from(ADDRESS_IN_USE))
}

/// Kills a process; that it cannot be waited for is nothing that we could mend.
async fn kill_now(child: &mut Child) {
    drop(timeout(KILL, child.kill()).await);
}
