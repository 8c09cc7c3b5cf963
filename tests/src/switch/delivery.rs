//! The one task of a switch: it hands datagrams over when they are due.
//!
//! `Switch::new` starts it, it owns nothing but the timer, and it is aborted when the last clone
//! of the switch is dropped. One task means one order of delivery.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::state::State;

/// What the switch, its sockets and its task share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told when something is due earlier than all that the task knew of.
    earlier: Notify,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            earlier: Notify::new(),
        }
    }

    /// The state; never held across an await or a wake-up. A panic of a test while it held the
    /// lock must not hide itself behind the panics of everybody else, hence no poisoning.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell_delivery(&self) {
        self.earlier.notify_one();
    }

    /// Hands over what is due, and says when the next is.
    fn deliver(&self) -> Option<Instant> {
        let (readers, next_due) = {
            let mut state = self.lock();
            (state.deliver(Instant::now()), state.next_due())
        };
        for reader in readers {
            reader.wake();
        }
        next_due
    }

    /// Delivers until it is aborted.
    pub(super) async fn deliver_forever(&self) {
        loop {
            let Some(due) = self.deliver() else {
                self.earlier.notified().await;
                continue;
            };
            // Biased, because a choice by chance would differ from run to run.
            tokio::select! {
                biased;
                () = sleep_until(due) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}
