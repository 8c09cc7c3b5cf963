//! Who leads which group: transfer, balance over the nodes, drain before a stop. It must not know how
//! a group hands its leadership over.

mod drain;
mod plan;
mod sight;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::cluster::SeenGroup;
use crate::many::each_group;
use crate::{
    GroupName, GroupProgress, GroupRefusal, GroupResult, InvalidNode, NodeAt, NodeStanding,
    OperationError, RaftManager, Transferred,
};
use plan::{Handover, LedGroup};
use sight::{could_lead, led_group};

pub(crate) use sight::InSight;

/// A group whose leader is handed over has none for about a round trip. One at a time: no two groups
/// are without a leader because of a balance.
const BALANCED_AT_ONCE: usize = 1;

/// What became of a group's leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaderMove {
    /// It was left where it was.
    Kept {
        /// Who leads, as far as it was looked.
        leader: Option<u64>,
    },
    /// Another node leads.
    Moved(Transferred),
}

/// A group, and what its leader says of it.
type Seen = (Arc<dyn InSight>, GroupProgress);

fn in_sight(group: SeenGroup) -> Arc<dyn InSight> {
    match group {
        SeenGroup::Here(group) => Arc::new(group),
        SeenGroup::Far(group) => Arc::new(group),
    }
}

impl RaftManager {
    /// Hands the leadership of a group to one of its voters, wherever its leader is, and waits until
    /// that one leads. To hand it to whoever has it already is no error.
    ///
    /// # Errors
    ///
    /// [`OperationError::UnknownGroup`]; [`OperationError::InvalidNode`] for node 0;
    /// [`OperationError::Refused`] says that the node may not lead now, or who leads in its place.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, leadership may move or not.
    pub async fn transfer(
        &self,
        group: &GroupName,
        to: u64,
        deadline: Instant,
    ) -> Result<Transferred, OperationError> {
        let seen = in_sight(self.seen_group(group)?);
        no_node_0(group, to)?;
        seen.transfer(to, deadline).await
    }

    /// The leader of a group hands its leadership to the voter that follows most closely, wherever
    /// both are.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::transfer`]; [`OperationError::Refused`] also if there is no other voter, or
    /// none that could lead.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, leadership may move or not.
    pub async fn step_down(
        &self,
        group: &GroupName,
        deadline: Instant,
    ) -> Result<Transferred, OperationError> {
        let seen = in_sight(self.seen_group(group)?);
        let progress = seen.progress(deadline).await?;
        let lag = |node: u64| progress.lag.get(&node).copied().flatten();
        let others = progress.voters.iter().copied();
        let others = others.filter(|&node| node != progress.leader);
        let fit = others.filter(|&node| could_lead(&progress, node, self.config()));
        let Some(heir) = fit.min_by_key(|&node| (lag(node), node)) else {
            return Err(self.no_heir(group, &progress));
        };
        seen.transfer(heir, deadline).await
    }

    /// Moves leaders until each node leads its share of all groups in sight, and returns what became
    /// of each, in the order of the names.
    ///
    /// The plan is as even as the voters of the groups allow, and moves as few as possible; what is
    /// balanced stays as it is. One group is moved at a time, and the next one only when that one has
    /// a leader again. A group whose leader moves by itself meanwhile is left alone. Whoever is not
    /// heard of or lags is given nothing; call it again when it is back.
    ///
    /// # Errors
    ///
    /// Of each group; one failure stops no other, but a group that is left without a leader for
    /// [`RaftManagerConfig::transfer_timeout`](crate::RaftManagerConfig::transfer_timeout) ends the
    /// balance: the rest is [`LeaderMove::Kept`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the group of the moment may move or not, and the rest is left alone.
    pub async fn balance(&self, deadline: Instant) -> Vec<GroupResult<LeaderMove>> {
        let looked = self.look(self.groups_in_sight(), deadline).await;
        let seen = looked.iter().filter_map(|one| one.result.as_ref().ok());
        let led: Vec<_> = seen.map(|seen| self.led(seen)).collect();
        let plan = plan::balance(&led, &self.unfit_nodes());
        let plan = plan.into_iter().map(|step| (step.group.clone(), step));
        let plan: BTreeMap<GroupName, Handover> = plan.collect();
        let ended = AtomicBool::new(false);
        let groups = looked.into_iter().map(|one| (one.group, one.result));
        each_group(groups.collect(), BALANCED_AT_ONCE, |seen| async {
            let (group, progress) = seen?;
            let leader = Some(progress.leader);
            let Some(step) = plan.get(group.name()) else {
                return Ok(LeaderMove::Kept { leader });
            };
            let now = group.leader_here();
            let moved_by_itself = now.is_some_and(|now| now != step.from);
            if moved_by_itself || ended.load(Ordering::Relaxed) || Instant::now() >= deadline {
                return Ok(LeaderMove::Kept {
                    leader: now.or(leader),
                });
            }
            let moved = group.transfer(step.to, self.turn(deadline)).await;
            if moved.is_err() && group.progress(self.turn(deadline)).await.is_err() {
                ended.store(true, Ordering::Relaxed);
            }
            moved.map(LeaderMove::Moved)
        })
        .await
    }

    /// The groups whose leaders are moved: all of the cluster.
    fn groups_in_sight(&self) -> Vec<Arc<dyn InSight>> {
        self.seen_groups().into_iter().map(in_sight).collect()
    }

    /// Nodes that are given no group, although they vote in it: those that leave.
    fn unfit_nodes(&self) -> BTreeSet<u64> {
        let Ok(cluster) = self.cluster() else {
            return BTreeSet::new();
        };
        let state = cluster.meta().state();
        let leaving = state.nodes.values().filter(|entry| match entry.standing {
            NodeStanding::Leaving | NodeStanding::Removed => true,
            NodeStanding::Joining | NodeStanding::Member => false,
        });
        leaving.map(|entry| entry.record.node).collect()
    }

    /// What the leaders of groups say of them.
    async fn look(
        &self,
        groups: Vec<Arc<dyn InSight>>,
        deadline: Instant,
    ) -> Vec<GroupResult<Seen>> {
        let named = groups.into_iter();
        let named = named.map(|group| (group.name().clone(), group));
        each_group(named.collect(), self.config().parallelism, |group| async {
            let progress = group.progress(self.turn(deadline)).await?;
            Ok((group, progress))
        })
        .await
    }

    fn led(&self, (group, progress): &Seen) -> LedGroup {
        led_group(group.name(), progress, self.config())
    }

    /// Until when one group may take.
    fn turn(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.config().transfer_timeout)
    }

    /// Nobody could take over a group: it has one voter only, or the others lag or are silent.
    fn no_heir(&self, group: &GroupName, progress: &GroupProgress) -> OperationError {
        let leader = progress.leader;
        let lag = |node: u64| progress.lag.get(&node).copied().flatten();
        let others = progress.voters.iter().copied();
        let others = others.filter(|&node| node != leader);
        let closest = others.min_by_key(|&node| (lag(node).is_none(), lag(node), node));
        let refusal = match closest {
            None => GroupRefusal::LastVoter { node: leader },
            Some(node) => GroupRefusal::Lagging {
                node,
                entries: lag(node),
            },
        };
        OperationError::Refused {
            group: group.clone(),
            leader: self.node_at(leader),
            refusal,
        }
    }

    fn node_at(&self, node: u64) -> NodeAt {
        let transport = self.transport();
        let peer = quicraft_transport::NodeId::new(node).ok();
        let peer = peer.filter(|&peer| peer != transport.node_id());
        NodeAt {
            node,
            address: peer.and_then(|peer| transport.peer(peer).status().address),
        }
    }
}

fn no_node_0(group: &GroupName, node: u64) -> Result<(), OperationError> {
    if node == 0 {
        return Err(OperationError::InvalidNode {
            group: group.clone(),
            source: InvalidNode::Zero,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host may do all of it in a task of its own.
    #[expect(dead_code, reason = "it has only to compile")]
    fn every_future_can_be_sent(manager: &RaftManager, group: &GroupName, deadline: Instant) {
        fn sent<T: Send>(_: T) {}
        sent(manager.transfer(group, 1, deadline));
        sent(manager.step_down(group, deadline));
        sent(manager.balance(deadline));
        sent(manager.drain(1, deadline));
        sent(manager.shut_down());
    }
}
