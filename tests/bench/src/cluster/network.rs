//! What a network has to do for a cluster, and the cluster on it: nodes and groups in one process.
//! It must not know what is measured.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures_util::future::try_join_all;
use openraft::async_runtime::WatchReceiver;
use openraft::{BasicNode, Config, Raft, RaftNetworkFactory};
use quicraft_tests::raft::{InMemory, Machine, MemLog, RaftNode, TypeConfig};

use crate::pair::Failure;

/// A snapshot's data, of which no run here sends any.
pub(crate) type Data = std::io::Cursor<Vec<u8>>;

/// The Raft of a group on a node.
pub(crate) type GroupRaft = Raft<TypeConfig, Machine<InMemory>>;

/// The nodes of a cluster.
pub(crate) const NODES: [u64; 3] = [1, 2, 3];

/// How long a cluster may take to be there, and to end.
const LIMIT: Duration = Duration::from_secs(30);

/// What carries the messages of all groups between nodes of this process.
pub(crate) trait Network: Sized + Send {
    /// Makes the clients of one group on one node.
    type Factory: RaftNetworkFactory<
            TypeConfig,
            Network: openraft::network::NetSnapshot<TypeConfig, SnapshotData = Data>,
        >;

    /// Its name in tables and in JSON.
    const NAME: &'static str;

    /// Starts its end on each of these nodes.
    fn start(nodes: &[u64]) -> impl Future<Output = Result<Self, Failure>>;

    /// What the Raft of `group` on `node` calls others with.
    fn factory(&self, node: u64, group: u64) -> Result<Self::Factory, Failure>;

    /// From now on others reach the Raft of `group` on `node`.
    fn serve(&mut self, node: u64, group: u64, raft: GroupRaft) -> Result<(), Failure>;

    /// Waits until each node can call each other one.
    fn ready(&self) -> impl Future<Output = Result<(), Failure>>;

    /// Ends it. All Rafts have been shut down.
    fn stop(self) -> impl Future<Output = Result<(), Failure>>;
}

/// Heartbeats as hosts with many groups set them, and elections that a machine with too much to do
/// does not start.
pub(crate) fn raft_config() -> Config {
    Config {
        heartbeat_interval: 500,
        election_timeout_min: 2_500,
        election_timeout_max: 5_000,
        ..quicraft_tests::raft::config()
    }
}

/// Groups of three voters each; the leaders are spread over the nodes.
pub(crate) struct Cluster<N> {
    network: N,
    nodes: Vec<RaftNode<InMemory>>,
    /// The leader of each group.
    pub(crate) leaders: Vec<GroupRaft>,
}

impl<N: Network> Cluster<N> {
    /// Starts it, and waits until each group has a leader that may write.
    pub(crate) async fn start(groups: u64) -> Result<Self, Failure> {
        let mut network = N::start(&NODES).await?;
        let mut nodes = Vec::new();
        for group in 1..=groups {
            for node in NODES {
                let factory = network.factory(node, group)?;
                let (log, machine) = (MemLog::new(), Machine::new(InMemory));
                let raft = RaftNode::build(node, raft_config(), factory, log, machine).await?;
                network.serve(node, group, raft.raft.clone())?;
                raft.raft.run();
                nodes.push(raft);
            }
        }
        tokio::time::timeout(LIMIT, network.ready()).await??;
        let leading = nodes.chunks(NODES.len()).enumerate();
        let leading = leading.map(|(group, of_group)| lead(&of_group[group % of_group.len()]));
        let leaders = try_join_all(leading).await?;
        Ok(Self {
            network,
            nodes,
            leaders,
        })
    }

    /// Fails if a group has another leader than at the start: a run with an election in it measures
    /// the election.
    pub(crate) fn assert_unmoved(&self) -> Result<(), Failure> {
        for (group, leader) in self.leaders.iter().enumerate() {
            let metrics = leader.metrics();
            let now = metrics.borrow_watched();
            if now.current_leader != Some(now.id) {
                return Err(format!("{}: the leader of group {group} moved", N::NAME).into());
            }
        }
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let ends = self.nodes.iter().map(|node| node.raft.shutdown());
        tokio::time::timeout(LIMIT, try_join_all(ends)).await??;
        tokio::time::timeout(LIMIT, self.network.stop()).await?
    }
}

/// Founds a group on a node, which leads it then.
async fn lead(node: &RaftNode<InMemory>) -> Result<GroupRaft, Failure> {
    let members: BTreeMap<u64, BasicNode> =
        NODES.iter().map(|&id| (id, BasicNode::default())).collect();
    node.raft.initialize(members).await?;
    let wait = node.raft.wait(Some(LIMIT));
    let led = wait.metrics(
        |now| now.current_leader == Some(now.id) && now.last_quorum_acked.is_some(),
        "a lease",
    );
    led.await?;
    Ok(node.raft.clone())
}
