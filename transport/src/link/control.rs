//! The Control lane: one stream for the frames of all groups, in both directions.
//!
//! Frames that are ready together leave in one write. Calls carry ids and answers come in any
//! order; one handler never blocks the next, and a full queue refuses at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use quinn::SendStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{Connection, Failure};
use super::outbox::{Outbox, OutboxBounds, OutboxFull};
use super::peer::Request;
use super::serve::{Answer, answer, deadline};
use super::stream::{FrameReadError, FrameReader};
use super::waiting::{NoPlace, Outcome, Waiting, outcome_of};
use crate::close::CloseCode;
use crate::event::Event;
use crate::frame::{Frame, FrameError, FrameKind, Lane};
use crate::limits::{
    CALLS_WAITING_MAX, CONTROL_ANSWER_BYTES_MAX, CONTROL_ANSWERS_MAX, CONTROL_BODY_BYTES_MAX,
    CONTROL_HANDLERS_MAX, CONTROL_QUEUE_BYTES_MAX, CONTROL_QUEUE_FRAMES_MAX,
    CONTROL_WRITE_FRAMES_MAX,
};
use crate::{Refusal, RefusalCode, UnreachableReason};

/// Why calls end that were under way when their link did.
pub(super) const LINK_ENDED: &str = "the link has ended";

/// The lane of one connection: what waits to be written, and who waits for answers.
#[derive(Debug)]
pub(crate) struct ControlLane {
    outbox: Outbox,
    waiting: Waiting,
}

impl ControlLane {
    pub(crate) fn new() -> Self {
        let outbox = Outbox::new(OutboxBounds {
            frames: CONTROL_QUEUE_FRAMES_MAX,
            bytes: CONTROL_QUEUE_BYTES_MAX,
            write_frames: CONTROL_WRITE_FRAMES_MAX,
        });
        let waiting = Waiting::default();
        Self { outbox, waiting }
    }

    /// Frames that wait to be written.
    pub(crate) fn queued_frames(&self) -> usize {
        self.outbox.waiting().0
    }

    /// Tells the peer that this end has no call in flight on the draining connection.
    pub(crate) fn send_done(&self) {
        // A lane that is full ends by the drain's limit.
        drop(
            self.outbox
                .offer(Frame::bare(FrameKind::Done, Lane::Control, 0)),
        );
    }

    /// Tells the peer that this node shuts down.
    pub(crate) fn send_going_away(&self) {
        // A lane that is full: the peer learns it from the close.
        drop(
            self.outbox
                .offer(Frame::bare(FrameKind::GoingAway, Lane::Control, 0)),
        );
    }

    /// Ends the calls whose deadlines pass, for as long as it is polled.
    pub(crate) async fn sweep(&self) {
        self.waiting.sweep().await;
    }

    /// Fails every call that waits or comes.
    pub(crate) fn end(&self) {
        self.waiting.end(LINK_ENDED);
    }
}

/// One call on Control.
pub(crate) async fn call(
    link: &Arc<Connection>,
    request: Request,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    let mut frame = Frame::new(
        FrameKind::Call,
        Lane::Control,
        request.method,
        0,
        request.body,
    )
    .for_group(request.group);
    frame.header.trace = request.trace;
    match exchange(link, frame, deadline).await? {
        Ok(body) => Ok(body),
        Err(refusal) => Err(Failure::Refused(refusal)),
    }
}

/// Asks the peer for a sign of life; only an answer counts.
pub(crate) async fn ping(link: &Arc<Connection>, deadline: Instant) -> bool {
    let frame = Frame::bare(FrameKind::Ping, Lane::Control, 0);
    exchange(link, frame, deadline).await.is_ok()
}

async fn exchange(
    link: &Arc<Connection>,
    mut frame: Frame,
    deadline: Instant,
) -> Result<Result<Bytes, Refusal>, Failure> {
    let size = frame.body.len();
    if size > CONTROL_BODY_BYTES_MAX {
        return Err(Failure::TooLarge {
            size,
            limit: CONTROL_BODY_BYTES_MAX,
        });
    }
    let lane = &link.control;
    let begin = |waker: &Waker| {
        let ticket = lane
            .waiting
            .begin(waker, deadline, None)
            .map_err(|none| no_place(link, none))?;
        frame.header.id = ticket.id();
        lane.outbox
            .offer(frame)
            .map_err(|OutboxFull { limit, unit }| lane_full(link, Lane::Control, limit, unit))?;
        Ok(ticket)
    };
    match outcome_of(begin).await? {
        Outcome::Answered(answer) => Ok(answer),
        Outcome::Late => Err(Failure::Timeout),
        Outcome::Cut(reason) => Err(link.cut(&reason)),
    }
}

fn no_place(link: &Connection, none: NoPlace) -> Failure {
    match none {
        NoPlace::Full => lane_full(link, Lane::Control, CALLS_WAITING_MAX, "calls"),
        NoPlace::Ended(reason) => link.cut(&reason),
    }
}

/// A lane of which a bound is reached: refused at once, and told to who listens.
pub(super) fn lane_full(
    link: &Connection,
    lane: Lane,
    limit: usize,
    unit: &'static str,
) -> Failure {
    let peer = link.peer.node;
    link.local.events.raise(Event::LaneFull { peer, lane });
    let lane = lane.name();
    Failure::Unreachable(UnreachableReason::LaneFull { lane, limit, unit })
}

/// Writes what is queued, until the link ends.
pub(crate) async fn write_loop(link: Arc<Connection>, mut stream: SendStream) {
    let ControlLane { outbox, waiting } = &link.control;
    let depart = |frames: &mut VecDeque<_>| waiting.depart(frames);
    let written = tokio::select! {
        written = outbox.write(&link, Lane::Control, &mut stream, |_| true, depart) => written,
        // The connection has the outbox, so an idle one would keep both for ever.
        _ = link.quic.closed() => return,
    };
    if let Err(error) = written {
        tracing::debug!(target: "quicraft::link", peer = link.peer.node.get(), %error, "control writer ends");
        // L2: a peer that stops the lane's stream on a living link ends the link.
        if link.quic.close_reason().is_none() {
            link.close(CloseCode::ProtocolError, "");
        }
    }
}

/// Reads and serves frames, until the link ends or the peer breaks the protocol.
pub(crate) async fn read_loop(link: Arc<Connection>, stream: quinn::RecvStream) {
    let mut reader = FrameReader::new(stream, CONTROL_BODY_BYTES_MAX);
    let mut handlers = JoinSet::new();
    let mut frames = VecDeque::new();
    loop {
        let read = tokio::select! {
            read = reader.batch(&mut frames) => read,
            Some(_) = handlers.join_next() => continue,
        };
        // L2: what ends the lane ends the link.
        let taken = take_all(&link, &mut frames, &mut handlers);
        let broken = taken.err().or_else(|| match read {
            Ok(true) => None,
            Ok(false) => Some(CloseCode::ProtocolError),
            Err(FrameReadError::Frame(FrameError::TooLarge { .. })) => {
                Some(CloseCode::FrameTooLarge)
            }
            Err(FrameReadError::Frame(_)) => Some(CloseCode::ProtocolError),
            // The link's end, which is handled where it is awaited; or the peer reset the stream,
            // which nobody does who follows the protocol.
            Err(FrameReadError::Stream(_)) => {
                let lives = link.quic.close_reason().is_none();
                lives.then_some(CloseCode::ProtocolError)
            }
        });
        if let Some(code) = broken {
            link.close(code, "");
        }
        if link.quic.close_reason().is_some() {
            return link.control.end();
        }
    }
}

fn take_all(
    link: &Arc<Connection>,
    frames: &mut VecDeque<Frame>,
    handlers: &mut JoinSet<()>,
) -> Result<(), CloseCode> {
    link.counters().received_all(Lane::Control, frames.iter());
    for frame in frames.drain(..) {
        take(link, frame, handlers)?;
        check_answers(link)?;
    }
    Ok(())
}

/// Whether the peer reads its answers. One that only asks would make us keep what it asked for.
fn check_answers(link: &Connection) -> Result<(), CloseCode> {
    let (frames, bytes) = link.control.outbox.waiting();
    if frames <= CONTROL_QUEUE_FRAMES_MAX + CONTROL_ANSWERS_MAX && bytes <= CONTROL_ANSWER_BYTES_MAX
    {
        Ok(())
    } else {
        Err(CloseCode::Overloaded)
    }
}

/// Acts on one frame.
fn take(link: &Arc<Connection>, frame: Frame, handlers: &mut JoinSet<()>) -> Result<(), CloseCode> {
    let id = frame.header.id;
    if frame.header.lane != Lane::Control {
        return Err(CloseCode::ProtocolError);
    }
    match frame.header.kind {
        FrameKind::Call => serve(link, frame, handlers),
        FrameKind::Reply | FrameKind::Pong => settle(link, id, Ok(frame.body)),
        FrameKind::Refusal => {
            let refusal = Refusal::from_wire(frame.header.method, &frame.body);
            settle(link, id, Err(refusal));
        }
        FrameKind::Ping => {
            link.peer.counters.probed();
            let pong = Frame::bare(FrameKind::Pong, Lane::Control, id);
            reply(link, pong);
        }
        FrameKind::GoingAway => link.peer_goes_away(),
        FrameKind::Done => link.peer_is_done(),
        FrameKind::Progress | FrameKind::Taken | FrameKind::Cancel => {
            return Err(CloseCode::ProtocolError);
        }
    }
    Ok(())
}

fn settle(link: &Connection, id: u64, answer: Result<Bytes, Refusal>) {
    link.control.waiting.settle(std::iter::once((id, answer)));
}

/// Answers a call in place if its answer is ready at once, else in a task of its own.
fn serve(link: &Arc<Connection>, frame: Frame, handlers: &mut JoinSet<()>) {
    let header = frame.header;
    if handlers.len() >= CONTROL_HANDLERS_MAX {
        let text = format!("{CONTROL_HANDLERS_MAX} calls of this peer are running");
        let busy = Refusal::new(RefusalCode::Busy, text);
        return reply(link, super::serve::refusal_frame(&header, &busy));
    }
    let deadline = deadline(&header);
    match answer(link, frame, deadline) {
        Answer::Ready(frame) => reply(link, frame),
        Answer::Later(handling) => {
            let link = Arc::clone(link);
            handlers.spawn(async move { reply(&link, handling.run().await) });
        }
    }
}

/// An answer that is ready is never dropped because the queue is full at this moment; `check_answers`
/// bounds how many there are.
fn reply(link: &Connection, frame: Frame) {
    link.control.outbox.push(fitting(frame), None);
}

/// A reply over the lane's limit would end the link; its caller gets a refusal instead.
fn fitting(frame: Frame) -> Frame {
    let size = frame.body.len();
    if size <= CONTROL_BODY_BYTES_MAX {
        return frame;
    }
    let text = format!("the reply has {size} bytes, Control takes {CONTROL_BODY_BYTES_MAX}");
    super::serve::refusal_frame(&frame.header, &Refusal::new(RefusalCode::TooLarge, text))
}
