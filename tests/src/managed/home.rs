//! What outlives a run of a managed node: its folder, its credentials and the disks of its groups.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quicraft_certs::{Authority, CredentialStore, Credentials, NodeId};
use quicraft_manager::GroupName;
use tempfile::TempDir;

use super::machine::MetaMachine;
use super::types::MetaTypes;
use crate::raft::{InMemory, Machine, MemLog};
use crate::switch::address;

/// The disk of a group of the host.
#[derive(Debug, Clone)]
pub(super) struct DataDisk {
    pub(super) log: MemLog,
    pub(super) machine: Machine<InMemory>,
}

impl DataDisk {
    fn new() -> Self {
        Self {
            log: MemLog::new(),
            machine: Machine::new(InMemory),
        }
    }
}

/// The disk of the meta group.
#[derive(Debug, Clone, Default)]
pub(super) struct MetaDisk {
    pub(super) log: MemLog<MetaTypes>,
    pub(super) machine: MetaMachine,
}

/// The disks of all groups of a node. Clones are the same disks.
#[derive(Debug, Clone, Default)]
pub(super) struct Disks {
    pub(super) meta: MetaDisk,
    data: Arc<Mutex<BTreeMap<GroupName, DataDisk>>>,
}

impl Disks {
    /// The disk of a group; an empty one if the node never had the group.
    pub(super) fn of(&self, group: &GroupName) -> DataDisk {
        let mut data = self.data();
        let disk = data.entry(group.clone()).or_insert_with(DataDisk::new);
        disk.clone()
    }

    /// Deletes the disk of a group.
    pub(super) fn delete(&self, group: &GroupName) {
        self.data().remove(group);
    }

    /// Other disks that hold what these hold now. What still runs on these changes them no more.
    fn copy(&self) -> Self {
        let data = self.data();
        let copied = data.iter().map(|(name, disk)| {
            let copy = DataDisk {
                log: disk.log.copy(),
                machine: disk.machine.copy(),
            };
            (name.clone(), copy)
        });
        Self {
            meta: MetaDisk {
                log: self.meta.log.copy(),
                machine: self.meta.machine.copy(),
            },
            data: Arc::new(Mutex::new(copied.collect())),
        }
    }

    fn data(&self) -> MutexGuard<'_, BTreeMap<GroupName, DataDisk>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What outlives a crash of a node.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) folder: TempDir,
    pub(super) credentials: Arc<CredentialStore>,
    pub(super) disks: Disks,
    /// Where the node is bound.
    pub(super) address: SocketAddr,
}

impl Home {
    pub(super) fn new(authority: &Authority, id: u64) -> Self {
        Self {
            address: address_of(id),
            folder: new_folder(),
            credentials: CredentialStore::new(issue(authority, id)),
            disks: Disks::default(),
        }
    }

    /// Takes the disks from whatever still runs on them, as they are at this moment.
    pub(super) fn cut_off(&mut self) {
        let folder = new_folder();
        let files =
            fs::read_dir(self.folder.path()).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let files = files.unwrap_or_else(|error| panic!("a folder cannot be read: {error}"));
        for file in files {
            if let Err(error) = fs::copy(file.path(), folder.path().join(file.file_name())) {
                panic!("{} cannot be copied: {error}", file.path().display());
            }
        }
        self.folder = folder;
        self.disks = self.disks.copy();
    }

    /// Loses everything but the credentials.
    pub(super) fn lose(&mut self) {
        self.folder = new_folder();
        self.disks = Disks::default();
    }
}

/// Where a node is bound that was never moved.
pub(super) fn address_of(node: u64) -> SocketAddr {
    match u8::try_from(node) {
        Ok(number) if number < 255 => address(number),
        _ => panic!("node {node} has no address on the switch"),
    }
}

fn new_folder() -> TempDir {
    let folder = TempDir::with_prefix("quicraft-managed-");
    folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"))
}

pub(super) fn node_id(node: u64) -> NodeId {
    NodeId::new(node).unwrap_or_else(|error| panic!("{error}"))
}

fn issue(authority: &Authority, node: u64) -> Credentials {
    let issued = authority.issue(node_id(node));
    let issued = issued.unwrap_or_else(|error| panic!("node {node}: {error}"));
    match issued.credentials(authority) {
        Ok(credentials) => credentials,
        Err(error) => panic!("node {node}: {error}"),
    }
}
