//! Quicraft as a host uses it: a transport for each node, on a real socket, with mutual TLS.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::{Authority, ClusterName, CredentialStore, NodeId};
use quicraft_tests::raft::TypeConfig;
use quicraft_transport::raft::{MemorySnapshots, RaftFactory, RaftTiming, serve};
use quicraft_transport::{GroupId, Registration, Roster, RosterEntry, Transport, TransportConfig};

use super::network::{GroupRaft, Network, raft_config};
use crate::pair::{Failure, linked};

/// How long a transport may take to end.
const LIMIT: Duration = Duration::from_secs(5);

/// The transports of all nodes.
pub(crate) struct Quicraft {
    transports: BTreeMap<u64, Transport>,
    serving: Vec<Registration>,
}

/// Transports that know nobody yet, each on a port of its own address.
pub(crate) fn start(
    nodes: &[u64],
    address: impl Fn(u64) -> Ipv4Addr,
) -> Result<BTreeMap<u64, Transport>, Failure> {
    let authority = Authority::new(ClusterName::new("bench.example")?)?;
    let config = TransportConfig::default().with_timing(RaftTiming::derive(&raft_config()));
    let mut transports = BTreeMap::new();
    for &id in nodes {
        let issued = authority.issue(NodeId::new(id)?)?;
        let credentials = CredentialStore::new(issued.credentials(&authority)?);
        let transport = Transport::builder(Arc::clone(&credentials))
            .bind(SocketAddr::from((address(id), 0)))
            .config(config.clone())
            .roster(Roster::closed())
            .start()?;
        transports.insert(id, transport);
    }
    Ok(transports)
}

/// Tells each transport of all others.
pub(crate) fn introduce(transports: &BTreeMap<u64, Transport>) -> Result<(), Failure> {
    for (own, transport) in transports {
        for (&other, peer) in transports.iter().filter(|(other, _)| *other != own) {
            let address = peer.local_addr().ok_or("no address")?;
            let entry = RosterEntry::new(NodeId::new(other)?, vec![address.into()]);
            transport.roster().insert(entry)?;
        }
    }
    Ok(())
}

/// Waits until each has a link to all others.
pub(crate) async fn meshed(transports: &BTreeMap<u64, Transport>) -> Result<(), Failure> {
    for (own, transport) in transports {
        for &other in transports.keys().filter(|other| *other != own) {
            linked(transport, NodeId::new(other)?).await?;
        }
    }
    Ok(())
}

impl Network for Quicraft {
    type Factory = RaftFactory<TypeConfig, MemorySnapshots>;

    const NAME: &'static str = "quicraft";

    async fn start(nodes: &[u64]) -> Result<Self, Failure> {
        let transports = start(nodes, |_| Ipv4Addr::LOCALHOST)?;
        introduce(&transports)?;
        Ok(Self {
            transports,
            serving: Vec::new(),
        })
    }

    fn factory(&self, node: u64, group: u64) -> Result<Self::Factory, Failure> {
        let transport = self.transports.get(&node).ok_or("no such node")?;
        let snapshots = MemorySnapshots::new();
        Ok(RaftFactory::new(transport, GroupId::new(group), snapshots))
    }

    fn serve(&mut self, node: u64, group: u64, raft: GroupRaft) -> Result<(), Failure> {
        let transport = self.transports.get(&node).ok_or("no such node")?;
        let snapshots = MemorySnapshots::new();
        let serving = serve(transport, GroupId::new(group), raft, snapshots)?;
        self.serving.push(serving);
        Ok(())
    }

    async fn ready(&self) -> Result<(), Failure> {
        meshed(&self.transports).await
    }

    async fn stop(self) -> Result<(), Failure> {
        drop(self.serving);
        for transport in self.transports.into_values() {
            transport.shutdown(LIMIT).await;
        }
        Ok(())
    }
}
