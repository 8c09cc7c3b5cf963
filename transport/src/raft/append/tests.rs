//! The pipeline against a session that the test plays, and between real Rafts.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use openraft::raft::StreamAppendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::*;
use crate::raft::testing::{GROUP, TestConfig, entry, leader_vote, log_id, played_session};
use crate::raft::wire::decode_append;
use crate::{NodeId, Refusal, RefusalCode};

/// Limits that nothing here reaches.
const WIDE: FrameLimits = FrameLimits {
    frame_bytes: 1 << 20,
    entry_bytes: 1 << 20,
};

type Request = AppendEntriesRequest<TestConfig>;
type Reply = AppendReply<TestConfig>;

/// A request of entries `from..to`, each with a text of `size` bytes.
fn request(from: u64, to: u64, size: usize) -> Request {
    Request {
        vote: leader_vote(3, 1),
        prev_log_id: from.checked_sub(1).map(|index| log_id(3, 1, index)),
        entries: (from..to)
            .map(|index| entry(3, 1, index, &"x".repeat(size)))
            .collect(),
        leader_commit: None,
    }
}

/// A pipeline whose peer is the test.
struct Played {
    requests: mpsc::Sender<Request>,
    frames: mpsc::Receiver<Bytes>,
    replies: Option<mpsc::Sender<Result<Bytes, Refusal>>>,
    output: BoxStream<'static, AppendResult<TestConfig>>,
    oversized: Arc<Mutex<Vec<OversizedEntry>>>,
    outage: Outage,
}

impl Played {
    fn start(window: usize, limits: FrameLimits) -> Self {
        let (sender, receiver, frames, replies) = played_session(window);
        let (requests, mut input) = mpsc::channel(64);
        let input = futures_util::stream::poll_fn(move |cx| input.poll_recv(cx));
        let oversized = Arc::new(Mutex::new(Vec::new()));
        let on_oversized = {
            let oversized = Arc::clone(&oversized);
            move |entry| oversized.lock().unwrap().push(entry)
        };
        let context = AppendContext {
            route: Route {
                own: 1,
                target: 2,
                group: GROUP,
            },
            limits: Box::new(move || limits),
            on_oversized: Box::new(on_oversized),
            // The peer is there.
            outage: Outage::new(|_| Box::pin(std::future::ready(true))),
        };
        let outage = context.outage.clone();
        let output = pipeline(input, sender, receiver, context);
        Self {
            requests,
            frames,
            replies: Some(replies),
            output,
            oversized,
            outage,
        }
    }

    fn wide() -> Self {
        Self::start(
            64,
            FrameLimits {
                frame_bytes: 1 << 20,
                entry_bytes: 1 << 20,
            },
        )
    }

    /// What comes out by itself; `None` if nothing does. It gets far more turns than the 64 requests
    /// that can wait, because the pipeline gives others a turn between two of them.
    async fn poll(&mut self) -> Option<Option<AppendResult<TestConfig>>> {
        for _ in 0..200 {
            let item = self.output.next().now_or_never();
            if item.is_some() {
                return item;
            }
            tokio::task::yield_now().await;
        }
        None
    }

    async fn ask(&self, request: Request) {
        self.requests.send(request).await.unwrap();
    }

    async fn reply(&self, reply: Reply) {
        self.reply_bytes(Ok(reply.encode().unwrap())).await;
    }

    async fn reply_bytes(&self, reply: Result<Bytes, Refusal>) {
        self.replies.as_ref().unwrap().send(reply).await.unwrap();
    }

    fn sent(&mut self) -> usize {
        std::iter::from_fn(|| self.frames.try_recv().ok()).count()
    }

    async fn next(&mut self) -> Option<AppendResult<TestConfig>> {
        timeout(Duration::from_secs(5), self.output.next())
            .await
            .unwrap()
    }

    /// The session is over and holds nothing any more.
    async fn assert_over(mut self) {
        assert!(self.next().await.is_none());
        drop(self.output);
        assert!(self.requests.is_closed());
        assert!(self.replies.is_none_or(|replies| replies.is_closed()));
    }
}

fn matched(index: u64) -> Reply {
    Reply::Matched(Some(log_id(3, 1, index)))
}

fn acknowledged(item: Option<AppendResult<TestConfig>>) -> u64 {
    item.unwrap().unwrap().unwrap().unwrap().index()
}

#[tokio::test(start_paused = true)]
async fn requests_leave_before_answers_come_and_answers_keep_their_order() {
    let mut played = Played::wide();
    for index in 0..40 {
        played.ask(request(index, index + 1, 1)).await;
    }
    assert!(played.poll().await.is_none());
    assert_eq!(
        played.sent(),
        40,
        "in flight at once, without a single answer"
    );
    for index in 0..40 {
        played.reply(matched(index)).await;
        assert_eq!(acknowledged(played.next().await), index);
        assert!(played.poll().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_stops_taking_requests() {
    let mut played = Played::start(3, WIDE);
    for index in 0..10 {
        played.ask(request(index, index + 1, 1)).await;
    }
    assert!(played.poll().await.is_none());
    // Three in the window and one that waits for a slot; the others were not even taken.
    assert_eq!(
        played.requests.max_capacity() - played.requests.capacity(),
        6
    );
    assert_eq!(played.sent(), 3);
    assert!(played.poll().await.is_none());
    assert_eq!(
        played.requests.max_capacity() - played.requests.capacity(),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_ends_with_its_one_answer() {
    let mut played = Played::wide();
    let Played { requests, .. } = &mut played;
    requests.send(request(5, 5, 0)).await.unwrap();
    *requests = mpsc::channel(1).0;
    assert!(played.poll().await.is_none());
    assert_eq!(played.sent(), 1);
    played.reply(matched(4)).await;
    assert_eq!(acknowledged(played.next().await), 4);
    // The peer has not ended its side.
    assert!(!played.replies.as_ref().unwrap().is_closed());
    played.assert_over().await;
}

#[tokio::test(start_paused = true)]
async fn the_very_beginning_of_the_log_is_a_success_too() {
    let mut played = Played::wide();
    played.ask(request(0, 0, 0)).await;
    played.reply(Reply::Matched(None)).await;
    assert_eq!(played.next().await.unwrap().unwrap(), Ok(None));
}

/// Four entries of 106 bytes in frames of two.
fn split() -> (Played, Request) {
    let limits = FrameLimits {
        frame_bytes: 256,
        entry_bytes: 1_000,
    };
    (Played::start(64, limits), request(10, 14, 100))
}

/// R7: a long request travels as several frames.
#[tokio::test(start_paused = true)]
async fn a_long_request_is_split_and_acknowledged_once() {
    let (mut played, request) = split();
    played.ask(request).await;
    assert!(played.poll().await.is_none());
    let mut indexes = Vec::new();
    while let Ok(frame) = played.frames.try_recv() {
        let part = decode_append::<TestConfig>(&frame).unwrap();
        indexes.push((part.prev_log_id.unwrap().index(), part.entries.len()));
    }
    assert_eq!(indexes, [(9, 2), (11, 2)]);
    played.reply(matched(11)).await;
    assert!(played.poll().await.is_none());
    played.reply(matched(13)).await;
    assert_eq!(acknowledged(played.next().await), 13);
    assert!(played.poll().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_cut_inside_a_split_request_still_reports_what_was_taken() {
    let (mut played, request) = split();
    played.ask(request).await;
    played.reply(matched(11)).await;
    played
        .reply_bytes(Err(Refusal::new(RefusalCode::Busy, "later")))
        .await;
    assert_eq!(acknowledged(played.next().await), 11);
    assert!(matches!(
        played.next().await,
        Some(Err(RPCError::Unreachable(_)))
    ));
    played.assert_over().await;
}

#[tokio::test(start_paused = true)]
async fn a_partial_acknowledgement_ends_the_session() {
    let mut played = Played::wide();
    played.ask(request(10, 14, 1)).await;
    played.ask(request(14, 15, 1)).await;
    played.reply(matched(11)).await;
    assert_eq!(acknowledged(played.next().await), 11);
    played.assert_over().await;
}

#[tokio::test(start_paused = true)]
async fn a_conflict_ends_the_session() {
    for (acknowledged, conflict) in [(None, 9), (Some(11), 11)] {
        let (mut played, request) = split();
        played.ask(request).await;
        if let Some(index) = acknowledged {
            played.reply(matched(index)).await;
        }
        played.reply(Reply::Conflict(log_id(3, 1, conflict))).await;
        let item = played.next().await.unwrap().unwrap();
        assert_eq!(
            item,
            Err(StreamAppendError::Conflict(log_id(3, 1, conflict)))
        );
        played.assert_over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_higher_vote_ends_the_session() {
    let mut played = Played::wide();
    played.ask(request(10, 14, 1)).await;
    played.reply(Reply::HigherVote(leader_vote(4, 2))).await;
    let item = played.next().await.unwrap().unwrap();
    assert_eq!(item, Err(StreamAppendError::HigherVote(leader_vote(4, 2))));
    played.assert_over().await;
}

/// R8: an answer about what was not sent.
#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_right_are_errors_not_acknowledgements() {
    let bad = [
        matched(14),
        matched(8),
        Reply::Matched(None),
        Reply::Matched(Some(log_id(9, 1, 12))),
        Reply::Conflict(log_id(3, 1, 13)),
    ];
    for reply in bad {
        let mut played = Played::wide();
        played.ask(request(10, 14, 1)).await;
        played.reply(reply).await;
        assert!(matches!(
            played.next().await,
            Some(Err(RPCError::Unreachable(_)))
        ));
        played.assert_over().await;
    }
    let mut played = Played::wide();
    played.ask(request(10, 14, 1)).await;
    played.reply_bytes(Ok(Bytes::from_static(b"\x07"))).await;
    assert!(matches!(
        played.next().await,
        Some(Err(RPCError::Unreachable(_)))
    ));
    played.assert_over().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_down_is_no_error_before_a_request_was_taken() {
    // openraft waits out its backoff before it yields the request.
    let mut played = Played::wide();
    played.replies = None;
    played.frames.close();
    assert!(played.poll().await.is_none());
    played.ask(request(0, 1, 1)).await;
    assert!(matches!(
        played.next().await,
        Some(Err(RPCError::Network(_)))
    ));
    played.assert_over().await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_end_early_are_a_network_error() {
    let mut played = Played::wide();
    played.ask(request(10, 14, 1)).await;
    assert!(played.poll().await.is_none());
    played.replies = None;
    assert!(matches!(
        played.next().await,
        Some(Err(RPCError::Network(_)))
    ));
    played.assert_over().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_send_is_reported_after_the_answers_that_still_come() {
    let mut played = Played::wide();
    played.ask(request(0, 1, 1)).await;
    assert!(played.poll().await.is_none());
    played.frames.close();
    played.ask(request(1, 2, 1)).await;
    assert!(played.poll().await.is_none());
    played.reply(matched(0)).await;
    assert_eq!(acknowledged(played.next().await), 0);
    played.replies = None;
    // `TestSender` says that the link was cut.
    assert!(matches!(
        played.next().await,
        Some(Err(RPCError::Network(_)))
    ));
    played.assert_over().await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_too_large_ends_the_session_after_what_stands_before_it() {
    let limits = FrameLimits {
        frame_bytes: 1_000,
        entry_bytes: 50,
    };
    let mut played = Played::start(64, limits);
    let mut long = request(10, 12, 1);
    long.entries.push(entry(3, 1, 12, &"x".repeat(100)));
    long.entries.push(entry(3, 1, 13, ""));
    played.ask(long).await;
    assert!(played.poll().await.is_none());
    assert_eq!(played.sent(), 1);
    played.reply(matched(11)).await;
    assert_eq!(acknowledged(played.next().await), 11);
    let Some(Err(RPCError::Unreachable(error))) = played.next().await else {
        panic!("no error")
    };
    let text = error.to_string();
    for part in ["group 7", "entry 12", "105 bytes", "at most 50"] {
        assert!(text.contains(part), "{text}");
    }
    let expected = OversizedEntry {
        index: 12,
        size: 105,
        limit: 50,
    };
    assert_eq!(*played.oversized.lock().unwrap(), [expected]);
    played.assert_over().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_entry_that_is_too_large_sends_nothing() {
    let mut played = Played::start(
        64,
        FrameLimits {
            frame_bytes: 1_000,
            entry_bytes: 50,
        },
    );
    played.ask(request(10, 12, 100)).await;
    assert!(matches!(
        played.next().await,
        Some(Err(RPCError::Unreachable(_)))
    ));
    assert_eq!(played.sent(), 0);
    assert_eq!(played.oversized.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_drops_everything_at_once() {
    let mut played = Played::wide();
    played.ask(request(0, 1, 1)).await;
    assert!(played.poll().await.is_none());
    let Played {
        requests,
        frames,
        replies,
        output,
        ..
    } = &mut played;
    assert!(!requests.is_closed());
    *output = futures_util::stream::empty().boxed();
    assert!(requests.is_closed());
    assert!(replies.as_ref().unwrap().is_closed());
    assert!(frames.recv().now_or_never().is_some());
    assert!(matches!(frames.recv().now_or_never(), Some(None)));
}

/// Both halves of a session to a peer that is away. It counts what it was asked to send.
#[derive(Clone, Default)]
struct Away(Arc<Mutex<usize>>);

impl FrameSender for Away {
    async fn send(&mut self, _: Bytes) -> Result<(), CallError> {
        *self.0.lock().unwrap() += 1;
        let reason = crate::UnreachableReason::Down("no route".to_owned());
        let peer = NodeId::new(2).unwrap();
        Err(CallError::Unreachable {
            peer,
            group: GROUP,
            address: None,
            reason,
        })
    }

    fn rest(&mut self) {}
}

impl ReplyReceiver for Away {
    async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        None
    }
}

impl Away {
    /// A session with three requests ready.
    fn session(
        &self,
        outage: &Outage,
    ) -> (
        mpsc::Sender<Request>,
        BoxStream<'static, AppendResult<TestConfig>>,
    ) {
        let (requests, mut input) = mpsc::channel(3);
        for index in 0..3 {
            requests.try_send(request(index, index + 1, 1)).unwrap();
        }
        let input = futures_util::stream::poll_fn(move |cx| input.poll_recv(cx));
        let context = AppendContext {
            route: Route {
                own: 1,
                target: 2,
                group: GROUP,
            },
            limits: Box::new(|| WIDE),
            on_oversized: Box::new(|_| {}),
            outage: outage.clone(),
        };
        let output = pipeline(input, self.clone(), self.clone(), context);
        (requests, output)
    }

    fn asked(&self) -> usize {
        *self.0.lock().unwrap()
    }
}

fn is_unreachable(item: Option<AppendResult<TestConfig>>) -> bool {
    matches!(item, Some(Err(RPCError::Unreachable(_))))
}

#[tokio::test(start_paused = true)]
async fn a_session_that_never_was_is_an_error() {
    let (_requests, mut output) = Away::default().session(&Outage::of(None));
    assert!(is_unreachable(output.next().await));
    assert!(output.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_reported_once_and_then_a_request_is_held() {
    let (back, there) = watch::channel(false);
    let outage = Outage::new(move |deadline| {
        let mut there = there.clone();
        Box::pin(async move {
            let there = there.wait_for(|there| *there);
            tokio::time::timeout_at(deadline, there).await.is_ok()
        })
    });
    let away = Away::default();
    let start = Instant::now();
    let (_requests, mut output) = away.session(&outage);
    assert!(is_unreachable(output.next().await));
    assert_eq!((start.elapsed(), away.asked()), (Duration::ZERO, 1));

    // Held to its limit, without a look at the next request; then it is said again.
    let (requests, mut output) = away.session(&outage);
    assert!(output.next().now_or_never().is_none());
    assert_eq!(requests.capacity(), 1, "one was taken");
    assert!(is_unreachable(output.next().await));
    assert_eq!((start.elapsed(), away.asked()), (APPEND_HOLD_LIMIT, 1));
    assert_eq!(requests.capacity(), 3, "the session is over");
    assert!(output.next().await.is_none());

    // Dropped while it is held, everything is gone at once.
    let (requests, mut output) = away.session(&outage);
    assert!(output.next().now_or_never().is_none());
    assert!(!requests.is_closed());
    drop(output);
    assert!(requests.is_closed());

    // It leaves the moment the peer is back.
    let (_requests, mut output) = away.session(&outage);
    assert!(output.next().now_or_never().is_none());
    back.send_replace(true);
    assert!(is_unreachable(output.next().await));
    assert_eq!((start.elapsed(), away.asked()), (APPEND_HOLD_LIMIT, 2));
}

/// Who answers is not away, also if the answer is no: openraft's backoff holds for it again.
#[tokio::test(start_paused = true)]
async fn an_answer_ends_the_outage_and_so_does_a_refusal() {
    let refused = Err(Refusal::new(RefusalCode::UnknownGroup, "not here"));
    for reply in [matched(0).encode().map_err(|_| unreachable!()), refused] {
        let mut played = Played::wide();
        let outage = played.outage.clone();
        outage.report();
        played.ask(request(0, 1, 1)).await;
        assert!(played.poll().await.is_none());
        assert!(outage.backoff().next().unwrap().is_zero());
        played.reply_bytes(reply).await;
        assert!(played.next().await.is_some());
        assert!(!outage.backoff().next().unwrap().is_zero());
    }
}

/// The stream is polled by openraft's tasks, on any thread.
#[test]
fn the_stream_is_send() {
    fn send<T: Send>(_: &T) {}
    let mut stream: Pin<Box<dyn Stream<Item = AppendResult<TestConfig>> + Send>> =
        Box::pin(futures_util::stream::poll_fn(|_| Poll::Ready(None)));
    send(&stream);
    assert!(
        stream
            .next()
            .now_or_never()
            .is_some_and(|item| item.is_none())
    );
}
