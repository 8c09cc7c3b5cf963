//! What the `meta` group is asked to note, and what it answers. It must not know who asks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::node_record::{NodeRecord, NodeStanding};
use crate::GroupName;

/// What a node is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GroupRole {
    /// It votes.
    Voter,
    /// It gets the log and does not vote.
    Learner,
}

/// A group that is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NewGroup {
    /// Its name.
    pub name: GroupName,
    /// Its number on the wire; `None` takes the next one that was never used.
    pub id: Option<u64>,
    /// The nodes that are to vote in it, at least one.
    pub voters: BTreeSet<u64>,
    /// The nodes that are to get its log without a vote.
    pub learners: BTreeSet<u64>,
    /// The node that founds it, and leads it first: one of the voters.
    pub founder: u64,
}

impl NewGroup {
    /// A group of these voters, founded by the first of them.
    #[must_use]
    pub fn new(name: GroupName, voters: impl IntoIterator<Item = u64>) -> Self {
        let voters: BTreeSet<_> = voters.into_iter().collect();
        Self {
            name,
            id: None,
            founder: voters.first().copied().unwrap_or_default(),
            voters,
            learners: BTreeSet::new(),
        }
    }

    /// The same with a number of the host's choice.
    #[must_use]
    pub const fn numbered(mut self, id: u64) -> Self {
        self.id = Some(id);
        self
    }

    /// The same, founded by another of its voters.
    #[must_use]
    pub const fn founded_by(mut self, node: u64) -> Self {
        self.founder = node;
        self
    }
}

/// Which groups a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GroupSelection {
    /// All that there are.
    All,
    /// These. `meta` is always one of them: every node is in it.
    Some(BTreeSet<GroupName>),
}

impl GroupSelection {
    /// Whether a group is one of them.
    #[must_use]
    pub fn has(&self, group: &GroupName) -> bool {
        match self {
            Self::All => true,
            Self::Some(groups) => groups.contains(group),
        }
    }
}

/// A change of what the cluster is. Each may be made twice: the second finds it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MetaCommand {
    /// The cluster begins: its uid, its first member, those that are to join, its groups. The first
    /// group is the `meta` group itself.
    Found {
        /// Drawn at random by the founder; never 0.
        uid: u128,
        /// The first member.
        founder: NodeRecord,
        /// Who is to join it.
        joining: Vec<NodeRecord>,
        /// The `meta` group itself.
        meta: NewGroup,
        /// All other groups.
        groups: Vec<NewGroup>,
    },
    /// A node has kept the cluster's uid on its disk. From now on it cannot be empty.
    Seat {
        /// The node.
        node: u64,
    },
    /// A node may enter, and belongs to groups from now on.
    Join {
        /// The node.
        record: NodeRecord,
        /// Its groups.
        groups: GroupSelection,
        /// What it is to be in them.
        role: GroupRole,
    },
    /// A node is in all its groups.
    Joined {
        /// The node.
        node: u64,
    },
    /// A node belongs to no group any more.
    Leave {
        /// The node.
        node: u64,
    },
    /// A node has left all groups and may never enter again.
    Left {
        /// The node.
        node: u64,
    },
    /// A node is reached elsewhere from now on.
    Move {
        /// The node.
        node: u64,
        /// Where.
        addresses: Vec<String>,
    },
    /// A node is to have a role in some groups, or none.
    Place {
        /// The node.
        node: u64,
        /// The groups.
        groups: GroupSelection,
        /// What it is to be; `None` takes it out.
        role: Option<GroupRole>,
    },
    /// There is to be another group.
    CreateGroup(NewGroup),
    /// A group was founded by its founder, with these voters.
    GroupFounded {
        /// The group.
        group: GroupName,
    },
    /// Another of its voters founds a group, because its founder was never seated.
    NewFounder {
        /// The group.
        group: GroupName,
        /// Who founds it.
        founder: u64,
    },
    /// There is to be a group no more.
    RemoveGroup {
        /// The group.
        group: GroupName,
    },
}

/// What came of a [`MetaCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MetaReply {
    /// It holds, since now or before.
    Done,
    /// It cannot be, and nothing was changed.
    Refused(MetaRefusal),
}

/// Why the cluster cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum MetaRefusal {
    /// It was founded before, by another uid.
    #[error("the cluster was founded already; its uid is {uid:032x}")]
    Founded {
        /// Its uid.
        uid: u128,
    },
    /// It was not founded yet.
    #[error("the cluster is not founded")]
    NotFounded,
    /// A record that cannot be, in words.
    #[error("{0}")]
    Invalid(String),
    /// A node that the cluster does not know.
    #[error("node {node} is not in the cluster; add it first")]
    UnknownNode {
        /// The node.
        node: u64,
    },
    /// A node in a standing that does not allow it.
    #[error("node {node} is {standing}{}", advice(*standing))]
    Standing {
        /// The node.
        node: u64,
        /// How it stands.
        standing: NodeStanding,
    },
    /// Another node has the address.
    #[error("node {node} cannot have the address {address}, which node {holder} has")]
    AddressTaken {
        /// The node.
        node: u64,
        /// The address.
        address: String,
        /// Who has it.
        holder: u64,
    },
    /// The node is known with other addresses.
    #[error("node {node} is in the cluster with other addresses ({known}); use change_address")]
    OtherAddress {
        /// The node.
        node: u64,
        /// Its addresses, separated by commas.
        known: String,
    },
    /// A group that there is not.
    #[error("there is no group {group}")]
    UnknownGroup {
        /// The group.
        group: GroupName,
    },
    /// There is such a group already, with other members or another number.
    #[error("there is a group {group} already, with another number or other voters")]
    GroupExists {
        /// The group.
        group: GroupName,
    },
    /// The number was given to another group, now or before.
    #[error("group {group} cannot have number {id}: it was given before")]
    NumberTaken {
        /// The group.
        group: GroupName,
        /// The number.
        id: u64,
    },
    /// A group would be left without a voter.
    #[error("node {node} is the last voter of group {group}")]
    LastVoter {
        /// The group.
        group: GroupName,
        /// The node.
        node: u64,
    },
    /// A seated node is to found a group, and might have done so on its own disk.
    #[error("node {node} is to found group {group}; wait until it has, or delete the group")]
    Unfounded {
        /// The group.
        group: GroupName,
        /// The node.
        node: u64,
    },
    /// Another founder is not needed, or cannot be that one.
    #[error(
        "group {group} is not to be founded by node {node}, which is no seated voter of it, or its founder has come"
    )]
    Founder {
        /// The group.
        group: GroupName,
        /// Who was to found it.
        node: u64,
    },
    /// The `meta` group has all nodes and stays.
    #[error("group {group} holds the cluster itself: it has every node, and stays")]
    Meta {
        /// The group.
        group: GroupName,
    },
}

const fn advice(standing: NodeStanding) -> &'static str {
    match standing {
        NodeStanding::Removed => "; ids are not reused, so give the node another one",
        NodeStanding::Leaving => "; wait until it has left",
        NodeStanding::Joining => "; wait until it has joined",
        NodeStanding::Member => "",
    }
}
