//! Three nodes with a manager each, and one group on all of them or on some.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{BasicNode, Config};
use quicraft_manager::{
    Group, GroupName, GroupSpec, RaftManager, RaftManagerConfig, StartGroupError,
};
use quicraft_tests::raft::{InMemory, Machine, MemLog, TypeConfig};
use quicraft_tests::sim::{LIMIT, MS, SimCluster, SimSpec};
use quicraft_transport::GroupId;
use quicraft_transport::raft::MemorySnapshots;
use tokio::time::{sleep, timeout};

pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(20);

pub(crate) type TestGroup = Group<TypeConfig, Machine<InMemory>>;

/// A group on one node, and what its machine has applied there.
pub(crate) struct Member {
    pub(crate) group: TestGroup,
    pub(crate) machine: Machine<InMemory>,
}

impl Member {
    /// The bodies of all commands that this node has applied.
    pub(crate) fn applied(&self) -> Vec<Vec<u8>> {
        let applied = self.machine.applied();
        applied.iter().map(|entry| entry.command.to_vec()).collect()
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let metrics = self.group.raft().metrics();
        metrics.borrow_watched().current_leader
    }
}

pub(crate) struct Managed {
    pub(crate) cluster: SimCluster,
    pub(crate) managers: BTreeMap<u64, RaftManager>,
    pub(crate) members: BTreeMap<u64, Member>,
}

pub(crate) fn name(text: &str) -> GroupName {
    GroupName::parse(text).expect("a name")
}

pub(crate) async fn start_group(
    manager: &RaftManager,
    text: &str,
    id: u64,
    config: &Config,
) -> Result<Member, StartGroupError> {
    let machine = Machine::new(InMemory);
    let spec = GroupSpec::new(
        name(text),
        GroupId::new(id),
        Arc::new(config.clone()),
        MemLog::new(),
        machine.clone(),
        MemorySnapshots::new(),
    );
    let group = manager.start_group(spec).await?;
    Ok(Member { group, machine })
}

impl Managed {
    /// Three nodes, and the group `orders/0` on those of `on`, founded by the first of them.
    pub(crate) async fn start(on: &[u64], config: RaftManagerConfig) -> Self {
        let cluster = SimCluster::start_unlinked(SimSpec::new(3, 0, ROUND_TRIP)).await;
        let mut managers = BTreeMap::new();
        let mut members = BTreeMap::new();
        for node in cluster.nodes() {
            let handle = node.transport.handle();
            let manager = RaftManager::new(handle, config.clone()).expect("valid");
            if on.contains(&node.id) {
                let raft = &cluster.spec().raft;
                let member = start_group(&manager, "orders/0", 1, raft).await;
                members.insert(node.id, member.expect("it starts"));
            }
            managers.insert(node.id, manager);
        }
        let nodes: BTreeMap<_, _> = on.iter().map(|&id| (id, BasicNode::default())).collect();
        let founder = &members[&on[0]].group;
        founder.raft().initialize(nodes).await.expect("founded");
        let managed = Self {
            cluster,
            managers,
            members,
        };
        managed.led().await;
        managed
    }

    pub(crate) fn group(&self, node: u64) -> &TestGroup {
        &self.members[&node].group
    }

    /// Waits until all members know the same leader, and returns it.
    pub(crate) async fn led(&self) -> u64 {
        let agreed = async {
            loop {
                let leaders: Vec<_> = self.members.values().map(Member::leader).collect();
                if let [Some(first), rest @ ..] = &leaders[..]
                    && rest.iter().all(|other| *other == Some(*first))
                {
                    return *first;
                }
                sleep(10 * MS).await;
            }
        };
        timeout(LIMIT, agreed).await.expect("a leader")
    }

    /// A member that does not lead, and the leader.
    pub(crate) async fn follower_and_leader(&self) -> (u64, u64) {
        let leader = self.led().await;
        let follower = self.members.keys().find(|&&node| node != leader);
        (*follower.expect("another one"), leader)
    }
}
