//! Stop 2: the same application on Quicraft's transport. Its Raft, its storage and its calls of
//! openraft are what they were.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::{BasicNode, Config, Raft};
use quicraft_certs::{Authority, ClusterName, CredentialStore, Credentials, NodeId};
use quicraft_transport::raft::{MemorySnapshots, RaftFactory, RaftTiming, serve};
use quicraft_transport::{
    GroupId, Incarnation, Registration, Roster, RosterEntry, Transport, TransportConfig,
};

use super::app::{Command, Machine, Types};
use super::log::Log;

/// The number of the group on the wire, the same on all nodes. The highest one is the manager's own.
const GROUP: GroupId = GroupId::new(1);

struct Node {
    raft: Raft<Types, Machine>,
    machine: Machine,
    transport: Transport,
    /// The group answers its peers as long as this lives.
    _serving: Registration,
}

fn transport(
    credentials: Credentials,
    bind: SocketAddr,
    data_folder: &Path,
    raft_config: &Config,
) -> Result<Transport, Box<dyn Error>> {
    let transport = Transport::builder(CredentialStore::new(credentials))
        .bind(bind)
        .incarnation(Incarnation::persisted(data_folder)?)
        .roster(Roster::closed())
        .config(TransportConfig::default().with_timing(RaftTiming::derive(raft_config)))
        .start()?;
    Ok(transport)
}

async fn start(
    credentials: Credentials,
    bind: SocketAddr,
    data_folder: &Path,
) -> Result<Node, Box<dyn Error>> {
    let raft_config = Arc::new(
        Config {
            enable_leader_restore: Some(false),
            enable_pre_vote: Some(true),
            ..Config::default()
        }
        .validate()?,
    );
    let transport = transport(credentials, bind, data_folder, &raft_config)?;
    let id = transport.node_id().get();
    let (log, machine) = (Log::default(), Machine::default());

    let network = RaftFactory::new(&transport.handle(), GROUP, MemorySnapshots::new());
    let raft = Raft::new(id, raft_config, network, log, machine.clone()).await?;
    let serving = serve(
        &transport.handle(),
        GROUP,
        raft.clone(),
        MemorySnapshots::new(),
    )?;
    Ok(Node {
        raft,
        machine,
        transport,
        _serving: serving,
    })
}

/// Tells a node where another one is. That is also what lets the other one in.
fn introduce(here: &Node, there: &Node) -> Result<(), Box<dyn Error>> {
    let address = there.transport.local_addr().ok_or("no address")?;
    let entry = RosterEntry::new(there.transport.node_id(), vec![address.into()]);
    here.transport.roster().insert(entry)?;
    Ok(())
}

/// Two nodes, a word, and its copy on the other node. `data` is a folder for both.
///
/// # Errors
///
/// Whatever goes wrong.
pub async fn run(data: &Path) -> Result<(), Box<dyn Error>> {
    let limit = Duration::from_secs(30);
    let authority = Authority::new(ClusterName::new("guide.example")?)?;
    let mut nodes = Vec::new();
    for id in [1, 2] {
        let folder = data.join(format!("node-{id}"));
        std::fs::create_dir_all(&folder)?;
        let issued = authority.issue(NodeId::new(id)?)?;
        let credentials = issued.credentials(&authority)?;
        nodes.push(start(credentials, "127.0.0.1:0".parse()?, &folder).await?);
    }
    introduce(&nodes[0], &nodes[1])?;
    introduce(&nodes[1], &nodes[0])?;

    let first = &nodes[0].raft;
    let members = BTreeMap::from([(1, BasicNode::new("")), (2, BasicNode::new(""))]);
    first.initialize(members).await?;
    first
        .wait(Some(limit))
        .leader_with_quorum_acked(None, "to lead")
        .await?;
    let command = Command::Put {
        key: "stop".to_owned(),
        value: "two".to_owned(),
    };
    let written = first.client_write(command).await?;
    nodes[1]
        .raft
        .wait(Some(limit))
        .applied_index_at_least(Some(written.log_id.index), "the copy")
        .await?;
    if nodes[1].machine.get("stop").as_deref() != Some("two") {
        return Err("the other node has another word".into());
    }
    for node in nodes {
        node.raft.shutdown().await?;
        node.transport.shutdown(Duration::from_secs(5)).await;
    }
    Ok(())
}
