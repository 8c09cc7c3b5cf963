//! What the key-value store puts into Raft: commands, their answers, and what is known of a node.
//!
//! Only names and shapes; nothing here touches a disk or a network.

use std::fmt;

use bytes::Bytes;
use quicraft_manager::{ClusterNode, MetaCommand, MetaReply, NodeRecord};
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
    /// Changes what the cluster is: its nodes and groups. Only the `meta` group gets it.
    Meta(Box<MetaCommand>),
}

impl From<MetaCommand> for Command {
    fn from(command: MetaCommand) -> Self {
        Self::Meta(Box::new(command))
    }
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
            Self::Meta(command) => write!(f, "meta({command:?})"),
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The answer to an applied entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Applied {
    /// Whether the key had a value before; `false` for entries that are about no key.
    pub existed: bool,
    /// What came of a change of the cluster; only of [`Command::Meta`].
    pub meta: Option<MetaReply>,
}

/// An answer that is not about the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not one to a change of the cluster")]
pub struct NotMeta;

impl TryFrom<Applied> for MetaReply {
    type Error = NotMeta;

    fn try_from(applied: Applied) -> Result<Self, NotMeta> {
        applied.meta.ok_or(NotMeta)
    }
}

impl Applied {
    /// The answer of a command whose key did (`true`) or did not have a value before.
    #[must_use]
    pub const fn new(existed: bool) -> Self {
        Self {
            existed,
            meta: None,
        }
    }

    /// The answer to a change of the cluster.
    #[must_use]
    pub const fn of_meta(reply: MetaReply) -> Self {
        Self {
            existed: false,
            meta: Some(reply),
        }
    }
}

/// What the membership of a group says of a node: where it is.
///
/// Both addresses are in the membership, so that every node knows where every other one serves
/// clients without asking anybody.
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

impl KvNode {
    /// The same as the cluster keeps it: the HTTP address is what the store itself knows of a node.
    #[must_use]
    pub fn record(&self, node: u64) -> NodeRecord {
        NodeRecord::new(node, [self.raft.clone()]).with_data(self.http.clone())
    }
}

impl ClusterNode for KvNode {
    fn of(record: &NodeRecord) -> Self {
        let raft = record.addresses.first().cloned();
        Self::new(raft.unwrap_or_default(), record.data.clone())
    }
}

impl fmt::Display for KvNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "raft {}, http {}", self.raft, self.http)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_the_same_in_the_cluster_and_in_a_membership() {
        let node = KvNode::new("h:1", "h:2");
        let record = node.record(3);
        record.validate().unwrap();
        assert_eq!((record.node, KvNode::of(&record)), (3, node));
    }

    #[test]
    fn only_an_answer_about_the_cluster_is_one() {
        let done = MetaReply::Done;
        assert_eq!(Applied::of_meta(done.clone()).try_into(), Ok(done));
        assert_eq!(MetaReply::try_from(Applied::new(true)), Err(NotMeta));
    }
}
