//! Transports of several nodes in this process, on loopback, that can be cut off from each other.

use std::net::SocketAddr;
use std::time::Duration;

use quicraft_certs::{Authority, ClusterName, CredentialStore, NodeId};
use quicraft_transport::{Roster, RosterEntry, Transport, TransportHandle};

use crate::entries::CLUSTER;

/// One transport for each of the nodes 1, 2 and so on; each knows all others.
pub(crate) struct Wires {
    authority: Authority,
    transports: Vec<Transport>,
}

impl Wires {
    pub(crate) fn new(nodes: u64) -> Self {
        let authority = Authority::new(ClusterName::new(CLUSTER).unwrap()).unwrap();
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let transports = (1..=nodes).map(|node| start(&authority, node, anywhere));
        let transports = transports.collect();
        Self::between(authority, transports)
    }

    /// The same nodes at the same addresses, started again: the cluster keeps where its nodes are.
    pub(crate) async fn again(self) -> Self {
        let mut addresses = Vec::new();
        for transport in self.transports {
            let node = transport.node_id().get();
            addresses.push((node, transport.local_addr().unwrap()));
            assert!(transport.shutdown(Duration::from_secs(5)).await.tasks_ended);
        }
        let again = addresses.into_iter();
        let again = again.map(|(node, address)| start(&self.authority, node, address));
        let again = again.collect();
        Self::between(self.authority, again)
    }

    fn between(authority: Authority, transports: Vec<Transport>) -> Self {
        for here in &transports {
            for there in &transports {
                if here.node_id() != there.node_id() {
                    let address = there.local_addr().unwrap().into();
                    let entry = RosterEntry::new(there.node_id(), vec![address]);
                    here.roster().insert(entry).unwrap();
                }
            }
        }
        Self {
            authority,
            transports,
        }
    }

    pub(crate) fn handle(&self, node: u64) -> TransportHandle {
        let mut transports = self.transports.iter();
        let found = transports.find(|transport| transport.node_id().get() == node);
        found.unwrap().handle()
    }

    /// Where a node really is.
    pub(crate) fn address(&self, node: u64) -> String {
        self.handle(node).local_addr().unwrap().to_string()
    }

    /// Cuts a node off from all others, at both ends.
    pub(crate) fn cut(&self, node: u64) {
        self.each(node, |handle, peer| assert!(handle.suspend_peer(peer)));
    }

    pub(crate) fn mend(&self, node: u64) {
        self.each(node, |handle, peer| assert!(handle.resume_peer(peer)));
    }

    fn each(&self, node: u64, act: impl Fn(TransportHandle, NodeId)) {
        let one = NodeId::new(node).unwrap();
        let others = self.transports.iter().map(|transport| transport.node_id());
        for other in others.filter(|&other| other != one) {
            act(self.handle(node), other);
            act(self.handle(other.get()), one);
        }
    }
}

fn start(authority: &Authority, node: u64, address: SocketAddr) -> Transport {
    let issued = authority.issue(NodeId::new(node).unwrap()).unwrap();
    let credentials = issued.credentials(authority).unwrap();
    Transport::builder(CredentialStore::new(credentials))
        .bind(address)
        .roster(Roster::closed())
        .start()
        .unwrap()
}
