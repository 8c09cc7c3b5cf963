//! The Control lane: one stream for the frames of all groups, in both directions.
//!
//! Frames that are ready together leave in one write. Calls carry ids and answers come in any
//! order; one handler never blocks the next, and a full queue refuses at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use quinn::SendStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Failure};
use super::local::lock;
use super::peer::Request;
use super::serve::{Answer, answer, deadline, remaining_ms};
use super::stream::{FrameReadError, FrameReader, write_frames};
use crate::close::CloseCode;
use crate::error::LinkEnd;
use crate::event::Event;
use crate::frame::{Frame, FrameError, FrameKind, Lane};
use crate::limits::{
    CONTROL_ANSWER_BYTES_MAX, CONTROL_ANSWERS_MAX, CONTROL_BODY_BYTES_MAX, CONTROL_HANDLERS_MAX,
    CONTROL_QUEUE_BYTES_MAX, CONTROL_QUEUE_FRAMES_MAX, CONTROL_WRITE_FRAMES_MAX,
};
use crate::{Refusal, RefusalCode, UnreachableReason};

type Reply = Result<Bytes, Refusal>;

/// A frame that waits to be written, until its deadline.
#[derive(Debug)]
struct Queued {
    frame: Frame,
    deadline: Option<Instant>,
}

/// The sending side of the lane, and who waits for answers on it.
#[derive(Debug)]
pub(crate) struct ControlLane {
    queue: mpsc::Sender<Queued>,
    queued_bytes: Arc<AtomicUsize>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    next_id: AtomicU64,
}

/// The receiving end of the queue; the lane's writer owns it.
#[derive(Debug)]
pub(crate) struct ControlQueue {
    queue: mpsc::Receiver<Queued>,
    queued_bytes: Arc<AtomicUsize>,
}

impl ControlLane {
    pub(crate) fn new() -> (Self, ControlQueue) {
        let (sender, receiver) = mpsc::channel(CONTROL_QUEUE_FRAMES_MAX);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let queue = ControlQueue {
            queue: receiver,
            queued_bytes: Arc::clone(&queued_bytes),
        };
        let waiting = Mutex::default();
        (
            Self {
                queue: sender,
                queued_bytes,
                waiting,
                next_id: AtomicU64::new(1),
            },
            queue,
        )
    }

    /// Queues a frame, or says at once that the lane is full.
    fn enqueue(&self, frame: Frame, deadline: Option<Instant>) -> Result<(), Failure> {
        let full = |limit, unit| {
            let lane = Lane::Control.name();
            Failure::Unreachable(UnreachableReason::LaneFull { lane, limit, unit })
        };
        let size = frame.body.len();
        let before = self.queued_bytes.fetch_add(size, Ordering::AcqRel);
        if before + size > CONTROL_QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(size, Ordering::AcqRel);
            return Err(full(CONTROL_QUEUE_BYTES_MAX, "bytes"));
        }
        self.queue
            .try_send(Queued { frame, deadline })
            .map_err(|error| {
                self.queued_bytes.fetch_sub(size, Ordering::AcqRel);
                match error {
                    mpsc::error::TrySendError::Full(_) => full(CONTROL_QUEUE_FRAMES_MAX, "frames"),
                    // The writer ends only with the link.
                    mpsc::error::TrySendError::Closed(_) => {
                        let (end, reason) = (LinkEnd::Lost, "the link has ended".to_owned());
                        Failure::Cut { end, reason }
                    }
                }
            })
    }

    /// Frames that wait to be written.
    pub(crate) fn queued_frames(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Tells the peer that this end has no call in flight on the draining connection.
    pub(crate) fn send_done(&self) {
        // A lane that is full or closed ends by the drain's limit.
        drop(self.enqueue(Frame::bare(FrameKind::Done, Lane::Control, 0), None));
    }

    /// Tells the peer that this node shuts down.
    pub(crate) fn send_going_away(&self) {
        // A lane that is full or closed: the peer learns it from the close.
        drop(self.enqueue(Frame::bare(FrameKind::GoingAway, Lane::Control, 0), None));
    }

    fn settle(&self, id: u64, reply: Reply) {
        if let Some(waiting) = lock(&self.waiting).remove(&id) {
            // The caller may have given up in between.
            drop(waiting.send(reply));
        }
    }

    /// Fails every call that waits: dropping its sender tells the caller that the link was cut.
    pub(crate) fn fail_all(&self) {
        lock(&self.waiting).clear();
    }
}

/// Forgets a call that is dropped before its answer came.
struct Waiting<'a> {
    lane: &'a ControlLane,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.lane.waiting).remove(&self.id);
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
) -> Result<Reply, Failure> {
    let size = frame.body.len();
    if size > CONTROL_BODY_BYTES_MAX {
        return Err(Failure::TooLarge {
            size,
            limit: CONTROL_BODY_BYTES_MAX,
        });
    }
    let lane = &link.control;
    let id = lane.next_id.fetch_add(1, Ordering::Relaxed);
    frame.header.id = id;
    let (sender, receiver) = oneshot::channel();
    lock(&lane.waiting).insert(id, sender);
    let _waiting = Waiting { lane, id };
    // The reader clears the waiting calls when the link ends; one that came later asks here.
    if link.quic.close_reason().is_some() {
        return Err(link.cut(&"the link has ended"));
    }
    lane.enqueue(frame, Some(deadline))
        .map_err(|failure| match failure {
            Failure::Cut { reason, .. } => link.cut(&reason),
            full => {
                let (peer, lane) = (link.peer.node, Lane::Control);
                link.local.events.raise(Event::LaneFull { peer, lane });
                full
            }
        })?;
    match timeout_at(deadline, receiver).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(_)) => Err(link.cut(&"the link has ended")),
        Err(_) => Err(Failure::Timeout),
    }
}

/// Writes what is queued, until the link ends.
pub(crate) async fn write_loop(
    link: Arc<Connection>,
    mut queue: ControlQueue,
    mut stream: SendStream,
) {
    let mut batch = Vec::new();
    let mut frames = Vec::new();
    // The connection has the other end of the queue, so an idle queue would keep both for ever.
    let quic = link.quic.clone();
    let ended = quic.closed();
    tokio::pin!(ended);
    loop {
        let taken = tokio::select! {
            taken = queue.queue.recv_many(&mut batch, CONTROL_WRITE_FRAMES_MAX) => taken,
            _ = &mut ended => return,
        };
        if taken == 0 {
            return;
        }
        // Whoever is about to queue a frame gets the chance to join this write: 1.4 times the
        // calls per second at 256 in flight, and no cost at one.
        tokio::task::yield_now().await;
        while batch.len() < CONTROL_WRITE_FRAMES_MAX {
            let Ok(queued) = queue.queue.try_recv() else {
                break;
            };
            batch.push(queued);
        }
        let now = Instant::now();
        for Queued {
            mut frame,
            deadline,
        } in batch.drain(..)
        {
            queue
                .queued_bytes
                .fetch_sub(frame.body.len(), Ordering::AcqRel);
            // A call that nobody waits for any more dies here.
            if deadline.is_some_and(|deadline| deadline <= now) {
                continue;
            }
            frame.header.deadline_ms = remaining_ms(deadline, now);
            frames.push(frame);
        }
        match write_frames(&mut stream, &frames).await {
            Ok(bytes) => link
                .counters()
                .sent(Lane::Control, frames.len() as u64, bytes),
            Err(error) => {
                tracing::debug!(target: "quicraft::link", peer = link.peer.node.get(), %error, "control writer ends");
                // L2: a peer that stops the lane's stream on a living link ends the link.
                if link.quic.close_reason().is_none() {
                    link.close(CloseCode::ProtocolError, "");
                }
                return;
            }
        }
        frames.clear();
    }
}

/// Reads and serves frames, until the link ends or the peer breaks the protocol.
pub(crate) async fn read_loop(link: Arc<Connection>, stream: quinn::RecvStream) {
    let mut reader = FrameReader::new(stream, CONTROL_BODY_BYTES_MAX);
    let mut handlers = JoinSet::new();
    loop {
        let read = tokio::select! {
            read = reader.next() => read,
            Some(_) = handlers.join_next() => continue,
        };
        // L2: what ends the lane ends the link.
        let broken = match read {
            Ok(Some(frame)) => {
                let size = frame.encoded_bytes();
                link.counters().received(Lane::Control, 1, size);
                let taken = take(&link, frame, &mut handlers);
                taken
                    .and_then(|()| check_answers(&link, handlers.len()))
                    .err()
            }
            Ok(None) => Some(CloseCode::ProtocolError),
            Err(FrameReadError::Frame(FrameError::TooLarge { .. })) => {
                Some(CloseCode::FrameTooLarge)
            }
            Err(FrameReadError::Frame(_)) => Some(CloseCode::ProtocolError),
            Err(FrameReadError::Stream(_)) => {
                // The link's end, which is handled where it is awaited; or the peer reset the
                // stream, which nobody does who follows the protocol.
                link.quic
                    .close_reason()
                    .is_none()
                    .then_some(CloseCode::ProtocolError)
            }
        };
        if let Some(code) = broken {
            link.close(code, "");
        }
        if link.quic.close_reason().is_some() {
            link.control.fail_all();
            return;
        }
    }
}

/// Whether the peer reads its answers. One that only asks would make us keep what it asked for.
fn check_answers(link: &Connection, handlers: usize) -> Result<(), CloseCode> {
    let bytes = link.control.queued_bytes.load(Ordering::Acquire);
    let fine = handlers <= CONTROL_HANDLERS_MAX + CONTROL_ANSWERS_MAX;
    if fine && bytes <= CONTROL_ANSWER_BYTES_MAX {
        Ok(())
    } else {
        Err(CloseCode::Overloaded)
    }
}

/// Acts on one frame.
fn take(link: &Arc<Connection>, frame: Frame, handlers: &mut JoinSet<()>) -> Result<(), CloseCode> {
    let (id, lane) = (frame.header.id, &link.control);
    if frame.header.lane != Lane::Control {
        return Err(CloseCode::ProtocolError);
    }
    match frame.header.kind {
        FrameKind::Call => serve(link, frame, handlers),
        FrameKind::Reply | FrameKind::Pong => lane.settle(id, Ok(frame.body)),
        FrameKind::Refusal => {
            lane.settle(
                id,
                Err(Refusal::from_wire(frame.header.method, &frame.body)),
            );
        }
        FrameKind::Ping => {
            link.peer.counters.probed();
            let pong = Frame::bare(FrameKind::Pong, Lane::Control, id);
            reply(link, pong, handlers);
        }
        FrameKind::GoingAway => link.peer_goes_away(),
        FrameKind::Done => link.peer_is_done(),
        FrameKind::Progress | FrameKind::Taken => return Err(CloseCode::ProtocolError),
    }
    Ok(())
}

/// Answers a call in place if its answer is ready at once, else in a task of its own.
fn serve(link: &Arc<Connection>, frame: Frame, handlers: &mut JoinSet<()>) {
    let header = frame.header;
    if handlers.len() >= CONTROL_HANDLERS_MAX {
        let text = format!("{CONTROL_HANDLERS_MAX} calls of this peer are running");
        let busy = Refusal::new(RefusalCode::Busy, text);
        return reply(link, super::serve::refusal_frame(&header, &busy), handlers);
    }
    let deadline = deadline(&header);
    match answer(link, frame, deadline) {
        Answer::Ready(frame) => reply(link, frame, handlers),
        Answer::Later(future) => {
            let link = Arc::clone(link);
            handlers.spawn(async move {
                let frame = future.await;
                queue_reply(&link, frame).await;
            });
        }
    }
}

fn reply(link: &Arc<Connection>, frame: Frame, handlers: &mut JoinSet<()>) {
    let frame = fitting(frame);
    let size = frame.body.len();
    link.control.queued_bytes.fetch_add(size, Ordering::AcqRel);
    if let Err(error) = link.control.queue.try_send(Queued {
        frame,
        deadline: None,
    }) {
        link.control.queued_bytes.fetch_sub(size, Ordering::AcqRel);
        // An answer that is ready is never dropped because the queue is full at this moment.
        if let mpsc::error::TrySendError::Full(queued) = error {
            let link = Arc::clone(link);
            handlers.spawn(async move { queue_reply(&link, queued.frame).await });
        }
    }
}

async fn queue_reply(link: &Connection, frame: Frame) {
    let frame = fitting(frame);
    let size = frame.body.len();
    link.control.queued_bytes.fetch_add(size, Ordering::AcqRel);
    if link
        .control
        .queue
        .send(Queued {
            frame,
            deadline: None,
        })
        .await
        .is_err()
    {
        link.control.queued_bytes.fetch_sub(size, Ordering::AcqRel);
    }
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
