//! Bytes of a peer, honest and not, to a real Raft in memory.

use std::io::Cursor;
use std::pin::Pin;
use std::time::Duration;

use bytes::BytesMut;
use openraft::async_runtime::WatchReceiver;
use openraft::impls::leader_id_std;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use openraft::type_config::alias::{EntryOf, LogIdOf, SnapshotMetaOf, VoteOf};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::*;
use crate::raft::snapshot::{HashedReader, MemorySnapshots};
use crate::raft::testing::{
    GROUP, Machine, TestConfig, TestRaft, WiredFactory, context, entry, leader_vote, log_id, raft,
    spawn,
};
use crate::raft::wire::{
    AppendSplitter, FrameLimits, SnapshotHead, SnapshotOfferReply, SnapshotOfferRequest,
    SnapshotReply, encode_heartbeat,
};

type TestService = RaftService<TestConfig, Machine, MemorySnapshots>;

impl AnyRaftService for TestService {
    fn take_snapshot(
        &self,
        context: CallContext,
        head: Bytes,
        announced: u64,
        body: Pin<Box<dyn AsyncRead + Send>>,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(
            self.clone()
                .receive_snapshot(context, head, announced, body),
        )
    }
}

/// A follower, node 2, and everything that it raised.
struct Follower {
    service: TestService,
    raft: TestRaft,
    machine: Machine,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Follower {
    async fn start() -> Self {
        let (raft, machine) = raft(2, WiredFactory::alone(2)).await;
        let events = Arc::new(Mutex::new(Vec::new()));
        let raise = {
            let events = Arc::clone(&events);
            move |event| events.lock().unwrap().push(event)
        };
        let service = RaftService::with_parts(
            raft.clone(),
            MemorySnapshots::new(),
            Arc::new(raise),
            spawn(),
        );
        Self {
            service,
            raft,
            machine,
            events,
        }
    }

    fn vote(&self) -> VoteOf<TestConfig> {
        self.raft.metrics().borrow_watched().vote
    }

    async fn call(&self, from: u64, method: u16, body: Bytes) -> Result<Bytes, Refusal> {
        self.service.call(context(from, method), body).await
    }

    /// All replies to these frames, then the end of the requests.
    async fn session(&self, from: u64, frames: Vec<Bytes>) -> Vec<Result<Bytes, Refusal>> {
        let requests = futures_util::stream::iter(frames).boxed();
        let replies = self
            .service
            .session(context(from, method::APPEND), requests)
            .unwrap();
        replies.collect().await
    }
}

fn frame(
    vote: VoteOf<TestConfig>,
    prev: Option<LogIdOf<TestConfig>>,
    entries: Vec<EntryOf<TestConfig>>,
) -> Bytes {
    let leader_commit = entries.last().map(openraft::entry::RaftEntry::log_id);
    let request = AppendEntriesRequest::<TestConfig> {
        vote,
        prev_log_id: prev,
        entries,
        leader_commit,
    };
    let limits = FrameLimits {
        frame_bytes: 1 << 20,
        entry_bytes: 1 << 20,
    };
    AppendSplitter::new(request, limits)
        .next_frame()
        .unwrap()
        .unwrap()
        .body
}

/// A heartbeat of node `own`, in the short form where it has one.
fn heartbeat(vote: VoteOf<TestConfig>, prev: Option<LogIdOf<TestConfig>>, own: u64) -> Bytes {
    let request = AppendEntriesRequest::<TestConfig> {
        vote,
        prev_log_id: prev,
        entries: Vec::new(),
        leader_commit: None,
    };
    let mut bytes = BytesMut::new();
    encode_heartbeat(request, own, &mut bytes).unwrap();
    bytes.freeze()
}

fn codes(replies: &[Result<Bytes, Refusal>]) -> Vec<Option<RefusalCode>> {
    replies
        .iter()
        .map(|reply| reply.as_ref().err().map(|refusal| refusal.code))
        .collect()
}

fn matched(reply: &Result<Bytes, Refusal>) -> AppendReply<TestConfig> {
    AppendReply::decode(reply.as_ref().unwrap()).unwrap()
}

/// Calls of every method in the name of `named`.
fn calls(named: u64) -> Vec<(u16, Bytes)> {
    let candidate = VoteOf::<TestConfig>::new(5, named);
    let vote = encode(&VoteRequestBody::from(VoteRequest::<TestConfig>::new(
        candidate, None,
    )));
    let vote = vote.unwrap();
    let transfer = TransferLeaderRequest::<TestConfig>::new(leader_vote(5, named), 2, None);
    vec![
        // In the form that says whose it is.
        (method::HEARTBEAT, heartbeat(leader_vote(5, named), None, 0)),
        (method::VOTE, vote.clone()),
        (method::PRE_VOTE, vote),
        (
            method::TRANSFER_LEADER,
            encode(&TransferRequest::from(transfer)).unwrap(),
        ),
        (
            method::SNAPSHOT_OFFER,
            question(leader_vote(5, named), 7, false),
        ),
    ]
}

/// The last log id in every snapshot of these tests.
fn last() -> Option<LogIdOf<TestConfig>> {
    Some(log_id(3, 1, 40))
}

fn question(vote: VoteOf<TestConfig>, length: u64, discard: bool) -> Bytes {
    let question = SnapshotOfferRequest::<TestConfig>::new(vote, last(), length, discard);
    encode(&question).unwrap()
}

fn snapshot(vote: VoteOf<TestConfig>, bytes: &[u8]) -> (Bytes, Vec<u8>) {
    rest_of_snapshot(vote, bytes, 0)
}

fn rest_of_snapshot(vote: VoteOf<TestConfig>, bytes: &[u8], offset: usize) -> (Bytes, Vec<u8>) {
    let meta = SnapshotMetaOf::<TestConfig> {
        last_log_id: last(),
        ..SnapshotMetaOf::<TestConfig>::default()
    };
    let (length, behind) = (bytes.len() as u64, offset as u64);
    let head = SnapshotHead::<TestConfig>::new(vote, meta, length, behind);
    let mut body = bytes[offset..].to_vec();
    body.extend_from_slice(blake3::hash(bytes).as_bytes());
    (encode(&head).unwrap(), body)
}

impl Follower {
    async fn snapshot(&self, from: u64, head: Bytes, body: Vec<u8>) -> Result<Bytes, Refusal> {
        let (context, announced) = (context(from, method::SNAPSHOT), body.len() as u64);
        self.service
            .take_snapshot(context, head, announced, Box::pin(Cursor::new(body)))
            .await
    }

    /// Takes the first bytes of a transfer, and then its link is gone.
    async fn broken_snapshot(&self, from: u64, head: Bytes, body: &[u8], whole: usize) {
        let context = context(from, method::SNAPSHOT);
        let body = Box::pin(Cursor::new(body.to_vec()));
        let taken = self
            .service
            .take_snapshot(context, head, whole as u64, body);
        assert_eq!(taken.await.unwrap_err().code, RefusalCode::Corrupt);
    }

    async fn offer(
        &self,
        from: u64,
        question: Bytes,
    ) -> Result<SnapshotOfferReply<TestConfig>, Refusal> {
        let reply = self.call(from, method::SNAPSHOT_OFFER, question).await;
        reply.map(|reply| SnapshotOfferReply::decode(&reply).unwrap())
    }
}

/// R16: the short form names nobody, and counts as its sender's.
#[tokio::test(start_paused = true)]
async fn a_short_heartbeat_is_its_senders() {
    let follower = Follower::start().await;
    // As node 1 would send it, from node 3: no leader but node 3 comes of it.
    let short = heartbeat(leader_vote(5, 1), None, 1);
    follower.call(3, method::HEARTBEAT, short).await.unwrap();
    assert_eq!(follower.vote(), leader_vote(5, 3));
}

/// R13: a message counts only from whom it names.
#[tokio::test(start_paused = true)]
async fn a_message_in_the_name_of_another_node_is_refused_and_changes_nothing() {
    let follower = Follower::start().await;
    let before = follower.vote();
    for (method, body) in calls(1) {
        let refusal = follower.call(3, method, body).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::OriginMismatch, "method {method}");
    }
    let replies = follower
        .session(3, vec![frame(leader_vote(5, 1), None, Vec::new())])
        .await;
    assert_eq!(codes(&replies), [Some(RefusalCode::OriginMismatch)]);
    let (head, body) = snapshot(leader_vote(5, 1), b"stolen");
    let refusal = follower.snapshot(3, head, body).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::OriginMismatch);

    assert_eq!(follower.vote(), before);
    assert_eq!(follower.machine.lines(), Vec::<String>::new());
    let events = follower.events.lock().unwrap();
    assert_eq!(events.len(), 7);
    assert!(events.iter().all(|event| matches!(
        event,
        Event::OriginMismatch { peer, named: 1, .. } if peer.get() == 3
    )));
}

/// R13: membership is not asked.
#[tokio::test(start_paused = true)]
async fn the_same_messages_from_the_node_that_they_name_are_answered() {
    // Nobody told the follower of node 1: membership is not for the dispatcher to judge.
    for index in 0..calls(1).len() {
        let follower = Follower::start().await;
        let (method, body) = calls(1).swap_remove(index);
        assert!(
            follower.call(1, method, body).await.is_ok(),
            "method {method}"
        );
        assert!(follower.events.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_appends_in_order_and_ends_with_its_requests() {
    let follower = Follower::start().await;
    let vote = leader_vote(3, 1);
    let frames = vec![
        frame(vote, None, vec![entry(3, 1, 0, "a"), entry(3, 1, 1, "b")]),
        frame(vote, Some(log_id(3, 1, 1)), vec![entry(3, 1, 2, "c")]),
        frame(vote, Some(log_id(3, 1, 2)), Vec::new()),
    ];
    let replies = follower.session(1, frames).await;
    let replies: Vec<_> = replies.iter().map(matched).collect();
    let expected = [1, 2, 2].map(|index| AppendReply::Matched(Some(log_id(3, 1, index))));
    assert_eq!(replies, expected);
    let wait = follower.raft.wait(Some(Duration::from_secs(5)));
    wait.applied_index(Some(2), "three lines").await.unwrap();
    assert_eq!(follower.machine.lines(), ["a", "b", "c"]);
}

/// R8: what ends a session.
#[tokio::test(start_paused = true)]
async fn a_conflict_and_a_higher_vote_end_the_session() {
    let follower = Follower::start().await;
    let vote = leader_vote(3, 1);
    let gap = frame(vote, Some(log_id(3, 1, 9)), vec![entry(3, 1, 10, "x")]);
    let good = frame(vote, None, vec![entry(3, 1, 0, "a")]);
    let replies = follower.session(1, vec![good.clone(), gap, good]).await;
    let replies: Vec<_> = replies.iter().map(matched).collect();
    let expected = [
        AppendReply::Matched(Some(log_id(3, 1, 0))),
        AppendReply::Conflict(log_id(3, 1, 9)),
    ];
    assert_eq!(replies, expected);

    let old = frame(leader_vote(2, 4), None, Vec::new());
    let replies = follower.session(4, vec![old]).await;
    assert_eq!(
        replies.iter().map(matched).collect::<Vec<_>>(),
        [AppendReply::HigherVote(vote)]
    );
    // The same two answers to heartbeats.
    let answer = |reply: Result<Bytes, Refusal>| {
        HeartbeatReply::<TestConfig>::decode(&reply.unwrap()).unwrap()
    };
    let old = heartbeat(leader_vote(2, 4), None, 4);
    let reply = follower.call(4, method::HEARTBEAT, old).await;
    assert_eq!(answer(reply), HeartbeatReply::HigherVote(vote));
    let probe = heartbeat(vote, Some(log_id(3, 1, 9)), 1);
    let reply = follower.call(1, method::HEARTBEAT, probe).await;
    assert_eq!(answer(reply), HeartbeatReply::Conflict);
    let known = heartbeat(vote, Some(log_id(3, 1, 0)), 1);
    let reply = follower.call(1, method::HEARTBEAT, known).await;
    assert_eq!(answer(reply), HeartbeatReply::Matched);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_undecodable_and_a_session_leaves_no_gap() {
    let follower = Follower::start().await;
    for (method, body) in calls(1) {
        for bad in [
            Bytes::from_static(&[0xff; 40]),
            body.slice(..body.len() - 1),
            Bytes::new(),
        ] {
            let refusal = follower.call(1, method, bad).await.unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Undecodable, "method {method}");
        }
    }
    let vote = leader_vote(3, 1);
    let frames = vec![
        frame(vote, None, vec![entry(3, 1, 0, "a")]),
        Bytes::from_static(b"garbage"),
        frame(vote, Some(log_id(3, 1, 0)), vec![entry(3, 1, 1, "b")]),
    ];
    let replies = follower.session(1, frames).await;
    assert_eq!(codes(&replies), [None, Some(RefusalCode::Undecodable)]);
    assert_eq!(
        follower.raft.metrics().borrow_watched().last_log_index,
        Some(0)
    );

    let (_, body) = snapshot(vote, b"data");
    let refusal = follower
        .snapshot(1, Bytes::from_static(b"head"), body)
        .await
        .unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Undecodable);
}

#[tokio::test(start_paused = true)]
async fn a_forged_frame_in_the_middle_of_a_session_ends_it() {
    let follower = Follower::start().await;
    let frames = vec![
        frame(leader_vote(3, 1), None, vec![entry(3, 1, 0, "a")]),
        frame(leader_vote(9, 4), None, Vec::new()),
    ];
    let replies = follower.session(1, frames).await;
    assert_eq!(codes(&replies), [None, Some(RefusalCode::OriginMismatch)]);
    assert_eq!(follower.vote(), leader_vote(3, 1));
}

/// R4: a method in another shape is unknown.
#[tokio::test(start_paused = true)]
async fn methods_are_served_in_their_own_shape_only() {
    let follower = Follower::start().await;
    for method in [0, method::APPEND, method::SNAPSHOT, 8, u16::MAX] {
        let refusal = follower.call(1, method, Bytes::new()).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::UnknownMethod);
    }
    let requests = futures_util::stream::empty().boxed();
    let refused = follower
        .service
        .session(context(1, method::HEARTBEAT), requests);
    assert_eq!(
        refused.err().map(|refusal| refusal.code),
        Some(RefusalCode::UnknownMethod)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopped_raft_is_a_refusal() {
    let follower = Follower::start().await;
    follower.raft.shutdown().await.unwrap();
    for (method, body) in calls(1) {
        // What is kept of a snapshot is not for the Raft to say.
        if method == method::SNAPSHOT_OFFER {
            continue;
        }
        let refusal = follower.call(1, method, body).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Stopped, "method {method}");
    }
    let (head, body) = snapshot(leader_vote(3, 1), b"data");
    let refusal = follower.snapshot(1, head, body).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_raft_that_stops_under_a_session_is_a_refusal() {
    let follower = Follower::start().await;
    let (frames, mut requests) = mpsc::channel(4);
    let requests = futures_util::stream::poll_fn(move |cx| requests.poll_recv(cx)).boxed();
    let mut replies = follower
        .service
        .session(context(1, method::APPEND), requests)
        .unwrap();
    let first = frame(leader_vote(3, 1), None, vec![entry(3, 1, 0, "a")]);
    frames.send(first.clone()).await.unwrap();
    assert!(replies.next().await.unwrap().is_ok());
    follower.raft.shutdown().await.unwrap();
    frames.send(first).await.unwrap();
    let refusal = replies.next().await.unwrap().unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Stopped);
    assert!(replies.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_replies_ends_the_requests_at_once() {
    let follower = Follower::start().await;
    let (frames, mut requests) = mpsc::channel::<Bytes>(4);
    let requests = futures_util::stream::poll_fn(move |cx| requests.poll_recv(cx)).boxed();
    let mut replies = follower
        .service
        .session(context(1, method::APPEND), requests)
        .unwrap();
    frames
        .send(frame(leader_vote(3, 1), None, Vec::new()))
        .await
        .unwrap();
    assert!(replies.next().await.unwrap().is_ok());
    drop(replies);
    // openraft's task would hold them until the next request, which never comes.
    tokio::time::timeout(Duration::from_secs(1), frames.closed())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_verified_snapshot_is_installed() {
    let follower = Follower::start().await;
    let (head, body) = snapshot(leader_vote(3, 1), b"one\ntwo");
    let reply = follower.snapshot(1, head, body).await.unwrap();
    let response = SnapshotReply::<TestConfig>::decode(&reply).unwrap();
    assert_eq!(response.vote, leader_vote(3, 1));
    assert_eq!(follower.machine.lines(), ["one", "two"]);
    assert!(matches!(
        follower.events.lock().unwrap()[..],
        [
            Event::SnapshotBegun {
                offset: 0,
                length: 7,
                ..
            },
            Event::SnapshotReceived { bytes: 7, .. }
        ]
    ));
}

/// R11: another length or hash is corrupt.
#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_not_what_was_sent_is_corrupt_and_not_installed() {
    let follower = Follower::start().await;
    let (head, body) = snapshot(leader_vote(3, 1), b"one\ntwo");
    let mut flipped = body.clone();
    flipped[2] ^= 1;
    let mut wrong_hash = body.clone();
    *wrong_hash.last_mut().unwrap() ^= 1;
    let mut longer = body.clone();
    longer.push(0);
    let shorter = body[..body.len() - 1].to_vec();
    for bad in [flipped, wrong_hash, longer, shorter, Vec::new()] {
        let refusal = follower.snapshot(1, head.clone(), bad).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Corrupt);
    }
    // The right length announced, but the stream ends early.
    let announced = body.len() as u64;
    let short = Box::pin(Cursor::new(body[..20].to_vec()));
    let context = context(1, method::SNAPSHOT);
    let refusal = follower
        .service
        .take_snapshot(context, head, announced, short)
        .await;
    assert_eq!(refusal.unwrap_err().code, RefusalCode::Corrupt);
    assert_eq!(follower.machine.lines(), Vec::<String>::new());
    assert_eq!(follower.raft.metrics().borrow_watched().last_applied, None);
}

/// R14: what was kept of a broken transfer is offered, and the rest makes it whole.
#[tokio::test(start_paused = true)]
async fn a_snapshot_is_resumed_where_it_broke() {
    let follower = Follower::start().await;
    let (vote, text) = (leader_vote(3, 1), b"one\ntwo\nthree");
    let length = text.len() as u64;
    let (head, body) = snapshot(vote, text);
    follower
        .broken_snapshot(1, head, &body[..5], body.len())
        .await;
    let SnapshotOfferReply::Kept(offer) = follower
        .offer(1, question(vote, length, false))
        .await
        .unwrap()
    else {
        panic!("no offer");
    };
    assert_eq!((offer.offset, offer.hash), (5, blake3::hash(&text[..5])));
    let (head, body) = rest_of_snapshot(vote, text, 5);
    follower.snapshot(1, head, body).await.unwrap();
    assert_eq!(follower.machine.lines(), ["one", "two", "three"]);
    {
        let events = follower.events.lock().unwrap();
        assert!(matches!(
            events[..],
            [
                Event::SnapshotBegun { offset: 0, length: 13, .. },
                Event::SnapshotFailed { bytes: 5, length: 13, .. },
                Event::SnapshotResumed { peer, group, offset: 5, length: 13 },
                Event::SnapshotBegun { offset: 5, length: 13, .. },
                Event::SnapshotReceived { bytes: 13, .. }
            ] if peer.get() == 1 && group == GROUP
        ));
    }
    // A leader that has missed the answer need not send it again.
    let metrics = follower.raft.wait(Some(Duration::from_secs(5)));
    metrics.applied_index(Some(40), "installed").await.unwrap();
    for (asks, expected) in [
        (vote, SnapshotOfferReply::Applied(vote)),
        // Another leader, whom it does not follow yet, does.
        (leader_vote(4, 1), SnapshotOfferReply::Nothing),
    ] {
        let reply = follower.offer(1, question(asks, length, false)).await;
        assert_eq!(reply.unwrap(), expected);
    }
}

/// R14: bytes that are not kept are not built upon.
#[tokio::test(start_paused = true)]
async fn a_snapshot_from_an_offset_that_is_not_kept_is_refused() {
    let follower = Follower::start().await;
    let (vote, text) = (leader_vote(3, 1), b"one\ntwo\nthree");
    let length = text.len() as u64;
    // Nothing is kept; then five bytes are, and not six.
    for offset in [5, 6] {
        let (head, body) = rest_of_snapshot(vote, text, offset);
        let refusal = follower.snapshot(1, head, body).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::NotResumable, "{refusal}");
        let (head, body) = snapshot(vote, text);
        follower
            .broken_snapshot(1, head, &body[..5], body.len())
            .await;
    }
    // The rest of another snapshot: the hash at the end says that it does not fit.
    let other = b"ONE\nTWO\nTHREE";
    let (head, body) = rest_of_snapshot(vote, other, 5);
    let refusal = follower.snapshot(1, head, body).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Corrupt, "{refusal}");
    let offer = async |discard| {
        let reply = follower.offer(1, question(vote, length, discard)).await;
        reply.unwrap()
    };
    assert_eq!(offer(false).await, SnapshotOfferReply::Nothing, "gone");
    let (head, body) = snapshot(vote, text);
    follower
        .broken_snapshot(1, head, &body[..5], body.len())
        .await;
    assert_eq!(offer(true).await, SnapshotOfferReply::Nothing, "disowned");
    assert_eq!(offer(false).await, SnapshotOfferReply::Nothing, "gone too");
    // Behind the end there is nothing to go on behind.
    let meta = SnapshotMetaOf::<TestConfig>::default();
    let beyond = encode(&SnapshotHead::<TestConfig>::new(vote, meta, 13, 14)).unwrap();
    let refusal = follower.snapshot(1, beyond, body).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Undecodable, "{refusal}");
    assert_eq!(follower.machine.lines(), Vec::<String>::new());
}

/// R13, R14: nobody asks, goes on or throws away in the name of another.
#[tokio::test(start_paused = true)]
async fn what_is_kept_is_only_for_whom_the_vote_names() {
    let follower = Follower::start().await;
    let (vote, text) = (leader_vote(3, 1), b"one\ntwo\nthree");
    let length = text.len() as u64;
    let (head, body) = snapshot(vote, text);
    follower
        .broken_snapshot(1, head, &body[..5], body.len())
        .await;
    for discard in [false, true] {
        let refusal = follower.offer(3, question(vote, length, discard)).await;
        assert_eq!(refusal.unwrap_err().code, RefusalCode::OriginMismatch);
    }
    for offset in [0, 5] {
        let (head, body) = rest_of_snapshot(vote, text, offset);
        let refusal = follower.snapshot(3, head, body).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::OriginMismatch);
    }
    let reply = follower.offer(1, question(vote, length, false)).await;
    assert!(matches!(reply.unwrap(), SnapshotOfferReply::Kept(offer) if offer.offset == 5));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_over_the_hosts_limit_is_refused_before_its_bytes() {
    let (raft, _) = raft(2, WiredFactory::alone(2)).await;
    let service: TestService = RaftService::with_parts(
        raft,
        MemorySnapshots::with_bytes_max(7),
        Arc::new(|_| {}),
        spawn(),
    );
    for (bytes, fits) in [(&b"seven b"[..], true), (b"eight by", false)] {
        let (head, body) = snapshot(leader_vote(3, 1), bytes);
        let (context, announced) = (context(1, method::SNAPSHOT), body.len() as u64);
        // A body that never comes: only a refusal can answer before it.
        let body: Pin<Box<dyn AsyncRead + Send>> = if fits {
            Box::pin(Cursor::new(body))
        } else {
            Box::pin(tokio::io::empty())
        };
        let result = service.take_snapshot(context, head, announced, body).await;
        assert_eq!(
            result.err().map(|refusal| refusal.code),
            (!fits).then_some(RefusalCode::Internal)
        );
    }
}

openraft::declare_raft_types!(
    /// Another host's types: standard Raft ids, numbers, nodes without an address.
    OtherConfig:
        D = u32,
        R = (),
        Node = openraft::EmptyNode,
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

/// Compiles only if groups of different type configs can stand in one table.
#[expect(dead_code, reason = "a proof by compiling")]
fn any_two_groups<SM>(
    one: TestService,
    other: RaftService<OtherConfig, SM, crate::raft::FileSnapshots>,
) -> [Arc<dyn Service>; 2]
where
    SM: RaftStateMachine<OtherConfig, SnapshotData = tokio::fs::File>,
{
    [Arc::new(one), Arc::new(other)]
}

#[test]
fn the_sender_of_a_snapshot_makes_what_the_receiver_takes() {
    // The trailer of `HashedReader` and the one of these tests are the same.
    let bytes = b"the same".to_vec();
    let mut reader = HashedReader::new(Cursor::new(bytes.clone()), bytes.len() as u64);
    let mut sent = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut sent))
        .unwrap();
    assert_eq!(sent, snapshot(leader_vote(1, 1), &bytes).1);
}
