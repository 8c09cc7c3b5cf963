//! The numbers of the commands that a client has under way. It must not know what becomes of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Hands out numbers from 1, and none that a table may already take for too old: between the oldest
/// number that is under way and the newest one lie less than `window`.
#[derive(Debug)]
pub(super) struct Numbers {
    window: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u64,
    under_way: BTreeSet<u64>,
}

/// A number that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Number<'a> {
    numbers: &'a Numbers,
    sequence: u64,
}

impl Numbers {
    pub(super) const fn new(window: u32) -> Self {
        Self {
            window: window as u64,
            state: Mutex::new(State {
                next: 1,
                under_way: BTreeSet::new(),
            }),
        }
    }

    /// The next number; none while it would be too far from the oldest one.
    pub(super) fn take(&self) -> Option<Number<'_>> {
        let mut state = self.state();
        let sequence = state.next;
        let oldest = state.under_way.first().copied().unwrap_or(sequence);
        if sequence - oldest >= self.window {
            return None;
        }
        state.next += 1;
        state.under_way.insert(sequence);
        Some(Number {
            numbers: self,
            sequence,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between two calls, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Number<'_> {
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.numbers.state().under_way.remove(&self.sequence);
    }
}
