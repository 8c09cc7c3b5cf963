//! The asking side of the Append lane: an ordered stream of requests, windowed in number and bytes.
//!
//! A session outlives its stream: the stream is opened with the first request, given back when the
//! session rests, and opened anew on whatever connection is the link then. Nothing is sent twice.
//!
//! Slow is not dead: a session is given up when for its stall limit neither an answer came nor a byte
//! that the peer has taken. quinn does not say what it has of a stream, so the peer reports it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::SendStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::BudgetShare;
use super::connection::{Connection, Failure, InFlight};
use super::movement::Movement;
use super::peer::Peer;
use super::stream::{FrameReader, ResetOnDrop, Step, write_frames};
use crate::close::StreamCode;
use crate::error::{CallError, LinkEnd};
use crate::event::Event;
use crate::frame::{Frame, FrameKind, Lane};
use crate::limits::{APPEND_STREAMS_MAX, SESSION_REQUESTS_MAX, SNAPSHOT_FLOOR};
use crate::{GroupId, Refusal, UnreachableReason};

/// What a request in flight holds, and how its answer is found.
#[derive(Debug)]
struct Ticket {
    id: u64,
    sent_at: Instant,
    link: Arc<Connection>,
    /// The answering side of a stream that was opened for this request.
    answers: Option<Answers>,
    _slot: OwnedSemaphorePermit,
    _bytes: BudgetShare,
    _in_flight: InFlight,
}

/// The answering side of a stream.
#[derive(Debug)]
struct Answers {
    reader: FrameReader,
    /// Bytes that were handed to the stream so far; the sender counts them.
    offered: Arc<AtomicU64>,
    /// Bytes of them that the peer has reported as taken.
    taken: u64,
}

impl Answers {
    /// Whether a report of the peer is movement. One that says nothing new is none, so that nobody
    /// can keep a session alive with it; one that claims more than was sent counts as all of it.
    fn take(&mut self, reported: u64) -> bool {
        let taken = reported.min(self.offered.load(Ordering::Acquire));
        let grew = taken > self.taken;
        self.taken = self.taken.max(taken);
        grew
    }
}

/// The stream that requests go to at the moment.
#[derive(Debug)]
struct OpenStream {
    send: SendStream,
    offered: Arc<AtomicU64>,
    link: Arc<Connection>,
    _slot: OwnedSemaphorePermit,
}

/// Sends the requests of a session.
///
/// Dropping it ends the requests; the receiver still yields the answers to what is in flight.
#[derive(Debug)]
pub struct SessionSender {
    peer: Peer,
    group: GroupId,
    method: u16,
    stall_limit: Duration,
    moved: Arc<Movement>,
    tickets: mpsc::Sender<Ticket>,
    window: Arc<Semaphore>,
    stream: Option<OpenStream>,
    next_id: u64,
}

/// Yields the answers of a session, in the order of the requests.
#[derive(Debug)]
pub struct SessionReceiver {
    peer: Peer,
    group: GroupId,
    stall_limit: Duration,
    moved: Arc<Movement>,
    tickets: mpsc::Receiver<Ticket>,
    current: Option<Ticket>,
    answers: Option<Answers>,
    ended: bool,
}

pub(crate) fn session(
    peer: Peer,
    group: GroupId,
    method: u16,
    stall_limit: Duration,
) -> (SessionSender, SessionReceiver) {
    let (sender, receiver) = mpsc::channel(SESSION_REQUESTS_MAX);
    let moved = Arc::new(Movement::new());
    let receiver = SessionReceiver {
        peer: peer.clone(),
        group,
        stall_limit,
        moved: Arc::clone(&moved),
        tickets: receiver,
        current: None,
        answers: None,
        ended: false,
    };
    let window = Arc::new(Semaphore::new(SESSION_REQUESTS_MAX));
    let (tickets, stream, next_id) = (sender, None, 1);
    let sender = SessionSender {
        peer,
        group,
        method,
        stall_limit,
        moved,
        tickets,
        window,
        stream,
        next_id,
    };
    (sender, receiver)
}

impl SessionSender {
    /// Sends one request, as soon as the window has a slot and the lane has bytes for it.
    ///
    /// Each wait lasts as long as something moves: the answers of this session, which are read by
    /// its receiver, or the lane, where the bytes are waited for. So poll the receiver beside it.
    ///
    /// # Errors
    ///
    /// [`CallError`]; the session is over then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a send that is dropped half way resets the stream, and the receiver yields
    /// an error for what was in flight.
    pub async fn send(&mut self, body: Bytes) -> Result<(), CallError> {
        let size = body.len();
        let limit = self.peer.frame_bytes_max();
        if size > limit {
            return Err(self.failed(Failure::TooLarge { size, limit }));
        }
        let window = Arc::clone(&self.window).acquire_owned();
        let Some(Ok(slot)) = self.moved.wait(self.stall_limit, window).await else {
            return Err(self.failed(Failure::Timeout));
        };
        let (mut open, answers, in_flight) = self.stream().await?;
        let link = Arc::clone(&open.link);
        link.step_aside(SNAPSHOT_FLOOR / 5).await;
        let bytes = self.budget(&link, size).await?;
        let frame = Frame::new(
            FrameKind::Call,
            Lane::Append,
            self.method,
            self.next_id,
            body,
        )
        .for_group(self.group);
        // Before the first byte leaves, so that no report of it comes too early.
        open.offered
            .fetch_add(frame.encoded_bytes() as u64, Ordering::AcqRel);
        let ticket = Ticket {
            id: self.next_id,
            sent_at: Instant::now(),
            link: Arc::clone(&link),
            answers,
            _slot: slot,
            _bytes: bytes,
            _in_flight: in_flight,
        };
        self.next_id += 1;
        // The queue has a place for each slot of the window, so only a dropped receiver refuses it.
        if self.tickets.try_send(ticket).is_err() {
            let end = LinkEnd::StreamOnly;
            let reason = "the session's receiver is gone".to_owned();
            return Err(self.failed(Failure::Cut { end, reason }));
        }
        let mut guarded = ResetOnDrop::new(open.send);
        let frames = [frame];
        let written = write_frames(guarded.stream(), &frames);
        match self.moved.wait(self.stall_limit, written).await {
            Some(Ok(bytes)) => link.counters().sent(Lane::Append, 1, bytes),
            Some(Err(error)) => return Err(self.failed(link.cut(&error))),
            None => return Err(self.failed(Failure::Timeout)),
        }
        open.send = guarded.take();
        self.stream = Some(open);
        Ok(())
    }

    /// Bytes of the lane's budget, which others may hold for as long as they move.
    async fn budget(&self, link: &Connection, size: usize) -> Result<BudgetShare, CallError> {
        let taken = link.append_budget.take_while_moving(size, self.stall_limit);
        let failure = tokio::select! {
            biased;
            share = taken => match share {
                Some(share) => return Ok(share),
                None => Failure::Timeout,
            },
            error = link.quic.closed() => link.cut(&error),
        };
        Err(self.failed(failure))
    }

    /// Gives the stream back if nothing is in flight; the next request opens another. Call it when
    /// there was nothing to send for [`SESSION_IDLE`](crate::limits::SESSION_IDLE).
    pub fn rest(&mut self) {
        if self.window.available_permits() == SESSION_REQUESTS_MAX {
            // Dropping a whole stream finishes it.
            self.stream = None;
        }
    }

    /// The stream for the next request, and the request counted on its connection.
    async fn stream(&mut self) -> Result<(OpenStream, Option<Answers>, InFlight), CallError> {
        loop {
            let (open, answers) = match self.reusable() {
                Some(open) => (open, None),
                None => self.open().await?,
            };
            // One that drains since is finished, unused if it is new.
            if let Some(in_flight) = Arc::clone(&open.link).begin() {
                open.link.counters().called(Lane::Append);
                return Ok((open, answers, in_flight));
            }
        }
    }

    /// The open stream, if the next request may go to it. A stream of a connection that drains or
    /// has ended is finished, and what is in flight on it is still answered.
    fn reusable(&mut self) -> Option<OpenStream> {
        self.stream.take().filter(|open| open.link.takes_calls())
    }

    async fn open(&self) -> Result<(OpenStream, Option<Answers>), CallError> {
        let wait = self.peer.local.config.dial_limit.min(self.stall_limit);
        let (state, local) = (&self.peer.state, &self.peer.local);
        let found = state.wait_link(local, Instant::now() + wait).await;
        let link = found.map_err(|reason| self.failed(Failure::Unreachable(reason)))?;
        let Ok(slot) = Arc::clone(&link.append_streams).try_acquire_owned() else {
            let (peer, lane) = (self.peer.id(), Lane::Append);
            self.peer.local.events.raise(Event::LaneFull { peer, lane });
            let (lane, limit, unit) = (lane.name(), APPEND_STREAMS_MAX, "streams");
            let full = UnreachableReason::LaneFull { lane, limit, unit };
            return Err(self.failed(Failure::Unreachable(full)));
        };
        // The lane has a place, but the peer grants the stream when it likes.
        let opened = timeout(self.stall_limit, link.quic.open_bi()).await;
        let opened = opened.map_err(|_| self.failed(Failure::Timeout))?;
        let (send, recv) = opened.map_err(|error| self.failed(link.cut(&error)))?;
        // A stream that is closed already fails at its first write.
        drop(send.set_priority(Lane::Append.priority()));
        let reader = FrameReader::new(recv, self.peer.local.config.frame_bytes_max);
        let offered = Arc::new(AtomicU64::new(0));
        let answers = Answers {
            reader,
            offered: Arc::clone(&offered),
            taken: 0,
        };
        let open = OpenStream {
            send,
            offered,
            link,
            _slot: slot,
        };
        Ok((open, Some(answers)))
    }

    fn failed(&self, failure: Failure) -> CallError {
        failure.into_error(&self.peer, self.group, self.stall_limit)
    }
}

impl Drop for SessionSender {
    fn drop(&mut self) {
        if self.tickets.is_closed()
            && let Some(open) = &mut self.stream
        {
            // Nobody waits for answers any more, so the peer need not work on what it has.
            drop(open.send.reset(StreamCode::Cancelled.varint()));
        }
    }
}

impl SessionReceiver {
    /// The next answer. `None` when the sender is dropped and all answers have come, and after an
    /// error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no answer is lost.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        if self.ended {
            return None;
        }
        if self.current.is_none() {
            self.current = self.tickets.recv().await;
            let opened = self.current.as_mut();
            if let Some(answers) = opened.and_then(|ticket| ticket.answers.take()) {
                self.answers = Some(answers);
            }
        }
        let (Some(ticket), Some(answers)) = (&self.current, &mut self.answers) else {
            self.ended = true;
            return None;
        };
        let answer = loop {
            let deadline = ticket.sent_at.max(self.moved.last()) + self.stall_limit;
            let moved = match timeout_at(deadline, answers.reader.step()).await {
                Ok(Ok(Step::Frame(frame))) if frame.header.kind == FrameKind::Progress => {
                    let counters = ticket.link.counters();
                    counters.received(Lane::Append, 1, frame.encoded_bytes());
                    answers.take(frame.header.id)
                }
                Ok(Ok(Step::Frame(frame))) => break read_answer(ticket, frame),
                // A large answer on a slow path.
                Ok(Ok(Step::Piece)) => true,
                Ok(Ok(Step::End)) => break Err(ticket.link.cut(&"the peer ended the session")),
                Ok(Err(error)) => break Err(ticket.link.cut(&error)),
                Err(_) => break Err(Failure::Timeout),
            };
            if moved {
                self.moved.note();
                ticket.link.append_budget.note_movement();
            }
        };
        if answer.is_ok() {
            self.moved.note();
            ticket.link.append_budget.note_movement();
        }
        self.current = None;
        Some(answer.map_err(|failure| {
            self.ended = true;
            failure.into_error(&self.peer, self.group, self.stall_limit)
        }))
    }
}

fn read_answer(ticket: &Ticket, frame: Frame) -> Result<Bytes, Failure> {
    let size = frame.encoded_bytes();
    ticket.link.counters().received(Lane::Append, 1, size);
    match frame.header.kind {
        FrameKind::Reply if frame.header.id == ticket.id => Ok(frame.body),
        FrameKind::Refusal => Err(Failure::Refused(Refusal::from_wire(
            frame.header.method,
            &frame.body,
        ))),
        _ => Err(ticket.link.cut(&"the peer answered out of order")),
    }
}
