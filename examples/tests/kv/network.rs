//! Transports of several nodes in this process, on loopback, that can be cut off from each other.

use quicraft_certs::{Authority, ClusterName, CredentialStore, NodeId};
use quicraft_transport::{Roster, RosterEntry, Transport, TransportHandle};

use crate::entries::CLUSTER;

/// One transport for each of the nodes 1, 2 and so on; each knows all others.
pub(crate) struct Wires {
    transports: Vec<Transport>,
}

impl Wires {
    pub(crate) fn new(nodes: u64) -> Self {
        let authority = Authority::new(ClusterName::new(CLUSTER).unwrap()).unwrap();
        let transports: Vec<_> = (1..=nodes).map(|node| start(&authority, node)).collect();
        for here in &transports {
            for there in &transports {
                if here.node_id() != there.node_id() {
                    let address = there.local_addr().unwrap().into();
                    let entry = RosterEntry::new(there.node_id(), vec![address]);
                    here.roster().insert(entry).unwrap();
                }
            }
        }
        Self { transports }
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

fn start(authority: &Authority, node: u64) -> Transport {
    let issued = authority.issue(NodeId::new(node).unwrap()).unwrap();
    let credentials = issued.credentials(authority).unwrap();
    Transport::builder(CredentialStore::new(credentials))
        .bind("127.0.0.1:0".parse().unwrap())
        .roster(Roster::closed())
        .start()
        .unwrap()
}
