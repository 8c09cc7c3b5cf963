//! The asking side of a connection that carries frames: many callers, one writer, one reader.
//!
//! It must not know what the connection is.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use super::frames::{Incoming, Kind, put_frame, put_header};
use super::{Caller, PeerFailure, REQUEST};

/// Frames that wait for the writer; more callers than are ever in flight.
const QUEUE_FRAMES_MAX: usize = 4_096;

/// Bytes that one write gathers at most.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// A frame on its way to the writer.
#[derive(Debug)]
enum Outgoing {
    Call { id: u64, body: Bytes },
    Bulk(Bytes),
}

/// Calls that wait for their replies, in slots that are used again; a call's id is its slot.
#[derive(Debug, Default)]
struct Waiting {
    slots: Vec<Option<oneshot::Sender<Bytes>>>,
    free: Vec<usize>,
    closed: bool,
}

/// Calls of one connection that wait. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Arc<Mutex<Waiting>>);

impl Pending {
    fn with<T>(&self, look: impl FnOnce(&mut Waiting) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn enter(&self) -> Result<(u64, oneshot::Receiver<Bytes>), PeerFailure> {
        let (answer, answered) = oneshot::channel();
        let id = self.with(|waiting| {
            if waiting.closed {
                return None;
            }
            let Some(slot) = waiting.free.pop() else {
                waiting.slots.push(Some(answer));
                return Some(waiting.slots.len() - 1);
            };
            waiting.slots[slot] = Some(answer);
            Some(slot)
        });
        let id = id.ok_or("the connection has ended")?;
        Ok((id as u64, answered))
    }

    /// Gives every reply in what came in to its caller. A reply of nobody is an error.
    pub(crate) fn answer<const HEADER: usize>(
        &self,
        incoming: &mut Incoming<HEADER>,
    ) -> Result<(), PeerFailure> {
        self.with(|waiting| {
            let mut stray = false;
            incoming.each(|kind, id, body| {
                let slot = usize::try_from(id).unwrap_or(usize::MAX);
                let answer = waiting.slots.get_mut(slot).and_then(Option::take);
                match (kind, answer) {
                    (Kind::Reply, Some(answer)) => {
                        waiting.free.push(slot);
                        // A caller that is gone wants no answer.
                        drop(answer.send(Bytes::copy_from_slice(body)));
                    }
                    _ => stray = true,
                }
            })?;
            if stray {
                return Err("a frame that answers nobody".into());
            }
            Ok(())
        })
    }

    /// Fails every call that waits, and all later ones.
    pub(crate) fn close(&self) {
        self.with(|waiting| {
            waiting.closed = true;
            waiting.slots.clear();
        });
    }
}

/// What callers hold.
#[derive(Clone, Debug)]
pub(crate) struct FramedCaller {
    queue: mpsc::Sender<Outgoing>,
    pending: Pending,
}

impl Caller for FramedCaller {
    async fn call(&mut self, request: Bytes) -> Result<Bytes, PeerFailure> {
        let (id, answered) = self.pending.enter()?;
        let body = request;
        self.queue.send(Outgoing::Call { id, body }).await?;
        Ok(answered.await?)
    }
}

impl FramedCaller {
    /// Sends `count` chunks, each in memory of its own, and waits until the other end has all of them.
    pub(crate) async fn bulk(&mut self, chunk: &[u8], count: u64) -> Result<(), PeerFailure> {
        for _ in 0..count {
            let read = Bytes::copy_from_slice(chunk);
            self.queue.send(Outgoing::Bulk(read)).await?;
        }
        // It is read behind them, on the same connection.
        self.call(REQUEST).await?;
        Ok(())
    }
}

/// What the writer takes.
#[derive(Debug)]
pub(crate) struct Queue(mpsc::Receiver<Outgoing>);

/// The two ends of the queue to the writer.
pub(crate) fn queue(pending: &Pending) -> (FramedCaller, Queue) {
    let (queue, taken) = mpsc::channel(QUEUE_FRAMES_MAX);
    let pending = pending.clone();
    (FramedCaller { queue, pending }, Queue(taken))
}

/// What leaves in one write: small frames joined, or the head of a large one and its bytes, which are
/// not copied.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) joined: BytesMut,
    pub(crate) bulk: Option<Bytes>,
}

impl Queue {
    /// Waits for a frame, lets others join it, and takes all that are there. `None` when all callers
    /// are gone.
    pub(crate) async fn gather<const HEADER: usize>(&mut self) -> Option<Batch> {
        let first = self.0.recv().await?;
        let mut batch = Batch {
            joined: BytesMut::with_capacity(4 * 1024),
            bulk: None,
        };
        if !batch.add::<HEADER>(first) {
            return Some(batch);
        }
        // So that callers that are ready now are in this write and not in one of their own.
        tokio::task::yield_now().await;
        while batch.joined.len() < WRITE_BYTES_MAX {
            let Ok(next) = self.0.try_recv() else { break };
            if !batch.add::<HEADER>(next) {
                break;
            }
        }
        Some(batch)
    }
}

impl Batch {
    /// Returns whether another one can follow.
    fn add<const HEADER: usize>(&mut self, frame: Outgoing) -> bool {
        match frame {
            Outgoing::Call { id, body } => {
                put_frame::<HEADER>(Kind::Call, id, &body, &mut self.joined);
                true
            }
            Outgoing::Bulk(bytes) => {
                put_header::<HEADER>(Kind::Bulk, 0, bytes.len(), &mut self.joined);
                self.bulk = Some(bytes);
                false
            }
        }
    }
}

/// Appends the replies to all calls in what came in.
pub(crate) fn replies<const HEADER: usize>(
    incoming: &mut Incoming<HEADER>,
    reply: &[u8],
    into: &mut BytesMut,
) -> Result<(), PeerFailure> {
    let mut stray = false;
    incoming.each(|kind, id, _| match kind {
        Kind::Call => put_frame::<HEADER>(Kind::Reply, id, reply, into),
        Kind::Reply | Kind::Bulk => stray = true,
    })?;
    if stray {
        return Err("a reply to nothing".into());
    }
    Ok(())
}
