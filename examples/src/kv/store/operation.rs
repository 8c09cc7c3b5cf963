//! What a group can ask the writer to do, and who waits for it.

use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::IOFlushed;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::StoreError;
use super::group::Group;
use super::schema::Machine;
use super::sweep::Garbage;
use crate::kv::types::{Applied, Entry, LogId, TypeConfig, Vote};

/// Who waits for an operation.
pub(super) type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// openraft's callback of an append. It is always called: with an error when it is dropped, so
/// that a writer that dies does not leave a group waiting for ever.
pub(super) struct Flushed(Option<IOFlushed<TypeConfig>>);

impl Flushed {
    pub(super) const fn new(callback: IOFlushed<TypeConfig>) -> Self {
        Self(Some(callback))
    }

    pub(super) fn complete(mut self, result: Result<(), StoreError>) {
        if let Some(callback) = self.0.take() {
            callback.io_completed(result.map_err(Into::into));
        }
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback.io_completed(Err(StoreError::Closed.into()));
        }
    }
}

/// One operation of one group.
pub(super) enum Operation {
    /// Adds encoded entries to the log; durable.
    Append {
        entries: Vec<(u64, Vec<u8>)>,
        mark: u64,
        flushed: Flushed,
    },
    /// Removes the entries from this index on; durable, nobody waits.
    Truncate { from: u64 },
    /// Lets the log begin after this entry; durable, nobody waits.
    Purge { upto: LogId },
    /// Saves a vote; durable.
    Vote { vote: Vote, done: Done<()> },
    /// Applies entries; visible, not durable.
    Apply {
        entries: Vec<Entry>,
        answers: Vec<Applied>,
        done: Done<Vec<Applied>>,
    },
    /// Adds rows to a generation that nobody reads yet; not durable.
    Load {
        generation: u64,
        rows: Vec<(Bytes, Bytes)>,
        done: Done<()>,
    },
    /// Makes a loaded generation the state; durable.
    Switch { machine: Machine, done: Done<()> },
    /// Removes rows that nobody reads; nobody waits.
    Remove { garbage: Garbage },
    /// Forgets log, vote and state of a group that nobody runs; its rows from now on are of another
    /// generation. Durable.
    Erase { generation: u64, done: Done<()> },
}

impl Operation {
    /// Whether somebody relies on it after a crash.
    pub(super) const fn is_durable(&self) -> bool {
        match self {
            Self::Append { .. }
            | Self::Truncate { .. }
            | Self::Purge { .. }
            | Self::Vote { .. }
            | Self::Switch { .. }
            | Self::Erase { .. } => true,
            Self::Apply { .. } | Self::Load { .. } | Self::Remove { .. } => false,
        }
    }

    /// Tells the waiter, if there is one. A waiter that is gone does not matter.
    pub(super) fn complete(self, result: Result<(), StoreError>) {
        match self {
            Self::Append { flushed, .. } => flushed.complete(result),
            Self::Vote { done, .. }
            | Self::Load { done, .. }
            | Self::Switch { done, .. }
            | Self::Erase { done, .. } => {
                drop(done.send(result));
            }
            Self::Apply { answers, done, .. } => drop(done.send(result.map(|()| answers))),
            Self::Truncate { .. } | Self::Purge { .. } | Self::Remove { .. } => {}
        }
    }
}

/// An operation in the queue, with the bytes that it holds of the queue's budget.
pub(super) struct Queued {
    pub(super) group: Arc<Group>,
    pub(super) operation: Operation,
    pub(super) bytes: usize,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What goes through the queue.
pub(super) enum Message {
    /// An operation.
    Work(Queued),
    /// Everything before this is to be done, then the writer ends.
    Stop,
}
