//! A Raft log in memory, on a disk that can be slow and can lose power.
//!
//! It must not know the network or the state machine.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{LogState, OptionalSend, RaftLogReader, RaftTypeConfig};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::types::TypeConfig;

/// The log, the vote and the committed id of one group on one node.
///
/// Clones are the same log, so a test keeps one and hands another to each start of the node.
#[derive(Debug, Clone)]
pub struct MemLog<C: RaftTypeConfig = TypeConfig> {
    disk: Arc<Mutex<Disk<C>>>,
}

impl<C: RaftTypeConfig> Default for MemLog<C> {
    fn default() -> Self {
        Self {
            disk: Arc::default(),
        }
    }
}

#[derive(Debug)]
struct Disk<C: RaftTypeConfig> {
    vote: Option<VoteOf<C>>,
    committed: Option<LogIdOf<C>>,
    purged: Option<LogIdOf<C>>,
    entries: BTreeMap<u64, EntryOf<C>>,
    /// The first index that a power loss would take.
    unflushed_from: u64,
    flush_delay: Duration,
    stall: Duration,
    /// When the last flush that was started ends: no write is done before one that came earlier.
    flushed_at: Option<Instant>,
    /// The flushes that have not ended, aborted with the last clone of the log.
    flushes: JoinSet<()>,
}

impl<C: RaftTypeConfig> Default for Disk<C> {
    fn default() -> Self {
        Self {
            vote: None,
            committed: None,
            purged: None,
            entries: BTreeMap::new(),
            unflushed_from: 0,
            flush_delay: Duration::ZERO,
            stall: Duration::ZERO,
            flushed_at: None,
            flushes: JoinSet::new(),
        }
    }
}

impl<C: RaftTypeConfig> MemLog<C> {
    /// An empty log on a disk that flushes at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long it takes from now on until appended entries are on disk. Several flushes run at the
    /// same time, as with a disk that is slow but not narrow.
    ///
    /// A vote waits for the flushes before it, because openraft takes it for a proof that they are
    /// done, but is not itself delayed.
    pub fn set_flush_delay(&self, delay: Duration) {
        self.disk().flush_delay = delay;
    }

    /// How long from now on the Raft itself stands still after each append that is flushed at once,
    /// and after each note of what is committed. What it shows meanwhile is older than what it knows.
    pub fn set_stall(&self, stall: Duration) {
        self.disk().stall = stall;
    }

    /// Appends entries, and says whether they are flushed.
    fn take(&self, entries: impl IntoIterator<Item = EntryOf<C>>, callback: IOFlushed<C>) -> bool {
        let now = Instant::now();
        let mut disk = self.disk();
        let last = disk.append(entries);
        let due = disk.flushed_at.unwrap_or(now).max(now + disk.flush_delay);
        if due <= now {
            if let Some(last) = last {
                disk.flushed_to(last);
            }
            drop(disk);
            callback.io_completed(Ok(()));
            return true;
        }
        disk.flushed_at = Some(due);
        while disk.flushes.try_join_next().is_some() {}
        let flushing = Arc::downgrade(&self.disk);
        disk.flushes.spawn(async move {
            sleep_until(due).await;
            let Some(disk) = flushing.upgrade() else {
                return;
            };
            if let Some(last) = last {
                disk.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .flushed_to(last);
            }
            callback.io_completed(Ok(()));
        });
        false
    }

    async fn stall(&self) {
        let stall = self.disk().stall;
        if !stall.is_zero() {
            sleep(stall).await;
        }
    }

    /// Loses the entries that were appended and not flushed, as a machine without power does.
    /// Their flushes never end. So is a committed id beyond what is left: it was written after the
    /// entries that it names. Stop the node first: a running one still believes in all of it.
    pub fn lose_power(&self) {
        let mut disk = self.disk();
        disk.flushes.abort_all();
        disk.flushed_at = None;
        let unflushed_from = disk.unflushed_from;
        disk.entries.split_off(&unflushed_from);
        disk.committed = disk.committed.take().filter(|id| id.index < unflushed_from);
    }

    /// Another log that holds what this one holds now, flushed or not: what a process that dies at
    /// this moment leaves behind, whatever of it goes on writing here.
    #[must_use]
    pub fn copy(&self) -> Self
    where
        C::Entry: Clone,
    {
        let disk = self.disk();
        let copy = Disk {
            vote: disk.vote.clone(),
            committed: disk.committed.clone(),
            purged: disk.purged.clone(),
            entries: disk.entries.clone(),
            unflushed_from: disk.unflushed_from,
            flush_delay: disk.flush_delay,
            stall: disk.stall,
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(copy)),
        }
    }

    /// The index of the last entry, flushed or not.
    #[must_use]
    pub fn last_index(&self) -> Option<u64> {
        let disk = self.disk();
        let last = disk.entries.keys().next_back().copied();
        last.or_else(|| disk.purged.as_ref().map(|id| id.index))
    }

    /// How many entries the log holds: those neither purged nor truncated.
    #[must_use]
    pub fn len(&self) -> usize {
        self.disk().entries.len()
    }

    /// True if the log holds no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn disk(&self) -> MutexGuard<'_, Disk<C>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: RaftTypeConfig> Disk<C> {
    fn append(&mut self, entries: impl IntoIterator<Item = EntryOf<C>>) -> Option<u64> {
        let mut last = None;
        for entry in entries {
            let index = entry.index();
            self.entries.insert(index, entry);
            last = Some(index);
        }
        last
    }

    /// All entries up to `index` are on disk. Truncated ones are not: they are not there.
    fn flushed_to(&mut self, index: u64) {
        let end = self.entries.keys().next_back().map_or(0, |last| last + 1);
        self.unflushed_from = self.unflushed_from.max((index + 1).min(end));
    }
}

impl<C: RaftTypeConfig<Entry: Clone>> RaftLogReader<C> for MemLog<C> {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<EntryOf<C>>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let disk = self.disk();
        Ok(disk
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        Ok(self.disk().vote.clone())
    }
}

impl<C: RaftTypeConfig<Entry: Clone>> RaftLogStorage<C> for MemLog<C> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let disk = self.disk();
        let last = disk.entries.values().next_back().map(RaftEntry::log_id);
        Ok(LogState {
            last_purged_log_id: disk.purged.clone(),
            last_log_id: last.or_else(|| disk.purged.clone()),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        let before = self.disk().flushed_at;
        if let Some(before) = before.filter(|&before| before > Instant::now()) {
            sleep_until(before).await;
        }
        self.disk().vote = Some(vote.clone());
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        self.disk().committed = committed;
        self.stall().await;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        Ok(self.disk().committed.clone())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<C>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        if self.take(entries, callback) {
            self.stall().await;
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let first_gone = last_log_id.map_or(0, |id| id.index + 1);
        let mut disk = self.disk();
        disk.entries.split_off(&first_gone);
        disk.unflushed_from = disk.unflushed_from.min(first_gone);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> Result<(), io::Error> {
        let mut disk = self.disk();
        let left = log_id.index + 1;
        disk.purged = Some(log_id);
        disk.entries = disk.entries.split_off(&left);
        disk.unflushed_from = disk.unflushed_from.max(left);
        Ok(())
    }
}
