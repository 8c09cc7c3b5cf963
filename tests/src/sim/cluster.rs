//! The nodes of a simulated cluster: how they start, and what they agree on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use openraft::BasicNode;
use openraft::async_runtime::instant::Instant;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::type_config::alias::InstantOf;
use quicraft_certs::{Authority, ClusterName, CredentialStore};
use quicraft_transport::raft::{MemorySnapshots, RaftFactory, serve};
use quicraft_transport::{
    GroupId, Incarnation, IncarnationError, PeerAddress, Roster, RosterEntry, Transport,
};
use tokio::time::{sleep, timeout};

use super::faults::name_of;
use super::home::{Disk, Home, issue, node_id};
use super::names::Names;
use super::node::{SimGroup, SimNode};
use super::sink::{ECHO, Sink};
use super::spec::{HOLE, LIMIT, MS, SimSpec};
use crate::raft::{RaftNode, TypeConfig};
use crate::switch::Switch;

/// A cluster on a switch.
#[derive(Debug)]
pub struct SimCluster {
    /// The network.
    pub switch: Switch,
    /// Issues certificates of the cluster.
    pub authority: Authority,
    /// What names resolve to.
    pub names: Names,
    spec: SimSpec,
    homes: BTreeMap<u64, Home>,
    nodes: BTreeMap<u64, SimNode>,
}

impl SimCluster {
    /// Starts all nodes, waits until each pair has a link, founds all groups and waits until each
    /// has a leader that may write and that all nodes know.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`LIMIT`]. So do all waits here.
    pub async fn start(spec: SimSpec) -> Self {
        let cluster = Self::start_unlinked(spec).await;
        cluster.linked().await;
        let members: BTreeMap<u64, BasicNode> = cluster
            .homes
            .keys()
            .map(|&id| (id, BasicNode::default()))
            .collect();
        for group in cluster.groups() {
            let raft = &cluster.node(1).group(group).raft;
            if let Err(error) = raft.initialize(members.clone()).await {
                panic!("group {group} cannot be founded: {error}");
            }
        }
        cluster.led().await;
        cluster
    }

    /// Starts all nodes and waits for nothing.
    pub async fn start_unlinked(spec: SimSpec) -> Self {
        let switch = Switch::new(spec.seed);
        switch.set_default(spec.conditions.clone());
        let cluster = ClusterName::new("sim.example");
        let authority = cluster
            .ok()
            .and_then(|name| Authority::with_clock(name, spec.clock.clone()).ok());
        let Some(authority) = authority else {
            panic!("the cluster's name is valid, and so is its authority");
        };
        let homes = (1..=spec.nodes)
            .map(|id| (id, Home::new(&authority, id, &spec)))
            .collect();
        let mut cluster = Self {
            switch,
            authority,
            names: Names::default(),
            spec,
            homes,
            nodes: BTreeMap::new(),
        };
        for (&id, home) in &cluster.homes {
            cluster.names.set(&name_of(id).0, home.bound.clone());
        }
        for &(guarded, other) in &cluster.spec.guarded {
            let (guarded, other) = (cluster.address(guarded), cluster.address(other));
            cluster.switch.guard(guarded.ip(), other.ip(), HOLE);
        }
        for id in 1..=cluster.spec.nodes {
            cluster.boot(id).await;
        }
        cluster
    }

    /// The settings.
    #[must_use]
    pub const fn spec(&self) -> &SimSpec {
        &self.spec
    }

    /// The ids of the groups.
    pub fn groups(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.spec.groups
    }

    /// A running node.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn node(&self, id: u64) -> &SimNode {
        match self.nodes.get(&id) {
            Some(node) => node,
            None => panic!("node {id} does not run"),
        }
    }

    /// The nodes that run, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &SimNode> + Clone {
        self.nodes.values()
    }

    /// Takes a running node out of the cluster, to end it in another way than by a crash.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn take(&mut self, id: u64) -> SimNode {
        match self.nodes.remove(&id) {
            Some(node) => node,
            None => panic!("node {id} does not run"),
        }
    }

    pub(super) async fn boot(&mut self, id: u64) {
        let incarnation = self.incarnation(id).await;
        let home = &self.homes[&id];
        let socket = match home.bound[..] {
            [address] => self.switch.socket(address),
            [v6, v4] => self.switch.dual_socket(v6, v4),
            _ => panic!("node {id} has one address, or one of each family"),
        };
        let started = Transport::builder(Arc::clone(&home.credentials))
            .incarnation(incarnation)
            .config(self.spec.transport.clone())
            .roster(self.roster())
            .resolver(Arc::new(self.names.clone()))
            .abstract_socket(socket, self.switch.runtime())
            .start();
        let transport = started.unwrap_or_else(|error| panic!("node {id} does not start: {error}"));
        let serving = self.spec.echo.then(|| {
            let serving = transport.register(ECHO, Arc::new(home.sink.clone()));
            serving.unwrap_or_else(|error| panic!("node {id}: {error}"))
        });
        let mut groups = BTreeMap::new();
        for (&group, disk) in &home.disks {
            let hosted = host(&transport, id, group, disk.clone(), &self.spec).await;
            groups.insert(group, hosted);
        }
        let node = SimNode {
            id,
            transport,
            groups,
            serving,
        };
        self.nodes.insert(id, node);
    }

    /// What every node is told of all.
    fn roster(&self) -> Roster {
        let roster = Roster::closed();
        for &node in self.homes.keys() {
            let mut entry = RosterEntry::new(node_id(node), self.advertised(node));
            entry.dial = self.spec.dial;
            if let Err(error) = roster.insert(entry) {
                panic!("node {node} does not fit the roster: {error}");
            }
        }
        roster
    }

    fn advertised(&self, node: u64) -> Vec<PeerAddress> {
        if let Some(advertised) = self.spec.advertised.get(&node) {
            return advertised.clone();
        }
        if self.spec.named {
            return vec![name_of(node).1];
        }
        let bound = &self.homes[&node].bound;
        bound.iter().map(|&address| address.into()).collect()
    }

    /// The next incarnation of a node. The one before is locked until its last task is gone.
    async fn incarnation(&self, id: u64) -> Incarnation {
        if !self.spec.persisted {
            return Incarnation::unordered();
        }
        let folder = self.homes[&id].folder.path();
        let unlocked = async {
            loop {
                match Incarnation::persisted(folder) {
                    Ok(incarnation) => return incarnation,
                    Err(IncarnationError::Locked(_)) => sleep(MS).await,
                    Err(error) => panic!("node {id}: {error}"),
                }
            }
        };
        match timeout(LIMIT, unlocked).await {
            Ok(incarnation) => incarnation,
            Err(_) => panic!("node {id} still runs {LIMIT:?} after it was dropped"),
        }
    }

    /// Waits until each pair of running nodes has a link, as both ends see it.
    pub async fn linked(&self) {
        for node in self.nodes() {
            for other in self.nodes().filter(|other| other.id != node.id) {
                node.link_up(other.id).await;
            }
        }
    }

    /// Waits until each group has a leader that may write and that all running nodes know.
    pub async fn led(&self) {
        join_all(self.groups().map(|group| self.leader(group))).await;
    }

    /// Waits until a group has a leader among the running nodes that may write and that all
    /// running nodes know, and returns it.
    pub async fn leader(&self, group: u64) -> &SimNode {
        let agreed = async {
            loop {
                if let Some(leader) = self.agreed_leader(group) {
                    return leader;
                }
                sleep(10 * MS).await;
            }
        };
        let leader = match timeout(LIMIT, agreed).await {
            Ok(leader) => self.node(leader),
            Err(_) => panic!("group {group} has no leader that all know within {LIMIT:?}"),
        };
        // An older lease may have run out, if the leader was cut off.
        let raft = &leader.group(group).raft;
        let wait = raft.wait(Some(LIMIT));
        let acked = wait.leader_with_quorum_acked(Some(InstantOf::<TypeConfig>::now()), "a lease");
        if let Err(error) = acked.await {
            panic!("node {} has no lease on group {group}: {error}", leader.id);
        }
        leader
    }

    /// Commits a command in a group, through whichever running node leads it, as a client does
    /// that follows hints: a write that was refused is tried again, one of unknown fate is not.
    ///
    /// # Panics
    ///
    /// If the fate of the write is unknown, or nobody takes it within [`LIMIT`].
    pub async fn commit(&self, group: u64, bytes: &'static str) {
        let committed = async {
            loop {
                let leader = self.leader(group).await;
                match leader.group(group).write(bytes).await {
                    Ok(_) => return,
                    Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {}
                    Err(error) => panic!("group {group}: {error}"),
                }
            }
        };
        if timeout(LIMIT, committed).await.is_err() {
            panic!("group {group} commits nothing within {LIMIT:?}");
        }
    }

    fn agreed_leader(&self, group: u64) -> Option<u64> {
        let mut known = self.nodes().map(|node| node.current_leader(group));
        let first = known.next().flatten()?;
        let agreed = known.all(|leader| leader == Some(first));
        (agreed && self.nodes.contains_key(&first)).then_some(first)
    }

    /// New credentials of a node of the cluster, for a second process under its identity.
    #[must_use]
    pub fn credentials(&self, node: u64) -> Arc<CredentialStore> {
        CredentialStore::new(issue(&self.authority, node))
    }

    /// Where the network sees a node; of one with both families, the address of IPv6.
    #[must_use]
    pub fn address(&self, node: u64) -> SocketAddr {
        self.seen(node)[0]
    }

    /// The sink that a node serves in all its runs, where the spec says `echo`.
    #[must_use]
    pub fn sink(&self, node: u64) -> &Sink {
        &self.homes[&node].sink
    }

    pub(super) fn credentials_of(&self, node: u64) -> &Arc<CredentialStore> {
        &self.homes[&node].credentials
    }

    pub(super) fn seen(&self, node: u64) -> &[SocketAddr] {
        &self.homes[&node].seen
    }

    pub(super) fn home_mut(&mut self, node: u64) -> &mut Home {
        match self.homes.get_mut(&node) {
            Some(home) => home,
            None => panic!("there is no node {node}"),
        }
    }

    pub(super) const fn spec_mut(&mut self) -> &mut SimSpec {
        &mut self.spec
    }
}

async fn host(transport: &Transport, id: u64, group: u64, disk: Disk, spec: &SimSpec) -> SimGroup {
    let group = GroupId::new(group);
    let network = RaftFactory::new(transport, group, MemorySnapshots::new());
    let built = RaftNode::build(id, spec.raft.clone(), network, disk.log, disk.machine).await;
    let node = built.unwrap_or_else(|error| panic!("node {id}, group {group}: {error}"));
    let served = serve(transport, group, node.raft.clone(), MemorySnapshots::new());
    let serving = served.unwrap_or_else(|error| panic!("node {id}: {error}"));
    node.raft.run();
    SimGroup { node, serving }
}
