//! What lies in the database: tables, keys and records, and how they become bytes.
//!
//! Every key begins with its group in big-endian, so that a group is one range. It knows no
//! transaction and no thread.

use bincode::config;
use redb::TableDefinition;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::StoreError;
use super::limits::RECORD_BYTES;
use crate::kv::types::{LogId, StoredMembership};

/// The logs of all groups: (group, index) -> entry.
pub(super) const LOG: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("log");
/// Single records of all groups: (group, field) -> record.
pub(super) const META: TableDefinition<'static, (u64, u8), &[u8]> = TableDefinition::new("meta");
/// The keys and values of all groups: group, generation, key -> value.
pub(super) const DATA: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("data");

/// [`META`]: the last saved vote.
pub(super) const VOTE: u8 = 1;
/// [`META`]: the log id up to which the log was purged.
pub(super) const PURGED: u8 = 2;
/// [`META`]: the [`MachineState`].
pub(super) const MACHINE: u8 = 3;
/// [`META`]: the last applied membership.
pub(super) const MEMBERSHIP: u8 = 4;

/// What a group has applied, and the digest over it; both are of the same moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AppliedState {
    /// The last applied log id.
    pub applied: Option<LogId>,
    /// The digest over everything that was applied: replicas with equal `applied` have equal ones.
    pub digest: [u8; 32],
}

/// What is known of a group's state machine beside its keys and its membership. It is written in
/// the transaction that applies, so it is never older or newer than they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MachineState {
    pub(super) applied: Option<LogId>,
    pub(super) digest: [u8; 32],
    /// The generation of [`DATA`] that is the state; an installed snapshot is a new one.
    pub(super) generation: u64,
}

/// State, membership: the whole small part of a state machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    pub(super) state: MachineState,
    pub(super) membership: StoredMembership,
}

/// The key under which [`DATA`] has the cluster, in the group that holds it. No client has a key of
/// no bytes; so the cluster goes with the snapshots and generations as every other row does.
pub(super) const CLUSTER: &[u8] = &[];

/// The key of a row of [`DATA`].
pub(super) fn data_key(group: u64, generation: u64, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(16 + key.len());
    row.extend_from_slice(&group.to_be_bytes());
    row.extend_from_slice(&generation.to_be_bytes());
    row.extend_from_slice(key);
    row
}

/// The host's key inside a key of [`DATA`].
pub(super) fn user_key(row: &[u8]) -> &[u8] {
    row.get(16..).unwrap_or_default()
}

/// The generation inside a key of [`DATA`].
pub(super) fn generation_of(row: &[u8]) -> u64 {
    row.get(8..16)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

/// The first key after all keys of a generation, or of a group when `generation` is `None`.
/// `None` when there is no such key, because the numbers end.
pub(super) fn data_end(group: u64, generation: Option<u64>) -> Option<Vec<u8>> {
    if let Some(next) = generation.and_then(|generation| generation.checked_add(1)) {
        return Some(data_key(group, next, &[]));
    }
    group.checked_add(1).map(|next| data_key(next, 0, &[]))
}

/// Encodes a record of `group`.
pub(super) fn encode<T: Serialize>(
    group: u64,
    what: &'static str,
    record: &T,
) -> Result<Vec<u8>, StoreError> {
    bincode::serde::encode_to_vec(record, config::standard()).map_err(|error| StoreError::Encode {
        group,
        what,
        reason: error.to_string(),
    })
}

/// Decodes a record of `group`; it must use up all bytes.
pub(super) fn decode<T: DeserializeOwned>(
    group: u64,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, StoreError> {
    let damaged = |reason: String| StoreError::Damaged {
        group,
        what,
        reason,
    };
    let limited = config::standard().with_limit::<RECORD_BYTES>();
    let (record, used) = bincode::serde::decode_from_slice(bytes, limited)
        .map_err(|error| damaged(error.to_string()))?;
    if used != bytes.len() {
        return Err(damaged(format!(
            "{} bytes are left over",
            bytes.len() - used
        )));
    }
    Ok(record)
}
