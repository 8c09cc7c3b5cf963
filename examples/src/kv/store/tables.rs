//! What each operation does to the tables, inside one write transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use openraft::EntryPayload;
use quicraft_manager::Meta;
use redb::{Table, WriteTransaction};

use super::digest;
use super::error::StoreError;
use super::operation::{Operation, Queued};
use super::schema::{
    CLUSTER, DATA, LOG, MACHINE, MEMBERSHIP, META, Machine, MachineState, PURGED, VOTE, data_key,
    encode,
};
use super::sweep::Garbage;
use super::writer::Staged;
use crate::kv::types::{Applied, Command, Entry, StoredMembership};

/// The open tables of one write transaction.
pub(super) struct Tables<'tx> {
    pub(super) log: Table<'tx, (u64, u64), &'static [u8]>,
    meta: Table<'tx, (u64, u8), &'static [u8]>,
    pub(super) data: Table<'tx, &'static [u8], &'static [u8]>,
}

impl<'tx> Tables<'tx> {
    pub(super) fn open(tx: &'tx WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            log: tx
                .open_table(LOG)
                .map_err(StoreError::database("open the log"))?,
            meta: tx
                .open_table(META)
                .map_err(StoreError::database("open the records"))?,
            data: tx
                .open_table(DATA)
                .map_err(StoreError::database("open the data"))?,
        })
    }

    /// Does one operation. What is removed only becomes garbage here; sweeping removes it.
    pub(super) fn execute(
        &mut self,
        queued: &mut Queued,
        staged: &mut Staged,
        garbage: &mut VecDeque<Garbage>,
    ) -> Result<(), StoreError> {
        let group = queued.group.id;
        match &mut queued.operation {
            Operation::Append { entries, .. } => {
                for (index, bytes) in entries.iter() {
                    self.log
                        .insert((group, *index), bytes.as_slice())
                        .map_err(StoreError::database("append"))?;
                }
            }
            Operation::Truncate { from } => self
                .log
                .retain_in((group, *from)..=(group, u64::MAX), |_, _| false)
                .map_err(StoreError::database("truncate"))?,
            Operation::Purge { upto } => {
                self.record(group, PURGED, &encode(group, "purged log id", upto)?)?;
                garbage.push_back(Garbage::Log {
                    group,
                    upto: upto.index,
                });
            }
            Operation::Vote { vote, .. } => {
                self.record(group, VOTE, &encode(group, "vote", vote)?)?;
            }
            Operation::Apply {
                entries, answers, ..
            } => {
                let (_, machine) = staged
                    .entry(group)
                    .or_insert_with(|| (Arc::clone(&queued.group), queued.group.machine()));
                let cluster = &queued.group.cluster;
                *answers = self.apply(group, machine, cluster, entries)?;
            }
            Operation::Load {
                generation, rows, ..
            } => {
                for (key, value) in rows.iter() {
                    self.data
                        .insert(data_key(group, *generation, key).as_slice(), value.as_ref())
                        .map_err(StoreError::database("load a snapshot"))?;
                }
            }
            Operation::Switch { machine, .. } => {
                let old = queued.group.state().generation;
                self.record_machine(group, machine, true)?;
                staged.insert(group, (Arc::clone(&queued.group), machine.clone()));
                garbage.push_back(Garbage::Generation {
                    group,
                    generation: old,
                });
            }
            Operation::Remove { garbage: rows } => garbage.push_back(*rows),
            Operation::Erase { generation, .. } => {
                garbage.push_back(Garbage::Generation {
                    group,
                    generation: queued.group.state().generation,
                });
                self.erase(group, *generation)?;
            }
        }
        Ok(())
    }

    /// Applies entries and stores, in the same transaction, up to where.
    fn apply(
        &mut self,
        group: u64,
        machine: &mut Machine,
        cluster: &Meta,
        entries: &[Entry],
    ) -> Result<Vec<Applied>, StoreError> {
        let mut answers = Vec::with_capacity(entries.len());
        let mut new_membership = false;
        let mut new_cluster = false;
        let generation = machine.state.generation;
        for entry in entries {
            let index = entry.log_id.index;
            if let Some(applied) = machine.state.applied
                && index <= applied.index
            {
                return Err(StoreError::AppliedAgain {
                    group,
                    index,
                    applied: applied.index,
                });
            }
            let mut answer = Applied::default();
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Command::Put { key, value }) => {
                    let row = data_key(group, generation, key);
                    let old = self.data.insert(row.as_slice(), value.as_ref());
                    answer.existed = old.map_err(StoreError::database("put"))?.is_some();
                }
                EntryPayload::Normal(Command::Delete { key }) => {
                    let row = data_key(group, generation, key);
                    let old = self.data.remove(row.as_slice());
                    answer.existed = old.map_err(StoreError::database("delete"))?.is_some();
                }
                // It is seen before this transaction is committed. If that fails, the store takes
                // nothing any more, and a restart applies it again.
                EntryPayload::Normal(Command::Meta(command)) => {
                    answer = Applied::of_meta(cluster.apply(command));
                    new_cluster = true;
                }
                EntryPayload::Membership(membership) => {
                    machine.membership =
                        StoredMembership::new(Some(entry.log_id), membership.clone());
                    new_membership = true;
                }
            }
            machine.state.digest = digest::chain(group, &machine.state.digest, entry)?;
            machine.state.applied = Some(entry.log_id);
            answers.push(answer);
        }
        if new_cluster {
            let state = encode(group, "cluster", &*cluster.state())?;
            let row = data_key(group, generation, CLUSTER);
            self.data
                .insert(row.as_slice(), state.as_slice())
                .map(drop)
                .map_err(StoreError::database("keep the cluster"))?;
        }
        self.record_machine(group, machine, new_membership)?;
        Ok(answers)
    }

    /// Leaves nothing of a group but the number of a generation that has no rows.
    fn erase(&mut self, group: u64, generation: u64) -> Result<(), StoreError> {
        self.log
            .retain_in((group, 0)..=(group, u64::MAX), |_, _| false)
            .map_err(StoreError::database("erase a log"))?;
        for field in [VOTE, PURGED, MEMBERSHIP] {
            self.meta
                .remove((group, field))
                .map(drop)
                .map_err(StoreError::database("erase a record"))?;
        }
        let state = MachineState {
            generation,
            ..MachineState::default()
        };
        self.record(group, MACHINE, &encode(group, "machine state", &state)?)
    }

    fn record_machine(
        &mut self,
        group: u64,
        machine: &Machine,
        with_membership: bool,
    ) -> Result<(), StoreError> {
        self.record(
            group,
            MACHINE,
            &encode(group, "machine state", &machine.state)?,
        )?;
        if with_membership {
            self.record(
                group,
                MEMBERSHIP,
                &encode(group, "membership", &machine.membership)?,
            )?;
        }
        Ok(())
    }

    fn record(&mut self, group: u64, field: u8, bytes: &[u8]) -> Result<(), StoreError> {
        self.meta
            .insert((group, field), bytes)
            .map(drop)
            .map_err(StoreError::database("write a record"))
    }
}
