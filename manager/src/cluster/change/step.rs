//! The steps of which every change of a node is made, as one list.

use std::fmt;

use crate::GroupName;
use crate::group::GroupStep;

/// A step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ChangeStep {
    /// The meta group notes that the node may enter, and its groups.
    NoteJoining,
    /// The node is waited for until its disk keeps the cluster's uid.
    AwaitSeat,
    /// A joint configuration that another change has left behind is ended.
    Settle,
    /// The node becomes a learner of the group.
    AddLearner,
    /// The learner is waited for until it lags little.
    AwaitLag,
    /// The learner becomes a voter.
    Promote,
    /// The voter becomes a learner.
    Demote,
    /// The group learns where the node is now.
    SetNode,
    /// The meta group notes that the node is in all its groups.
    NoteMember,
    /// The meta group notes what the node is to be in some groups.
    NotePlace,
    /// The meta group notes where the node is now.
    NoteMove,
    /// The meta group notes that the node is in no group any more.
    NoteLeaving,
    /// The node hands the leadership of the group to another voter.
    MoveLeader,
    /// The node leaves the group.
    Remove,
    /// The node is told to end its part of the group.
    Close,
    /// The meta group notes that the node has left: it may never enter again.
    NoteRemoved,
}

impl ChangeStep {
    /// All of them, in the order in which a change may meet them.
    pub const ALL: [Self; 16] = [
        Self::NoteJoining,
        Self::AwaitSeat,
        Self::Settle,
        Self::AddLearner,
        Self::AwaitLag,
        Self::Promote,
        Self::Demote,
        Self::SetNode,
        Self::NoteMember,
        Self::NotePlace,
        Self::NoteMove,
        Self::NoteLeaving,
        Self::MoveLeader,
        Self::Remove,
        Self::Close,
        Self::NoteRemoved,
    ];

    /// The step of a group that this is; `None` when the group is where it is to be.
    pub(super) const fn of(step: &GroupStep) -> Option<Self> {
        match step {
            GroupStep::Done => None,
            GroupStep::Settle => Some(Self::Settle),
            GroupStep::AddLearner => Some(Self::AddLearner),
            GroupStep::AwaitLag { .. } => Some(Self::AwaitLag),
            GroupStep::Promote => Some(Self::Promote),
            GroupStep::Demote => Some(Self::Demote),
            GroupStep::MoveLeader { .. } => Some(Self::MoveLeader),
            GroupStep::Remove => Some(Self::Remove),
            GroupStep::SetNode => Some(Self::SetNode),
        }
    }
}

/// A point in a change: before or after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangePoint {
    /// The node that is changed.
    pub node: u64,
    /// The group, for the steps of one.
    pub group: Option<GroupName>,
    /// The step.
    pub step: ChangeStep,
    /// Whether it is done.
    pub done: bool,
}

impl fmt::Display for ChangePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.done { "after" } else { "before" };
        write!(f, "node {}, {when} {:?}", self.node, self.step)?;
        match &self.group {
            Some(group) => write!(f, " of {group}"),
            None => Ok(()),
        }
    }
}
