//! The task that owns the bytes of a group's snapshot while they come in, and keeps them when their
//! transfer breaks.
//!
//! It stands between a transfer, which dies with its link, and a sink, which must outlive it: no
//! write to a sink is ever cut in the middle, so what is stored and what is hashed are always the
//! same. It keeps one snapshot at most. It must not know links or messages.

use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft::RaftTypeConfig;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until};

use super::super::limits::{PARTIAL_SNAPSHOT_AGE_MAX, SNAPSHOT_CLAIMS_MAX, SNAPSHOT_HASH_BYTES};
use super::partial::{Claim, Judgement, Kept, Offer, judge_head, judge_offer};
use super::receiving::Receiving;
use super::{ReceiveError, SnapshotIo, SnapshotSink};

/// Starts a task that ends with the transport, at the latest.
pub(crate) type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// The receiving end of the snapshots of one group.
///
/// Its task is started by the first snapshot and ends when nothing is kept any more: the snapshot
/// was received whole or is too old, or this was dropped.
pub(crate) struct SnapshotKeeper<C: RaftTypeConfig, I: SnapshotIo> {
    io: Arc<I>,
    spawn: Spawn,
    /// The way to the task, while it runs.
    claims: Mutex<Option<mpsc::Sender<Message<C, I>>>>,
}

pub(super) enum Message<C: RaftTypeConfig, I: SnapshotIo> {
    /// What is kept of this snapshot?
    Offer {
        claim: Claim<C>,
        /// The sender's bytes are others: throw it away.
        discard: bool,
        reply: oneshot::Sender<Result<Option<Offer>, ReceiveError>>,
    },
    /// Here come the bytes of this snapshot.
    Begin {
        claim: Claim<C>,
        offset: u64,
        reply: oneshot::Sender<Result<Receiving<I::Data>, ReceiveError>>,
    },
}

/// What a transfer hands over.
pub(super) enum Part {
    /// The next bytes.
    Bytes(Bytes),
    /// Behind the last: the hash of all of them.
    Hash([u8; SNAPSHOT_HASH_BYTES]),
}

impl<C: RaftTypeConfig, I: SnapshotIo> SnapshotKeeper<C, I> {
    /// Keeps nothing yet.
    pub(crate) fn new(io: I, spawn: Spawn) -> Arc<Self> {
        Arc::new(Self {
            io: Arc::new(io),
            spawn,
            claims: Mutex::default(),
        })
    }

    /// What is kept of a snapshot. A transfer that still brings it ends first, so that it stays so.
    ///
    /// With `discard`, what is kept is thrown away instead.
    pub(crate) async fn offer(
        self: &Arc<Self>,
        claim: Claim<C>,
        discard: bool,
    ) -> Result<Option<Offer>, ReceiveError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Offer {
            claim,
            discard,
            reply,
        };
        let sent = match &*self.claims() {
            Some(claims) => claims.try_send(message),
            None => return Ok(None),
        };
        match sent {
            Ok(()) => answer.await.unwrap_or(Err(ReceiveError::Stopped)),
            Err(TrySendError::Full(_)) => Err(ReceiveError::Busy),
            Err(TrySendError::Closed(_)) => Ok(None),
        }
    }

    /// Takes the bytes of a snapshot from `offset` on. A transfer before it ends.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        claim: Claim<C>,
        offset: u64,
    ) -> Result<Receiving<I::Data>, ReceiveError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Begin {
            claim,
            offset,
            reply,
        };
        self.send(message)?;
        answer.await.unwrap_or(Err(ReceiveError::Stopped))
    }

    /// Gives a message to the task, or to a new one if there is none.
    fn send(self: &Arc<Self>, message: Message<C, I>) -> Result<(), ReceiveError> {
        let mut claims = self.claims();
        let message = match &*claims {
            Some(running) => match running.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(ReceiveError::Busy),
                Err(TrySendError::Closed(message)) => message,
            },
            None => message,
        };
        let (sender, receiver) = mpsc::channel(SNAPSHOT_CLAIMS_MAX);
        let keeping = Keeping {
            io: Arc::clone(&self.io),
            partial: None,
            active: None,
        };
        // It keeps its owner not alive: that would keep the task.
        (self.spawn)(Box::pin(keeping.run(receiver, Arc::downgrade(self))));
        // The channel is empty.
        drop(sender.try_send(message));
        *claims = Some(sender);
        Ok(())
    }

    /// Whether the task may end. No message comes between this answer and its end.
    fn retire(&self, messages: &mpsc::Receiver<Message<C, I>>) -> bool {
        let mut claims = self.claims();
        let retires = messages.is_empty();
        if retires {
            *claims = None;
        }
        retires
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, Option<mpsc::Sender<Message<C, I>>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: RaftTypeConfig, I: SnapshotIo> fmt::Debug for SnapshotKeeper<C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotKeeper")
    }
}

/// The state of the task.
struct Keeping<C: RaftTypeConfig, I: SnapshotIo> {
    io: Arc<I>,
    partial: Option<Partial<C, I::Sink>>,
    /// The transfer that brings more. There is none without `partial`.
    active: Option<Active<I::Data>>,
}

struct Partial<C: RaftTypeConfig, S> {
    kept: Kept<C>,
    sink: S,
    hasher: blake3::Hasher,
}

struct Active<D> {
    parts: mpsc::Receiver<Part>,
    outcome: oneshot::Sender<Result<D, ReceiveError>>,
}

impl<C: RaftTypeConfig, I: SnapshotIo> Keeping<C, I> {
    async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message<C, I>>,
        owner: Weak<SnapshotKeeper<C, I>>,
    ) {
        loop {
            let stale_at = self.stale_at();
            let active = self.active.as_mut();
            let moving = active.is_some();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.judge(message).await,
                    // The owner is gone.
                    None => return,
                },
                part = next_part(active), if moving => self.take(part).await,
                () = sleep_until(stale_at), if !moving => self.partial = None,
            }
            if self.partial.is_none()
                && owner
                    .upgrade()
                    .is_none_or(|keeper| keeper.retire(&messages))
            {
                return;
            }
        }
    }

    /// When what is kept is too old: a millisecond, the grain of the clock, past the limit.
    fn stale_at(&self) -> Instant {
        let touched = self.partial.as_ref().map(|partial| partial.kept.touched);
        touched.unwrap_or_else(Instant::now) + PARTIAL_SNAPSHOT_AGE_MAX + Duration::from_millis(1)
    }

    fn kept(&self) -> Option<&Kept<C>> {
        self.partial.as_ref().map(|partial| &partial.kept)
    }

    async fn judge(&mut self, message: Message<C, I>) {
        // Whoever asked may be gone by the time of the answer.
        match message {
            Message::Offer {
                claim,
                discard,
                reply,
            } => drop(reply.send(self.offer(&claim, discard).await)),
            Message::Begin {
                claim,
                offset,
                reply,
            } => drop(reply.send(self.begin(claim, offset).await)),
        }
    }

    async fn offer(
        &mut self,
        claim: &Claim<C>,
        discard: bool,
    ) -> Result<Option<Offer>, ReceiveError> {
        let judge = |kept: Option<&Kept<C>>| judge_offer(kept, claim, Instant::now());
        if judge(self.kept()) == Judgement::Outranked {
            return Err(ReceiveError::Outranked);
        }
        self.supersede().await;
        if discard || judge(self.kept()) != Judgement::Continue {
            self.partial = None;
        }
        Ok(self.partial.as_mut().map(|partial| {
            partial.kept.claim.leader = claim.leader.clone();
            Offer {
                offset: partial.kept.stored,
                hash: partial.hasher.finalize(),
            }
        }))
    }

    async fn begin(
        &mut self,
        claim: Claim<C>,
        offset: u64,
    ) -> Result<Receiving<I::Data>, ReceiveError> {
        let judge = |kept: Option<&Kept<C>>| judge_head(kept, &claim, offset, Instant::now());
        if judge(self.kept()) == Judgement::Outranked {
            return Err(ReceiveError::Outranked);
        }
        self.supersede().await;
        match judge(self.kept()) {
            Judgement::Outranked => return Err(ReceiveError::Outranked),
            Judgement::Missing => return Err(ReceiveError::NotKept { offset }),
            Judgement::Continue => {}
            Judgement::Anew => {
                // First the old, so that there is never room for two.
                self.partial = None;
                let sink = guarded(self.io.receive(claim.key.length)).await?;
                self.partial = Some(Partial {
                    kept: Kept {
                        claim: claim.clone(),
                        stored: 0,
                        touched: Instant::now(),
                    },
                    sink,
                    hasher: blake3::Hasher::new(),
                });
            }
        }
        if let Some(partial) = &mut self.partial {
            partial.kept.claim.leader = claim.leader;
        }
        let (sender, parts) = mpsc::channel(1);
        let (outcome, answer) = oneshot::channel();
        self.active = Some(Active { parts, outcome });
        Ok(Receiving::new(sender, answer, offset, claim.key.length))
    }

    /// Ends the transfer under way, and stores what it has handed over.
    async fn supersede(&mut self) {
        if let Some(active) = &mut self.active {
            active.parts.close();
        }
        // What is there, and no more: the transfer may hold a place that it never fills.
        while let Some(Ok(part)) = self.active.as_mut().map(|active| active.parts.try_recv()) {
            self.take(Some(part)).await;
        }
        self.end(Err(ReceiveError::Superseded));
    }

    /// Takes what a transfer hands over; nothing any more, and what is stored is kept.
    async fn take(&mut self, part: Option<Part>) {
        match part {
            Some(Part::Bytes(bytes)) => self.store(&bytes).await,
            Some(Part::Hash(hash)) => {
                if let Some(partial) = self.partial.take() {
                    let data = partial.finish(hash).await;
                    self.end(data);
                }
            }
            None => self.active = None,
        }
        if let Some(partial) = &mut self.partial {
            partial.kept.touched = Instant::now();
        }
    }

    async fn store(&mut self, bytes: &[u8]) {
        let Some(partial) = &mut self.partial else {
            return;
        };
        match guarded(partial.sink.write(bytes)).await {
            Ok(()) => {
                partial.hasher.update(bytes);
                partial.kept.stored += bytes.len() as u64;
            }
            Err(error) => {
                // Nobody knows how much of it was stored.
                self.partial = None;
                self.end(Err(error));
            }
        }
    }

    fn end(&mut self, outcome: Result<I::Data, ReceiveError>) {
        if let Some(active) = self.active.take() {
            // A transfer that has died meanwhile has no use for it.
            drop(active.outcome.send(outcome));
        }
    }
}

impl<C: RaftTypeConfig, S: SnapshotSink> Partial<C, S> {
    /// All bytes came, if this is their hash.
    async fn finish(self, hash: [u8; SNAPSHOT_HASH_BYTES]) -> Result<S::Data, ReceiveError> {
        let length = self.kept.claim.key.length;
        // `blake3::Hash` compares in constant time; it costs nothing and needs no thought.
        let right = self.hasher.finalize() == blake3::Hash::from_bytes(hash);
        if !right || self.kept.stored != length {
            return Err(ReceiveError::WrongHash { length });
        }
        guarded(self.sink.finish()).await
    }
}

async fn next_part<D>(active: Option<&mut Active<D>>) -> Option<Part> {
    match active {
        Some(active) => active.parts.recv().await,
        None => std::future::pending().await,
    }
}

/// Runs a part of the host. Its panic is its caller's to report, and must not end this task.
async fn guarded<T>(host: impl Future<Output = io::Result<T>>) -> Result<T, ReceiveError> {
    match AssertUnwindSafe(host).catch_unwind().await {
        Ok(result) => result.map_err(ReceiveError::Store),
        Err(_) => Err(ReceiveError::Panicked),
    }
}
