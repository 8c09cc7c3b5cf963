//! The nodes as operating-system processes: their files, how they are started, killed and stopped.
//!
//! A node is this very program with a hidden subcommand, so that the main job needs no other
//! binary. Its standard input is a pipe that we hold: however this process ends, the pipe ends with
//! it, and the nodes stop. Nothing here knows what the nodes do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use quicraft_certs::{Authority, ClusterName, CredentialFiles, NodeId};
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::ClusterError;
use super::limits::{KILL, LOG_LINES, STOP};
use super::ports::Ports;
use crate::kv::process::ADDRESS_IN_USE;

/// The hidden subcommand that makes this program a node.
pub const NODE_COMMAND: &str = "node";

/// The cluster's name, in every certificate.
const CLUSTER: &str = "kv-cluster.internal";

/// A node's settings, as its file has them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct NodeFile<'a> {
    cluster: &'a str,
    node: u64,
    data: &'a Path,
    listen: String,
    http: String,
    peers: Vec<String>,
    groups: u64,
    ca: &'a Path,
    cert: &'a Path,
    key: &'a Path,
}

/// Where a node is to be found.
#[derive(Debug, Clone, Copy)]
struct Place {
    raft: u16,
    http: u16,
}

#[derive(Debug)]
struct NodeProcess {
    id: u64,
    folder: PathBuf,
    child: Option<Child>,
}

impl NodeProcess {
    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// All nodes, in the order of their ids. Dropping it kills those that run and removes the folder.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<NodeProcess>,
    urls: Vec<String>,
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
        let folder = tempfile::Builder::new()
            .prefix("kv-cluster-")
            .tempdir()
            .map_err(file("create a folder in", &std::env::temp_dir()))?;
        let authority = Authority::new(ClusterName::new(CLUSTER)?)?;
        let mut ports = Ports::default();
        let mut places = Vec::new();
        for _ in 0..nodes {
            let mut port = || {
                let what = "a free port";
                let refused = |source| ClusterError::System { what, source };
                ports.take().map_err(refused)
            };
            places.push(Place {
                raft: port()?,
                http: port()?,
            });
        }
        let mut prepared = Vec::new();
        for id in 1..=nodes {
            let node = folder.path().join(format!("node-{id}"));
            fs::create_dir(&node).map_err(file("create", &node))?;
            let certificates = authority.issue(NodeId::new(id)?)?.write(&node)?;
            write_config(&node, id, groups, &places, &certificates)?;
            prepared.push(NodeProcess {
                id,
                folder: node,
                child: None,
            });
        }
        let urls = places
            .iter()
            .map(|place| format!("http://127.0.0.1:{}", place.http));
        Ok(Self {
            nodes: prepared,
            urls: urls.collect(),
            folder,
        })
    }

    /// Where each node serves HTTP: `http://host:port`.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        &self.urls
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

    /// Starts the node at place `node`; its log is continued.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when the process cannot be made.
    pub fn start(&mut self, node: usize) -> Result<(), ClusterError> {
        let Some(node) = self.nodes.get_mut(node) else {
            return Ok(());
        };
        let program = std::env::current_exe().map_err(|source| ClusterError::System {
            what: "the path of this program",
            source,
        })?;
        let path = node.log();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(file("open", &path))?;
        let errors = log.try_clone().map_err(file("open", &path))?;
        let child = Command::new(&program)
            .arg(NODE_COMMAND)
            .arg("--config")
            .arg(node.folder.join("node.toml"))
            .arg("--until-stdin-ends")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(file("start", &program))?;
        node.child = Some(child);
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

    /// Finds out whether a node that should run has ended.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NodeEnded`].
    pub fn check(&mut self) -> Result<(), ClusterError> {
        for node in &mut self.nodes {
            let Some(child) = &mut node.child else {
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

    /// Kills the node at place `node` with SIGKILL and waits until the process is gone. Returns
    /// the moment of the signal.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when the system does not let us.
    pub async fn kill(&mut self, node: usize) -> Result<Instant, ClusterError> {
        let refused = |source| ClusterError::System {
            what: "to kill a node",
            source,
        };
        let mut child = self.nodes.get_mut(node).and_then(|node| node.child.take());
        let killed = Instant::now();
        if let Some(child) = &mut child {
            child.start_kill().map_err(refused)?;
            let gone = timeout(KILL, child.wait()).await;
            gone.map_err(|_| ClusterError::NotInTime {
                what: "the end of a killed process",
                limit: KILL,
                missing: format!("node {}", self.id(node)),
            })?
            .map_err(refused)?;
        }
        Ok(killed)
    }

    /// Asks all nodes to stop in order, and kills those that do not. Returns what went wrong.
    pub async fn stop(&mut self) -> Vec<String> {
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

    /// The last lines of every node's log.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for node in &self.nodes {
            let text = fs::read_to_string(node.log()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LOG_LINES)..);
            all.push_str(&format!("--- the end of node {}'s log\n", node.id));
            for line in last.unwrap_or_default() {
                all.push_str(line);
                all.push('\n');
            }
        }
        all
    }

    /// Leaves the folder on the disk, and says where.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
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

fn write_config(
    folder: &Path,
    node: u64,
    groups: u64,
    places: &[Place],
    certificates: &CredentialFiles,
) -> Result<(), ClusterError> {
    let all = || (1..).zip(places);
    let own = all().find(|&(id, _)| id == node);
    let own = own.map_or(Place { raft: 0, http: 0 }, |(_, place)| *place);
    let at = |port| format!("127.0.0.1:{port}");
    let peers = all().filter(|&(id, _)| id != node);
    let text = toml::to_string(&NodeFile {
        cluster: CLUSTER,
        node,
        data: &folder.join("data"),
        listen: at(own.raft),
        http: at(own.http),
        peers: peers
            .map(|(id, place): (u64, _)| format!("{id}={}@{}", at(place.raft), at(place.http)))
            .collect(),
        groups,
        ca: &certificates.ca,
        cert: &certificates.cert,
        key: &certificates.key,
    })?;
    let path = folder.join("node.toml");
    fs::write(&path, text).map_err(file("write", &path))
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::File {
        action,
        path,
        source,
    }
}
