//! What the meta group of a managed cluster replicates: the cluster itself, and notes of the host.

use std::fmt;

use quicraft_manager::{MetaCommand, MetaReply};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The meta group of a host that keeps notes of its own beside the cluster.
    pub MetaTypes:
        D = MetaEntry,
        R = MetaAnswer,
        NodeId = u64,
        Node = openraft::BasicNode,
);

/// A command of the meta group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaEntry {
    /// About the cluster.
    Cluster(Box<MetaCommand>),
    /// A note of the host.
    Note(String),
}

impl From<MetaCommand> for MetaEntry {
    fn from(command: MetaCommand) -> Self {
        Self::Cluster(Box::new(command))
    }
}

impl fmt::Display for MetaEntry {
    /// Only the kind: a log line must not hold a payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster(_) => "a change of the cluster",
            Self::Note(_) => "a note",
        })
    }
}

/// What applying a [`MetaEntry`] gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaAnswer {
    /// To a change of the cluster.
    Cluster(MetaReply),
    /// To a note, and to what openraft itself puts into the log.
    Noted,
}

impl TryFrom<MetaAnswer> for MetaReply {
    type Error = MetaAnswer;

    fn try_from(answer: MetaAnswer) -> Result<Self, MetaAnswer> {
        match answer {
            MetaAnswer::Cluster(reply) => Ok(reply),
            other @ MetaAnswer::Noted => Err(other),
        }
    }
}
