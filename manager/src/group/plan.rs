//! Which step a group takes next towards a goal, decided from what its leader sees.
//!
//! Pure: the effective membership and the lag come in, the step comes out. It must not know how a
//! step is taken. A step is only ever a change against the membership that was seen, and is taken
//! under the condition that it is still that one; so two that change the same group never undo each
//! other, they only have to ask again.

use std::collections::{BTreeMap, BTreeSet};

use super::goal::{GroupRefusal, GroupStep};
use crate::meta::GroupRole;

/// What the leader of a group sees of it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The leader itself.
    pub(crate) me: u64,
    /// The sets of voters: one, or several while a change of voters is half done.
    pub(crate) configs: Vec<BTreeSet<u64>>,
    /// All members, voters or not.
    pub(crate) members: BTreeSet<u64>,
    /// Whether the membership is committed; one that is not may still be taken back.
    pub(crate) committed: bool,
    /// Entries that each member lacks, of those that were heard of lately.
    pub(crate) lag: BTreeMap<u64, u64>,
    /// Entries that a node may lack to vote or to lead.
    pub(crate) lag_max: u64,
}

/// What one node is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    pub(crate) node: u64,
    pub(crate) role: Option<GroupRole>,
    /// Whether the group knows the node as its record says.
    pub(crate) same: bool,
}

/// Why no step is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Not now; ask again. Why, in words.
    NotNow(&'static str),
    /// Never, as things are.
    Refused(GroupRefusal),
}

impl View {
    fn votes(&self, node: u64) -> bool {
        self.configs.iter().any(|voters| voters.contains(&node))
    }

    /// Entries that a node lacks if they are few enough for it to vote or to lead.
    pub(crate) fn close(&self, node: u64) -> Result<u64, Option<u64>> {
        match self.lag.get(&node) {
            Some(&lag) if lag <= self.lag_max => Ok(lag),
            lag => Err(lag.copied()),
        }
    }

    /// The voter other than the leader that follows most closely, if any does closely enough.
    pub(crate) fn successor(&self) -> Option<u64> {
        let voters = self.configs.last()?.iter().copied();
        let others = voters.filter(|&node| node != self.me);
        let close = others.filter_map(|node| Some((self.close(node).ok()?, node)));
        close.min().map(|(_, node)| node)
    }

    /// Whether leadership may be handed to a node.
    pub(crate) fn may_lead(&self, node: u64) -> Result<(), GroupRefusal> {
        if !self.votes(node) {
            return Err(GroupRefusal::NotVoter { node });
        }
        let close = self.close(node).map(|_| ());
        close.map_err(|entries| GroupRefusal::Lagging { node, entries })
    }
}

/// The next step of a group in which one node is to be something.
pub(crate) fn next_step(view: &View, aim: Aim) -> Result<GroupStep, Held> {
    if !view.committed {
        return Err(Held::NotNow("its membership is not committed yet"));
    }
    if view.configs.len() > 1 {
        return Ok(GroupStep::Settle);
    }
    let (here, votes) = (view.members.contains(&aim.node), view.votes(aim.node));
    let Some(role) = aim.role else {
        return match (here, votes) {
            (false, _) => Ok(GroupStep::Done),
            (true, false) => Ok(GroupStep::Remove),
            (true, true) => without(view, aim.node, GroupStep::Remove),
        };
    };
    if !here {
        return Ok(GroupStep::AddLearner);
    }
    if !aim.same {
        return Ok(GroupStep::SetNode);
    }
    match (role, votes) {
        (GroupRole::Voter, true) | (GroupRole::Learner, false) => Ok(GroupStep::Done),
        (GroupRole::Voter, false) => Ok(match view.close(aim.node) {
            Ok(_) => GroupStep::Promote,
            Err(entries) => GroupStep::AwaitLag { entries },
        }),
        (GroupRole::Learner, true) => without(view, aim.node, GroupStep::Demote),
    }
}

/// The step that takes a vote away, or what has to come before it.
fn without(view: &View, node: u64, step: GroupStep) -> Result<GroupStep, Held> {
    if view.configs.iter().all(|voters| voters.len() == 1) {
        return Err(Held::Refused(GroupRefusal::LastVoter { node }));
    }
    if node != view.me {
        return Ok(step);
    }
    let to = view.successor();
    to.map(|to| GroupStep::MoveLeader { to })
        .ok_or(Held::NotNow(
            "no other voter follows closely enough to lead",
        ))
}
