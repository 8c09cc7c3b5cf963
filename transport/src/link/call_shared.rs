//! The stream that the small calls of one end share.
//!
//! There is at most one at a time, opened at the first call and again when it has ended. Answers come
//! in any order. A call that is dropped is cancelled by a frame, if it has left at all. What ends the
//! stream fails the calls that have left; the others take the next one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use quinn::{RecvStream, SendStream, WriteError};
use tokio::time::{Instant, timeout};

use super::connection::{Connection, Failure};
use super::control::{LINK_ENDED, lane_full};
use super::outbox::{Outbox, OutboxBounds, OutboxFull, Queued};
use super::stream::{FrameReadError, FrameReader, ResetOnDrop};
use super::waiting::{NoPlace, Outcome, Waiting, outcome_of};
use crate::Refusal;
use crate::close::StreamCode;
use crate::frame::{Frame, FrameKind, Lane};
use crate::limits::{
    CALL_QUEUE_BYTES_MAX, CALL_QUEUE_FRAMES_MAX, CALL_WRITE_FRAMES_MAX, CALLS_WAITING_MAX,
    HELLO_LIMIT, REPLY_FREE_BYTES_MAX,
};

/// What waits to be written on the shared stream, and who waits for answers.
#[derive(Debug)]
pub(crate) struct SharedCalls {
    outbox: Outbox,
    waiting: Waiting,
}

impl SharedCalls {
    pub(crate) fn new() -> Self {
        let outbox = Outbox::new(OutboxBounds {
            frames: CALL_QUEUE_FRAMES_MAX,
            bytes: CALL_QUEUE_BYTES_MAX,
            write_frames: CALL_WRITE_FRAMES_MAX,
        });
        let waiting = Waiting::default();
        Self { outbox, waiting }
    }

    pub(crate) async fn sweep(&self) {
        self.waiting.sweep().await;
    }

    pub(crate) fn end(&self) {
        self.waiting.end(LINK_ENDED);
    }

    /// Takes answers. A large one is acknowledged, whether its caller still waits or not.
    fn settle(&self, frames: &mut VecDeque<Frame>) -> Result<(), OutboxFull> {
        let large = |frame: &&Frame| frame.body.len() > REPLY_FREE_BYTES_MAX;
        for frame in frames.iter().filter(large) {
            let taken = Frame::bare(FrameKind::Taken, Lane::Call, frame.header.id);
            self.outbox.offer(taken)?;
        }
        self.waiting.settle(frames.drain(..).map(|frame| {
            let answer = match frame.header.kind {
                FrameKind::Refusal => Err(Refusal::from_wire(frame.header.method, &frame.body)),
                _ => Ok(frame.body),
            };
            (frame.header.id, answer)
        }));
        Ok(())
    }
}

/// One call on the shared stream.
pub(super) async fn exchange(
    link: &Connection,
    mut frame: Frame,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    let SharedCalls { outbox, waiting } = &link.calls.shared;
    let begin = |waker: &Waker| {
        let ticket = waiting
            .begin(waker, deadline, Some(outbox))
            .map_err(|none| match none {
                NoPlace::Full => lane_full(link, Lane::Call, CALLS_WAITING_MAX, "calls"),
                NoPlace::Ended(reason) => link.cut(&reason),
            })?;
        frame.header.id = ticket.id();
        outbox
            .offer(frame)
            .map_err(|OutboxFull { limit, unit }| lane_full(link, Lane::Call, limit, unit))?;
        Ok(ticket)
    };
    match outcome_of(begin).await? {
        Outcome::Answered(Ok(body)) => Ok(body),
        Outcome::Answered(Err(refusal)) => Err(Failure::Refused(refusal)),
        Outcome::Late => Err(Failure::Timeout),
        Outcome::Cut(reason) => Err(link.cut(&reason)),
    }
}

/// Carries the small calls, on one stream after the other, until the link ends.
pub(crate) async fn share_loop(link: Arc<Connection>) {
    let streams = async {
        loop {
            link.calls.shared.outbox.ready().await;
            let Ok((send, recv)) = link.quic.open_bi().await else {
                return;
            };
            let reason = share(&link, send, recv).await;
            link.calls.shared.waiting.cut(&reason);
        }
    };
    tokio::select! {
        () = streams => {}
        // The connection has the outbox, so an idle one would keep both for ever.
        _ = link.quic.closed() => {}
    }
}

/// Carries calls on one stream, until it ends. Says why it did.
async fn share(link: &Connection, send: SendStream, recv: RecvStream) -> String {
    // A stream that is closed already fails at its first write.
    drop(send.set_priority(Lane::Call.priority()));
    let mut send = ResetOnDrop::new(send);
    let mut reader = FrameReader::new(recv, link.local.config.frame_bytes_max);
    let shared = &link.calls.shared;
    let mut opened = false;
    let depart = |frames: &mut VecDeque<Queued>| depart(shared, &mut opened, frames);
    // Each call in flight that is not here may be one whose caller is about to ask again.
    let joining = |waiting| link.calls.in_flight() > waiting;
    let writing = shared
        .outbox
        .write(link, Lane::Call, send.stream(), joining, depart);
    tokio::pin!(writing);
    let reason = tokio::select! {
        reason = read_answers(link, &mut reader) => reason,
        written = &mut writing => match written {
            // The peer may have stopped the stream because it refuses a call; its answer says so.
            Err(WriteError::Stopped(_)) => {
                let rest = timeout(HELLO_LIMIT, read_answers(link, &mut reader));
                rest.await.unwrap_or_else(|_| "the peer stopped the stream".to_owned())
            }
            Err(error) => error.to_string(),
            Ok(()) => LINK_ENDED.to_owned(),
        }
    };
    reader.stop(StreamCode::Cancelled);
    reason
}

/// Passes over what is of no use any more. A stream begins with a call (L5): words about calls of an
/// earlier stream do not open another.
fn depart(shared: &SharedCalls, opened: &mut bool, frames: &mut VecDeque<Queued>) {
    shared.waiting.depart(frames);
    frames.retain(|queued| {
        *opened |= queued.frame.header.kind == FrameKind::Call;
        *opened
    });
}

/// Hands out answers until the stream ends. Says why it did.
async fn read_answers(link: &Connection, reader: &mut FrameReader) -> String {
    let mut frames = VecDeque::new();
    loop {
        let read = reader.batch(&mut frames).await;
        link.counters().received_all(Lane::Call, frames.iter());
        let answers = |frame: &Frame| {
            frame.header.lane == Lane::Call
                && matches!(frame.header.kind, FrameKind::Reply | FrameKind::Refusal)
        };
        if !frames.iter().all(answers) {
            return "the peer sent what is no answer".to_owned();
        }
        if link.calls.shared.settle(&mut frames).is_err() {
            return "the peer answers and does not read".to_owned();
        }
        match read {
            Ok(true) => {}
            Ok(false) => return "the peer ended the stream without an answer".to_owned(),
            Err(FrameReadError::Stream(error)) => return error.to_string(),
            Err(FrameReadError::Frame(error)) => return error.to_string(),
        }
    }
}
