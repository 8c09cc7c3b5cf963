//! What outlives a run of a node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use quicraft_certs::{Authority, CredentialStore, Credentials, NodeId};
use tempfile::TempDir;

use super::sink::Sink;
use super::spec::SimSpec;
use crate::raft::{InMemory, Machine, MemLog};
use crate::switch::{address, address_v6};

/// Which families of addresses a node has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv4 alone.
    #[default]
    V4,
    /// IPv6 alone.
    V6,
    /// One socket for both.
    Both,
}

/// What outlives a crash of a group on a node.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) log: MemLog,
    pub(super) machine: Machine<InMemory>,
}

/// What outlives a crash of a node.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) folder: TempDir,
    pub(super) credentials: Arc<CredentialStore>,
    pub(super) disks: BTreeMap<u64, Disk>,
    pub(super) sink: Sink,
    /// Where its socket binds: one address, or one of IPv6 and one of IPv4.
    pub(super) bound: Vec<SocketAddr>,
    /// Where the network sees the socket that runs.
    pub(super) seen: Vec<SocketAddr>,
}

impl Home {
    pub(super) fn new(authority: &Authority, id: u64, spec: &SimSpec) -> Self {
        let folder = TempDir::with_prefix("quicraft-sim-");
        let disk = || Disk {
            log: MemLog::new(),
            machine: Machine::new(InMemory),
        };
        let bound = bound(id, spec.families.get(&id).copied().unwrap_or_default());
        Self {
            folder: folder.unwrap_or_else(|error| panic!("no temporary folder: {error}")),
            credentials: CredentialStore::new(issue(authority, id)),
            disks: (1..=spec.groups).map(|group| (group, disk())).collect(),
            sink: Sink::new(1 << 20),
            seen: bound.clone(),
            bound,
        }
    }
}

fn bound(node: u64, families: Families) -> Vec<SocketAddr> {
    let number = match u8::try_from(node) {
        Ok(number) if number < 255 => number,
        _ => panic!("node {node} has no address on the switch"),
    };
    match families {
        Families::V4 => vec![address(number)],
        Families::V6 => vec![address_v6(number)],
        Families::Both => vec![address_v6(number), address(number)],
    }
}

pub(super) fn node_id(node: u64) -> NodeId {
    NodeId::new(node).unwrap_or_else(|error| panic!("{error}"))
}

/// New credentials of a node, with a new key.
pub(super) fn issue(authority: &Authority, node: u64) -> Credentials {
    let issued = authority.issue(node_id(node));
    let issued = issued.unwrap_or_else(|error| panic!("node {node}: {error}"));
    match issued.credentials(authority) {
        Ok(credentials) => credentials,
        Err(error) => panic!("node {node}: {error}"),
    }
}
