//! What is known of one group in memory; the writer publishes here what it has committed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quicraft_manager::{Meta, MetaState};
use redb::{Database, ReadableDatabase as _};

use super::error::StoreError;
use super::schema::{
    CLUSTER, DATA, LOG, MACHINE, MEMBERSHIP, META, Machine, MachineState, PURGED, VOTE, data_end,
    data_key, decode, generation_of,
};
use super::snapshot::SnapshotFile;
use super::sweep::Garbage;
use super::tail::Tail;
use crate::kv::types::{Entry, LogId, Vote};

/// One group: what was committed last, and the newest entries of its log.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: u64,
    pub(super) tail: Tail,
    machine: Mutex<Machine>,
    vote: Mutex<Option<Vote>>,
    pub(super) snapshot: Mutex<Option<SnapshotFile>>,
    /// The cluster, if this is the group that holds it.
    pub(super) cluster: Meta,
    next_generation: AtomicU64,
}

/// Rows of a group that a crash left behind and that nobody reads.
#[derive(Debug, Default)]
pub(super) struct Leftover {
    pub(super) purged_upto: Option<u64>,
    pub(super) generations: Vec<u64>,
}

impl Leftover {
    /// As work for the sweeper.
    pub(super) fn garbage(self, group: u64) -> impl Iterator<Item = Garbage> {
        let log = self.purged_upto.map(|upto| Garbage::Log { group, upto });
        let generations = self.generations.into_iter();
        let data = generations.map(move |generation| Garbage::Generation { group, generation });
        log.into_iter().chain(data)
    }
}

/// No code panics while it holds one of these locks, so a poisoned one is still whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    /// Reads what the database knows of group `id`.
    pub(super) fn load(
        db: &Database,
        id: u64,
        snapshot: Option<SnapshotFile>,
    ) -> Result<(Self, Leftover), StoreError> {
        let tx = db
            .begin_read()
            .map_err(StoreError::database("begin reading"))?;
        let meta = tx
            .open_table(META)
            .map_err(StoreError::database("open a table"))?;
        let field = |field: u8| {
            let row = meta
                .get((id, field))
                .map_err(StoreError::database("read a record"))?;
            Ok::<_, StoreError>(row.map(|row| row.value().to_vec()))
        };
        let vote = field(VOTE)?
            .map(|row| decode(id, "vote", &row))
            .transpose()?;
        let purged: Option<LogId> = field(PURGED)?
            .map(|row| decode(id, "purged log id", &row))
            .transpose()?;
        let state: MachineState = field(MACHINE)?
            .map(|row| decode(id, "machine state", &row))
            .transpose()?
            .unwrap_or_default();
        let membership = field(MEMBERSHIP)?
            .map(|row| decode(id, "membership", &row))
            .transpose()?
            .unwrap_or_default();

        let log = tx
            .open_table(LOG)
            .map_err(StoreError::database("open a table"))?;
        let mut range = log
            .range((id, 0)..=(id, u64::MAX))
            .map_err(StoreError::database("read the log"))?;
        let ends = (range.next(), range.next_back());
        let mut leftover = Leftover::default();
        let mut last = None;
        if let Some(row) = ends.0 {
            let row = row.map_err(StoreError::database("read the log"))?;
            let first = row.0.value().1;
            leftover.purged_upto = purged
                .map(|purged| purged.index)
                .filter(|&purged| first <= purged);
            last = Some(row);
        }
        if let Some(row) = ends.1 {
            last = Some(row.map_err(StoreError::database("read the log"))?);
        }
        let last = last
            .map(|row| decode::<Entry>(id, "log entry", row.1.value()))
            .transpose()?
            .map(|entry| entry.log_id);

        let generations = generations(&tx, id)?;
        let newest = generations
            .last()
            .copied()
            .unwrap_or(0)
            .max(state.generation);
        leftover.generations = generations
            .into_iter()
            .filter(|&one| one != state.generation)
            .collect();
        let group = Self {
            id,
            tail: Tail::new(last, purged),
            machine: Mutex::new(Machine { state, membership }),
            vote: Mutex::new(vote),
            snapshot: Mutex::new(snapshot),
            cluster: Meta::restored(cluster(&tx, id, state.generation)?.unwrap_or_default()),
            next_generation: AtomicU64::new(newest + 1),
        };
        Ok((group, leftover))
    }

    /// The last committed state machine.
    pub(super) fn machine(&self) -> Machine {
        lock(&self.machine).clone()
    }

    /// Only its small part, without the membership.
    pub(super) fn state(&self) -> MachineState {
        lock(&self.machine).state
    }

    pub(super) fn publish_machine(&self, machine: Machine) {
        *lock(&self.machine) = machine;
    }

    /// The last durable vote.
    pub(super) fn vote(&self) -> Option<Vote> {
        *lock(&self.vote)
    }

    pub(super) fn publish_vote(&self, vote: Vote) {
        *lock(&self.vote) = Some(vote);
    }

    /// A generation that no row has.
    pub(super) fn new_generation(&self) -> u64 {
        self.next_generation.fetch_add(1, Ordering::Relaxed)
    }
}

/// The cluster, as a generation of a group holds it.
pub(super) fn cluster(
    tx: &redb::ReadTransaction,
    group: u64,
    generation: u64,
) -> Result<Option<MetaState>, StoreError> {
    let data = tx
        .open_table(DATA)
        .map_err(StoreError::database("open a table"))?;
    let row = data
        .get(data_key(group, generation, CLUSTER).as_slice())
        .map_err(StoreError::database("read the cluster"))?;
    row.map(|row| decode(group, "cluster", row.value()))
        .transpose()
}

/// The generations of which a group has rows; it jumps from one to the next, so the number of rows
/// does not matter.
fn generations(tx: &redb::ReadTransaction, group: u64) -> Result<Vec<u64>, StoreError> {
    let data = tx
        .open_table(DATA)
        .map_err(StoreError::database("open a table"))?;
    let mut found = Vec::new();
    let mut from = Some(data_key(group, 0, &[]));
    while let Some(start) = from.take() {
        let row = match data_end(group, None) {
            Some(end) => data.range(start.as_slice()..end.as_slice()),
            None => data.range(start.as_slice()..),
        }
        .map_err(StoreError::database("read the data"))?
        .next();
        if let Some(row) = row {
            let row = row.map_err(StoreError::database("read the data"))?;
            let generation = generation_of(row.0.value());
            found.push(generation);
            from = generation
                .checked_add(1)
                .map(|next| data_key(group, next, &[]));
        }
    }
    Ok(found)
}
