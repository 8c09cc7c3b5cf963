//! Groups of the cluster by their names, whether this node hosts them or not.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use quicraft_transport::GroupId;
use tokio::time::Instant;

use crate::group::{Changed, GroupGoal, GroupOperations};
use crate::{FarGroup, GroupName, OperationError, RaftManager, RemoteGroup};

/// A group, here or elsewhere: what can be asked of its leader from any node.
#[derive(Clone)]
pub(crate) enum SeenGroup {
    /// This node hosts it.
    Here(Arc<dyn GroupOperations>),
    /// Only others host it.
    Far(FarGroup),
}

impl SeenGroup {
    /// Has its leader take the next step.
    pub(crate) fn change(
        &self,
        goal: GroupGoal,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Changed, OperationError>> {
        match self {
            Self::Here(group) => group.change(goal, deadline),
            Self::Far(group) => group.change(goal, deadline).boxed(),
        }
    }
}

impl RaftManager {
    /// A group, wherever it is: here, or where the applied meta state places it.
    pub(crate) fn seen_group(&self, name: &GroupName) -> Result<SeenGroup, OperationError> {
        match self.operations(name) {
            Ok(here) => Ok(SeenGroup::Here(here)),
            Err(unknown) => self
                .placed_group(name)
                .map(SeenGroup::Far)
                .map_err(|_| unknown),
        }
    }

    /// All groups of the cluster; without one, those of this node.
    pub(crate) fn seen_groups(&self) -> Vec<SeenGroup> {
        let mut names = self.group_names();
        if let Ok(cluster) = self.cluster() {
            names.extend(cluster.meta().state().groups.keys().cloned());
            names.sort_unstable();
            names.dedup();
        }
        let seen = names.iter().map(|name| self.seen_group(name));
        seen.filter_map(Result::ok).collect()
    }

    fn placed_group(&self, name: &GroupName) -> Result<FarGroup, OperationError> {
        let unknown = || OperationError::UnknownGroup {
            group: name.clone(),
        };
        let cluster = self.cluster().map_err(|_| unknown())?;
        let meta = cluster.meta().clone();
        let id = meta.state().groups.get(name).map(|group| group.id);
        let id = GroupId::new(id.ok_or_else(unknown)?);
        let group = name.clone();
        // Asked anew whenever no leader is known: the group may have moved.
        let members = move || {
            let state = meta.state();
            let group = state.groups.get(&group);
            group.map_or_else(Vec::new, |group| group.voters.iter().copied().collect())
        };
        Ok(self.far_group(name.clone(), id, members))
    }

    /// A group of the cluster for proposals from this node, which need not host it: its number and
    /// its members come from the `meta` group.
    ///
    /// # Errors
    ///
    /// [`OperationError::UnknownGroup`] if the cluster has no such group, or was not begun here.
    pub fn placed<C>(&self, name: &GroupName) -> Result<RemoteGroup<C>, OperationError> {
        self.placed_group(name).map(RemoteGroup::new)
    }
}
