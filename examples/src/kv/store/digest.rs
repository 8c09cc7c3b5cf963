//! The digest of a group's state machine: one hash over everything that was ever applied.
//!
//! It is a chain: `digest = blake3(previous ‖ index as u64 LE ‖ kind ‖ body)`, starting from 32
//! zero bytes, where kind and body are
//!
//! | entry | kind | body |
//! | --- | --- | --- |
//! | blank | 0 | nothing |
//! | put | 1 | key length as u64 LE, key, value |
//! | delete | 2 | key |
//! | membership | 3 | the membership as bincode |
//! | change of the cluster | 4 | the command as bincode |
//!
//! The term and the leader of an entry are left out: the digest says *what* was applied *where*,
//! and a second run with other elections but the same entries has the same one. All entries count,
//! blank ones too, so two replicas with the same applied index have the same digest, or one of
//! them has applied something else. It is carried by snapshots.

use openraft::EntryPayload;

use super::error::StoreError;
use super::schema::encode;
use crate::kv::types::{Command, Entry};

/// The digest after `entry`, when `previous` was the one before it.
pub(super) fn chain(
    group: u64,
    previous: &[u8; 32],
    entry: &Entry,
) -> Result<[u8; 32], StoreError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous);
    hasher.update(&entry.log_id.index.to_le_bytes());
    match &entry.payload {
        EntryPayload::Blank => {
            hasher.update(&[0]);
        }
        EntryPayload::Normal(Command::Put { key, value }) => {
            hasher.update(&[1]);
            hasher.update(&(key.len() as u64).to_le_bytes());
            hasher.update(key);
            hasher.update(value);
        }
        EntryPayload::Normal(Command::Delete { key }) => {
            hasher.update(&[2]);
            hasher.update(key);
        }
        EntryPayload::Normal(Command::Meta(command)) => {
            hasher.update(&[4]);
            hasher.update(&encode(group, "change of the cluster", command)?);
        }
        EntryPayload::Membership(membership) => {
            hasher.update(&[3]);
            hasher.update(&encode(group, "membership", membership)?);
        }
    }
    Ok(hasher.finalize().into())
}
