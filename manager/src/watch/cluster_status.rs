//! What a whole cluster looks like, as somebody sees it who has asked every node. It must not know how
//! they were asked.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::{Liveness, NodeReport};
use crate::{GroupName, GroupRole, NodeStanding};

/// The cluster as its nodes report it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The cluster's uid; 0 if it is not founded.
    pub uid: u128,
    /// Every node that was not removed, and every other that has answered, in the order of their ids.
    pub nodes: Vec<NodeView>,
    /// Every group that is to be or that some node has, in the order of their names.
    pub groups: Vec<GroupView>,
    /// What an operator should look at; empty if all is well.
    pub problems: Vec<Problem>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeView {
    /// The node.
    pub node: u64,
    /// How it stands in the cluster; none if the cluster does not know it.
    pub standing: Option<NodeStanding>,
    /// Where its peers reach it.
    pub addresses: Vec<String>,
    /// What the host keeps about it.
    pub data: String,
    /// Groups that it leads, with a majority that says so.
    pub leads: usize,
    /// What it says of itself, or why it says nothing.
    pub reach: Reach,
}

/// Whether a node has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reach {
    /// It has.
    Reached(Box<NodeReport>),
    /// It has not, and why.
    Unreachable(String),
}

impl Reach {
    /// What the node says of itself.
    #[must_use]
    pub fn report(&self) -> Option<&NodeReport> {
        match self {
            Self::Reached(report) => Some(report),
            Self::Unreachable(_) => None,
        }
    }
}

/// A group of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupView {
    /// Its name.
    pub name: GroupName,
    /// Its number on the wire.
    pub id: u64,
    /// Its newest leader, if that has answered and a majority says lately that it leads. What others
    /// believe does not count.
    pub leader: Option<u64>,
    /// The newest term that a node knows, as openraft writes it.
    pub term: String,
    /// The last entry of the leader's log.
    pub last_log_index: Option<u64>,
    /// Everybody who is in it or is to be, in the order of their ids.
    pub members: Vec<MemberView>,
    /// Whether its members are those that it is to have.
    pub settled: bool,
    /// How it is.
    pub health: GroupHealth,
}

/// A node in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemberView {
    /// The node.
    pub node: u64,
    /// What it is in the group, as the leader knows; without one, as the newest of the others do.
    pub role: Option<GroupRole>,
    /// What it is to be there.
    pub goal: Option<GroupRole>,
    /// Whether its part of the group is there: as the leader sees it; without a leader, whether it
    /// has answered.
    pub liveness: Liveness,
    /// Entries of the leader's log that it is not known to have.
    pub lag_entries: Option<u64>,
    /// The same in time.
    pub lag: Option<Duration>,
    /// The last entry that it has applied, as it says itself.
    pub applied_index: Option<u64>,
    /// Why its part of the group runs no more, as it says itself.
    pub failure: Option<String>,
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GroupHealth {
    /// It has a leader, and all its members are there.
    Healthy,
    /// It has a leader, and some of its members are dead or failed.
    Degraded(BTreeSet<u64>),
    /// Nobody leads it now, and enough voters are there to elect a leader.
    Leaderless,
    /// So many of its voters are dead or failed that nobody can lead it: these.
    Lost(BTreeSet<u64>),
    /// It is to be, and nobody has it yet.
    NotFounded,
}

/// Something that an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// The node, if it is about one.
    pub node: Option<u64>,
    /// The group, if it is about one.
    pub group: Option<GroupName>,
    /// What is wrong, in words.
    pub what: String,
}
