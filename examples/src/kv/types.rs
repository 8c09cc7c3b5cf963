//! What the key-value store puts into Raft: commands, their answers, and what is known of a node.
//!
//! Only names and shapes; nothing here touches a disk or a network.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The types that every group of the key-value store runs with.
    pub TypeConfig:
        D = Command,
        R = Applied,
        NodeId = u64,
        Node = KvNode,
);

/// A log id of this store's groups: the leader that proposed an entry, and its index.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A log entry of this store's groups.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// A vote of this store's groups.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// A membership and the log id of the entry that carries it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What openraft knows of a snapshot beside its bytes.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// One change of the store, as a client proposes it and the log carries it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Sets `key` to `value`, whatever it was.
    Put {
        /// The key, at least one byte.
        key: Bytes,
        /// The value; may be empty.
        value: Bytes,
    },
    /// Removes `key`; removing what is not there changes nothing.
    Delete {
        /// The key, at least one byte.
        key: Bytes,
    },
}

impl Command {
    /// A command that sets `key` to `value`.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
        }
    }

    /// A command that removes `key`.
    #[must_use]
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The key that this command changes; it decides the group.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Shows lengths, not contents: a log line must neither leak a value nor hold a megabyte.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => {
                write!(
                    f,
                    "put(key of {} bytes, value of {} bytes)",
                    key.len(),
                    value.len()
                )
            }
            Self::Delete { key } => write!(f, "delete(key of {} bytes)", key.len()),
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The answer to an applied entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Applied {
    /// Whether the key had a value before; `false` for entries that carry no command.
    pub existed: bool,
}

impl Applied {
    /// The answer of a command whose key did (`true`) or did not have a value before.
    #[must_use]
    pub const fn new(existed: bool) -> Self {
        Self { existed }
    }
}

/// What the membership of a group says of a node: where it is.
///
/// Both addresses are in the membership, so that a follower can name the leader's HTTP address in
/// a redirect without asking anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KvNode {
    /// Where the node takes Quicraft's QUIC packets: `host:port`.
    pub raft: String,
    /// Where the node serves HTTP: `host:port`.
    pub http: String,
}

impl KvNode {
    /// A node that is reached at `raft` by its peers and at `http` by clients.
    #[must_use]
    pub fn new(raft: impl Into<String>, http: impl Into<String>) -> Self {
        Self {
            raft: raft.into(),
            http: http.into(),
        }
    }
}

impl fmt::Display for KvNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "raft {}, http {}", self.raft, self.http)
    }
}
