//! The host's door to the members of the cluster: nodes and groups come, move and go.
//!
//! Every call here may be made again, on any node: it goes on where the one before it stopped.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::change::{ChangeOptions, ChangeReport, ChangeStep};
use super::error::ClusterError;
use crate::meta::{
    GroupRole, GroupSelection, MetaCommand, MetaRefusal, NewGroup, NodeRecord, NodeStanding,
};
use crate::{GroupName, RaftManager};

impl RaftManager {
    /// Takes a node into the cluster, as a voter of these groups.
    ///
    /// It may enter from then on; it is waited for until it runs, becomes a learner of each group and
    /// is given its vote as soon as it lags little. Groups are changed at their own leaders, wherever
    /// these are.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; [`ClusterError::is_retryable`] says whether to call it again.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the change stops where it is; call it again, on any node.
    pub async fn add_node(
        &self,
        record: NodeRecord,
        groups: GroupSelection,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        self.join(record, groups, GroupRole::Voter, options).await
    }

    /// Takes a node into the cluster that gets the logs of these groups and does not vote.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::add_node`].
    ///
    /// # Cancel safety
    ///
    /// As [`RaftManager::add_node`].
    pub async fn add_learner(
        &self,
        record: NodeRecord,
        groups: GroupSelection,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        self.join(record, groups, GroupRole::Learner, options).await
    }

    async fn join(
        &self,
        record: NodeRecord,
        groups: GroupSelection,
        role: GroupRole,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        record.validate()?;
        let cluster = self.cluster()?;
        let node = record.node;
        let join = MetaCommand::Join {
            record,
            groups,
            role,
        };
        let step = ChangeStep::NoteJoining;
        cluster.note_step(node, step, join, options).await?;
        cluster.take_in(node, options).await
    }

    /// Makes a node a voter of these groups.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::add_node`].
    ///
    /// # Cancel safety
    ///
    /// As [`RaftManager::add_node`].
    pub async fn promote(
        &self,
        node: u64,
        groups: GroupSelection,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        self.place(node, groups, Some(GroupRole::Voter), options)
            .await
    }

    /// Makes a node of the cluster a voter or a learner of these groups, or takes it out of them.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::add_node`].
    ///
    /// # Cancel safety
    ///
    /// As [`RaftManager::add_node`].
    pub async fn place(
        &self,
        node: u64,
        groups: GroupSelection,
        role: Option<GroupRole>,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        let cluster = self.cluster()?;
        let started = Instant::now();
        let place = MetaCommand::Place {
            node,
            groups: groups.clone(),
            role,
        };
        let step = ChangeStep::NotePlace;
        cluster.note_step(node, step, place, options).await?;
        let state = cluster.meta().state();
        let names = state.groups.keys().filter(|&name| groups.has(name));
        let changed = cluster
            .settle(node, names.cloned().collect(), options)
            .await?;
        Ok(ChangeReport {
            node,
            groups: changed,
            took: started.elapsed(),
        })
    }

    /// Takes a node out of all groups and of the cluster, for good: its id is never taken again.
    ///
    /// It need not run. Its leaderships go to others first. When it has left all groups, all nodes
    /// cut their links to it, and tell it that it was removed.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::add_node`]; [`MetaRefusal::LastVoter`] names a group that it cannot leave.
    ///
    /// # Cancel safety
    ///
    /// As [`RaftManager::add_node`].
    pub async fn remove_node(
        &self,
        node: u64,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        let cluster = self.cluster()?;
        let leave = MetaCommand::Leave { node };
        let step = ChangeStep::NoteLeaving;
        cluster.note_step(node, step, leave, options).await?;
        cluster.take_out(node, options).await
    }

    /// Puts another node in the place of one that is lost: the new one gets the groups and roles of
    /// the old one, which then leaves as in [`RaftManager::remove_node`]. This is the way out of
    /// [`ClusterError::LostIdentity`].
    ///
    /// Returns what was done for the new node and for the old one.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::add_node`].
    ///
    /// # Cancel safety
    ///
    /// As [`RaftManager::add_node`].
    pub async fn replace_node(
        &self,
        old: u64,
        new: NodeRecord,
        options: &ChangeOptions,
    ) -> Result<(ChangeReport, ChangeReport), ClusterError> {
        let cluster = self.cluster()?;
        let state = cluster.meta().state();
        let standing = state.standing(old);
        let standing = standing.ok_or(MetaRefusal::UnknownNode { node: old })?;
        let id = new.node;
        let taken_in = if standing == NodeStanding::Leaving || standing == NodeStanding::Removed {
            // An earlier call came so far, with the groups that the old one had then.
            cluster.take_in(id, options).await?
        } else {
            let roles: Vec<_> = state.groups_of(old).map(|(n, r)| (n.clone(), r)).collect();
            let of = |role| {
                let names = roles.iter().filter(|it| it.1 == role);
                let names: BTreeSet<_> = names.map(|it| it.0.clone()).collect();
                GroupSelection::Some(names)
            };
            for role in [GroupRole::Learner, GroupRole::Voter] {
                let join = MetaCommand::Join {
                    record: new.clone(),
                    groups: of(role),
                    role,
                };
                let step = ChangeStep::NoteJoining;
                cluster.note_step(id, step, join, options).await?;
            }
            cluster.take_in(id, options).await?
        };
        let left = self.remove_node(old, options).await?;
        Ok((taken_in, left))
    }

    /// Notes where a node is reached from now on, in the roster of every node and in its groups.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::add_node`].
    ///
    /// # Cancel safety
    ///
    /// As [`RaftManager::add_node`].
    pub async fn change_address(
        &self,
        node: u64,
        addresses: Vec<String>,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        let cluster = self.cluster()?;
        let started = Instant::now();
        let moved = MetaCommand::Move { node, addresses };
        let step = ChangeStep::NoteMove;
        cluster.note_step(node, step, moved, options).await?;
        let state = cluster.meta().state();
        let names = state.groups_of(node).map(|(name, _)| name.clone());
        let groups = cluster.settle(node, names.collect(), options).await?;
        Ok(ChangeReport {
            node,
            groups,
            took: started.elapsed(),
        })
    }

    /// Creates a group on these nodes, each of which opens its part through its factory, and waits
    /// until it is founded.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; [`ClusterError::NotFormed`] when it is not founded in time, which goes on.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the group is created or not; call it again.
    pub async fn create_group(
        &self,
        group: NewGroup,
        deadline: Instant,
    ) -> Result<(), ClusterError> {
        let cluster = self.cluster()?;
        let name = group.name.clone();
        cluster
            .note(MetaCommand::CreateGroup(group), deadline)
            .await?;
        cluster.await_founded(&name, deadline).await
    }

    /// Removes a group from the cluster, for good: every node ends its part and has its factory
    /// destroy it. Its number is never given again.
    ///
    /// # Errors
    ///
    /// [`ClusterError`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the group is removed or not; call it again.
    pub async fn delete_group(
        &self,
        group: &GroupName,
        deadline: Instant,
    ) -> Result<(), ClusterError> {
        let cluster = self.cluster()?;
        let group = group.clone();
        let removed = MetaCommand::RemoveGroup { group };
        cluster.note(removed, deadline).await.map(drop)
    }
}
