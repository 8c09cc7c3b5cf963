//! Heartbeats of many groups between two transports on loopback sockets: how many frames they take,
//! and what becomes of them when a group or the peer does not answer.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step of a test that fails ends the test, also outside its own function"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use openraft::entry::RaftEntry;
use openraft::errors::RPCError;
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{BasicNode, EntryPayload, RaftNetworkFactory};
use quicraft_certs::{Authority, ClusterName, CredentialStore};
use quicraft_transport::frame::Lane;
use quicraft_transport::raft::{MemorySnapshots, RaftFactory, RaftNetwork};
use quicraft_transport::service::{CallContext, Service, SessionReplies, SessionRequests};
use quicraft_transport::{
    Event, GroupId, LinkState, NodeId, Refusal, RefusalCode, Registration, Roster, RosterEntry,
    Transport,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

openraft::declare_raft_types!(Config: D = String, R = String);

type Network = RaftNetwork<Config, MemorySnapshots>;
type Answer = Result<StreamAppendResult<Config>, RPCError<Config>>;

/// Far above anything that these tests wait for.
const LIMIT: Duration = Duration::from_secs(20);

/// The groups with a habit of their own.
const PANICS_AT_ONCE: u64 = 1_000_001;
const PANICS_LATER: u64 = 1_000_002;
const REFUSES: u64 = 1_000_003;
const ANSWERS_TOO_MUCH: u64 = 1_000_004;
const CONFLICTS: u64 = 1_000_005;

/// Answers as a follower whose log matches; the groups in `held` only when they are let go.
struct Follower {
    held: watch::Receiver<BTreeSet<u64>>,
}

impl Service for Follower {
    fn call(&self, context: CallContext, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let group = context.group.get();
        assert_ne!(group, PANICS_AT_ONCE, "asked to panic");
        assert_eq!(context.from.node(), id(1));
        let mut held = self.held.clone();
        Box::pin(async move {
            match group {
                PANICS_LATER => {
                    tokio::task::yield_now().await;
                    panic!("asked to panic inside")
                }
                REFUSES => return Err(Refusal::new(RefusalCode::Stopped, "stopped")),
                ANSWERS_TOO_MUCH => return Ok(Bytes::from(vec![3; 70 << 10])),
                CONFLICTS => return Ok(Bytes::from_static(&[2])),
                _ => {}
            }
            drop(held.wait_for(|held| !held.contains(&group)).await);
            Ok(Bytes::from_static(&[1]))
        })
    }

    fn session(
        &self,
        _: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        // Matched, up to the log id of the one entry of the test.
        Ok(requests
            .map(|_| Ok(Bytes::from_static(&[1, 1, 1, 1, 0])))
            .boxed())
    }
}

struct Pair {
    one: Transport,
    two: Transport,
    follower: Arc<Follower>,
    held: watch::Sender<BTreeSet<u64>>,
    serving: Vec<Registration>,
}

fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

fn start(authority: &Authority, node: u64) -> Transport {
    let issued = authority.issue(id(node)).unwrap();
    let credentials = issued.credentials(authority).unwrap();
    Transport::builder(CredentialStore::new(credentials))
        .bind("127.0.0.1:0".parse().unwrap())
        .roster(Roster::closed())
        .start()
        .unwrap()
}

fn introduce(to: &Transport, other: &Transport) {
    let address = other.local_addr().unwrap().into();
    let entry = RosterEntry::new(other.node_id(), vec![address]);
    to.roster().insert(entry).unwrap();
}

async fn until(transport: &Transport, peer: u64, state: impl Fn(&LinkState) -> bool) {
    let mut events = transport.events();
    while !state(&transport.peer(id(peer)).status().state) {
        let event = timeout(LIMIT, events.recv()).await;
        event.expect("an event").expect("events");
    }
}

impl Pair {
    async fn start(groups: impl IntoIterator<Item = u64>) -> Self {
        let authority = Authority::new(ClusterName::new("test.example").unwrap()).unwrap();
        let (one, two) = (start(&authority, 1), start(&authority, 2));
        let (held, follower) = watch::channel(BTreeSet::new());
        let follower = Arc::new(Follower { held: follower });
        introduce(&two, &one);
        introduce(&one, &two);
        until(&one, 2, |state| *state == LinkState::Up).await;
        until(&two, 1, |state| *state == LinkState::Up).await;
        let mut pair = Self {
            one,
            two,
            follower,
            held,
            serving: Vec::new(),
        };
        for group in groups {
            pair.serve(group);
        }
        pair
    }

    fn serve(&mut self, group: u64) {
        let service = Arc::clone(&self.follower);
        let registration = self.two.register(GroupId::new(group), service).unwrap();
        self.serving.push(registration);
    }

    async fn clients(&self, groups: impl IntoIterator<Item = u64>) -> Vec<Network> {
        let mut clients = Vec::new();
        for group in groups {
            clients.push(client(&self.one, group).await);
        }
        clients
    }

    /// Calls that node 1 has made on Control so far.
    fn calls(&self) -> u64 {
        let lanes = self.one.peer(id(2)).status().lanes;
        lanes
            .iter()
            .find(|lane| lane.lane == Lane::Control)
            .unwrap()
            .calls
    }
}

async fn client(transport: &Transport, group: u64) -> Network {
    let group = GroupId::new(group);
    let mut factory = RaftFactory::<Config, _>::new(transport, group, MemorySnapshots::new());
    factory.new_heartbeat_client(2, &BasicNode::default()).await
}

fn log_id(index: u64) -> Option<LogIdOf<Config>> {
    use openraft::vote::RaftLeaderId;
    let leader = openraft::impls::leader_id_adv::LeaderId::new(1, 1);
    Some(LogIdOf::<Config>::new(leader.to_committed(), index))
}

fn request() -> AppendEntriesRequest<Config> {
    AppendEntriesRequest {
        vote: VoteOf::<Config>::new_committed(1, 1),
        prev_log_id: log_id(7),
        entries: Vec::new(),
        leader_commit: log_id(7),
    }
}

/// One heartbeat, as openraft's worker sends it.
async fn send(
    client: &mut Network,
    request: AppendEntriesRequest<Config>,
    limit: Duration,
) -> Answer {
    let input = Box::pin(futures_util::stream::once(std::future::ready(request)));
    // What openraft enforces is 3/4 of what it says.
    let option = RPCOption::new(limit * 4 / 3);
    let mut output = client.stream_append(input, option).await?;
    let answer = output.next().await.expect("an answer");
    assert!(output.next().await.is_none());
    answer
}

async fn beat(client: &mut Network, limit: Duration) -> Answer {
    send(client, request(), limit).await
}

fn is_matched(answer: &Answer) -> bool {
    matches!(answer, Ok(Ok(id)) if *id == log_id(7))
}

#[track_caller]
fn unreachable(answer: Answer) -> String {
    match answer {
        Err(RPCError::Unreachable(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// R15: the heartbeats of all groups travel together.
#[tokio::test]
async fn heartbeats_of_a_thousand_groups_leave_in_few_frames() {
    let pair = Pair::start(1..=1_000).await;
    let mut clients = pair.clients(1..=1_000).await;
    for round in 0..3 {
        let before = pair.calls();
        let answers = join_all(clients.iter_mut().map(|client| beat(client, LIMIT))).await;
        assert!(answers.iter().all(is_matched));
        let calls = pair.calls() - before;
        assert!(calls <= 4, "{calls} frames in round {round}");
    }
}

/// R15: answers that come late come in frames of their own.
#[tokio::test]
async fn a_slow_group_keeps_no_other_back() {
    let pair = Pair::start(1..=100).await;
    pair.held.send_replace(BTreeSet::from([1, 2]));
    let mut clients = pair.clients(1..=100).await;
    let mut others = clients.split_off(2);
    let mut stuck = clients.pop().unwrap();
    let mut slow = clients.pop().unwrap();
    let slow = async {
        let answer = beat(&mut slow, LIMIT).await;
        assert!(is_matched(&answer), "{answer:?}");
    };
    let stuck = async {
        let start = Instant::now();
        let answer = beat(&mut stuck, Duration::from_millis(300)).await;
        assert!(matches!(answer, Err(RPCError::Timeout(_))), "{answer:?}");
        assert!(start.elapsed() >= Duration::from_millis(300));
    };
    let others = async {
        let answers = join_all(others.iter_mut().map(|client| beat(client, LIMIT))).await;
        assert!(answers.iter().all(is_matched));
        // They did not wait for it: it is let go only now.
        pair.held.send_replace(BTreeSet::from([2]));
    };
    tokio::join!(slow, stuck, others);
    // One that was given up has no effect on the next one of its group.
    pair.held.send_replace(BTreeSet::new());
    let mut again = pair.clients([2]).await;
    assert!(is_matched(&beat(&mut again[0], LIMIT).await));
}

/// R1, R3: what is wrong with one group is its own.
#[tokio::test]
async fn each_group_has_its_own_answer() {
    let odd = [
        PANICS_AT_ONCE,
        PANICS_LATER,
        REFUSES,
        ANSWERS_TOO_MUCH,
        CONFLICTS,
    ];
    let pair = Pair::start((1..=10).chain(odd)).await;
    let mut events = pair.two.events();
    let unknown = 11;
    let groups = (1..=10).chain(odd).chain([unknown]);
    let mut clients = pair.clients(groups).await;
    let mut answers = join_all(clients.iter_mut().map(|client| beat(client, LIMIT))).await;
    let strange = answers.split_off(10);
    assert!(answers.iter().all(is_matched));
    let [at_once, later, refuses, too_much, conflicts, unknown] =
        <[Answer; 6]>::try_from(strange).unwrap();
    for (answer, group, reason) in [
        (at_once, PANICS_AT_ONCE, "HandlerPanicked"),
        (later, PANICS_LATER, "HandlerPanicked"),
        (refuses, REFUSES, "Stopped"),
        (too_much, ANSWERS_TOO_MUCH, "TooLarge"),
        (unknown, 11, "UnknownGroup"),
    ] {
        let text = unreachable(answer);
        assert!(text.contains(reason), "{text}");
        assert!(text.contains(&format!("group {group}")), "{text}");
    }
    assert!(matches!(conflicts, Ok(Err(_))), "{conflicts:?}");
    let mut panicked = BTreeSet::new();
    while panicked.len() < 2 {
        let event = timeout(LIMIT, events.recv()).await.unwrap().unwrap();
        if let Event::HandlerPanicked { group, .. } = event {
            panicked.insert(group.get());
        }
    }
    assert_eq!(panicked, BTreeSet::from([PANICS_AT_ONCE, PANICS_LATER]));
}

/// R7: an append with entries is no heartbeat, whatever client it comes from.
#[tokio::test]
async fn what_has_entries_goes_as_any_append() {
    let pair = Pair::start([1]).await;
    let mut clients = pair.clients([1]).await;
    let before = pair.calls();
    let entry = EntryOf::<Config>::new(log_id(0).unwrap(), EntryPayload::Blank);
    let request = AppendEntriesRequest {
        prev_log_id: None,
        entries: vec![entry],
        ..request()
    };
    let answer = send(&mut clients[0], request, LIMIT).await;
    assert!(
        matches!(&answer, Ok(Ok(id)) if *id == log_id(0)),
        "{answer:?}"
    );
    assert_eq!(pair.calls(), before);
}

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// A dead peer costs the same for one group and for ten thousand.
#[tokio::test]
async fn a_peer_that_is_down_costs_nothing_for_each_group() {
    let pair = Pair::start([]).await;
    let mut clients = pair.clients(1..=10_000).await;
    pair.two.shutdown(Duration::ZERO).await;
    until(&pair.one, 2, |state| matches!(state, LinkState::Down(_))).await;
    let (one, other) = clients.split_at_mut(1);
    unreachable(beat(&mut one[0], LIMIT).await);
    let lanes = || pair.one.peer(id(2)).status().lanes;
    let (lanes_before, tasks_before) = (lanes(), tasks());
    for client in other {
        // At once: the first poll says so.
        let mut beating = std::pin::pin!(beat(client, LIMIT));
        let answer = futures_util::FutureExt::now_or_never(&mut beating);
        unreachable(answer.expect("no wait"));
    }
    assert_eq!(lanes(), lanes_before, "not a frame, not a call");
    assert!(
        tasks() <= tasks_before + 1,
        "{} and {tasks_before}",
        tasks()
    );
}

/// Nor does a slow one: no task and no frame for each group, at either end.
#[tokio::test]
async fn a_peer_that_is_slow_costs_no_task_for_each_group() {
    let groups = 2_000;
    let pair = Pair::start(1..=groups).await;
    pair.held.send_replace((1..=groups).collect());
    let mut clients = pair.clients(1..=groups).await;
    let (calls_before, tasks_before) = (pair.calls(), tasks());
    let limit = Duration::from_secs(2);
    let beats = join_all(clients.iter_mut().map(|client| beat(client, limit)));
    let watched = async {
        // All of them have been handed out when the last group was asked.
        while pair.held.receiver_count() <= usize::try_from(groups).unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(
            tasks() <= tasks_before + 10,
            "{} and {tasks_before}",
            tasks()
        );
        assert!(
            pair.calls() - calls_before <= 5,
            "{}",
            pair.calls() - calls_before
        );
        pair.held.send_replace(BTreeSet::new());
    };
    let both = timeout(LIMIT, async { tokio::join!(beats, watched) });
    let (answers, ()) = both.await.unwrap();
    assert!(answers.iter().all(is_matched));
}

/// Wall 8: nobody waits for a transport that is gone.
#[tokio::test]
async fn dropping_the_transport_ends_what_waits() {
    let pair = Pair::start([1, 2]).await;
    pair.held.send_replace(BTreeSet::from([1, 2]));
    let mut clients = pair.clients([1, 2]).await;
    let beats = join_all(clients.iter_mut().map(|client| beat(client, LIMIT)));
    let one = pair.one;
    let asked = async {
        while pair.held.receiver_count() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        one.shutdown(Duration::ZERO).await
    };
    let (answers, report) = timeout(LIMIT, async { tokio::join!(beats, asked) })
        .await
        .unwrap();
    assert!(report.tasks_ended);
    for answer in answers {
        unreachable(answer);
    }
    for client in &mut clients {
        unreachable(beat(client, LIMIT).await);
    }
}

/// R15: the id of the node's own service is nobody else's.
#[tokio::test]
async fn the_group_of_heartbeats_is_taken_from_the_start() {
    let pair = Pair::start([]).await;
    let taken = GroupId::new(u64::MAX - 1);
    let follower = Arc::clone(&pair.follower);
    assert_eq!(pair.two.register(taken, follower).unwrap_err().group, taken);
}
