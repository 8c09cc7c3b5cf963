//! The asking side of the Call lane: which stream a call takes, and how many there are at once.
//!
//! Small calls share one stream (`call_shared.rs`). A large one takes a stream of its own while it
//! lasts, from a pool of idle ones, because those behind it would wait for its bytes. To the other
//! end both are the same (`call_serve.rs`).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quinn::{SendStream, WriteError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::call_shared::{self, SharedCalls};
use super::connection::{Connection, Failure};
use super::control::lane_full;
use super::local::lock;
use super::peer::Request;
use super::serve::remaining_ms;
use super::stream::{FrameReadError, FrameReader, ResetOnDrop, write_frames};
use crate::Refusal;
use crate::close::StreamCode;
use crate::frame::{Frame, FrameKind, Lane};
use crate::limits::{
    CALL_ANSWERS_MAX, CALL_SHARED_BYTES_MAX, CALL_STREAMS_IDLE_MAX, CALLS_IN_FLIGHT_MAX,
    REPLY_FREE_BYTES_MAX, SNAPSHOT_FLOOR,
};

/// A stream that carries one call at a time.
#[derive(Debug)]
struct CallStream {
    send: SendStream,
    reader: FrameReader,
    next_id: u64,
}

/// The lane of one connection, in both directions.
#[derive(Debug)]
pub(crate) struct Calls {
    in_flight: AtomicUsize,
    /// Whether a snapshot is starved, as `Connection::starving` says: every call looks here, and a
    /// look at that one is a lock.
    pub(super) aside: AtomicBool,
    pub(super) shared: SharedCalls,
    idle: Mutex<Vec<CallStream>>,
    /// Calls of the peer that run here, or whose large replies wait for bytes of the budget.
    pub(super) running: AtomicUsize,
    /// Places for calls of the peer until their answers are written.
    pub(super) answers: Arc<Semaphore>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            aside: AtomicBool::new(false),
            shared: SharedCalls::new(),
            idle: Mutex::default(),
            running: AtomicUsize::new(0),
            answers: Arc::new(Semaphore::new(CALL_ANSWERS_MAX)),
        }
    }

    /// Calls of this end that are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Ends the calls whose deadlines pass, for as long as it is polled.
    pub(crate) async fn sweep(&self) {
        self.shared.sweep().await;
    }

    /// Fails every call that waits or comes.
    pub(crate) fn end(&self) {
        self.shared.end();
    }

    fn give_back(&self, stream: CallStream) {
        let mut idle = lock(&self.idle);
        if idle.len() < CALL_STREAMS_IDLE_MAX {
            idle.push(stream);
        }
        // One too many is dropped, which finishes it; the peer's end of it ends too.
    }
}

/// One more, until it is dropped.
#[derive(Debug)]
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    /// `None` if there are `most` already.
    fn new(count: &'a AtomicUsize, most: usize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::AcqRel);
        let counted = Self(count);
        (before < most).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One call on the Call lane.
pub(crate) async fn call(
    link: &Arc<Connection>,
    request: Request,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    let (size, limit) = (request.body.len(), link.frame_bytes_max());
    if size > limit {
        return Err(Failure::TooLarge { size, limit });
    }
    let Some(_counted) = Counted::new(&link.calls.in_flight, CALLS_IN_FLIGHT_MAX) else {
        return Err(lane_full(link, Lane::Call, CALLS_IN_FLIGHT_MAX, "calls"));
    };
    // As a rule there is nothing to wait for, and then neither a future nor a timer is made.
    let aside = link.calls.aside.load(Ordering::Relaxed);
    let share = (!aside)
        .then(|| link.call_budget.try_borrow(size))
        .flatten();
    let _share = match share {
        Some(share) => share,
        None => match timeout_at(deadline, wait_for_budget(link, size)).await {
            Ok(share) => share,
            Err(_) => return Err(Failure::Timeout),
        },
    };
    let mut frame = Frame::new(FrameKind::Call, Lane::Call, request.method, 0, request.body)
        .for_group(request.group);
    frame.header.trace = request.trace;
    if size <= CALL_SHARED_BYTES_MAX {
        call_shared::exchange(link, frame, deadline).await
    } else {
        let exchange = timeout_at(deadline, exchange(link, frame, deadline));
        exchange.await.unwrap_or(Err(Failure::Timeout))
    }
}

async fn wait_for_budget(link: &Connection, size: usize) -> SemaphorePermit<'_> {
    link.step_aside(SNAPSHOT_FLOOR / 5).await;
    link.call_budget.borrow(size).await
}

/// One call on a stream of its own.
async fn exchange(
    link: &Connection,
    mut frame: Frame,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    let CallStream {
        send,
        reader,
        next_id,
    } = take_stream(link).await?;
    let (mut send, mut reader) = (ResetOnDrop::new(send), StopOnDrop(Some(reader)));
    frame.header.id = next_id;
    frame.header.deadline_ms = remaining_ms(Some(deadline), Instant::now());
    match write_frames(send.stream(), &[frame]).await {
        Ok(bytes) => link.counters().sent(Lane::Call, 1, bytes),
        // The peer may have stopped the stream because it refuses the call; its answer says so.
        Err(WriteError::Stopped(_)) => {}
        Err(error) => return Err(link.cut(&error)),
    }
    let reply = read_reply(link, reader.reader(), next_id).await?;
    let large = reply.header.body_bytes as usize > REPLY_FREE_BYTES_MAX;
    let taken = [Frame::bare(FrameKind::Taken, Lane::Call, next_id)];
    // A peer that did not wait for this has ended the stream. Its answer is here all the same.
    if !large || write_frames(send.stream(), &taken).await.is_ok() {
        let (send, reader) = (send.take(), reader.take());
        link.calls.give_back(CallStream {
            send,
            reader,
            next_id: next_id + 1,
        });
    }
    match reply.header.kind {
        FrameKind::Refusal => Err(Failure::Refused(Refusal::from_wire(
            reply.header.method,
            &reply.body,
        ))),
        _ => Ok(reply.body),
    }
}

/// An idle stream of the pool, or a new one.
async fn take_stream(link: &Connection) -> Result<CallStream, Failure> {
    let pooled = lock(&link.calls.idle).pop();
    if let Some(stream) = pooled {
        return Ok(stream);
    }
    let (send, recv) = link
        .quic
        .open_bi()
        .await
        .map_err(|error| link.cut(&error))?;
    // A stream that is closed already fails at its first write.
    drop(send.set_priority(Lane::Call.priority()));
    let reader = FrameReader::new(recv, link.local.config.frame_bytes_max);
    Ok(CallStream {
        send,
        reader,
        next_id: 1,
    })
}

async fn read_reply(
    link: &Connection,
    reader: &mut FrameReader,
    id: u64,
) -> Result<Frame, Failure> {
    let frame = match reader.next().await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(link.cut(&"the peer ended the stream without an answer")),
        Err(FrameReadError::Stream(error)) => return Err(link.cut(&error)),
        Err(FrameReadError::Frame(error)) => return Err(link.cut(&error)),
    };
    link.counters()
        .received(Lane::Call, 1, frame.encoded_bytes());
    let answers = matches!(frame.header.kind, FrameKind::Reply | FrameKind::Refusal);
    if !answers || frame.header.id != id {
        return Err(link.cut(&"the peer answered another call on this stream"));
    }
    Ok(frame)
}

/// Asks the peer to stop, unless the reader is taken back in time.
struct StopOnDrop(Option<FrameReader>);

impl StopOnDrop {
    fn reader(&mut self) -> &mut FrameReader {
        #[expect(clippy::expect_used, reason = "the reader leaves only through `take`")]
        self.0.as_mut().expect("taken only at the end")
    }

    fn take(mut self) -> FrameReader {
        #[expect(clippy::expect_used, reason = "the reader leaves only here")]
        self.0.take().expect("taken only once")
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(reader) = &mut self.0 {
            reader.stop(StreamCode::Cancelled);
        }
    }
}
