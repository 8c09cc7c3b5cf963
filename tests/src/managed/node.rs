//! One running node of a managed cluster: its transport, its manager and what they opened.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::async_runtime::WatchReceiver as _;
use quicraft_manager::{Group, GroupName, MetaState, RaftManager};
use quicraft_transport::{LinkStatus, Transport};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::home::node_id;
use super::machine::MetaMachine;
use super::opener::Opener;
use super::types::MetaTypes;
use crate::raft::{InMemory, Machine, TypeConfig};

/// A group of the host on a node, and what its machine has applied there.
#[derive(Debug, Clone)]
pub struct Hosted {
    /// The group.
    pub group: Group<TypeConfig, Machine<InMemory>>,
    /// Its machine.
    pub machine: Machine<InMemory>,
}

/// The meta group on a node.
pub type MetaGroup = Group<MetaTypes, MetaMachine>;

/// The groups of the host that are open on a node. Clones are the same groups.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    groups: Arc<Mutex<BTreeMap<GroupName, Hosted>>>,
    refused: Arc<Mutex<BTreeSet<GroupName>>>,
}

impl Opened {
    /// A group, if it is open.
    #[must_use]
    pub fn get(&self, group: &GroupName) -> Option<Hosted> {
        self.groups().get(group).cloned()
    }

    /// The names of all that are open.
    #[must_use]
    pub fn names(&self) -> Vec<GroupName> {
        self.groups().keys().cloned().collect()
    }

    /// From now on this node fails to open and to destroy a group.
    pub fn refuse(&self, group: &GroupName) {
        self.refused().insert(group.clone());
    }

    /// From now on this node opens and destroys the group again.
    pub fn allow(&self, group: &GroupName) {
        self.refused().remove(group);
    }

    pub(super) fn refuses(&self, group: &GroupName) -> bool {
        self.refused().contains(group)
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<GroupName>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, hosted: Hosted) {
        let name = hosted.group.name().clone();
        self.groups().insert(name, hosted);
    }

    pub(super) fn remove(&self, group: &GroupName) {
        self.groups().remove(group);
    }

    pub(super) fn clear(&self) {
        self.groups().clear();
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<GroupName, Hosted>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client needs of a node: its groups, and to be told when the node dies.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) opened: Opened,
    pub(super) down: watch::Receiver<bool>,
}

/// A running node.
#[derive(Debug)]
pub struct ManagedNode {
    /// Its id.
    pub id: u64,
    /// Its transport.
    pub transport: Transport,
    /// Its manager.
    pub manager: RaftManager,
    /// The machine of its meta group.
    pub meta: MetaMachine,
    /// Its groups of the host.
    pub opened: Opened,
    /// How it opens groups.
    pub opener: Opener,
    pub(super) down: watch::Sender<bool>,
    /// What tests run on this node; it dies with it.
    pub(super) tasks: Mutex<JoinSet<()>>,
}

/// Something that runs on a node, until it has a result or the node dies.
#[derive(Debug)]
pub struct OnNode<T> {
    result: oneshot::Receiver<T>,
}

impl<T> OnNode<T> {
    /// What came of it; nothing if its node died before.
    pub async fn ended(self) -> Option<T> {
        self.result.await.ok()
    }
}

impl ManagedNode {
    /// Runs something of this node's host: a crash of the node ends it where it is.
    pub fn run<T, F>(&self, work: impl FnOnce(RaftManager) -> F) -> OnNode<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let working = work(self.manager.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async move {
            // Whoever asked may have stopped listening.
            drop(done.send(working.await));
        });
        OnNode { result }
    }

    /// The cluster as this node has applied it.
    #[must_use]
    pub fn state(&self) -> Arc<MetaState> {
        self.meta.meta().state()
    }

    /// The link to another node.
    #[must_use]
    pub fn link(&self, node: u64) -> LinkStatus {
        self.transport.peer(node_id(node)).status()
    }

    /// Who leads a group of the host, as this node knows it.
    #[must_use]
    pub fn leader(&self, group: &GroupName) -> Option<u64> {
        let hosted = self.opened.get(group)?;
        let metrics = hosted.group.raft().metrics();
        metrics.borrow_watched().current_leader
    }

    pub(super) fn door(&self) -> Door {
        Door {
            opened: self.opened.clone(),
            down: self.down.subscribe(),
        }
    }
}
