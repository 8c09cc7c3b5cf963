//! The nodes of a managed cluster: how they start and die, and what they have kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use quicraft_certs::{Authority, ClusterName};
use quicraft_manager::{
    ChangeOptions, ChangeReport, ClusterSpec, GroupName, GroupSelection, NewGroup, NodeRecord,
    RaftManager,
};
use quicraft_transport::{Incarnation, Roster, RosterEntry, Transport};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::home::{Home, address_of, node_id};
use super::load::{Doors, Load, Requests, assert_kept};
use super::node::{Hosted, ManagedNode, Opened};
use super::opener::Opener;
use super::spec::ManagedSpec;
use crate::sim::{LIMIT, MS};
use crate::switch::Switch;

/// How long what is left of a node that died goes on by itself. A second: whatever it had begun has
/// ended in vain by then, and a test that looks for traces of it would find them.
const REMAINS: Duration = Duration::from_secs(1);

/// A cluster of managed nodes on a switch.
#[derive(Debug)]
pub struct ManagedCluster {
    /// The network.
    pub switch: Switch,
    authority: Authority,
    spec: ManagedSpec,
    homes: BTreeMap<u64, Home>,
    /// What nodes are configured with, if not the founders and themselves.
    members: BTreeMap<u64, Vec<u64>>,
    nodes: BTreeMap<u64, ManagedNode>,
    doors: Doors,
    /// What is left of nodes that died, until it has ended.
    remains: JoinSet<()>,
}

impl ManagedCluster {
    /// A network without nodes.
    ///
    /// # Panics
    ///
    /// Never: the name of the cluster is valid.
    #[must_use]
    pub fn new(spec: ManagedSpec) -> Self {
        let switch = Switch::new(spec.seed);
        switch.set_default(spec.conditions.clone());
        let name = ClusterName::new("managed.example").ok();
        let Some(authority) = name.and_then(|name| Authority::new(name).ok()) else {
            panic!("the cluster's name is valid, and so is its authority");
        };
        Self {
            switch,
            authority,
            spec,
            homes: BTreeMap::new(),
            members: BTreeMap::new(),
            nodes: BTreeMap::new(),
            doors: Doors::default(),
            remains: JoinSet::new(),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn spec(&self) -> &ManagedSpec {
        &self.spec
    }

    /// Starts all founders, has them found the cluster and waits until each says that it is formed.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`LIMIT`].
    pub async fn formed(spec: ManagedSpec) -> Self {
        let mut cluster = Self::new(spec);
        for id in cluster.spec.founders.clone() {
            cluster.begin(id).await;
        }
        cluster.all_formed(LIMIT).await;
        cluster
    }

    /// Waits until every running node says that the cluster is formed.
    ///
    /// # Panics
    ///
    /// If one does not within `limit`.
    pub async fn all_formed(&self, limit: Duration) {
        for node in self.nodes() {
            if let Err(error) = node.manager.wait_for_cluster_formation(limit).await {
                let all = self.nodes().map(|node| (node.id, node.manager.formation()));
                panic!(
                    "node {}: {error}; all: {:#?}",
                    node.id,
                    all.collect::<Vec<_>>()
                );
            }
        }
    }

    /// From now on a node is configured with these members.
    pub fn configure(&mut self, node: u64, members: impl IntoIterator<Item = u64>) {
        self.members.insert(node, members.into_iter().collect());
    }

    /// What is known of a node: where it is bound.
    #[must_use]
    pub fn record(&self, node: u64) -> NodeRecord {
        NodeRecord::new(node, [self.address(node).to_string()])
    }

    /// Where a node is bound.
    #[must_use]
    pub fn address(&self, node: u64) -> SocketAddr {
        let home = self.homes.get(&node);
        home.map_or_else(|| address_of(node), |home| home.address)
    }

    /// From its next start a node is bound where another number would be. Nobody is told.
    pub fn move_to(&mut self, node: u64, number: u64) {
        self.home_mut(node).address = address_of(number);
    }

    /// What a node is configured with.
    fn cluster_spec(&self, node: u64) -> ClusterSpec {
        // In one order on all nodes: each group has the same founder for all.
        let members: BTreeSet<_> = match self.members.get(&node) {
            Some(members) => members.iter().copied().collect(),
            None => self.spec.founders.iter().copied().chain([node]).collect(),
        };
        let groups = self.spec.groups.iter().zip(members.iter().cycle());
        let groups = groups.map(|(name, &founder)| {
            NewGroup::new(name.clone(), members.iter().copied()).founded_by(founder)
        });
        let records = members.iter().map(|&member| self.record(member));
        let spec = ClusterSpec::new(node, records).with_groups(groups.collect::<Vec<_>>());
        if self.spec.forced.contains(&node) {
            spec.force_found()
        } else {
            spec
        }
    }

    /// Starts a node, a new one or one that has died, and has it take part in the cluster.
    ///
    /// # Panics
    ///
    /// If it does not begin to.
    pub async fn begin(&mut self, id: u64) {
        self.start(id);
        self.initialize(id).await;
    }

    /// Adds a node, which may run or not, to all groups, through another node.
    ///
    /// # Panics
    ///
    /// If it is not in all groups within [`LIMIT`].
    pub async fn add(&self, by: u64, node: u64) -> ChangeReport {
        let manager = &self.node(by).manager;
        let options = ChangeOptions::until(Instant::now() + LIMIT);
        let added = manager.add_node(self.record(node), GroupSelection::All, &options);
        match added.await {
            Ok(report) => report,
            Err(error) => panic!("node {node}, added by node {by}: {error}"),
        }
    }

    /// Has a running node take part in the cluster.
    ///
    /// # Panics
    ///
    /// If it does not begin to.
    pub async fn initialize(&self, id: u64) {
        let node = self.node(id);
        if let Err(error) = node
            .opener
            .begin(&node.manager, self.cluster_spec(id))
            .await
        {
            panic!("node {id}: {error}");
        }
    }

    /// A running node.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn node(&self, id: u64) -> &ManagedNode {
        match self.nodes.get(&id) {
            Some(node) => node,
            None => panic!("node {id} does not run"),
        }
    }

    /// The nodes that run, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &ManagedNode> + Clone {
        self.nodes.values()
    }

    /// Starts a node, a new one or one that has died, with what is on its disks.
    ///
    /// # Panics
    ///
    /// If it runs already or does not start.
    pub fn start(&mut self, id: u64) {
        assert!(!self.nodes.contains_key(&id), "node {id} runs already");
        let (address, roster) = (self.address(id), self.roster(id));
        let authority = &self.authority;
        let home = self
            .homes
            .entry(id)
            .or_insert_with(|| Home::new(authority, id));
        let incarnation = Incarnation::persisted(home.folder.path());
        let incarnation = incarnation.unwrap_or_else(|error| panic!("node {id}: {error}"));
        let started = Transport::builder(Arc::clone(&home.credentials))
            .incarnation(incarnation)
            .config(self.spec.transport.clone())
            .roster(roster)
            .abstract_socket(self.switch.socket(address), self.switch.runtime())
            .start();
        let transport = started.unwrap_or_else(|error| panic!("node {id} does not start: {error}"));
        let manager = RaftManager::new(transport.handle(), self.spec.manager.clone());
        let manager = manager.unwrap_or_else(|error| panic!("node {id}: {error}"));
        let (down, _) = watch::channel(false);
        let opener = Opener {
            raft: Arc::new(self.spec.raft.clone()),
            disks: self.homes[&id].disks.clone(),
            opened: Opened::default(),
        };
        let node = ManagedNode {
            id,
            transport,
            manager,
            meta: self.homes[&id].disks.meta.machine.clone(),
            opened: opener.opened.clone(),
            opener,
            down,
            tasks: std::sync::Mutex::default(),
        };
        self.doors.open(id, node.door());
        self.nodes.insert(id, node);
    }

    /// The configured members of a node: whom it may talk to before it knows the cluster.
    fn roster(&self, node: u64) -> Roster {
        let roster = Roster::closed();
        for record in self.cluster_spec(node).members {
            let entry = RosterEntry::new(node_id(record.node), record.peer_addresses());
            if let Err(error) = roster.insert(entry) {
                panic!("node {} does not fit the roster: {error}", record.node);
            }
        }
        roster
    }

    /// Ends a node as `kill -9` does: nothing more of it gets out or onto its disks, nobody is told.
    ///
    /// # Panics
    ///
    /// If it does not run. So do the others.
    pub fn crash(&mut self, id: u64) {
        let Some(node) = self.nodes.remove(&id) else {
            panic!("node {id} does not run");
        };
        assert!(
            self.switch.crash(self.address(id)),
            "node {id} has a socket"
        );
        self.doors.close(id);
        self.home_mut(id).cut_off();
        node.down.send_replace(true);
        node.opened.clear();
        let mut tasks = node
            .tasks
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
        drop(node.transport);
        let manager = node.manager;
        self.remains.spawn(async move {
            sleep(REMAINS).await;
            drop(manager.shut_down().await);
        });
    }

    /// Starts a node that has died with empty disks and an empty folder, under its old id.
    pub fn start_empty(&mut self, id: u64) {
        self.home_mut(id).lose();
        self.start(id);
    }

    /// Pauses a node, as SIGSTOP does; [`Switch::pause`] says what of it is not modelled.
    pub fn pause(&self, id: u64) {
        assert!(
            self.switch.pause(self.address(id)),
            "node {id} has a socket"
        );
    }

    /// Continues a paused node.
    pub fn resume(&self, id: u64) {
        self.switch.resume(self.address(id));
    }

    /// From now on no client of a load goes to a node.
    pub fn close_door(&self, node: u64) {
        self.doors.close(node);
    }

    /// A load on all groups that the cluster was founded with; each request has `limit`.
    #[must_use]
    pub fn load(&self, limit: Duration) -> Load {
        Load::start(&self.doors, &self.spec.groups, self.spec.seed, limit)
    }

    /// Checks that every acknowledged write is, once and in one order, in the machine of each voter
    /// that runs, and that no read was stale.
    ///
    /// # Panics
    ///
    /// If it is not so, or the voters have not all applied the same within [`LIMIT`].
    pub async fn assert_kept(&self, requests: &Requests) {
        assert!(
            requests.stale_reads.is_empty(),
            "{:?}",
            requests.stale_reads
        );
        for (group, acknowledged) in &requests.acknowledged {
            let voters = self.voters(group);
            let mut members = self.members(group);
            members.retain(|node, _| voters.contains(node));
            assert!(
                members.len() * 2 > voters.len(),
                "{group}: of {voters:?} only {:?} run",
                members.keys()
            );
            Self::assert_applied(group, &members, acknowledged).await;
        }
    }

    /// Waits until all these machines of a group have applied the same, and checks that each
    /// acknowledged write is there once, and no write twice.
    ///
    /// # Panics
    ///
    /// If it is not so within [`LIMIT`].
    pub async fn assert_applied(
        group: &GroupName,
        members: &BTreeMap<u64, Hosted>,
        acknowledged: &[String],
    ) {
        assert_kept(group, members, acknowledged, Instant::now() + LIMIT).await;
    }

    /// The running nodes on which a group is open.
    #[must_use]
    pub fn members(&self, group: &GroupName) -> BTreeMap<u64, Hosted> {
        let members = self.nodes();
        let members = members.filter_map(|node| Some((node.id, node.opened.get(group)?)));
        members.collect()
    }

    /// Who is to vote in a group, as the node that has applied most knows it.
    fn voters(&self, group: &GroupName) -> Vec<u64> {
        let states = self.nodes().map(|node| {
            let applied = node.meta.applied();
            (applied, node.state())
        });
        let newest = states.max_by_key(|(applied, _)| *applied);
        let record = newest.and_then(|(_, state)| state.groups.get(group).cloned());
        record.map_or_else(Vec::new, |record| record.voters.into_iter().collect())
    }

    /// Waits until something holds.
    ///
    /// # Panics
    ///
    /// If it does not within `limit`.
    pub async fn until(&self, limit: Duration, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                sleep(10 * MS).await;
            }
        };
        if timeout(limit, waiting).await.is_err() {
            let states = self.nodes().map(|node| (node.id, node.state()));
            panic!(
                "not within {limit:?}: {what}; {:#?}",
                states.collect::<Vec<_>>()
            );
        }
    }

    fn home_mut(&mut self, node: u64) -> &mut Home {
        match self.homes.get_mut(&node) {
            Some(home) => home,
            None => panic!("there is no node {node}"),
        }
    }
}
