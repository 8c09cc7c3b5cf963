//! The Call lane at both of its ends: what a caller sends and learns, what is answered, and what a
//! stream with many calls takes. A stranger is the other end and says what the test says.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use quicraft_tests::sim::{ECHO, LIMIT, RawHello, SimCluster, SimNode, SimSpec, Stranger};
use quicraft_tests::switch::address;
use quicraft_transport::frame::{Frame, FrameAssembler, FrameKind, HEADER_BYTES, Lane};
use quicraft_transport::limits::{
    CALL_ANSWERS_MAX, CALL_BUDGET_BYTES, CALL_SHARED_BYTES_MAX, CALLS_IN_FLIGHT_MAX,
    FRAME_BODY_BYTES_MAX, REPLY_FREE_BYTES_MAX, REPLY_TAKEN_LIMIT,
};
use quicraft_transport::link::CallLane;
use quicraft_transport::service::{CallContext, Service};
use quicraft_transport::{CallError, LinkEnd, Refusal, RefusalCode, Registration};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The node whose certificate the stranger has.
const STRANGER: u64 = 2;

/// The methods of [`Answers`].
const ECHOES: u16 = 0;
const NEVER: u16 = 1;
const LARGE: u16 = 2;
const LATER: u16 = 3;
/// After so long `LATER` answers.
const LATER_AFTER: Duration = Duration::from_millis(500);

/// Echoes, never answers, answers with as many bytes as it is asked for, or answers later; and tells
/// which handlers were dropped.
struct Answers {
    dropped: mpsc::Sender<Bytes>,
}

struct TellDrop(mpsc::Sender<Bytes>, Bytes);

impl Drop for TellDrop {
    fn drop(&mut self) {
        drop(self.0.try_send(self.1.clone()));
    }
}

impl Service for Answers {
    fn call(
        &self,
        context: CallContext,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let dropped = self.dropped.clone();
        async move {
            match context.method {
                NEVER => {
                    let _told = TellDrop(dropped, body);
                    std::future::pending().await
                }
                LARGE => {
                    let size = u32::from_be_bytes(body[..].try_into().expect("four bytes"));
                    Ok(Bytes::from(vec![7; size as usize]))
                }
                LATER => {
                    sleep(LATER_AFTER).await;
                    Ok(body)
                }
                _ => Ok(body),
            }
        }
        .boxed()
    }
}

/// Node 1, which answers, and a stranger with the certificate of the other node.
struct Faced {
    cluster: SimCluster,
    _stranger: Stranger,
    connection: Connection,
    _control: (SendStream, RecvStream),
    dropped: mpsc::Receiver<Bytes>,
    _serving: Registration,
}

impl Faced {
    async fn new() -> Self {
        let mut cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
        cluster.crash(STRANGER).await;
        let (tell, dropped) = mpsc::channel(4 * CALLS_IN_FLIGHT_MAX);
        let service = Arc::new(Answers { dropped: tell });
        let serving = cluster.node(1).transport.register(ECHO, service);
        let stranger = Stranger::new(&cluster.switch, address(99), &cluster.credentials(STRANGER));
        let hello = RawHello::new(STRANGER, 1);
        let (connection, send, recv) = stranger.enter(address(1), &hello).await;
        cluster.node(1).link_up(STRANGER).await;
        Self {
            cluster,
            _stranger: stranger,
            connection,
            _control: (send, recv),
            dropped,
            _serving: serving.expect("registered"),
        }
    }

    fn node(&self) -> &SimNode {
        self.cluster.node(1)
    }

    async fn call(&self, body: impl Into<Bytes> + Send) -> Result<Bytes, CallError> {
        let node = self.node();
        node.call(STRANGER, CallLane::Call, ECHO, ECHOES, body, LIMIT)
            .await
    }

    /// A stream that the stranger opens.
    async fn open(&self) -> Wire {
        let (send, recv) = self.connection.open_bi().await.expect("a stream");
        Wire::new(send, recv)
    }

    /// The next stream that the node opens.
    async fn accept(&self) -> Wire {
        let accepted = timeout(LIMIT, self.connection.accept_bi()).await;
        let (send, recv) = accepted.expect("a stream").expect("a stream");
        Wire::new(send, recv)
    }

    /// The next handler that was dropped.
    async fn dropped(&mut self) -> Bytes {
        let dropped = timeout(LIMIT, self.dropped.recv()).await;
        dropped.expect("a dropped handler").expect("the service")
    }

    /// The link carries calls all the same.
    async fn lives_on(&self) {
        let mut wire = self.open().await;
        wire.say(&[call(1, ECHOES, "alive")]).await;
        assert_eq!(wire.frame().await.body, "alive");
    }

    fn served(&self) -> u64 {
        let lanes = self.node().link(STRANGER).lanes;
        let lane = lanes.iter().find(|lane| lane.lane == Lane::Call);
        lane.expect("the lane").served
    }
}

/// The stranger's end of a stream.
struct Wire {
    send: SendStream,
    recv: RecvStream,
    frames: FrameAssembler,
}

impl Wire {
    fn new(send: SendStream, recv: RecvStream) -> Self {
        let frames = FrameAssembler::new(FRAME_BODY_BYTES_MAX);
        Self { send, recv, frames }
    }

    async fn say(&mut self, frames: &[Frame]) {
        let mut bytes = BytesMut::new();
        for frame in frames {
            frame.header.encode(&mut bytes);
            bytes.extend_from_slice(&frame.body);
        }
        self.send.write_all(&bytes).await.expect("sent");
    }

    /// The next frame; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next_frame().expect("a frame") {
                return Some(frame);
            }
            let chunk = timeout(LIMIT, self.recv.read_chunk(64 << 10, true)).await;
            let chunk = chunk.expect("a frame in time").expect("readable")?;
            self.frames.push(chunk.bytes);
        }
    }

    async fn frame(&mut self) -> Frame {
        self.next().await.expect("a frame")
    }

    /// Whether nothing comes for a while.
    async fn is_silent(&mut self) -> bool {
        timeout(20 * ROUND_TRIP, self.frame()).await.is_err()
    }

    /// With which code the node stops what the stranger sends here.
    async fn stop_code(&self) -> u64 {
        let stopped = timeout(LIMIT, self.send.stopped()).await;
        let code = stopped.expect("a stop").expect("the link lives");
        code.expect("a code").into_inner()
    }
}

fn call(id: u64, method: u16, body: impl Into<Bytes>) -> Frame {
    Frame::new(FrameKind::Call, Lane::Call, method, id, body.into()).for_group(ECHO)
}

fn large(id: u64, size: usize) -> Frame {
    let size = u32::try_from(size).expect("a frame");
    call(id, LARGE, size.to_be_bytes().to_vec())
}

fn word(kind: FrameKind, id: u64) -> Frame {
    Frame::bare(kind, Lane::Call, id)
}

fn reply_to(asked: &Frame) -> Frame {
    let (id, body) = (asked.header.id, asked.body.clone());
    Frame::new(FrameKind::Reply, Lane::Call, 0, id, body)
}

fn is_refused(frame: &Frame, id: u64, code: RefusalCode) -> bool {
    frame.header.kind == FrameKind::Refusal
        && (frame.header.id, RefusalCode::from_wire(frame.header.method)) == (id, code)
}

/// L6: answers come when they are ready, whatever was asked before.
#[tokio::test(start_paused = true)]
async fn a_slow_call_holds_up_nobody_and_a_cancel_stops_it() {
    let mut faced = Faced::new().await;
    let mut wire = faced.open().await;
    wire.say(&[
        call(1, NEVER, "never"),
        call(2, LATER, "later"),
        call(3, ECHOES, "first"),
    ])
    .await;
    assert_eq!(wire.frame().await.body, "first");
    assert_eq!(wire.frame().await.body, "later");
    // One that is answered, one that nobody knows, and the one that runs.
    let cancels = [3, 77, 1].map(|id| word(FrameKind::Cancel, id));
    wire.say(&cancels).await;
    wire.say(&[word(FrameKind::Taken, 3), call(4, ECHOES, "last")])
        .await;
    assert_eq!(faced.dropped().await, "never");
    let last = wire.frame().await;
    assert_eq!((last.header.id, &last.body[..]), (4, &b"last"[..]));
    assert!(wire.is_silent().await, "a cancelled call is not answered");
    assert_eq!(faced.node().link(STRANGER).peer_streams, 1);
}

/// L6: a reset stops all handlers of its stream, and so does a stop.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_stops_its_handlers() {
    let mut faced = Faced::new().await;
    for reset in [true, false] {
        let mut wire = faced.open().await;
        wire.say(&[call(1, NEVER, "one"), call(2, NEVER, "two")])
            .await;
        wire.say(&[call(3, ECHOES, "there")]).await;
        assert_eq!(wire.frame().await.body, "there");
        let code = VarInt::from_u32(0x200);
        if reset {
            wire.send.reset(code).expect("open");
        } else {
            wire.recv.stop(code).expect("open");
        }
        let mut dropped = [faced.dropped().await, faced.dropped().await];
        dropped.sort();
        assert_eq!(dropped, ["one", "two"], "reset: {reset}");
        faced.lives_on().await;
    }
}

/// L6: an end of the caller's side is no end of the calls.
#[tokio::test(start_paused = true)]
async fn who_asks_no_more_is_answered() {
    let faced = Faced::new().await;
    let mut wire = faced.open().await;
    wire.say(&[call(1, LATER, "later"), call(2, ECHOES, "now")])
        .await;
    wire.send.finish().expect("open");
    assert_eq!(wire.frame().await.body, "now");
    assert_eq!(wire.frame().await.body, "later");
    assert_eq!(wire.next().await, None);
}

/// L12: a handler is stopped at its deadline, and the others go on.
#[tokio::test(start_paused = true)]
async fn a_handler_is_stopped_at_its_deadline() {
    let mut faced = Faced::new().await;
    let mut wire = faced.open().await;
    let mut short = call(1, NEVER, "short");
    short.header.deadline_ms = 100;
    let start = Instant::now();
    wire.say(&[short, call(2, LATER, "later")]).await;
    let answer = wire.frame().await;
    assert!(is_refused(&answer, 1, RefusalCode::DeadlinePassed));
    let took = start.elapsed();
    let expected = Duration::from_millis(100) + ROUND_TRIP;
    assert!(took >= expected && took < 2 * expected, "{took:?}");
    assert_eq!(faced.dropped().await, "short");
    assert_eq!(wire.frame().await.body, "later");
}

/// L5, L12: a small frame that is not whole at its deadline is refused when it is, and holds up
/// nobody; a large one ends its stream.
#[tokio::test(start_paused = true)]
async fn a_body_that_comes_too_late_is_refused() {
    let faced = Faced::new().await;
    for (size, ends) in [
        (CALL_SHARED_BYTES_MAX, false),
        (CALL_SHARED_BYTES_MAX + 1, true),
    ] {
        let mut wire = faced.open().await;
        wire.say(&[call(1, LATER, "before")]).await;
        let mut late = call(2, ECHOES, vec![7; size]);
        late.header.deadline_ms = 100;
        let mut bytes = BytesMut::new();
        late.header.encode(&mut bytes);
        wire.send.write_all(&bytes).await.expect("sent");
        if ends {
            let answer = wire.frame().await;
            assert!(is_refused(&answer, 2, RefusalCode::DeadlinePassed));
            assert_eq!(wire.stop_code().await, 0x200);
        } else {
            assert_eq!(wire.frame().await.body, "before");
            wire.send.write_all(&late.body).await.expect("sent");
            let answer = wire.frame().await;
            assert!(is_refused(&answer, 2, RefusalCode::DeadlinePassed));
            wire.say(&[call(3, ECHOES, "behind")]).await;
            assert_eq!(wire.frame().await.body, "behind");
        }
        faced.lives_on().await;
    }
}

/// L9: a large reply takes budget until it is taken, and one that waits holds up no small one.
#[tokio::test(start_paused = true)]
async fn a_large_reply_that_waits_holds_up_no_small_one() {
    let mut faced = Faced::new().await;
    let mut wire = faced.open().await;
    wire.say(&[
        large(1, CALL_BUDGET_BYTES),
        large(2, REPLY_FREE_BYTES_MAX + 1),
        large(3, REPLY_FREE_BYTES_MAX + 1),
        large(4, REPLY_FREE_BYTES_MAX),
        call(5, ECHOES, "small"),
    ])
    .await;
    let ids = [
        wire.frame().await.header.id,
        wire.frame().await.header.id,
        wire.frame().await.header.id,
    ];
    assert_eq!(ids, [1, 4, 5]);
    assert!(wire.is_silent().await, "a reply over the budget");
    wire.say(&[word(FrameKind::Cancel, 2), word(FrameKind::Taken, 1)])
        .await;
    assert_eq!(wire.frame().await.header.id, 3);
    assert!(
        wire.is_silent().await,
        "a reply to a call that was given up"
    );
    // Two more of the whole budget, of which the first is taken: the other one gets it.
    wire.say(&[word(FrameKind::Taken, 3), large(6, CALL_BUDGET_BYTES)])
        .await;
    assert_eq!(wire.frame().await.header.id, 6);
    wire.say(&[word(FrameKind::Taken, 6), large(7, CALL_BUDGET_BYTES)])
        .await;
    assert_eq!(wire.frame().await.header.id, 7);
    assert!(faced.dropped.try_recv().is_err());
}

/// L9: a caller has a minute to take a large reply.
#[tokio::test(start_paused = true)]
async fn a_reply_that_is_not_taken_ends_its_stream() {
    let faced = Faced::new().await;
    let mut wire = faced.open().await;
    let start = Instant::now();
    wire.say(&[large(1, REPLY_FREE_BYTES_MAX + 1)]).await;
    assert_eq!(wire.frame().await.header.id, 1);
    let stopped = timeout(2 * REPLY_TAKEN_LIMIT, wire.send.stopped()).await;
    assert_eq!(stopped.expect("a stop"), Ok(Some(VarInt::from_u32(0x200))));
    let took = start.elapsed();
    assert!(took >= REPLY_TAKEN_LIMIT, "{took:?}");
    faced.lives_on().await;
}

/// L6: so many calls of a peer may run, over all its streams, and one more is refused.
#[tokio::test(start_paused = true)]
async fn one_call_more_than_may_run_is_refused() {
    let mut faced = Faced::new().await;
    let (mut wire, mut other) = (faced.open().await, faced.open().await);
    let ids = 1..=CALLS_IN_FLIGHT_MAX as u64;
    let calls: Vec<_> = ids.map(|id| call(id, NEVER, "never")).collect();
    let (most, last) = calls.split_at(calls.len() - 1);
    wire.say(most).await;
    wire.say(&[call(5_000, ECHOES, "there")]).await;
    assert_eq!(wire.frame().await.body, "there");
    // The last one that may run is taken, and what does not have to wait is answered meanwhile.
    other.say(last).await;
    assert!(other.is_silent().await);
    other.say(&[call(5_001, NEVER, "one more")]).await;
    let answer = other.frame().await;
    assert!(is_refused(&answer, 5_001, RefusalCode::Busy), "{answer:?}");
    wire.say(&[word(FrameKind::Cancel, 1)]).await;
    assert_eq!(faced.dropped().await, "never");
    other.say(&[call(5_002, LATER, "in its place")]).await;
    assert_eq!(other.frame().await.body, "in its place");
}

/// L6: a peer that does not read its answers is not read, and neither is lost.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_not_read() {
    const CALLS: u64 = 4 * CALL_ANSWERS_MAX as u64;
    let faced = Faced::new().await;
    let Wire {
        send,
        recv,
        frames: _,
    } = faced.open().await;
    let (unused, mut unread) = faced.connection.open_bi().await.expect("a stream");
    drop(unread.stop(VarInt::from_u32(0)));
    let (mut asking, mut reading) = (Wire::new(send, unread), Wire::new(unused, recv));
    let body = Bytes::from(vec![7; REPLY_FREE_BYTES_MAX]);
    let asked = async {
        for id in 1..=CALLS {
            asking.say(&[call(id, ECHOES, body.clone())]).await;
        }
    };
    tokio::pin!(asked);
    assert!(timeout(LIMIT / 2, &mut asked).await.is_err(), "all is read");
    // What the stranger's window has taken was written, and made room for more.
    let window = 1_250_000 / REPLY_FREE_BYTES_MAX as u64;
    let (least, most) = (
        CALL_ANSWERS_MAX as u64,
        CALL_ANSWERS_MAX as u64 + 2 * window,
    );
    let served = faced.served();
    assert!((least..=most).contains(&served), "{served} served");
    let read = async {
        for id in 1..=CALLS {
            assert_eq!(reading.frame().await.header.id, id);
        }
    };
    tokio::join!(asked, read);
    faced.lives_on().await;
}

/// L6, L11: what is wrong on a stream ends it, behind the answers that are ready where it can be told.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_behind_a_call_ends_the_stream_and_its_calls() {
    let mut faced = Faced::new().await;
    let mut unknown_kind = BytesMut::new();
    call(2, ECHOES, "").header.encode(&mut unknown_kind);
    unknown_kind[0] = 200;
    let mut of_append = BytesMut::new();
    let append = Frame::bare(FrameKind::Call, Lane::Append, 2);
    append.header.encode(&mut of_append);
    let mut reply = BytesMut::new();
    word(FrameKind::Reply, 2).header.encode(&mut reply);
    let mut again = BytesMut::new();
    call(1, ECHOES, "").header.encode(&mut again);
    for (what, wrong) in [
        ("an unknown kind", unknown_kind),
        ("another lane", of_append),
        ("an answer", reply),
        ("an id that is in use", again),
    ] {
        let mut wire = faced.open().await;
        wire.say(&[call(1, NEVER, what)]).await;
        wire.send.write_all(&wrong).await.expect("sent");
        assert_eq!(wire.stop_code().await, 0x201, "{what}");
        assert_eq!(faced.dropped().await, what);
        faced.lives_on().await;
    }

    let mut wire = faced.open().await;
    let mut past = call(2, ECHOES, "");
    past.header.body_bytes = u32::try_from(FRAME_BODY_BYTES_MAX).expect("fits") + 1;
    wire.say(&[call(1, ECHOES, "ready"), past]).await;
    assert_eq!(wire.frame().await.body, "ready");
    let answer = wire.frame().await;
    assert!(is_refused(&answer, 2, RefusalCode::TooLarge));
    assert_eq!(wire.next().await, None);
    assert_eq!(wire.stop_code().await, 0x202);
    faced.lives_on().await;
}

/// L6: calls share a stream up to a size, and answers find their calls in any order.
#[tokio::test(start_paused = true)]
async fn small_calls_share_a_stream_and_a_large_one_has_its_own() {
    let faced = Faced::new().await;
    let bodies = [
        Bytes::from_static(b"small"),
        Bytes::from(vec![7; CALL_SHARED_BYTES_MAX]),
        Bytes::new(),
    ];
    let calls = join_all(bodies.iter().map(|body| faced.call(body.clone())));
    let too_large = Bytes::from(vec![8; CALL_SHARED_BYTES_MAX + 1]);
    let large = faced.call(too_large.clone());
    let answering = async {
        let (one, other) = (faced.accept().await, faced.accept().await);
        let (mut alone, mut shared) = (one, other);
        let first = alone.frame().await;
        // Streams come in any order.
        let first = if first.body == too_large {
            alone.say(&[reply_to(&first)]).await;
            shared.frame().await
        } else {
            std::mem::swap(&mut alone, &mut shared);
            let large = alone.frame().await;
            alone.say(&[reply_to(&large)]).await;
            first
        };
        let asked = [first, shared.frame().await, shared.frame().await];
        for asked in asked.iter().rev() {
            shared.say(&[reply_to(asked)]).await;
        }
        assert!(faced.connection.accept_bi().now_or_never().is_none());
        (alone, shared)
    };
    let (answers, large, _open) = tokio::join!(calls, large, answering);
    for (answer, body) in answers.into_iter().zip(bodies) {
        assert_eq!(answer.expect("an answer"), body);
    }
    assert_eq!(large.expect("an answer"), too_large);
}

/// L6: who drops a call says so if it has left, and says nothing at all if it has not.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_cancelled() {
    let faced = Faced::new().await;
    {
        // The link's tasks do not run between this poll and the drop.
        let mut unsent = Box::pin(faced.call("unsent"));
        assert!(futures_util::poll!(unsent.as_mut()).is_pending());
    }
    let mut dropped = Box::pin(faced.call("dropped"));
    let mut wire = tokio::select! {
        wire = faced.accept() => wire,
        _ = &mut dropped => unreachable!("nobody answers"),
    };
    let sent = wire.frame().await;
    assert_eq!(sent.body, "dropped");
    drop(dropped);
    let cancel = wire.frame().await;
    let expected = (FrameKind::Cancel, sent.header.id);
    assert_eq!((cancel.header.kind, cancel.header.id), expected);
    // One that was answered is not cancelled.
    let (answer, asked) = tokio::join!(faced.call("answered"), async {
        let asked = wire.frame().await;
        wire.say(&[reply_to(&asked)]).await;
        asked
    });
    assert_eq!(answer.expect("an answer"), asked.body);
    assert!(wire.is_silent().await);
}

/// L6: an old answer never settles a newer call.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let faced = Faced::new().await;
    let node = faced.node();
    let limit = Duration::from_millis(300);
    let start = Instant::now();
    let late = node.call(STRANGER, CallLane::Call, ECHO, ECHOES, "late", limit);
    let (late, mut wire) = tokio::join!(late, faced.accept());
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    assert_eq!(start.elapsed(), limit);
    let late = wire.frame().await;
    assert_eq!(wire.frame().await.header.kind, FrameKind::Cancel);
    let (newer, asked) = tokio::join!(faced.call("newer"), async {
        let asked = wire.frame().await;
        wire.say(&[reply_to(&late), reply_to(&late), reply_to(&asked)])
            .await;
        asked
    });
    assert_eq!(newer.expect("an answer"), "newer");
    assert!(asked.header.id > late.header.id, "ids rise");
}

/// L9: a caller says that it took a reply over the limit.
#[tokio::test(start_paused = true)]
async fn a_large_reply_is_acknowledged() {
    let faced = Faced::new().await;
    for (size, large) in [
        (REPLY_FREE_BYTES_MAX, false),
        (REPLY_FREE_BYTES_MAX + 1, true),
    ] {
        let asking = faced.call("x");
        let mut shared = None;
        let answering = async {
            let mut wire = faced.accept().await;
            let mut reply = reply_to(&wire.frame().await);
            reply = Frame::new(
                FrameKind::Reply,
                Lane::Call,
                0,
                reply.header.id,
                vec![7; size].into(),
            );
            wire.say(&[reply.clone()]).await;
            if large {
                let taken = wire.frame().await;
                let expected = (FrameKind::Taken, reply.header.id);
                assert_eq!((taken.header.kind, taken.header.id), expected);
            }
            assert!(wire.is_silent().await, "{size} bytes");
            shared = Some(wire);
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer.expect("an answer").len(), size);
        // The next call opens another stream.
        drop(shared);
        sleep(20 * ROUND_TRIP).await;
    }
}

/// How a peer may spoil the shared stream.
type Spoil = fn(Wire, Frame) -> BoxFuture<'static, Wire>;

/// S2, L6: what is wrong on the shared stream ends it and the calls that have left, and nothing else.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_on_the_shared_stream_ends_only_that() {
    let faced = Faced::new().await;
    let table: [(&str, Spoil); 6] = [
        ("a frame that is none", |mut wire, asked| {
            async move {
                let mut bytes = BytesMut::new();
                reply_to(&asked).header.encode(&mut bytes);
                bytes[0] = 200;
                wire.send.write_all(&bytes).await.expect("sent");
                wire
            }
            .boxed()
        }),
        ("a frame over the limit", |mut wire, asked| {
            async move {
                let mut reply = reply_to(&asked);
                reply.header.body_bytes = u32::MAX;
                reply.body = Bytes::new();
                wire.say(&[reply]).await;
                wire
            }
            .boxed()
        }),
        ("a call", |mut wire, asked| {
            async move {
                wire.say(&[asked]).await;
                wire
            }
            .boxed()
        }),
        ("a reset", |mut wire, _| {
            async move {
                wire.send.reset(VarInt::from_u32(0x201)).expect("open");
                wire
            }
            .boxed()
        }),
        ("an end", |mut wire, _| {
            async move {
                wire.send.finish().expect("open");
                wire
            }
            .boxed()
        }),
        ("an end inside a frame", |mut wire, asked| {
            async move {
                let mut bytes = BytesMut::new();
                reply_to(&asked).header.encode(&mut bytes);
                wire.send
                    .write_all(&bytes[..HEADER_BYTES / 2])
                    .await
                    .expect("sent");
                wire.send.finish().expect("open");
                wire
            }
            .boxed()
        }),
    ];
    for (what, spoil) in table {
        let calls = join_all([faced.call("one"), faced.call("two")]);
        let spoiling = async {
            let mut wire = faced.accept().await;
            let (_, second) = (wire.frame().await, wire.frame().await);
            spoil(wire, second).await
        };
        let (cut, _spoilt) = tokio::join!(calls, spoiling);
        for result in cut {
            let end = match result {
                Err(CallError::Cut { end, .. }) => end,
                other => panic!("{what}: {other:?}"),
            };
            assert_eq!(end, LinkEnd::StreamOnly, "{what}");
        }
        let (answer, mut wire) = tokio::join!(faced.call("next"), async {
            let mut wire = faced.accept().await;
            let asked = wire.frame().await;
            wire.say(&[reply_to(&asked)]).await;
            wire
        });
        assert_eq!(answer.expect("an answer"), "next", "{what}");
        wire.send.finish().expect("open");
        sleep(20 * ROUND_TRIP).await;
        assert_eq!(faced.node().link(STRANGER).links_total, 1, "{what}");
    }
}

/// L6: a peer that stops the shared stream still gets its answers heard, and then has another one.
#[tokio::test(start_paused = true)]
async fn answers_on_a_stopped_stream_are_heard() {
    let faced = Faced::new().await;
    let (answer, mut stopped) = tokio::join!(faced.call("first"), async {
        let mut wire = faced.accept().await;
        let asked = wire.frame().await;
        wire.recv.stop(VarInt::from_u32(0x202)).expect("open");
        sleep(2 * ROUND_TRIP).await;
        wire.say(&[reply_to(&asked)]).await;
        wire
    });
    assert_eq!(answer.expect("an answer"), "first");
    stopped.send.finish().expect("open");
    sleep(2 * ROUND_TRIP).await;
    let (answer, _open) = tokio::join!(faced.call("second"), async {
        let mut wire = faced.accept().await;
        let asked = wire.frame().await;
        wire.say(&[reply_to(&asked)]).await;
        wire
    });
    assert_eq!(answer.expect("an answer"), "second");
}

/// L6: calls that are ready together leave together, and so do their answers.
#[tokio::test(start_paused = true)]
async fn what_is_ready_together_leaves_together() {
    const CALLS: usize = 200;
    let faced = Faced::new().await;
    let frames: Vec<_> = (1..=CALLS as u64)
        .map(|id| call(id, ECHOES, "answered"))
        .collect();
    let datagrams = || faced.connection.stats().udp_rx.datagrams;

    let mut wire = faced.open().await;
    let before = datagrams();
    wire.say(&frames).await;
    for id in 1..=CALLS as u64 {
        assert_eq!(wire.frame().await.header.id, id);
    }
    let answers = datagrams() - before;

    let before = datagrams();
    let calls = join_all((0..CALLS).map(|_| faced.call("answered")));
    let answering = async {
        let mut wire = faced.accept().await;
        let mut asked = Vec::new();
        while asked.len() < CALLS {
            asked.push(reply_to(&wire.frame().await));
        }
        let sent = datagrams() - before;
        wire.say(&asked).await;
        (sent, wire)
    };
    let (answered, (sent, _open)) = tokio::join!(calls, answering);
    assert!(answered.iter().all(Result::is_ok));
    // 40 bytes each: 8,000 in all.
    let most = CALLS as u64 / 8;
    assert!(
        answers < most && sent < most,
        "{answers} and {sent} datagrams"
    );
}
