//! Where the nodes of a cluster are, and what each is told of the others.
//!
//! Usually each is told the truth. A drill may tell a node to look for another where nobody is, or
//! move one without telling the rest. No process is started here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use quicraft_certs::CredentialFiles;
use serde::Serialize;

use super::error::{ClusterError, file};
use super::ports::Ports;

/// The cluster's name, in every certificate.
pub const CLUSTER: &str = "kv-cluster.internal";

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
    crl: Option<&'a Path>,
    calls_per_second: u64,
    drill_changes: bool,
}

/// Where a node really is, on the loopback address.
#[derive(Debug, Clone, Copy)]
struct Place {
    raft: u16,
    http: u16,
}

/// Nodes with ids from 1, each at two ports of its own.
#[derive(Debug, Clone)]
pub struct Layout {
    program: PathBuf,
    groups: u64,
    places: BTreeMap<u64, Place>,
    /// For a node and a peer the port at which the node looks for it, where nobody told it better.
    told: BTreeMap<(u64, u64), u16>,
    ports: Ports,
    /// Calls beside Raft that each node makes.
    calls_per_second: u64,
    /// Whether each node dies in the middle of a change when it is told to.
    drill_changes: bool,
    /// The last id that was given to a node; none is given twice.
    last: u64,
}

impl Layout {
    /// `nodes` nodes on ports that are free now. This very program will run them.
    ///
    /// # Errors
    ///
    /// [`ClusterError::System`], when there are no ports or this program cannot be found.
    pub fn new(nodes: u64, groups: u64) -> Result<Self, ClusterError> {
        let program = std::env::current_exe().map_err(|source| ClusterError::System {
            what: "the path of this program",
            source,
        })?;
        let mut ports = Ports::default();
        let mut places = BTreeMap::new();
        for id in 1..=nodes {
            let place = Place {
                raft: take(&mut ports)?,
                http: take(&mut ports)?,
            };
            places.insert(id, place);
        }
        Ok(Self {
            program,
            groups,
            places,
            told: BTreeMap::new(),
            ports,
            calls_per_second: 0,
            drill_changes: false,
            last: nodes,
        })
    }

    /// The same, but run by another program that knows the hidden subcommand for a node.
    #[must_use]
    pub fn run_by(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// The same, but each node makes so many calls a second to the others, beside Raft.
    #[must_use]
    pub const fn calling(mut self, calls_per_second: u64) -> Self {
        self.calls_per_second = calls_per_second;
        self
    }

    /// The same, but each node dies in the middle of a change when it is told to.
    #[must_use]
    pub const fn drilling_changes(mut self) -> Self {
        self.drill_changes = true;
        self
    }

    /// The same, but `node` looks for `peer` at `port`.
    #[must_use]
    pub fn telling(mut self, node: u64, peer: u64, port: u16) -> Self {
        self.told.insert((node, peer), port);
        self
    }

    /// The same on other ports that are free now. Who was told a port goes on believing it.
    ///
    /// # Errors
    ///
    /// As [`Layout::new`].
    pub fn redrawn(&self) -> Result<Self, ClusterError> {
        let nodes = self.places.len() as u64;
        let drawn = Self::new(nodes, self.groups)?;
        Ok(Self {
            told: self.told.clone(),
            program: self.program.clone(),
            calls_per_second: self.calls_per_second,
            drill_changes: self.drill_changes,
            ..drawn
        })
    }

    /// One more node, with the next id: one that was removed may never enter again.
    pub(super) fn add(&mut self) -> Result<u64, ClusterError> {
        let id = self.last + 1;
        let place = Place {
            raft: take(&mut self.ports)?,
            http: take(&mut self.ports)?,
        };
        self.places.insert(id, place);
        self.last = id;
        Ok(id)
    }

    /// One node less; nobody is told of it any more.
    pub(super) fn remove(&mut self, node: u64) {
        self.places.remove(&node);
    }

    /// Where its peers reach a node, and where it serves HTTP: each `host:port`.
    pub(super) fn addresses(&self, node: u64) -> Option<(String, String)> {
        let place = self.places.get(&node)?;
        Some((at(place.raft), at(place.http)))
    }

    /// Gives a node another port for the others, and tells nobody but itself.
    ///
    /// # Errors
    ///
    /// [`ClusterError::System`], when there is no port.
    pub(super) fn relocate(&mut self, node: u64) -> Result<(), ClusterError> {
        let port = take(&mut self.ports)?;
        let Some(place) = self.places.get_mut(&node) else {
            return Ok(());
        };
        let old = std::mem::replace(&mut place.raft, port);
        for &other in self.places.keys().filter(|&&other| other != node) {
            self.told.entry((other, node)).or_insert(old);
        }
        Ok(())
    }

    /// The same as a second process of `node` sees it: it is elsewhere itself, and nobody else
    /// knows.
    ///
    /// # Errors
    ///
    /// [`ClusterError::System`], when there is no port.
    pub(super) fn with_twin(&self, node: u64) -> Result<Self, ClusterError> {
        let mut twin = self.clone();
        let place = Place {
            raft: take(&mut twin.ports)?,
            http: take(&mut twin.ports)?,
        };
        twin.places.insert(node, place);
        Ok(twin)
    }

    /// Where `node` serves HTTP: `http://host:port`.
    #[must_use]
    pub fn url(&self, node: u64) -> Option<String> {
        let place = self.places.get(&node)?;
        Some(format!("http://{}", at(place.http)))
    }

    /// The program that runs the nodes.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The Raft groups that every node has.
    #[must_use]
    pub const fn groups(&self) -> u64 {
        self.groups
    }

    /// The ids of all nodes.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.places.keys().copied()
    }

    /// Where each node serves HTTP: `http://host:port`.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let urls = self.places.values();
        urls.map(|place| format!("http://{}", at(place.http)))
            .collect()
    }

    /// The UDP ports at which the nodes really are.
    #[must_use]
    pub fn raft_ports(&self) -> Vec<u16> {
        self.places.values().map(|place| place.raft).collect()
    }

    /// Writes the configuration of `node`, whose data are in `data`, into its `folder`.
    pub(super) fn write(
        &self,
        node: u64,
        folder: &Path,
        data: &Path,
        certificates: &CredentialFiles,
    ) -> Result<(), ClusterError> {
        let Some(own) = self.places.get(&node) else {
            return Ok(());
        };
        let peers = self.places.iter().filter(|&(&peer, _)| peer != node);
        let peers = peers.map(|(&peer, place)| {
            let raft = self.told.get(&(node, peer)).copied();
            let (raft, http) = (at(raft.unwrap_or(place.raft)), at(place.http));
            format!("{peer}={raft}@{http}")
        });
        let text = toml::to_string(&NodeFile {
            cluster: CLUSTER,
            node,
            data,
            listen: at(own.raft),
            http: at(own.http),
            peers: peers.collect(),
            groups: self.groups,
            ca: &certificates.ca,
            cert: &certificates.cert,
            key: &certificates.key,
            crl: certificates.crl.as_deref(),
            calls_per_second: self.calls_per_second,
            drill_changes: self.drill_changes,
        })?;
        let path = folder.join("node.toml");
        fs::write(&path, text).map_err(file("write", &path))
    }
}

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn take(ports: &mut Ports) -> Result<u16, ClusterError> {
    ports.take().map_err(|source| ClusterError::System {
        what: "a free port",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(layout: &Layout, node: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| folder.path().join(name);
        let files = CredentialFiles::new(name("ca"), name("cert"), name("key"));
        let data = folder.path().join("data");
        layout.write(node, folder.path(), &data, &files).unwrap();
        fs::read_to_string(name("node.toml")).unwrap()
    }

    #[test]
    fn who_moves_tells_nobody() {
        let mut layout = Layout::new(3, 1).unwrap().telling(1, 2, 9);
        let old = layout.places[&3].raft;
        layout.relocate(3).unwrap();
        let new = layout.places[&3].raft;
        assert_ne!(new, old);
        assert!(written(&layout, 3).contains(&format!("listen = \"127.0.0.1:{new}\"")));
        for other in [1, 2] {
            assert!(written(&layout, other).contains(&format!("3=127.0.0.1:{old}@")));
        }
        assert!(written(&layout, 1).contains("2=127.0.0.1:9@"));
        assert!(!written(&layout, 3).contains("2=127.0.0.1:9@"));
    }
    #[test]
    fn no_id_is_given_twice() {
        let mut layout = Layout::new(3, 1).unwrap();
        assert_eq!(layout.add().unwrap(), 4);
        layout.remove(4);
        assert_eq!(layout.add().unwrap(), 5);
    }
}
