//! Removing rows that nobody reads any more: purged entries and replaced generations.
//!
//! They are hidden at once, by the purged log id and by the current generation, and removed a few
//! at a time with later commits. After a crash the store finds them again when it is opened.

use std::collections::VecDeque;

use redb::ReadableTable as _;

use super::error::StoreError;
use super::limits::{KEY_BYTES, SWEEP_ROWS};
use super::schema::{data_end, data_key};
use super::tables::Tables;

/// Rows to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Garbage {
    /// The entries of a group up to this index, inclusive.
    Log { group: u64, upto: u64 },
    /// The keys of a generation.
    Generation { group: u64, generation: u64 },
}

impl Tables<'_> {
    /// Removes at most [`SWEEP_ROWS`] rows of the oldest garbage; takes it off the queue when
    /// nothing of it is left. Values are not looked at.
    pub(super) fn sweep(&mut self, garbage: &mut VecDeque<Garbage>) -> Result<(), StoreError> {
        let left = match garbage.front() {
            None => return Ok(()),
            Some(&Garbage::Log { group, upto }) => self.sweep_log(group, upto)?,
            Some(&Garbage::Generation { group, generation }) => {
                self.sweep_generation(group, generation)?
            }
        };
        if !left {
            garbage.pop_front();
        }
        Ok(())
    }

    /// Returns whether there are more.
    fn sweep_log(&mut self, group: u64, upto: u64) -> Result<bool, StoreError> {
        let first = {
            let mut range = self
                .log
                .range((group, 0)..=(group, upto))
                .map_err(StoreError::database("find purged entries"))?;
            match range.next() {
                None => return Ok(false),
                Some(row) => {
                    row.map_err(StoreError::database("find purged entries"))?
                        .0
                        .value()
                        .1
                }
            }
        };
        // A log has no holes, so this many indexes are this many rows.
        let last = upto.min(first.saturating_add(SWEEP_ROWS as u64 - 1));
        self.log
            .retain_in((group, first)..=(group, last), |_, _| false)
            .map_err(StoreError::database("remove purged entries"))?;
        Ok(last < upto)
    }

    /// Returns whether there are more.
    fn sweep_generation(&mut self, group: u64, generation: u64) -> Result<bool, StoreError> {
        let start = data_key(group, generation, &[]);
        // Nothing can follow the last generation of the last group; a row longer than any does.
        let beyond = || vec![u8::MAX; 16 + KEY_BYTES + 1];
        let end = data_end(group, Some(generation)).unwrap_or_else(beyond);
        let stop = {
            let mut range = self
                .data
                .range(start.as_slice()..end.as_slice())
                .map_err(StoreError::database("find replaced keys"))?;
            match range.nth(SWEEP_ROWS) {
                None => None,
                Some(row) => {
                    let row = row.map_err(StoreError::database("find replaced keys"))?;
                    Some(row.0.value().to_vec())
                }
            }
        };
        let until = stop.as_ref().unwrap_or(&end);
        self.data
            .retain_in(start.as_slice()..until.as_slice(), |_, _| false)
            .map_err(StoreError::database("remove replaced keys"))?;
        Ok(stop.is_some())
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;
    use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _};

    use super::super::inner::create_tables;
    use super::super::schema::{DATA, LOG};
    use super::*;

    fn database() -> Database {
        let db = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        create_tables(&db).unwrap();
        db
    }

    /// Sweeps in as many transactions as it takes; returns how many rows each of them removed.
    fn sweep_all(db: &Database, one: Garbage) -> Vec<u64> {
        let mut garbage = VecDeque::from([one]);
        let mut removed = Vec::new();
        while !garbage.is_empty() {
            let before = rows(db);
            let tx = db.begin_write().unwrap();
            Tables::open(&tx).unwrap().sweep(&mut garbage).unwrap();
            tx.commit().unwrap();
            removed.push(before - rows(db));
        }
        removed
    }

    fn rows(db: &Database) -> u64 {
        let tx = db.begin_read().unwrap();
        tx.open_table(LOG).unwrap().len().unwrap() + tx.open_table(DATA).unwrap().len().unwrap()
    }

    #[test]
    fn purged_entries_are_removed_a_few_at_a_time_and_no_others() {
        let db = database();
        let limit = SWEEP_ROWS as u64;
        let tx = db.begin_write().unwrap();
        {
            let mut tables = Tables::open(&tx).unwrap();
            for group in [4, 5, 6] {
                for index in 10..10 + limit + 5 {
                    tables.log.insert((group, index), [1].as_slice()).unwrap();
                }
            }
        }
        tx.commit().unwrap();
        let upto = 10 + limit;
        assert_eq!(sweep_all(&db, Garbage::Log { group: 5, upto }), [limit, 1]);
        assert_eq!(rows(&db), 3 * (limit + 5) - limit - 1);
        assert_eq!(sweep_all(&db, Garbage::Log { group: 5, upto }), [0]);
    }

    #[test]
    fn a_replaced_generation_is_removed_a_few_keys_at_a_time_and_no_other() {
        let db = database();
        let limit = SWEEP_ROWS as u64;
        let owners = [(5, 0), (5, 1), (5, 2), (6, 1), (u64::MAX, u64::MAX)];
        let tx = db.begin_write().unwrap();
        {
            let mut tables = Tables::open(&tx).unwrap();
            for (group, generation) in owners {
                for key in 0..=limit {
                    let row = data_key(group, generation, &key.to_be_bytes());
                    tables.data.insert(row.as_slice(), [1].as_slice()).unwrap();
                }
                // The longest key there is, of the largest bytes.
                let last = data_key(group, generation, &[u8::MAX; 1024]);
                tables.data.insert(last.as_slice(), [1].as_slice()).unwrap();
            }
        }
        tx.commit().unwrap();
        let each = limit + 2;
        let garbage = Garbage::Generation {
            group: 5,
            generation: 1,
        };
        assert_eq!(sweep_all(&db, garbage), [limit, 2]);
        assert_eq!(rows(&db), 4 * each);
        let garbage = Garbage::Generation {
            group: u64::MAX,
            generation: u64::MAX,
        };
        assert_eq!(sweep_all(&db, garbage), [limit, 2]);
        assert_eq!(rows(&db), 3 * each);
    }
}
