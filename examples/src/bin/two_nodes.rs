//! The smallest host: two nodes, one group, one write replicated over one authenticated link.
//!
//! Both nodes live in this process to keep the example short; nothing else is different from two
//! processes. The storage is openraft's in-memory one, which a real host replaces by its own.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, Raft};
use openraft_memstore::{ClientRequest, MemStateMachine, TypeConfig, new_mem_store};
use quicraft_certs::{Authority, ClusterName, CredentialStore, NodeId};
use quicraft_transport::raft::{MemorySnapshots, RaftFactory, serve};
use quicraft_transport::{GroupId, Registration, Roster, RosterEntry, Transport};

const GROUP: GroupId = GroupId::new(1);
const LIMIT: Duration = Duration::from_secs(10);

struct Node {
    raft: Raft<TypeConfig, Arc<MemStateMachine>>,
    transport: Transport,
    _serving: Registration,
}

async fn start(authority: &Authority, id: u64) -> Result<Node, Box<dyn Error>> {
    // Who this node is: a certificate made on the spot. A real host loads it from files.
    let credentials = authority.issue(NodeId::new(id)?)?.credentials(authority)?;
    let transport = Transport::builder(CredentialStore::new(credentials))
        .bind("127.0.0.1:0".parse()?)
        .roster(Roster::closed())
        .start()?;

    // The three lines that change for a host on another network: make the factory, hand it to
    // openraft, and serve the group.
    let (log, machine) = new_mem_store();
    let network = RaftFactory::new(&transport.handle(), GROUP, MemorySnapshots::new());
    let raft = Raft::new(id, Arc::new(Config::default()), network, log, machine).await?;
    let serving = serve(
        &transport.handle(),
        GROUP,
        raft.clone(),
        MemorySnapshots::new(),
    )?;
    Ok(Node {
        raft,
        transport,
        _serving: serving,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::new(ClusterName::new("two-nodes.example")?)?;
    let nodes = [start(&authority, 1).await?, start(&authority, 2).await?];

    // Each node has to know where the other one is. Knowing it is also what lets it in.
    for (here, there) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
        let address = there.transport.local_addr().ok_or("no address")?.into();
        let entry = RosterEntry::new(there.transport.node_id(), vec![address]);
        here.transport.roster().insert(entry)?;
    }

    let members = BTreeMap::from([(1, ()), (2, ())]);
    nodes[0].raft.initialize(members).await?;
    nodes[0]
        .raft
        .wait(Some(LIMIT))
        .leader_with_quorum_acked(None, "to lead")
        .await?;

    let request = ClientRequest {
        client: "me".into(),
        serial: 1,
        status: "hello".into(),
    };
    let written = nodes[0].raft.client_write(request).await?;
    let index = Some(written.log_id.index);
    nodes[1]
        .raft
        .wait(Some(LIMIT))
        .applied_index_at_least(index, "to replicate")
        .await?;
    println!(
        "log entry {} is on both nodes, over one link:",
        written.log_id.index
    );
    for link in nodes[0].transport.status() {
        println!(
            "  node 1 to node {}: {:?}, round trip {:?}",
            link.peer, link.state, link.rtt
        );
    }

    for Node {
        raft, transport, ..
    } in nodes
    {
        raft.shutdown().await?;
        transport.shutdown(LIMIT).await;
    }
    Ok(())
}
