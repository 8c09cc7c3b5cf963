//! The one thread that writes. It takes what all groups wait for and commits it together, so that
//! any number of appends share one fsync; then it tells everybody who waited.
//!
//! Of each batch the applies are committed first, without fsync: their entries are in the durable
//! logs of a majority, so losing them in a crash only means applying them again, and a client need
//! not wait for the fsync of the next appends. Then everything that must survive is committed in
//! the order in which it came, with one fsync. redb's commits are a sequence: a synced one makes
//! all before it durable too. So a purge is never durable before the state that replaces its
//! entries, and an applied index never before the log entries that this node was given until then.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use super::error::StoreError;
use super::group::Group;
use super::limits::{BATCH_BYTES, BATCH_OPERATIONS, UNSYNCED_BYTES, UNSYNCED_COMMITS};
use super::operation::{Message, Operation, Queued};
use super::schema::Machine;
use super::sweep::Garbage;
use super::tables::Tables;
use crate::kv::folder::DataFolder;

/// How much the writer has done, since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) synced: AtomicU64,
    pub(super) unsynced: AtomicU64,
    pub(super) appends: AtomicU64,
}

/// The state of the writing thread.
pub(super) struct Writer {
    pub(super) db: Arc<Database>,
    pub(super) receiver: Receiver<Message>,
    pub(super) counters: Arc<Counters>,
    pub(super) garbage: VecDeque<Garbage>,
    /// Commits since the last synced one, and the bytes that they were asked to write.
    pub(super) unsynced: u32,
    pub(super) unsynced_bytes: usize,
    /// The folder's lock must outlive the last write.
    pub(super) _folder: Arc<DataFolder>,
}

/// Machines that a transaction has changed and that are published when it is committed.
pub(super) type Staged = BTreeMap<u64, (Arc<Group>, Machine)>;

#[derive(Default)]
struct Batch {
    applies: Vec<Queued>,
    rest: Vec<Queued>,
    bytes: usize,
    stop: bool,
}

impl Batch {
    fn add(&mut self, message: Message) {
        match message {
            Message::Work(queued) => {
                self.bytes = self.bytes.saturating_add(queued.bytes);
                if matches!(queued.operation, Operation::Apply { .. }) {
                    self.applies.push(queued);
                } else {
                    self.rest.push(queued);
                }
            }
            Message::Stop => self.stop = true,
        }
    }

    fn is_full(&self) -> bool {
        self.stop
            || self.bytes >= BATCH_BYTES
            || self.applies.len() + self.rest.len() >= BATCH_OPERATIONS
    }
}

impl Writer {
    /// Writes until it is told to stop, nobody can ask any more, or a commit fails.
    pub(super) fn run(mut self) {
        while let Some(first) = self.next() {
            let mut batch = Batch::default();
            batch.add(first);
            while !batch.is_full() {
                match self.receiver.try_recv() {
                    Ok(message) => batch.add(message),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            let stop = batch.stop;
            if let Err(error) = self.commit_all(batch) {
                tracing::error!(target: "quicraft::kv", error = %error, "the store failed");
                return self.refuse_all(&error);
            }
            if stop {
                break;
            }
        }
        self.finish();
    }

    /// The next message; while there is none, garbage is removed.
    fn next(&mut self) -> Option<Message> {
        while !self.garbage.is_empty() {
            match self.receiver.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if let Err(error) = self.write(&mut [], Durability::None) {
                // The next commit fails as well, and then somebody is there to be told.
                tracing::error!(target: "quicraft::kv", error = %error, "cannot remove old rows");
                break;
            }
        }
        self.receiver.blocking_recv()
    }

    /// Commits the applies, then everything else.
    fn commit_all(&mut self, batch: Batch) -> Result<(), StoreError> {
        // An applied index must not be durable before the entries: they may be in the rest.
        let may_sync = batch.rest.is_empty();
        if let Err(error) = self.commit(batch.applies, may_sync) {
            refuse(batch.rest, &error);
            return Err(error);
        }
        self.commit(batch.rest, true)
    }

    /// Commits `work` in one transaction and tells everybody. If it `may_sync`, a long row of
    /// unsynced commits ends with it.
    fn commit(&mut self, mut work: Vec<Queued>, may_sync: bool) -> Result<(), StoreError> {
        if work.is_empty() {
            return Ok(());
        }
        let durable = work.iter().any(|queued| queued.operation.is_durable())
            || (may_sync && self.is_long_unsynced());
        let durability = if durable {
            Durability::Immediate
        } else {
            Durability::None
        };
        match self.write(&mut work, durability) {
            Ok(staged) => {
                for (group, machine) in staged.into_values() {
                    group.publish_machine(machine);
                }
                for queued in work {
                    publish(&queued);
                    queued.operation.complete(Ok(()));
                }
                Ok(())
            }
            Err(error) => {
                refuse(work, &error);
                Err(error)
            }
        }
    }

    const fn is_long_unsynced(&self) -> bool {
        self.unsynced >= UNSYNCED_COMMITS || self.unsynced_bytes >= UNSYNCED_BYTES
    }

    fn write(&mut self, work: &mut [Queued], durability: Durability) -> Result<Staged, StoreError> {
        let mut tx = self
            .db
            .begin_write()
            .map_err(StoreError::database("begin writing"))?;
        tx.set_durability(durability)
            .map_err(StoreError::database("set the durability"))?;
        let mut staged = Staged::new();
        {
            let mut tables = Tables::open(&tx)?;
            for queued in work.iter_mut() {
                tables.execute(queued, &mut staged, &mut self.garbage)?;
            }
            tables.sweep(&mut self.garbage)?;
        }
        tx.commit().map_err(StoreError::database("commit"))?;
        let appends = work
            .iter()
            .filter(|q| matches!(q.operation, Operation::Append { .. }));
        self.counters
            .appends
            .fetch_add(appends.count() as u64, Ordering::Relaxed);
        if matches!(durability, Durability::Immediate) {
            self.unsynced = 0;
            self.unsynced_bytes = 0;
            self.counters.synced.fetch_add(1, Ordering::Relaxed);
        } else {
            let bytes: usize = work.iter().map(|queued| queued.bytes).sum();
            self.unsynced = self.unsynced.saturating_add(1);
            self.unsynced_bytes = self.unsynced_bytes.saturating_add(bytes);
            self.counters.unsynced.fetch_add(1, Ordering::Relaxed);
        }
        Ok(staged)
    }

    /// After an orderly end nothing has to be applied again.
    fn finish(&mut self) {
        if self.unsynced > 0
            && let Err(error) = self.write(&mut [], Durability::Immediate)
        {
            tracing::error!(target: "quicraft::kv", error = %error, "the last commit failed");
        }
    }

    /// After a failed commit nobody knows what is durable, so nothing is written any more.
    fn refuse_all(&mut self, error: &StoreError) {
        while let Some(message) = self.receiver.blocking_recv() {
            match message {
                Message::Work(queued) => queued.operation.complete(Err(error.clone())),
                Message::Stop => return,
            }
        }
    }
}

fn refuse(work: Vec<Queued>, error: &StoreError) {
    for queued in work {
        queued.operation.complete(Err(error.clone()));
    }
}

/// Shows readers what is committed, before the waiter is told.
fn publish(queued: &Queued) {
    match &queued.operation {
        Operation::Append { mark, .. } => queued.group.tail.durable(*mark),
        Operation::Vote { vote, .. } => queued.group.publish_vote(*vote),
        Operation::Truncate { .. }
        | Operation::Purge { .. }
        | Operation::Apply { .. }
        | Operation::Load { .. }
        | Operation::Switch { .. }
        | Operation::Remove { .. }
        | Operation::Erase { .. } => {}
    }
}
