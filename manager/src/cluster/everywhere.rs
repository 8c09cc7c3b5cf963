//! What an operator asks of the groups of several nodes at once: each node does it and says what
//! happened.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::ClusterError;
use crate::control::wire::{Act, method};
use crate::group::{ActionOutcome, GroupAction};
use crate::meta::GroupSelection;
use crate::watch::{ClusterStatus, assemble};
use crate::{GroupName, RaftManager, control};

/// What came of an action in one group of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupActed {
    /// The group.
    pub group: GroupName,
    /// What happened, or why nothing did.
    pub outcome: Result<ActionOutcome, String>,
}

/// What came of an action on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeActed {
    /// The node.
    pub node: u64,
    /// What came of it in each of its groups that were meant, or why the node has not answered.
    pub groups: Result<Vec<GroupActed>, String>,
}

impl RaftManager {
    /// The whole cluster: every node is asked for its report at once, and one that does not answer
    /// before the deadline is named with why. True when nodes die: what is not answered is not
    /// remembered.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotStarted`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn status(&self, deadline: Instant) -> Result<ClusterStatus, ClusterError> {
        let cluster = self.cluster()?;
        let state = cluster.meta().state();
        let (me, handle) = (cluster.me(), cluster.handle());
        let nodes = state.admitted().map(|entry| entry.record.node);
        let asked = nodes.map(|node| async move {
            let report = if node == me {
                Ok(self.report())
            } else {
                let told = control::ask(handle, node, method::STATUS, &(), deadline);
                told.await.map_err(|error| error.to_string())
            };
            (node, report)
        });
        let mut reports: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
        // Also a node that the cluster does not know, or no more, says how it stands.
        reports.entry(me).or_insert_with(|| Ok(self.report()));
        Ok(assemble(reports, &state))
    }

    /// Does something in these groups of this node, with a bound on the groups at a time.
    pub(crate) async fn act_here(
        &self,
        groups: &GroupSelection,
        action: GroupAction,
        deadline: Instant,
    ) -> Vec<GroupActed> {
        let meant = groups.clone();
        let results = self.for_all_groups(move |group| {
            let meant = meant.has(group.name());
            async move {
                if meant {
                    group.act(action, deadline).await.map(Some)
                } else {
                    Ok(None)
                }
            }
            .boxed()
        });
        let results = results.await.into_iter();
        let acted = results.filter_map(|result| {
            let outcome = match result.result {
                Ok(outcome) => Ok(outcome?),
                Err(error) => Err(error.to_string()),
            };
            Some(GroupActed {
                group: result.group,
                outcome,
            })
        });
        acted.collect()
    }

    /// Does something in these groups on every node of the cluster, or on those of `nodes`: a
    /// snapshot, a purge, an election, a step down. Each node says what happened, not what was
    /// queued; one that does not answer is named with why.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotStarted`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the nodes that were asked go on.
    pub async fn act_everywhere(
        &self,
        nodes: Option<BTreeSet<u64>>,
        groups: GroupSelection,
        action: GroupAction,
        deadline: Instant,
    ) -> Result<Vec<NodeActed>, ClusterError> {
        let cluster = self.cluster()?;
        let state = cluster.meta().state();
        let known = state.admitted().map(|entry| entry.record.node);
        let asked = known.filter(|node| {
            let chosen = nodes.as_ref();
            chosen.is_none_or(|chosen| chosen.contains(node))
        });
        let act = Act { groups, action };
        let asked = asked.map(|node| {
            let act = &act;
            let (me, handle) = (cluster.me(), cluster.handle());
            async move {
                let groups = if node == me {
                    Ok(self.act_here(&act.groups, act.action, deadline).await)
                } else {
                    let told = control::ask(handle, node, method::ACT, act, deadline);
                    told.await.map_err(|error| error.to_string())
                };
                NodeActed { node, groups }
            }
        });
        Ok(join_all(asked).await)
    }
}
