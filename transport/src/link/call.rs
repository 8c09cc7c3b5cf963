//! The Call lane: a stream for each call while it lasts, taken from a pool of idle ones.
//!
//! Opening and closing a stream costs more than the call itself, so a stream whose call has ended
//! carries the next one. A call that is dropped resets its stream, and the peer stops at once.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quinn::{SendStream, WriteError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Failure};
use super::local::lock;
use super::peer::Request;
use super::serve::{Answer, answer, deadline, read_whole, refuse_unreadable, remaining_ms};
use super::stream::{FrameReadError, FrameReader, ResetOnDrop, write_frames};
use crate::close::StreamCode;
use crate::event::Event;
use crate::frame::{Frame, FrameKind, Lane};
use crate::limits::{
    CALL_STREAMS_IDLE_MAX, CALLS_IN_FLIGHT_MAX, REPLY_FREE_BYTES_MAX, REPLY_TAKEN_LIMIT,
    SNAPSHOT_FLOOR,
};
use crate::{Refusal, RefusalCode, UnreachableReason};

/// A stream that carries one call at a time.
#[derive(Debug)]
struct CallStream {
    send: SendStream,
    reader: FrameReader,
    next_id: u64,
}

/// The lane's pool and bound.
#[derive(Debug)]
pub(crate) struct CallLaneState {
    idle: Mutex<Vec<CallStream>>,
    slots: Semaphore,
}

impl CallLaneState {
    pub(crate) fn new() -> Self {
        Self {
            idle: Mutex::default(),
            slots: Semaphore::new(CALLS_IN_FLIGHT_MAX),
        }
    }

    fn give_back(&self, stream: CallStream) {
        let mut idle = lock(&self.idle);
        if idle.len() < CALL_STREAMS_IDLE_MAX {
            idle.push(stream);
        }
        // One too many is dropped, which finishes it; the peer's end of it ends too.
    }
}

/// One call on the Call lane.
pub(crate) async fn call(
    link: &Arc<Connection>,
    request: Request,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    let size = request.body.len();
    if size > link.frame_bytes_max() {
        return Err(Failure::TooLarge {
            size,
            limit: link.frame_bytes_max(),
        });
    }
    let Ok(_slot) = link.calls.slots.try_acquire() else {
        let (peer, lane) = (link.peer.node, Lane::Call);
        link.local.events.raise(Event::LaneFull { peer, lane });
        let (lane, limit, unit) = (lane.name(), CALLS_IN_FLIGHT_MAX, "calls");
        return Err(Failure::Unreachable(UnreachableReason::LaneFull {
            lane,
            limit,
            unit,
        }));
    };
    match timeout_at(deadline, exchange(link, request, deadline)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Timeout),
    }
}

async fn exchange(
    link: &Arc<Connection>,
    request: Request,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    link.step_aside(SNAPSHOT_FLOOR / 5).await;
    let share = link.call_budget.take(request.body.len()).await;
    let CallStream {
        send,
        reader,
        next_id,
    } = take_stream(link).await?;
    let (mut send, mut reader) = (ResetOnDrop::new(send), StopOnDrop(Some(reader)));
    let mut frame = Frame::new(
        FrameKind::Call,
        Lane::Call,
        request.method,
        next_id,
        request.body,
    )
    .for_group(request.group);
    frame.header.trace = request.trace;
    frame.header.deadline_ms = remaining_ms(Some(deadline), Instant::now());
    match write_frames(send.stream(), &[frame]).await {
        Ok(bytes) => link.counters().sent(Lane::Call, 1, bytes),
        // The peer may have stopped the stream because it refuses the call; its answer says so.
        Err(WriteError::Stopped(_)) => {}
        Err(error) => return Err(link.cut(&error)),
    }
    let reply = read_reply(link, reader.reader(), next_id).await?;
    drop(share);
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

/// Serves the calls of one stream, one after the other.
pub(crate) async fn serve(link: Arc<Connection>, mut reader: FrameReader, mut send: SendStream) {
    loop {
        let header = match reader.header().await {
            Ok(Some(header)) => header,
            Ok(None) => return,
            Err(error) => return refuse_unreadable(&link, &mut send, &mut reader, error).await,
        };
        if header.kind != FrameKind::Call || header.lane != Lane::Call {
            drop(send.reset(StreamCode::Malformed.varint()));
            return reader.stop(StreamCode::Malformed);
        }
        let deadline = deadline(&header);
        let read = read_whole(&link, &header, deadline, &mut send, &mut reader);
        let Some(frame) = read.await else { return };
        let reply = match answer(&link, frame, deadline) {
            Answer::Ready(reply) => reply,
            Answer::Later(running) => tokio::select! {
                reply = running => reply,
                // The caller gave up: dropping the future stops its handler.
                _ = send.stopped() => return,
            },
        };
        if !write_reply(&link, &mut send, &mut reader, reply).await {
            return;
        }
    }
}

/// Writes a reply; a large one holds its bytes until the caller has taken it. Returns whether the
/// stream can carry the next call.
async fn write_reply(
    link: &Connection,
    send: &mut SendStream,
    reader: &mut FrameReader,
    mut reply: Frame,
) -> bool {
    let size = reply.body.len();
    let limit = link.frame_bytes_max();
    if size > limit {
        let text = format!("the reply has {size} bytes, the caller takes {limit}");
        let refusal = Refusal::new(RefusalCode::TooLarge, text);
        reply = super::serve::refusal_frame(&reply.header, &refusal);
    }
    let size = reply.body.len();
    let large = size > REPLY_FREE_BYTES_MAX;
    let share = if large {
        tokio::select! {
            biased;
            share = link.call_budget.take(size) => Some(share),
            // The caller gave up at its deadline, or the link has ended.
            _ = send.stopped() => return false,
        }
    } else {
        None
    };
    let id = reply.header.id;
    match write_frames(send, &[reply]).await {
        Ok(bytes) => link.counters().sent(Lane::Call, 1, bytes),
        Err(_) => return false,
    }
    if !large {
        return true;
    }
    let taken = tokio::time::timeout(REPLY_TAKEN_LIMIT, reader.next()).await;
    drop(share);
    matches!(taken, Ok(Ok(Some(frame))) if frame.header.kind == FrameKind::Taken && frame.header.id == id)
}
