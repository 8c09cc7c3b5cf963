//! The state that [`MetaCommand`]s build: pure, and the same on every node. It must not know what is
//! done about it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::{GroupRole, GroupSelection, MetaCommand, MetaRefusal, NewGroup};
use super::node_record::{NodeRecord, NodeStanding};
use crate::GroupName;

/// Voters of the `meta` group. 7 outlive three lost nodes; each more would only make every change of
/// the cluster slower. A node that joins beyond them is a learner of it, and knows the cluster as well.
pub const META_VOTERS_MAX: usize = 7;

/// A node, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeEntry {
    /// What is known of it.
    pub record: NodeRecord,
    /// How it stands.
    pub standing: NodeStanding,
    /// Whether its disk keeps the cluster's uid: from then on it is never empty, unless it was lost.
    pub seated: bool,
}

/// A group: where it is to be. Where it is already, its own membership says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupRecord {
    /// Its number on the wire.
    pub id: u64,
    /// Who is to vote in it.
    pub voters: BTreeSet<u64>,
    /// Who is to get its log without a vote.
    pub learners: BTreeSet<u64>,
    /// Who founds it.
    pub founder: u64,
    /// Whether that was done: it is never founded twice.
    pub founded: bool,
}

impl GroupRecord {
    /// What a node is to be in it, if anything.
    #[must_use]
    pub fn role(&self, node: u64) -> Option<GroupRole> {
        if self.voters.contains(&node) {
            Some(GroupRole::Voter)
        } else if self.learners.contains(&node) {
            Some(GroupRole::Learner)
        } else {
            None
        }
    }

    fn place(&mut self, node: u64, role: Option<GroupRole>) {
        self.voters.remove(&node);
        self.learners.remove(&node);
        match role {
            Some(GroupRole::Voter) => drop(self.voters.insert(node)),
            Some(GroupRole::Learner) => drop(self.learners.insert(node)),
            None => {}
        }
        if !self.voters.contains(&self.founder) && !self.founded {
            self.founder = self.voters.first().copied().unwrap_or_default();
        }
    }
}

/// The cluster as its `meta` group has applied it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MetaState {
    /// The cluster's uid; 0 until it is founded.
    pub uid: u128,
    /// All nodes that there ever were.
    pub nodes: BTreeMap<u64, NodeEntry>,
    /// All groups, the `meta` group among them.
    pub groups: BTreeMap<GroupName, GroupRecord>,
    /// The `meta` group's name, once the cluster is founded.
    pub meta: Option<GroupName>,
    /// Numbers of groups that are no more.
    pub retired: BTreeSet<u64>,
}

impl MetaState {
    /// How a node stands, if it is known.
    #[must_use]
    pub fn standing(&self, node: u64) -> Option<NodeStanding> {
        self.nodes.get(&node).map(|entry| entry.standing)
    }

    /// The nodes that may enter.
    pub fn admitted(&self) -> impl Iterator<Item = &NodeEntry> {
        let nodes = self.nodes.values();
        nodes.filter(|entry| entry.standing != NodeStanding::Removed)
    }

    /// The groups that a node is to be in, and what it is to be there.
    pub fn groups_of(&self, node: u64) -> impl Iterator<Item = (&GroupName, GroupRole)> {
        let groups = self.groups.iter();
        groups.filter_map(move |(name, group)| Some((name, group.role(node)?)))
    }

    /// Applies a command. A refused one has changed nothing that the caller keeps.
    pub(super) fn apply(&mut self, command: &MetaCommand) -> Result<(), MetaRefusal> {
        if let MetaCommand::Found {
            uid,
            founder,
            joining,
            meta,
            groups,
        } = command
        {
            return self.found(*uid, founder, joining, meta, groups);
        }
        if self.uid == 0 {
            return Err(MetaRefusal::NotFounded);
        }
        match command {
            // Handled above.
            MetaCommand::Found { .. } => Ok(()),
            MetaCommand::Seat { node } => self.seat(*node),
            MetaCommand::Join {
                record,
                groups,
                role,
            } => self.join(record, groups, *role),
            MetaCommand::Joined { node } => self.joined(*node),
            MetaCommand::Leave { node } => self.leave(*node),
            MetaCommand::Left { node } => self.left(*node),
            MetaCommand::Move { node, addresses } => self.move_to(*node, addresses),
            MetaCommand::Place { node, groups, role } => self.place(*node, groups, *role),
            MetaCommand::CreateGroup(group) => self.create(group),
            MetaCommand::GroupFounded { group } => {
                self.group_mut(group)?.founded = true;
                Ok(())
            }
            MetaCommand::NewFounder { group, founder } => self.new_founder(group, *founder),
            MetaCommand::RemoveGroup { group } => self.remove_group(group),
        }
    }

    fn found(
        &mut self,
        uid: u128,
        founder: &NodeRecord,
        joining: &[NodeRecord],
        meta: &NewGroup,
        groups: &[NewGroup],
    ) -> Result<(), MetaRefusal> {
        if self.uid != 0 {
            let same = self.uid == uid;
            let uid = self.uid;
            return same.then_some(()).ok_or(MetaRefusal::Founded { uid });
        }
        self.uid = uid.max(1);
        self.enter(founder, NodeStanding::Member)?;
        self.entry_mut(founder.node)?.seated = true;
        for record in joining {
            self.enter(record, NodeStanding::Joining)?;
        }
        self.create(meta)?;
        self.group_mut(&meta.name)?.founded = true;
        self.meta = Some(meta.name.clone());
        groups.iter().try_for_each(|group| self.create(group))
    }

    fn enter(&mut self, record: &NodeRecord, standing: NodeStanding) -> Result<(), MetaRefusal> {
        self.check_addresses(record)?;
        let entry = NodeEntry {
            record: record.clone(),
            standing,
            seated: false,
        };
        self.nodes.insert(record.node, entry);
        Ok(())
    }

    fn check_addresses(&self, record: &NodeRecord) -> Result<(), MetaRefusal> {
        let checked = record.validate();
        checked.map_err(|invalid| MetaRefusal::Invalid(invalid.to_string()))?;
        let others = self.admitted().filter(|it| it.record.node != record.node);
        for other in others {
            let theirs = &other.record.addresses;
            if let Some(address) = record.addresses.iter().find(|it| theirs.contains(it)) {
                return Err(MetaRefusal::AddressTaken {
                    node: record.node,
                    address: address.clone(),
                    holder: other.record.node,
                });
            }
        }
        Ok(())
    }

    fn seat(&mut self, node: u64) -> Result<(), MetaRefusal> {
        let entry = self.entry_mut(node)?;
        match entry.standing {
            NodeStanding::Joining | NodeStanding::Member => {
                entry.seated = true;
                Ok(())
            }
            standing @ (NodeStanding::Leaving | NodeStanding::Removed) => {
                Err(MetaRefusal::Standing { node, standing })
            }
        }
    }

    fn join(
        &mut self,
        record: &NodeRecord,
        groups: &GroupSelection,
        role: GroupRole,
    ) -> Result<(), MetaRefusal> {
        let node = record.node;
        match self.nodes.get(&node) {
            None => self.enter(record, NodeStanding::Joining)?,
            Some(entry) => match entry.standing {
                NodeStanding::Joining | NodeStanding::Member => {
                    if entry.record.addresses != record.addresses {
                        let known = entry.record.addresses.join(", ");
                        return Err(MetaRefusal::OtherAddress { node, known });
                    }
                }
                standing @ (NodeStanding::Leaving | NodeStanding::Removed) => {
                    return Err(MetaRefusal::Standing { node, standing });
                }
            },
        }
        let meta = self.meta.clone();
        if let Some(meta) = meta.as_ref().and_then(|name| self.groups.get_mut(name))
            && meta.role(node).is_none()
        {
            let votes = role == GroupRole::Voter && meta.voters.len() < META_VOTERS_MAX;
            let role = if votes { role } else { GroupRole::Learner };
            meta.place(node, Some(role));
        }
        // Made again, it changes nothing where the node has a role already.
        let others = self.selected(groups)?;
        for name in others.iter().filter(|&name| Some(name) != meta.as_ref()) {
            let group = self.group_mut(name)?;
            if group.role(node).is_none() {
                group.place(node, Some(role));
            }
        }
        Ok(())
    }

    fn joined(&mut self, node: u64) -> Result<(), MetaRefusal> {
        let entry = self.entry_mut(node)?;
        match entry.standing {
            NodeStanding::Joining | NodeStanding::Member => {
                entry.standing = NodeStanding::Member;
                Ok(())
            }
            standing @ (NodeStanding::Leaving | NodeStanding::Removed) => {
                Err(MetaRefusal::Standing { node, standing })
            }
        }
    }

    fn leave(&mut self, node: u64) -> Result<(), MetaRefusal> {
        if self.entry_mut(node)?.standing == NodeStanding::Removed {
            return Ok(());
        }
        let all: Vec<_> = self.groups.keys().cloned().collect();
        self.check_voters_left(node, &all)?;
        self.check_founds_none(node, &all)?;
        for group in self.groups.values_mut() {
            group.place(node, None);
        }
        self.entry_mut(node)?.standing = NodeStanding::Leaving;
        Ok(())
    }

    fn left(&mut self, node: u64) -> Result<(), MetaRefusal> {
        let entry = self.entry_mut(node)?;
        match entry.standing {
            NodeStanding::Leaving | NodeStanding::Removed => {
                entry.standing = NodeStanding::Removed;
                Ok(())
            }
            standing @ (NodeStanding::Joining | NodeStanding::Member) => {
                Err(MetaRefusal::Standing { node, standing })
            }
        }
    }

    fn move_to(&mut self, node: u64, addresses: &[String]) -> Result<(), MetaRefusal> {
        let entry = self.entry_mut(node)?;
        if entry.standing == NodeStanding::Removed {
            let standing = entry.standing;
            return Err(MetaRefusal::Standing { node, standing });
        }
        let mut record = entry.record.clone();
        record.addresses = addresses.to_vec();
        self.check_addresses(&record)?;
        self.entry_mut(node)?.record = record;
        Ok(())
    }

    fn place(
        &mut self,
        node: u64,
        groups: &GroupSelection,
        role: Option<GroupRole>,
    ) -> Result<(), MetaRefusal> {
        let standing = self.entry_mut(node)?.standing;
        if matches!(standing, NodeStanding::Leaving | NodeStanding::Removed) {
            return Err(MetaRefusal::Standing { node, standing });
        }
        let names = self.selected(groups)?;
        if let Some(meta) = names.iter().find(|&name| Some(name) == self.meta.as_ref())
            && role.is_none()
        {
            let group = meta.clone();
            return Err(MetaRefusal::Meta { group });
        }
        if role != Some(GroupRole::Voter) {
            self.check_voters_left(node, &names)?;
            self.check_founds_none(node, &names)?;
        }
        for name in names {
            self.group_mut(&name)?.place(node, role);
        }
        Ok(())
    }

    fn create(&mut self, new: &NewGroup) -> Result<(), MetaRefusal> {
        let group = new.name.clone();
        if let Some(known) = self.groups.get(&group) {
            let same = new.id.is_none_or(|id| id == known.id)
                && new.voters == known.voters
                && new.learners == known.learners;
            return same.then_some(()).ok_or(MetaRefusal::GroupExists { group });
        }
        if new.voters.is_empty() {
            return Err(MetaRefusal::Invalid(format!(
                "group {group} has no voter; give it at least one node"
            )));
        }
        if !new.voters.contains(&new.founder) {
            return Err(MetaRefusal::Invalid(format!(
                "group {group} cannot be founded by node {}, which is none of its voters",
                new.founder
            )));
        }
        for &node in new.voters.iter().chain(&new.learners) {
            let standing = self.entry_mut(node)?.standing;
            if matches!(standing, NodeStanding::Leaving | NodeStanding::Removed) {
                return Err(MetaRefusal::Standing { node, standing });
            }
        }
        let id = new.id.unwrap_or_else(|| self.next_number());
        let taken = self.groups.values().any(|group| group.id == id);
        if taken || self.retired.contains(&id) {
            return Err(MetaRefusal::NumberTaken { group, id });
        }
        let record = GroupRecord {
            id,
            voters: new.voters.clone(),
            learners: new.learners.difference(&new.voters).copied().collect(),
            founder: new.founder,
            founded: false,
        };
        self.groups.insert(group, record);
        Ok(())
    }

    fn new_founder(&mut self, name: &GroupName, founder: u64) -> Result<(), MetaRefusal> {
        let nodes = &self.nodes;
        let seated = |node| nodes.get(&node).is_some_and(|it: &NodeEntry| it.seated);
        let group = self.groups.get_mut(name);
        let group = group.ok_or_else(|| MetaRefusal::UnknownGroup {
            group: name.clone(),
        })?;
        if group.founded || group.founder == founder {
            return Ok(());
        }
        if seated(group.founder) || !seated(founder) || !group.voters.contains(&founder) {
            return Err(MetaRefusal::Founder {
                group: name.clone(),
                node: founder,
            });
        }
        group.founder = founder;
        Ok(())
    }

    fn remove_group(&mut self, name: &GroupName) -> Result<(), MetaRefusal> {
        if Some(name) == self.meta.as_ref() {
            let group = name.clone();
            return Err(MetaRefusal::Meta { group });
        }
        if let Some(group) = self.groups.remove(name) {
            self.retired.insert(group.id);
        }
        Ok(())
    }

    fn next_number(&self) -> u64 {
        let given = self.groups.values().map(|group| group.id);
        let last = given.chain(self.retired.iter().copied()).max();
        last.unwrap_or(0) + 1
    }

    fn selected(&self, groups: &GroupSelection) -> Result<Vec<GroupName>, MetaRefusal> {
        if let GroupSelection::Some(names) = groups
            && let Some(unknown) = names.iter().find(|&name| !self.groups.contains_key(name))
        {
            let group = unknown.clone();
            return Err(MetaRefusal::UnknownGroup { group });
        }
        let names = self.groups.keys().filter(|&name| groups.has(name));
        Ok(names.cloned().collect())
    }

    fn check_voters_left(&self, node: u64, groups: &[GroupName]) -> Result<(), MetaRefusal> {
        let last = groups.iter().find(|&name| {
            let voters = self.groups.get(name).map(|group| &group.voters);
            voters.is_some_and(|voters| voters.len() == 1 && voters.contains(&node))
        });
        last.map_or(Ok(()), |group| {
            let group = group.clone();
            Err(MetaRefusal::LastVoter { group, node })
        })
    }

    fn check_founds_none(&self, node: u64, groups: &[GroupName]) -> Result<(), MetaRefusal> {
        if !self.nodes.get(&node).is_some_and(|entry| entry.seated) {
            return Ok(());
        }
        let founds = groups.iter().find(|&name| {
            let group = self.groups.get(name);
            group.is_some_and(|group| group.founder == node && !group.founded)
        });
        founds.map_or(Ok(()), |group| {
            let group = group.clone();
            Err(MetaRefusal::Unfounded { group, node })
        })
    }

    fn entry_mut(&mut self, node: u64) -> Result<&mut NodeEntry, MetaRefusal> {
        let entry = self.nodes.get_mut(&node);
        entry.ok_or(MetaRefusal::UnknownNode { node })
    }

    fn group_mut(&mut self, name: &GroupName) -> Result<&mut GroupRecord, MetaRefusal> {
        let group = self.groups.get_mut(name);
        group.ok_or_else(|| MetaRefusal::UnknownGroup {
            group: name.clone(),
        })
    }
}
