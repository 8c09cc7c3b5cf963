//! The newest part of a group's log in memory, and where the log begins and ends.
//!
//! openraft may read an entry as soon as `append` returned, long before it is durable; until then
//! it is only here. Entries stay some time longer, so that replication and applying seldom go to
//! the disk. What is on the disk is not known here; every answer is taken under one lock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::limits::TAIL_BYTES;
use crate::kv::types::{Entry, LogId};

#[derive(Debug)]
struct Held {
    entry: Entry,
    bytes: usize,
    /// Which append brought it; it may be let go when that one is durable.
    mark: u64,
}

#[derive(Debug, Default)]
struct Ends {
    held: BTreeMap<u64, Held>,
    bytes: usize,
    last: Option<LogId>,
    purged: Option<LogId>,
    next_mark: u64,
    /// Appends up to this mark, exclusive, are durable.
    durable: u64,
    truncations: u64,
}

/// The newest entries of one group, and the log's ends.
#[derive(Debug)]
pub(super) struct Tail {
    ends: Mutex<Ends>,
}

/// What of a range is in memory, and what has to be read from the disk.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The part of the range that only the disk has; empty when `start >= end`.
    pub(super) disk: (u64, u64),
    /// The entries after it, with the length of their encoding.
    pub(super) held: Vec<(Entry, usize)>,
    /// How often the log had been truncated; see [`Tail::truncations`].
    pub(super) truncations: u64,
}

impl Found {
    pub(super) const fn needs_disk(&self) -> bool {
        self.disk.0 < self.disk.1
    }
}

impl Tail {
    /// The tail of a log that was just opened: everything is on the disk.
    pub(super) fn new(last: Option<LogId>, purged: Option<LogId>) -> Self {
        let last = last.max(purged);
        Self {
            ends: Mutex::new(Ends {
                last,
                purged,
                ..Ends::default()
            }),
        }
    }

    /// No code panics while it holds this lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds entries with the length of their encoding; returns the mark of this append.
    pub(super) fn push(&self, entries: Vec<(Entry, usize)>) -> u64 {
        let mut ends = self.lock();
        let mark = ends.next_mark;
        ends.next_mark += 1;
        for (entry, bytes) in entries {
            ends.last = Some(entry.log_id);
            let index = entry.log_id.index;
            ends.bytes += bytes;
            if let Some(old) = ends.held.insert(index, Held { entry, bytes, mark }) {
                ends.bytes -= old.bytes;
            }
        }
        mark
    }

    /// The append with this mark is durable, and so is every one before it.
    pub(super) fn durable(&self, mark: u64) {
        let mut ends = self.lock();
        let durable = ends.durable.max(mark + 1);
        ends.durable = durable;
        while ends.bytes > TAIL_BYTES {
            let Some(first) = ends.held.first_entry() else {
                break;
            };
            if first.get().mark >= durable {
                break;
            }
            let gone = first.remove().bytes;
            ends.bytes -= gone;
        }
    }

    /// The log ends after `last` now, or is empty; one that is shorter stays as it is.
    pub(super) fn truncate(&self, last: Option<LogId>) {
        let mut ends = self.lock();
        ends.truncations += 1;
        let from = last.map_or(0, |last| last.index + 1);
        let gone = ends.held.split_off(&from);
        ends.bytes -= gone.values().map(|held| held.bytes).sum::<usize>();
        if last.map(|last| last.index) < ends.last.map(|last| last.index) {
            ends.last = last.max(ends.purged);
        }
    }

    /// The log begins after `upto` now.
    pub(super) fn purge(&self, upto: LogId) {
        let mut ends = self.lock();
        let kept = ends.held.split_off(&(upto.index + 1));
        ends.held = kept;
        ends.bytes = ends.held.values().map(|held| held.bytes).sum();
        ends.purged = ends.purged.max(Some(upto));
        ends.last = ends.last.max(Some(upto));
    }

    /// The log ids of the last purged and the last present entry.
    pub(super) fn ends(&self) -> (Option<LogId>, Option<LogId>) {
        let ends = self.lock();
        (ends.purged, ends.last)
    }

    /// How often the log was truncated since it was opened. An entry that [`Tail::find`] expects on
    /// the disk is in every view of the disk that is opened later, unless this has changed.
    pub(super) fn truncations(&self) -> u64 {
        self.lock().truncations
    }

    /// The part of `start..end` that the log contains. Held entries beyond `limit` bytes are left
    /// out, but never the first.
    pub(super) fn find(&self, start: u64, end: u64, limit: usize) -> Found {
        let ends = self.lock();
        let start = start.max(ends.purged.map_or(0, |purged| purged.index + 1));
        let end = end.min(ends.last.map_or(0, |last| last.index + 1));
        if start >= end {
            return Found::default();
        }
        let first_held = ends.held.keys().next().copied().unwrap_or(u64::MAX);
        let disk = (start, end.min(first_held));
        let mut held = Vec::new();
        let mut bytes = 0_usize;
        for one in ends.held.range(start..end).map(|(_, held)| held) {
            bytes = bytes.saturating_add(one.bytes);
            if bytes > limit && !held.is_empty() {
                break;
            }
            held.push((one.entry.clone(), one.bytes));
        }
        Found {
            disk,
            held,
            truncations: ends.truncations,
        }
    }
}
