//! What a test does to the nodes of a running cluster.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use quicraft_transport::{PeerAddress, ShutdownReport};

use super::SimCluster;
use super::home::{issue, node_id};
use super::node::SimNode;
use crate::raft::RaftNode;

/// The name of a node, which [`SimCluster::names`] resolves, with the port that every node has.
#[must_use]
pub fn name_of(node: u64) -> (String, PeerAddress) {
    let host = format!("node-{node}.sim.example");
    match format!("{host}:7000").parse() {
        Ok(address) => (host, address),
        Err(error) => panic!("{error}"),
    }
}

impl SimCluster {
    /// Ends a node as `kill -9` does: nothing more of it gets out, nobody is told. What its logs
    /// had not flushed is kept; [`MemLog::lose_power`](crate::raft::MemLog::lose_power) is another
    /// fault.
    ///
    /// # Panics
    ///
    /// If it does not run. So do the others.
    pub async fn crash(&mut self, id: u64) {
        let node = self.take(id);
        let address = self.address(id);
        assert!(self.switch.crash(address), "node {id} has a socket");
        let SimNode {
            transport,
            groups,
            serving,
            ..
        } = node;
        drop((transport, serving));
        let (rafts, serving): (Vec<_>, Vec<_>) = groups
            .into_values()
            .map(|group| (group.node, group.serving))
            .unzip();
        drop(serving);
        join_all(rafts.iter().map(RaftNode::stop)).await;
    }

    /// Ends a node in order, within `limit`.
    pub async fn stop(&mut self, id: u64, limit: Duration) -> ShutdownReport {
        let SimNode {
            transport,
            groups,
            serving,
            ..
        } = self.take(id);
        join_all(groups.values().map(|group| group.node.stop())).await;
        drop(groups);
        let report = transport.shutdown(limit).await;
        drop(serving);
        // The process ends, and with it the socket, which quinn holds until the last peer has had
        // the time to hear of it.
        self.switch.crash(self.address(id));
        report
    }

    /// Starts a node that has ended again, where it was bound, with what was on its disks.
    pub async fn restart(&mut self, id: u64) {
        let home = self.home_mut(id);
        home.seen = home.bound.clone();
        self.boot(id).await;
    }

    /// Starts a node that has ended again, at another address. Nobody is told.
    pub async fn restart_at(&mut self, id: u64, address: SocketAddr) {
        self.home_mut(id).bound = vec![address];
        self.restart(id).await;
    }

    /// Moves a running node to another address under its live socket, as a NAT does that has
    /// forgotten it. Neither it nor anybody else is told.
    pub fn rebind(&mut self, id: u64, to: SocketAddr) {
        let from = self.address(id);
        if let Err(error) = self.switch.rebind(from, to) {
            panic!("node {id} cannot move: {error}");
        }
        self.home_mut(id).seen[0] = to;
    }

    /// Pauses a node, as SIGSTOP does; [`Switch::pause`](crate::switch::Switch::pause) says what of
    /// it is not modelled.
    pub fn pause(&self, id: u64) {
        let paused = self.switch.pause(self.address(id));
        assert!(paused, "node {id} has a socket");
    }

    /// Continues a paused node.
    pub fn resume(&self, id: u64) {
        self.switch.resume(self.address(id));
    }

    /// Gives a node new credentials from the same authority, with a new key.
    pub fn renew(&self, id: u64) {
        let renewed = issue(&self.authority, id);
        if let Err(error) = self.credentials_of(id).replace(renewed) {
            panic!("node {id}: {error}");
        }
    }

    /// Says where a node is, to all that run and to all that are started later.
    pub fn advertise(&mut self, node: u64, addresses: Vec<PeerAddress>) {
        for other in self.nodes() {
            let roster = other.transport.roster();
            if let Err(error) = roster.learn(node_id(node), addresses.clone()) {
                panic!("node {node} does not fit the roster: {error}");
            }
        }
        self.spec_mut().advertised.insert(node, addresses);
    }

    /// The hosts of a node on the switch, where it is seen now.
    #[must_use]
    pub fn hosts(&self, node: u64) -> Vec<IpAddr> {
        self.seen(node).iter().map(SocketAddr::ip).collect()
    }

    /// Lets nothing pass from one node to another.
    pub fn cut_one_way(&self, from: u64, to: u64) {
        for from in self.hosts(from) {
            for to in self.hosts(to) {
                self.switch.block_one_way(from, to);
            }
        }
    }

    /// Lets nothing pass between two nodes, until [`SimCluster::mend`] or a heal of the switch.
    pub fn cut(&self, a: u64, b: u64) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Ends what [`SimCluster::cut`] did between two nodes, where they are seen now.
    pub fn mend(&self, a: u64, b: u64) {
        for a in self.hosts(a) {
            for b in self.hosts(b) {
                self.switch.unblock(a, b);
            }
        }
    }
}
