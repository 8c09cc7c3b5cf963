//! A node gives all its groups away, before it stops. It must not know why it stops.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::plan::{self, LedGroup};
use super::sight::InSight;
use super::{LeaderMove, Seen};
use crate::forward::Pause;
use crate::many::each_group;
use crate::{GroupName, GroupResult, OperationError, RaftManager};

/// The groups of a drain: what is known of all, and what came of each.
struct Drain {
    node: u64,
    known: BTreeMap<GroupName, LedGroup>,
    results: BTreeMap<GroupName, Result<LeaderMove, OperationError>>,
}

impl RaftManager {
    /// Hands all groups that `node` leads to other voters, and returns what became of every group in
    /// sight, in the order of the names. Groups that others lead stay with them.
    ///
    /// [`RaftManagerConfig::drain_parallelism`](crate::RaftManagerConfig::drain_parallelism) groups
    /// are handed over at a time; what the node gives away is spread evenly. A group that nobody
    /// could take yet, or whose new leader did not come, is tried again up to the deadline.
    ///
    /// It works on any node, for any node. A drained node may be elected again: stop it soon.
    ///
    /// # Errors
    ///
    /// Of each group, in its result: [`OperationError::Refused`] if nobody could take it.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the groups of the moment may move or not, and the rest is left alone.
    pub async fn drain(&self, node: u64, deadline: Instant) -> Vec<GroupResult<LeaderMove>> {
        let mut rest = self.groups_in_sight();
        if node == self.transport().node_id().get() {
            // It cannot lead what it does not host.
            rest.retain(|group| self.operations(group.name()).is_ok());
        }
        let mut drain = Drain {
            node,
            known: BTreeMap::new(),
            results: BTreeMap::new(),
        };
        let mut pause = Pause::new(self.config().retry_min, self.config().retry_max);
        while !rest.is_empty() {
            let again = self.drain_round(&mut drain, rest, deadline).await;
            let until = deadline.min(Instant::now() + pause.next(rand::random()));
            if again.is_empty() || until >= deadline {
                break;
            }
            sleep_until(until).await;
            rest = again;
        }
        let results = drain.results.into_iter();
        results
            .map(|(group, result)| GroupResult { group, result })
            .collect()
    }

    /// Hands over what can be now, and returns what is worth another attempt.
    async fn drain_round(
        &self,
        drain: &mut Drain,
        groups: Vec<Arc<dyn InSight>>,
        deadline: Instant,
    ) -> Vec<Arc<dyn InSight>> {
        let mut by_name: BTreeMap<_, _> = BTreeMap::new();
        let mut asked = Vec::new();
        for group in groups {
            by_name.insert(group.name().clone(), Arc::clone(&group));
            match self.surely_another(&*group, drain.node) {
                Some(kept) => drain.keep(group.name(), kept),
                None => asked.push(group),
            }
        }
        let mut led = BTreeMap::new();
        for looked in self.look(asked, deadline).await {
            match looked.result {
                Ok(seen) if seen.1.leader == drain.node => {
                    drain.known.insert(looked.group.clone(), self.led(&seen));
                    led.insert(looked.group, seen);
                }
                Ok((_, progress)) => drain.keep(&looked.group, Some(progress.leader)),
                Err(error) => drop(drain.results.insert(looked.group, Err(error))),
            }
        }
        for done in self.hand_over(drain, led, deadline).await {
            if let Ok(LeaderMove::Moved(moved)) = &done.result
                && let Some(known) = drain.known.get_mut(&done.group)
            {
                known.leader = moved.to;
            }
            drain.results.insert(done.group, done.result);
        }
        let failed = drain.results.iter();
        let failed = failed.filter(|(_, result)| matches!(result, Err(e) if e.is_retryable()));
        failed
            .filter_map(|(name, _)| by_name.get(name).cloned())
            .collect()
    }

    async fn hand_over(
        &self,
        drain: &Drain,
        led: BTreeMap<GroupName, Seen>,
        deadline: Instant,
    ) -> Vec<GroupResult<LeaderMove>> {
        let known: Vec<_> = drain.known.values().cloned().collect();
        let plan = plan::drain(&known, drain.node, &self.unfit_nodes());
        let heirs = plan.into_iter().map(|step| (step.group, step.to));
        let heirs: BTreeMap<_, _> = heirs.collect();
        let at_once = self.config().drain_parallelism;
        each_group(led.into_iter().collect(), at_once, |(group, progress)| {
            let heir = heirs.get(group.name()).copied();
            async move {
                let Some(heir) = heir else {
                    return Err(self.no_heir(group.name(), &progress));
                };
                let moved = group.transfer(heir, self.turn(deadline)).await;
                moved.map(LeaderMove::Moved)
            }
        })
        .await
    }

    /// The leader of a group that surely is another node than `node`, without asking: a node knows of
    /// itself that it does not lead.
    fn surely_another(&self, group: &dyn InSight, node: u64) -> Option<Option<u64>> {
        let leader = group.leader_here();
        let me = self.transport().node_id().get();
        let another = leader.is_some_and(|leader| leader != node);
        (another || (node == me && leader.is_none())).then_some(leader)
    }
}

impl Drain {
    fn keep(&mut self, group: &GroupName, leader: Option<u64>) {
        let pinned = leader.map(|leader| LedGroup {
            name: group.clone(),
            leader,
            candidates: [leader].into(),
        });
        if let Some(pinned) = pinned {
            self.known.insert(group.clone(), pinned);
        }
        // What was moved in an earlier round is told as that.
        self.results
            .entry(group.clone())
            .and_modify(|result| {
                if result.is_err() {
                    *result = Ok(LeaderMove::Kept { leader });
                }
            })
            .or_insert(Ok(LeaderMove::Kept { leader }));
    }
}
