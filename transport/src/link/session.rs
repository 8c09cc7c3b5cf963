//! The asking side of the Append lane: an ordered stream of requests, windowed in number and bytes.
//!
//! A session outlives its stream: the stream is opened with the first request, given back when the
//! session rests, and opened anew on whatever connection is the link then. Nothing is sent twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::SendStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::budget::BudgetShare;
use super::connection::{Connection, Failure, InFlight};
use super::peer::Peer;
use super::stream::{FrameReader, ResetOnDrop, write_frames};
use crate::close::StreamCode;
use crate::error::CallError;
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
    reader: Option<FrameReader>,
    _slot: OwnedSemaphorePermit,
    _bytes: BudgetShare,
    _in_flight: InFlight,
}

/// The stream that requests go to at the moment.
#[derive(Debug)]
struct OpenStream {
    send: SendStream,
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
    tickets: mpsc::Receiver<Ticket>,
    current: Option<Ticket>,
    reader: Option<FrameReader>,
    answered_at: Instant,
    ended: bool,
}

pub(crate) fn session(
    peer: Peer,
    group: GroupId,
    method: u16,
    stall_limit: Duration,
) -> (SessionSender, SessionReceiver) {
    let (sender, receiver) = mpsc::channel(SESSION_REQUESTS_MAX);
    let receiver = SessionReceiver {
        peer: peer.clone(),
        group,
        stall_limit,
        tickets: receiver,
        current: None,
        reader: None,
        answered_at: Instant::now(),
        ended: false,
    };
    let window = Arc::new(Semaphore::new(SESSION_REQUESTS_MAX));
    let (tickets, stream, next_id) = (sender, None, 1);
    let sender = SessionSender {
        peer,
        group,
        method,
        stall_limit,
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
        let deadline = Instant::now() + self.stall_limit;
        let waited = timeout_at(deadline, Arc::clone(&self.window).acquire_owned()).await;
        let Ok(Ok(slot)) = waited else {
            return Err(self.failed(Failure::Timeout));
        };
        let (mut open, reader, in_flight) = self.stream().await?;
        let link = Arc::clone(&open.link);
        link.step_aside(SNAPSHOT_FLOOR / 5).await;
        let Ok(bytes) = timeout_at(deadline, link.append_budget.take(size)).await else {
            return Err(self.failed(Failure::Timeout));
        };
        let frame = Frame::new(
            FrameKind::Call,
            Lane::Append,
            self.method,
            self.next_id,
            body,
        )
        .for_group(self.group);
        let ticket = Ticket {
            id: self.next_id,
            sent_at: Instant::now(),
            link: Arc::clone(&link),
            reader,
            _slot: slot,
            _bytes: bytes,
            _in_flight: in_flight,
        };
        self.next_id += 1;
        // The queue has a place for each slot of the window, so only a dropped receiver refuses it.
        if self.tickets.try_send(ticket).is_err() {
            return Err(self.failed(Failure::Cut("the session's receiver is gone".into())));
        }
        let mut guarded = ResetOnDrop::new(open.send);
        match timeout_at(deadline, write_frames(guarded.stream(), &[frame])).await {
            Ok(Ok(bytes)) => link.counters().sent(Lane::Append, 1, bytes),
            Ok(Err(error)) => return Err(self.failed(link.cut(&error))),
            Err(_) => return Err(self.failed(Failure::Timeout)),
        }
        open.send = guarded.take();
        self.stream = Some(open);
        Ok(())
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
    async fn stream(&mut self) -> Result<(OpenStream, Option<FrameReader>, InFlight), CallError> {
        loop {
            let (open, reader) = match self.reusable() {
                Some(open) => (open, None),
                None => self.open().await?,
            };
            // One that drains since is finished, unused if it is new.
            if let Some(in_flight) = open.link.begin() {
                open.link.counters().called(Lane::Append);
                return Ok((open, reader, in_flight));
            }
        }
    }

    /// The open stream, if the next request may go to it. A stream of a connection that drains or
    /// has ended is finished, and what is in flight on it is still answered.
    fn reusable(&mut self) -> Option<OpenStream> {
        self.stream.take().filter(|open| open.link.takes_calls())
    }

    async fn open(&self) -> Result<(OpenStream, Option<FrameReader>), CallError> {
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
        let opened = link.quic.open_bi().await;
        let (send, recv) = opened.map_err(|error| self.failed(link.cut(&error)))?;
        // A stream that is closed already fails at its first write.
        drop(send.set_priority(Lane::Append.priority()));
        let reader = FrameReader::new(recv, self.peer.local.config.frame_bytes_max);
        Ok((
            OpenStream {
                send,
                link,
                _slot: slot,
            },
            Some(reader),
        ))
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
            if let Some(reader) = self
                .current
                .as_mut()
                .and_then(|ticket| ticket.reader.take())
            {
                self.reader = Some(reader);
            }
        }
        let (Some(ticket), Some(reader)) = (&self.current, &mut self.reader) else {
            self.ended = true;
            return None;
        };
        let deadline = ticket.sent_at.max(self.answered_at) + self.stall_limit;
        let answer = match timeout_at(deadline, reader.next()).await {
            Ok(Ok(Some(frame))) => read_answer(ticket, frame),
            Ok(Ok(None)) => Err(ticket.link.cut(&"the peer ended the session")),
            Ok(Err(error)) => Err(ticket.link.cut(&error)),
            Err(_) => Err(Failure::Timeout),
        };
        self.answered_at = Instant::now();
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
