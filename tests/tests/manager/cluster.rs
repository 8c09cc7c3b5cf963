//! Three nodes with a manager each, and one group on all of them or on some.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::Config;
use openraft::async_runtime::WatchReceiver as _;
use quicraft_manager::{
    Group, GroupGoal, GroupName, GroupOperations, GroupRole, GroupSpec, GroupStep, NodeRecord,
    RaftManager, RaftManagerConfig, StartGroupError,
};
use quicraft_tests::raft::{InMemory, Machine, MemLog, TypeConfig};
use quicraft_tests::sim::{LIMIT, MS, SimCluster, SimSpec};
use quicraft_transport::GroupId;
use quicraft_transport::raft::MemorySnapshots;
use tokio::time::{Instant, sleep, timeout};

pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(20);

pub(crate) type TestGroup = Group<TypeConfig, Machine<InMemory>>;

/// A group on one node, and what its machine has applied there.
pub(crate) struct Member {
    pub(crate) group: TestGroup,
    pub(crate) machine: Machine<InMemory>,
    pub(crate) log: MemLog,
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
    let log = MemLog::new();
    let spec = GroupSpec::new(
        name(text),
        GroupId::new(id),
        Arc::new(config.clone()),
        log.clone(),
        machine.clone(),
        MemorySnapshots::new(),
    );
    let group = manager.start_group(spec).await?;
    Ok(Member {
        group,
        machine,
        log,
    })
}

impl Managed {
    /// Three nodes, and the group `orders/0` on those of `on`, founded by the first of them.
    pub(crate) async fn start(on: &[u64], config: RaftManagerConfig) -> Self {
        Self::start_of(3, on, config).await
    }

    /// The same with so many nodes.
    pub(crate) async fn start_of(nodes: u64, on: &[u64], config: RaftManagerConfig) -> Self {
        let cluster = SimCluster::start_unlinked(SimSpec::new(nodes, 0, ROUND_TRIP)).await;
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
        let managed = Self {
            cluster,
            managers,
            members,
        };
        let voters = on.iter().map(|&node| managed.record(node)).collect();
        let founder = managed.group(on[0]);
        founder.found(voters).await.expect("founded");
        managed.led().await;
        managed
    }

    /// A node as groups know it: where it is.
    pub(crate) fn record(&self, node: u64) -> NodeRecord {
        NodeRecord::new(node, [self.cluster.address(node).to_string()])
    }

    pub(crate) fn goal(&self, node: u64, role: Option<GroupRole>) -> GroupGoal {
        GroupGoal::new(self.record(node), role)
    }

    /// Opens the group on one more node, which is in it as soon as its leader says so.
    pub(crate) async fn open(&mut self, node: u64) {
        let raft = self.cluster.spec().raft.clone();
        let member = start_group(&self.managers[&node], "orders/0", 1, &raft).await;
        self.members.insert(node, member.expect("it starts"));
    }

    /// Asks on one node for step after step until nothing is left to do, and returns the steps.
    pub(crate) async fn drive(&self, on: u64, goal: &GroupGoal) -> Vec<GroupStep> {
        let mut steps = Vec::new();
        let deadline = Instant::now() + LIMIT;
        while steps.last() != Some(&GroupStep::Done) {
            let changed = self.group(on).change(goal.clone(), deadline).await;
            let changed = changed.unwrap_or_else(|error| panic!("after {steps:?}: {error}"));
            steps.push(changed.step);
            if let GroupStep::AwaitLag { .. } = changed.step {
                sleep(20 * MS).await;
            }
        }
        steps
    }

    /// Waits until these nodes, and no others, see these voters and learners.
    pub(crate) async fn settled(&self, voters: &[u64], learners: &[u64]) {
        let seen = async {
            for node in voters.iter().chain(learners) {
                loop {
                    let status = GroupOperations::status(self.group(*node));
                    if status.voters == voters && status.learners == learners {
                        break;
                    }
                    sleep(10 * MS).await;
                }
            }
        };
        timeout(LIMIT, seen).await.expect("all see it");
    }

    pub(crate) fn group(&self, node: u64) -> &TestGroup {
        &self.members[&node].group
    }

    /// The lease of the leader of `orders/0`, in milliseconds: the longest election timeout of all its
    /// nodes, which is a little longer than that of the settings, because groups are staggered.
    pub(crate) fn lease(&self) -> u64 {
        let mut groups = self.members.values().map(|member| &member.group);
        let group = groups.next().expect("it is hosted somewhere");
        group.raft().config().election_timeout_max
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
