//! Exactly once: what a leader has run and could not answer is not run again by the next one.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, TryStreamExt as _, stream};
use openraft::async_runtime::WatchReceiver as _;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{BasicNode, EntryPayload, OptionalSend};
use quicraft_manager::{
    ClientSession, CommandId, Group, GroupSpec, RaftManager, RaftManagerConfig, RequestError,
    SessionLimits, SessionTable,
};
use quicraft_tests::raft::{
    Command, InMemory, Machine, MachineSnapshotBuilder, MemLog, Recorded, TypeConfig,
};
use quicraft_tests::sim::{LIMIT, MS, SimCluster, SimSpec};
use quicraft_tests::switch::host;
use quicraft_transport::GroupId;
use quicraft_transport::raft::{Codec as _, MemorySnapshots, RaftCodec};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{ROUND_TRIP, name};

/// A machine that records each command once, however often the log has it.
#[derive(Clone)]
struct Once {
    machine: Machine<InMemory>,
    table: Arc<Mutex<SessionTable<Recorded>>>,
}

/// A command is its id and nothing else.
fn command(id: CommandId) -> Command {
    let mut bytes = bytes::BytesMut::new();
    RaftCodec::encode(&id, &mut bytes).expect("an id has an encoding");
    Command::new(bytes.freeze())
}

impl RaftStateMachine<TypeConfig> for Once {
    type SnapshotData = std::io::Cursor<Vec<u8>>;
    type SnapshotBuilder = MachineSnapshotBuilder<InMemory>;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((mut entry, responder)) = entries.try_next().await? {
            let index = entry.log_id.index;
            let mut answer = None;
            if let EntryPayload::Normal(Command(bytes)) = &entry.payload {
                let id: CommandId = RaftCodec::decode(bytes).expect("an id");
                let mut fresh = false;
                let recorded = self.table().apply(id, index, || {
                    fresh = true;
                    Recorded { index }
                });
                answer = Some(recorded.expect("not stale"));
                if !fresh {
                    entry.payload = EntryPayload::Blank;
                }
            }
            let mut one = stream::iter([Ok((entry, None))]);
            self.machine.apply(&mut one).await?;
            if let Some(responder) = responder {
                responder.send(answer.unwrap_or(Recorded { index }));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.machine.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Self::SnapshotData,
    ) -> Result<(), io::Error> {
        self.machine.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Self::SnapshotData>>, io::Error> {
        self.machine.get_current_snapshot().await
    }
}

impl Once {
    fn new() -> Self {
        let limits = SessionLimits::default();
        Self {
            machine: Machine::new(InMemory),
            table: Arc::new(Mutex::new(SessionTable::new(limits))),
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, SessionTable<Recorded>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Three nodes with the group, what each has applied, and a fourth one without it.
struct Cluster {
    sim: SimCluster,
    managers: BTreeMap<u64, RaftManager>,
    groups: BTreeMap<u64, Group<TypeConfig, Once>>,
    machines: BTreeMap<u64, Once>,
}

impl Cluster {
    async fn start() -> Self {
        let sim = SimCluster::start_unlinked(SimSpec::new(4, 0, ROUND_TRIP)).await;
        let (mut groups, mut machines) = (BTreeMap::new(), BTreeMap::new());
        let mut managers = BTreeMap::new();
        for node in sim.nodes() {
            let handle = node.transport.handle();
            let manager = RaftManager::new(handle, RaftManagerConfig::default()).expect("valid");
            managers.insert(node.id, manager.clone());
            if node.id > 3 {
                continue;
            }
            let machine = Once::new();
            let spec = GroupSpec::new(
                name("orders/0"),
                GroupId::new(1),
                Arc::new(sim.spec().raft.clone()),
                MemLog::new(),
                machine.clone(),
                MemorySnapshots::new(),
            );
            let group = manager.start_group(spec).await.expect("it starts");
            groups.insert(node.id, group);
            machines.insert(node.id, machine);
        }
        let nodes: BTreeMap<_, _> = (1..=3).map(|id| (id, BasicNode::default())).collect();
        groups[&1].raft().initialize(nodes).await.expect("founded");
        Self {
            sim,
            managers,
            groups,
            machines,
        }
    }

    fn leader_at(&self, node: u64) -> Option<u64> {
        let metrics = self.groups[&node].raft().metrics();
        metrics.borrow_watched().current_leader
    }

    async fn until(&self, what: &str, seen: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !seen(self) {
                sleep(MS).await;
            }
        };
        let in_time = timeout(LIMIT, waiting).await;
        assert!(in_time.is_ok(), "{what} never came");
    }

    fn applied(&self, node: u64) -> usize {
        self.machines[&node].machine.applied().len()
    }
}

fn side(node: u64) -> IpAddr {
    host(u8::try_from(node).expect("small"))
}

/// The leader runs a command, cannot answer, and is cut off for ever. The proposer asks the next
/// leader, which has the command in its log already, and gets the answer of the first time.
#[tokio::test(start_paused = true)]
async fn w13_a_command_is_run_once_through_a_change_of_leaders() {
    let cluster = Cluster::start().await;
    let known = |cluster: &Cluster| {
        let first = cluster.leader_at(1);
        first.is_some() && (2..=3).all(|node| cluster.leader_at(node) == first)
    };
    cluster.until("a leader", known).await;
    let leader = cluster.leader_at(1).expect("known");
    let mut others = [1, 2, 3].into_iter().filter(|&node| node != leader);
    let (proposer, heir) = (others.next().expect("one"), others.next().expect("two"));
    let limits = SessionLimits::default();
    let deadline = Instant::now() + LIMIT;
    let session = ClientSession::open(&cluster.groups[&proposer], limits, deadline);
    let session = session.await.expect("opened");
    assert_eq!(session.group(), &name("orders/0"));
    let first = session.propose(deadline, command).await.expect("proposed");

    // What the leader says reaches the heir and not the proposer.
    cluster.sim.cut_one_way(leader, proposer);
    let proposing = session.propose(deadline, command);
    let failing = async {
        cluster.until("the command", |c| c.applied(heir) == 2).await;
        let others = [side(proposer), side(heir)];
        cluster.sim.switch.partition(&[side(leader)], &others);
    };
    let (proposed, ()) = tokio::join!(proposing, failing);
    let proposed = proposed.expect("the next leader knows its answer");
    assert_eq!(proposed.leader, heir);
    // The log has it twice; the answer is that of the first time.
    assert!(proposed.log_id.index > proposed.response.index);
    assert_eq!(proposed.response.index, first.log_id.index + 1);
    cluster.until("the log", |c| c.applied(proposer) >= 2).await;
    for node in [proposer, heir] {
        assert_eq!(cluster.applied(node), 2, "on node {node}");
    }
}

/// Of commands under way together each is run once, and one past the window is refused.
#[tokio::test(start_paused = true)]
async fn as_many_commands_are_under_way_as_the_window_has() {
    let cluster = Cluster::start().await;
    let deadline = Instant::now() + LIMIT;
    let limits = SessionLimits::new(1, 2);
    let session = ClientSession::open(&cluster.groups[&2], limits, deadline);
    let session = session.await.expect("opened");
    let propose = || session.propose(deadline, command);
    let (one, two, three) = tokio::join!(propose(), propose(), propose());
    assert!(one.is_ok() && two.is_ok());
    let refused = three.expect_err("one too many");
    assert!(refused.is_retryable(), "{refused}");
    let last = propose().await.expect("there is room again");
    assert_eq!(cluster.applied(last.leader), 3);
}

/// A node that does not host the group has sessions of it too; what it asked and never heard of is
/// unknown, although it was asked again and again.
#[tokio::test(start_paused = true)]
async fn a_session_of_a_group_elsewhere_says_what_it_does_not_know() {
    let cluster = Cluster::start().await;
    let far =
        cluster.managers[&4]
            .remote_group::<TypeConfig>(name("orders/0"), GroupId::new(1), || vec![1, 2, 3]);
    let deadline = Instant::now() + LIMIT;
    let session = ClientSession::open_remote(&far, SessionLimits::default(), deadline);
    let session = session.await.expect("opened");
    let first = session.propose(deadline, command).await.expect("proposed");
    let leader = first.leader;
    // The command arrives, and nothing comes back from anybody.
    for node in 1..=3 {
        cluster.sim.cut_one_way(node, 4);
    }
    let deadline = Instant::now() + LIMIT;
    let error = session.propose(deadline, command).await.unwrap_err();
    assert!(matches!(error, RequestError::Unknown { .. }), "{error}");
    assert!(error.is_unknown() && !error.is_retryable());
    assert_eq!(Instant::now(), deadline);
    assert_eq!(cluster.applied(leader), 2);
    cluster.sim.switch.heal();
    let link = cluster.sim.node(4);
    link.link_until(leader, |link| link.links > 0).await;
    let deadline = Instant::now() + LIMIT;
    session.propose(deadline, command).await.expect("proposed");
    assert_eq!(cluster.applied(leader), 3);
}
