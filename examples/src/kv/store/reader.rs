//! openraft's log reader of one group: the tail in memory first, the disk for what is older.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures_util::{Stream, stream};
use openraft::OptionalSend;
use openraft::storage::RaftLogReader;
use redb::ReadTransaction;

use super::error::StoreError;
use super::group::Group;
use super::inner::{Inner, blocking};
use super::limits::READ_BYTES;
use super::schema::{LOG, decode};
use super::tail::Found;
use crate::kv::types::{Entry, TypeConfig, Vote};

/// Reads the log of one group; cheap to clone.
#[derive(Debug, Clone)]
pub struct GroupLogReader {
    store: Arc<Inner>,
    group: Arc<Group>,
}

impl GroupLogReader {
    pub(super) const fn new(store: Arc<Inner>, group: Arc<Group>) -> Self {
        Self { store, group }
    }

    /// The entries of `start..end` that the log has, up to `limit` bytes but at least one.
    async fn read(&self, start: u64, end: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let found = self.group.tail.find(start, end, limit);
        if !found.needs_disk() {
            return Ok(found.held.into_iter().map(|(entry, _)| entry).collect());
        }
        let reader = self.clone();
        blocking(move || reader.read_disk(start, end, limit)).await
    }

    fn read_disk(&self, start: u64, end: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        // Not under the tail's lock: redb may be in an fsync, and the group must go on appending.
        let (found, tx) = loop {
            let found = self.group.tail.find(start, end, limit);
            let tx = self.store.read()?;
            if self.group.tail.truncations() == found.truncations {
                break (found, tx);
            }
            // The log was cut in between, so the two are not of the same log; that is rare.
        };
        let mut taken = Taken {
            group: self.group.id,
            limit,
            bytes: 0,
            entries: Vec::new(),
        };
        if taken.take_disk(&tx, &found)? {
            for (entry, bytes) in found.held {
                if !taken.take(entry, bytes)? {
                    break;
                }
            }
        }
        Ok(taken.entries)
    }
}

/// What a read has collected so far.
struct Taken {
    group: u64,
    limit: usize,
    bytes: usize,
    entries: Vec<Entry>,
}

impl Taken {
    /// Whether there is room for more after it.
    fn take_disk(&mut self, tx: &ReadTransaction, found: &Found) -> Result<bool, StoreError> {
        let log = tx
            .open_table(LOG)
            .map_err(StoreError::database("open the log"))?;
        let range = log
            .range((self.group, found.disk.0)..(self.group, found.disk.1))
            .map_err(StoreError::database("read the log"))?;
        for row in range {
            let row = row.map_err(StoreError::database("read the log"))?;
            let bytes = row.1.value();
            if !self.has_room(bytes.len()) {
                return Ok(false);
            }
            let entry = decode(self.group, "log entry", bytes)?;
            self.take(entry, bytes.len())?;
        }
        Ok(true)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.entries.is_empty() || self.bytes.saturating_add(bytes) <= self.limit
    }

    /// Takes one more, if there is room for it; entries must follow each other.
    fn take(&mut self, entry: Entry, bytes: usize) -> Result<bool, StoreError> {
        if !self.has_room(bytes) {
            return Ok(false);
        }
        if let Some(last) = self.entries.last()
            && entry.log_id.index != last.log_id.index + 1
        {
            return Err(StoreError::Hole {
                group: self.group,
                index: last.log_id.index + 1,
            });
        }
        self.bytes += bytes;
        self.entries.push(entry);
        Ok(true)
    }
}

/// The half-open range that any range of indexes is.
fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for GroupLogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = half_open(&range);
        Ok(self.read(start, end, usize::MAX).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.group.vote())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.read(start, end, READ_BYTES).await?)
    }

    /// In pieces, so that a group that applies a long log does not hold all of it in memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = half_open(&range);
        let reader = self.clone();
        let pieces = stream::try_unfold(start, move |next| {
            let reader = reader.clone();
            async move {
                if next >= end {
                    return Ok(None);
                }
                let piece = reader
                    .read(next, end, READ_BYTES)
                    .await
                    .map_err(io::Error::from)?;
                let after = piece.last().map(|last| last.log_id.index + 1);
                Ok::<_, io::Error>(
                    after.map(|after| (stream::iter(piece.into_iter().map(Ok)), after)),
                )
            }
        });
        Box::pin(futures_util::TryStreamExt::try_flatten(pieces))
    }
}
