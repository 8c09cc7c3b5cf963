//! gRPC as a user of tonic would build it who measures: one channel from each node to each other one,
//! mutual TLS, appends of a group on a bidirectional stream that is never waited for, everything else
//! unary. Messages are openraft's own, in the codec that Quicraft uses.

mod client;
mod codec;
mod service;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};

use quicraft_certs::{Authority, ClusterName, IssuedNode, NodeId};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;

pub(crate) use self::client::GrpcFactory;
use self::service::{Groups, RaftGrpc};
use super::network::{GroupRaft, Network};
use crate::pair::Failure;
use crate::peers::tonic::{endpoint, server};

const CLUSTER: &str = "bench.example";

/// The call of each kind of message.
const APPEND: &str = "/quicraft.Raft/Append";
const HEARTBEAT: &str = "/quicraft.Raft/Heartbeat";
const VOTE: &str = "/quicraft.Raft/Vote";
const PRE_VOTE: &str = "/quicraft.Raft/PreVote";

/// The header that names the group.
const GROUP: &str = "group";

/// The servers and channels of all nodes.
pub(crate) struct Grpc {
    groups: BTreeMap<u64, Groups>,
    /// By who asks, and whom.
    channels: BTreeMap<u64, BTreeMap<u64, Channel>>,
    /// The servers end with it.
    _servers: JoinSet<()>,
}

impl Network for Grpc {
    type Factory = GrpcFactory;

    const NAME: &'static str = "tonic";

    async fn start(nodes: &[u64]) -> Result<Self, Failure> {
        let authority = Authority::new(ClusterName::new(CLUSTER)?)?;
        let mut issued = BTreeMap::new();
        for &node in nodes {
            issued.insert(node, authority.issue(NodeId::new(node)?)?);
        }
        let (mut groups, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        let mut servers = JoinSet::new();
        for (&node, certificate) in &issued {
            let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into())?;
            let incoming = incoming.with_nodelay(Some(true));
            addresses.insert(node, incoming.local_addr()?);
            let served: &Groups = groups.entry(node).or_default();
            let service = RaftGrpc::new(Arc::clone(served));
            let server = server(&authority, certificate)?;
            servers.spawn(async move {
                if let Err(error) = server.serve_with_incoming(service, incoming).await {
                    eprintln!("tonic: node {node}: {error}");
                }
            });
        }
        let mut channels = BTreeMap::new();
        for (&node, certificate) in &issued {
            let to_others = connect(&authority, certificate, node, &addresses).await?;
            channels.insert(node, to_others);
        }
        Ok(Self {
            groups,
            channels,
            _servers: servers,
        })
    }

    fn factory(&self, node: u64, group: u64) -> Result<GrpcFactory, Failure> {
        let channels = self.channels.get(&node).ok_or("no such node")?.clone();
        Ok(GrpcFactory::new(channels, group))
    }

    fn serve(&mut self, node: u64, group: u64, raft: GroupRaft) -> Result<(), Failure> {
        let groups = self.groups.get(&node).ok_or("no such node")?;
        let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.insert(group, raft);
        Ok(())
    }

    /// The channels are connected from the start.
    async fn ready(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn stop(self) -> Result<(), Failure> {
        for groups in self.groups.values() {
            let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
            groups.clear();
        }
        Ok(())
    }
}

/// The channels of a node to all others.
async fn connect(
    authority: &Authority,
    certificate: &IssuedNode,
    own: u64,
    addresses: &BTreeMap<u64, SocketAddr>,
) -> Result<BTreeMap<u64, Channel>, Failure> {
    let mut channels = BTreeMap::new();
    for (&other, &address) in addresses.iter().filter(|(other, _)| **other != own) {
        let name = format!("node-{other}.{CLUSTER}");
        let endpoint = endpoint(authority, certificate, address, name)?;
        channels.insert(other, endpoint.connect().await?);
    }
    Ok(channels)
}
