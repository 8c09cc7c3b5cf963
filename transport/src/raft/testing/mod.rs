//! For the tests of this folder: a small Raft in memory, and a session without a link.

mod wiring;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Cursor};
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder,
    RaftStateMachine,
};
use openraft::type_config::alias::{
    EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use openraft::vote::RaftLeaderId;
use openraft::{Config, EntryPayload, Raft, RaftNetworkFactory};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use self::wiring::{WiredFactory, Wiring};

use super::append::{FrameSender, ReplyReceiver};
use super::snapshot::Spawn;
use crate::admission::ProvenNode;
use crate::service::{CallContext, Service, SessionReplies};
use crate::{CallError, GroupId, LinkEnd, NodeId, Refusal};

openraft::declare_raft_types!(
    /// Strings in, strings out.
    pub(crate) TestConfig: D = String, R = String
);

pub(crate) type TestRaft = Raft<TestConfig, Machine>;

/// A group id that nothing else uses.
pub(crate) const GROUP: GroupId = GroupId::new(7);

pub(crate) fn log_id(term: u64, node: u64, index: u64) -> LogIdOf<TestConfig> {
    LogIdOf::<TestConfig>::new(LeaderId::new(term, node).to_committed(), index)
}

pub(crate) fn leader_vote(term: u64, node: u64) -> VoteOf<TestConfig> {
    VoteOf::<TestConfig>::new_committed(term, node)
}

pub(crate) fn entry(term: u64, node: u64, index: u64, text: &str) -> EntryOf<TestConfig> {
    EntryOf::<TestConfig>::new(
        log_id(term, node, index),
        EntryPayload::Normal(text.to_owned()),
    )
}

/// A call from `from` that has ten seconds.
pub(crate) fn context(from: u64, method: u16) -> CallContext {
    CallContext {
        from: ProvenNode::for_tests(NodeId::new(from).unwrap()),
        group: GROUP,
        method,
        deadline: Instant::now() + Duration::from_secs(10),
        trace: None,
    }
}

/// Tasks of a service without a transport.
pub(crate) fn spawn() -> Spawn {
    Arc::new(|task| drop(tokio::spawn(task)))
}

/// A Raft in memory that has not been initialised: it follows whoever leads, and never campaigns.
pub(crate) async fn raft<N>(id: u64, network: N) -> (TestRaft, Machine)
where
    N: RaftNetworkFactory<TestConfig>,
    N::Network: openraft::network::NetSnapshot<TestConfig, SnapshotData = Cursor<Vec<u8>>>,
{
    let config = Config {
        heartbeat_interval: 100,
        election_timeout_min: 500,
        election_timeout_max: 1_000,
        enable_pre_vote: Some(true),
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    let machine = Machine::default();
    let config = Arc::new(config.validate().unwrap());
    let raft = Raft::new(id, config, network, Log::default(), machine.clone())
        .await
        .unwrap();
    (raft, machine)
}

/// A log in memory that flushes at once.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<LogInner>>);

#[derive(Default)]
struct LogInner {
    vote: Option<VoteOf<TestConfig>>,
    purged: Option<LogIdOf<TestConfig>>,
    entries: BTreeMap<u64, EntryOf<TestConfig>>,
}

impl RaftLogReader<TestConfig> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<EntryOf<TestConfig>>> {
        let inner = self.0.lock().unwrap();
        Ok(inner
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<TestConfig>>> {
        Ok(self.0.lock().unwrap().vote)
    }
}

impl RaftLogStorage<TestConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TestConfig>> {
        let inner = self.0.lock().unwrap();
        let last = inner.entries.values().next_back().map(RaftEntry::log_id);
        Ok(LogState {
            last_purged_log_id: inner.purged,
            last_log_id: last.or(inner.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TestConfig>) -> io::Result<()> {
        self.0.lock().unwrap().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TestConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<TestConfig>> + Send,
        I::IntoIter: Send,
    {
        let indexed = entries.into_iter().map(|entry| (entry.index(), entry));
        self.0.lock().unwrap().entries.extend(indexed);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<TestConfig>>) -> io::Result<()> {
        let first = last.map_or(0, |last| last.index() + 1);
        self.0.lock().unwrap().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<TestConfig>) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        let rest = inner.entries.split_off(&(upto.index() + 1));
        inner.entries = rest;
        inner.purged = Some(upto);
        Ok(())
    }
}

/// A state machine that keeps what it was told, line by line.
#[derive(Clone, Default)]
pub(crate) struct Machine(Arc<Mutex<MachineInner>>);

#[derive(Clone, Default)]
struct MachineInner {
    lines: Vec<String>,
    meta: SnapshotMetaOf<TestConfig>,
}

impl Machine {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }
}

impl RaftSnapshotBuilder<TestConfig> for Machine {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TestConfig, Cursor<Vec<u8>>>> {
        let inner = self.0.lock().unwrap().clone();
        let snapshot = Cursor::new(inner.lines.join("\n").into_bytes());
        Ok(SnapshotOf::<TestConfig, _> {
            meta: inner.meta,
            snapshot,
        })
    }
}

impl RaftStateMachine<TestConfig> for Machine {
    type SnapshotData = Cursor<Vec<u8>>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<TestConfig>>, StoredMembershipOf<TestConfig>)> {
        let meta = self.0.lock().unwrap().meta.clone();
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TestConfig>>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut inner = self.0.lock().unwrap();
            inner.meta.last_log_id = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                inner.meta.last_membership =
                    StoredMembershipOf::<TestConfig>::new(Some(entry.log_id()), membership);
            }
            if let EntryPayload::Normal(line) = entry.payload {
                inner.lines.push(line);
            }
            if let Some(responder) = responder {
                responder.send(inner.lines.len().to_string());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TestConfig>,
        snapshot: Cursor<Vec<u8>>,
    ) -> io::Result<()> {
        let text = String::from_utf8(snapshot.into_inner()).map_err(io::Error::other)?;
        let mut inner = self.0.lock().unwrap();
        inner.lines = text.lines().map(str::to_owned).collect();
        inner.meta = meta.clone();
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TestConfig, Cursor<Vec<u8>>>>> {
        if self.0.lock().unwrap().meta.last_log_id.is_none() {
            return Ok(None);
        }
        self.build_snapshot().await.map(Some)
    }
}

/// Requests in flight in a [`session`] before the sender waits.
pub(crate) const WINDOW: usize = 8;

/// The sending half of a session without a link.
pub(crate) struct TestSender(mpsc::Sender<Bytes>);

/// The receiving half of a session without a link.
pub(crate) struct TestReceiver(SessionReplies);

impl FrameSender for TestSender {
    async fn send(&mut self, body: Bytes) -> Result<(), CallError> {
        self.0
            .send(body)
            .await
            .map_err(|_| cut("the session is over"))
    }

    fn rest(&mut self) {}
}

impl ReplyReceiver for TestReceiver {
    async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        let peer = NodeId::new(2).unwrap();
        let reply = self.0.next().await?;
        Some(reply.map_err(|refusal| CallError::Refused {
            peer,
            group: GROUP,
            refusal,
        }))
    }
}

pub(crate) fn cut(reason: &str) -> CallError {
    let peer = NodeId::new(2).unwrap();
    CallError::Cut {
        peer,
        group: GROUP,
        address: None,
        end: LinkEnd::StreamOnly,
        reason: reason.to_owned(),
    }
}

/// The two halves of a session that `service` answers.
pub(crate) fn session(
    service: &dyn Service,
    context: CallContext,
) -> Result<(TestSender, TestReceiver), Refusal> {
    let (sender, mut requests) = mpsc::channel(WINDOW);
    let requests = futures_util::stream::poll_fn(move |cx| requests.poll_recv(cx)).boxed();
    Ok((
        TestSender(sender),
        TestReceiver(service.session(context, requests)?),
    ))
}

/// The two halves of a session whose other end the test plays: frames come out of the receiver, and
/// what is sent into the sender arrives as replies.
pub(crate) fn played_session(
    window: usize,
) -> (
    TestSender,
    TestReceiver,
    mpsc::Receiver<Bytes>,
    mpsc::Sender<Result<Bytes, Refusal>>,
) {
    let (sender, frames) = mpsc::channel(window);
    let (replier, mut replies) = mpsc::channel(1_024);
    let replies = futures_util::stream::poll_fn(move |cx| replies.poll_recv(cx)).boxed();
    (TestSender(sender), TestReceiver(replies), frames, replier)
}
