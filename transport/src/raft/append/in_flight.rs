//! The frames that have left and are not answered, and how quickly the peer answers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use openraft::RaftTypeConfig;
use openraft::type_config::alias::LogIdOf;
use tokio::time::Instant;

use crate::raft::limits::APPEND_QUICK_MAX;
use crate::raft::wire::AppendFrame;

/// What a sent frame says about the log; its reply is held against it.
pub(super) struct SentFrame<C: RaftTypeConfig> {
    pub(super) prev: Option<LogIdOf<C>>,
    pub(super) last: Option<LogIdOf<C>>,
    /// Whether the request ends with it, so that openraft gets its acknowledgement.
    pub(super) closes: bool,
    sent_at: Instant,
}

impl<C: RaftTypeConfig> SentFrame<C> {
    fn has_entries(&self) -> bool {
        self.prev != self.last
    }
}

/// Frames in flight, oldest first. Its length is bounded by the window of the session, plus the one
/// frame that waits for a slot. The lock is never held across an await.
pub(super) struct InFlight<C: RaftTypeConfig>(Mutex<Frames<C>>);

struct Frames<C: RaftTypeConfig> {
    frames: VecDeque<SentFrame<C>>,
    /// Whether a frame with entries was ever answered within [`APPEND_QUICK_MAX`].
    quick: bool,
}

impl<C: RaftTypeConfig> InFlight<C> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Frames {
            frames: VecDeque::new(),
            quick: false,
        }))
    }

    pub(super) fn push(&self, frame: &AppendFrame<C>) {
        let sent = SentFrame {
            prev: frame.prev.clone(),
            last: frame.last.clone(),
            closes: frame.closes,
            sent_at: Instant::now(),
        };
        self.lock().frames.push_back(sent);
    }

    /// Forgets the frame that was pushed last, because it did not leave.
    pub(super) fn forget_last(&self) {
        drop(self.lock().frames.pop_back());
    }

    /// The oldest frame, which is answered.
    pub(super) fn pop(&self) -> Option<SentFrame<C>> {
        let mut this = self.lock();
        let sent = this.frames.pop_front()?;
        this.quick |= sent.has_entries() && sent.sent_at.elapsed() <= APPEND_QUICK_MAX;
        Some(sent)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().frames.is_empty()
    }

    /// Whether the peer is near, and its disk fast: an answer is a matter of no time, or of load.
    pub(super) fn is_quick(&self) -> bool {
        self.lock().quick
    }

    fn lock(&self) -> MutexGuard<'_, Frames<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
