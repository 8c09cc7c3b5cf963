//! What is asked of a group's members and leadership, and what is answered: all that travels between
//! a node that wants a change and the leader that makes it. It must not know how either is done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::meta::{GroupRole, NodeRecord};

/// What a node is to be in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupGoal {
    /// The node, as the group is to know it.
    pub node: NodeRecord,
    /// What it is to be; `None`: not in the group at all.
    pub role: Option<GroupRole>,
    /// Whether the next step is only to be told, and not taken. Default `false`.
    pub dry: bool,
}

impl GroupGoal {
    /// The node is to have this role, or none.
    #[must_use]
    pub const fn new(node: NodeRecord, role: Option<GroupRole>) -> Self {
        Self {
            node,
            role,
            dry: false,
        }
    }

    /// The same, only to be told the next step.
    #[must_use]
    pub const fn dry(mut self) -> Self {
        self.dry = true;
        self
    }
}

/// One step of a group towards a [`GroupGoal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GroupStep {
    /// Nothing is left to do.
    Done,
    /// A change that another leader had begun is brought to its end.
    Settle,
    /// The node gets the log.
    AddLearner,
    /// Nothing was done: the node does not follow closely enough to vote. Ask again.
    AwaitLag {
        /// Entries that it lacks; `None` when it is not heard of.
        entries: Option<u64>,
    },
    /// The learner votes.
    Promote,
    /// The voter stays as a learner.
    Demote,
    /// The node leads, so another voter takes over first.
    MoveLeader {
        /// Who leads now.
        to: u64,
    },
    /// The node is not in the group any more.
    Remove,
    /// The group knows the node as its record says.
    SetNode,
}

impl fmt::Display for GroupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Settle => f.write_str("settle"),
            Self::AddLearner => f.write_str("add learner"),
            Self::AwaitLag { entries: None } => f.write_str("await lag, not heard of"),
            Self::AwaitLag { entries: Some(n) } => write!(f, "await lag, {n} entries behind"),
            Self::Promote => f.write_str("promote"),
            Self::Demote => f.write_str("demote"),
            Self::MoveLeader { to } => write!(f, "move leader to {to}"),
            Self::Remove => f.write_str("remove"),
            Self::SetNode => f.write_str("set node"),
        }
    }
}

/// The step that was taken now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changed {
    /// The step; after [`GroupStep::AwaitLag`] nothing was done and the caller asks again.
    pub step: GroupStep,
    /// Who leads the group now.
    pub leader: u64,
    /// The voters now, in the order of their ids.
    pub voters: Vec<u64>,
    /// The learners now, in the order of their ids.
    pub learners: Vec<u64>,
}

/// How a group stands, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupProgress {
    /// The leader that answered.
    pub leader: u64,
    /// Its term, as openraft writes it.
    pub term: String,
    /// The voters, in the order of their ids.
    pub voters: Vec<u64>,
    /// The learners, in the order of their ids.
    pub learners: Vec<u64>,
    /// Whether a change of voters is half done.
    pub joint: bool,
    /// The last entry of the leader's log.
    pub last_log_index: Option<u64>,
    /// Entries that each member lacks; `None` when none of its log is known yet.
    pub lag: BTreeMap<u64, Option<u64>>,
    /// The age of the newest message that each member is known to have acknowledged; `None` when
    /// there is none yet.
    pub since_acked: BTreeMap<u64, Option<Duration>>,
}

/// Leadership that was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Transferred {
    /// Who led; the same as `to` when there was nothing to do.
    pub from: u64,
    /// Who leads.
    pub to: u64,
    /// From the request at the former leader until it knew the new one.
    pub took: Duration,
}

/// Why a leader does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum GroupRefusal {
    /// A group without a voter could never do anything again.
    #[error("node {node} is its last voter")]
    LastVoter {
        /// The node.
        node: u64,
    },
    /// Only a voter leads.
    #[error("node {node} does not vote in it")]
    NotVoter {
        /// The node.
        node: u64,
    },
    /// It lacks too much of the log to take over, or is not heard of.
    #[error("node {node} {}", behind(entries))]
    Lagging {
        /// The node.
        node: u64,
        /// Entries that it lacks; `None` when it is not heard of.
        entries: Option<u64>,
    },
    /// The node to which leadership was handed did not take it in time.
    #[error("node {to} did not take leadership within {waited:?}{}", led(leader))]
    NotTransferred {
        /// The node.
        to: u64,
        /// Who leads now, if that is known.
        leader: Option<u64>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A record of a node that cannot be.
    #[error("{reason}")]
    InvalidNode {
        /// Why.
        reason: String,
    },
}

fn behind(entries: &Option<u64>) -> String {
    entries.map_or_else(
        || "is not heard of".to_owned(),
        |entries| format!("lacks {entries} entries"),
    )
}

fn led(leader: &Option<u64>) -> String {
    leader.map_or_else(
        || "; no leader is known".to_owned(),
        |leader| format!("; node {leader} leads"),
    )
}

impl GroupRefusal {
    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Lagging { .. } | Self::NotTransferred { .. } => true,
            Self::LastVoter { .. } | Self::NotVoter { .. } | Self::InvalidNode { .. } => false,
        }
    }
}
