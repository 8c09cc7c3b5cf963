//! Drives groups towards what the meta group holds: asks each group's leader for one step after the
//! other. Which step is next, the leader decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep, timeout_at};

use super::ChangeOptions;
use super::report::{ChangeReport, GroupChange};
use super::step::{ChangePoint, ChangeStep};
use crate::cluster::{Cluster, ClusterError};
use crate::control::wire::{Close, method};
use crate::forward::Pause;
use crate::group::{GroupGoal, GroupStep};
use crate::meta::{MetaCommand, MetaState, NodeRecord, NodeStanding};
use crate::{Event, GroupName, OperationError, control};

impl Cluster {
    /// A step was taken.
    async fn taken(&self, point: ChangePoint, options: &ChangeOptions) {
        if point.step != ChangeStep::AwaitLag {
            self.manager.raise(Event::StepTaken {
                node: point.node,
                group: point.group.clone(),
                step: point.step,
            });
        }
        options.at(point).await;
    }

    /// Notes a change in the meta group.
    pub(in crate::cluster) async fn note_step(
        &self,
        node: u64,
        step: ChangeStep,
        command: MetaCommand,
        options: &ChangeOptions,
    ) -> Result<(), ClusterError> {
        let point = |done| ChangePoint {
            node,
            group: None,
            step,
            done,
        };
        options.at(point(false)).await;
        let index = self.note(command, options.deadline).await?;
        // What follows goes by the state that is applied here.
        let group = self.running(options.deadline).await?;
        let started = Instant::now();
        let applied = timeout_at(options.deadline, group.applied(index)).await;
        applied.map_err(|_| ClusterError::NotApplied {
            node: self.me(),
            index,
            waited: started.elapsed(),
        })?;
        self.taken(point(true), options).await;
        Ok(())
    }

    /// Takes a node that may enter into all its groups, the meta group first.
    pub(in crate::cluster) async fn take_in(
        &self,
        node: u64,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        let started = Instant::now();
        self.await_seat(node, options).await?;
        let meta = vec![self.meta_name.clone()];
        let mut groups = self.settle(node, meta, options).await?;
        let state = self.meta.state();
        let others = state.groups_of(node).map(|(name, _)| name.clone());
        let others = others.filter(|name| *name != self.meta_name).collect();
        groups.extend(self.settle(node, others, options).await?);
        if self.meta.state().standing(node) == Some(NodeStanding::Joining) {
            let joined = MetaCommand::Joined { node };
            self.note_step(node, ChangeStep::NoteMember, joined, options)
                .await?;
            let took = started.elapsed();
            self.manager.raise(Event::NodeAdded { node, took });
        }
        Ok(ChangeReport {
            node,
            groups,
            took: started.elapsed(),
        })
    }

    /// Takes a node that leaves out of all groups, the meta group last.
    pub(in crate::cluster) async fn take_out(
        &self,
        node: u64,
        options: &ChangeOptions,
    ) -> Result<ChangeReport, ClusterError> {
        let started = Instant::now();
        let state = self.meta.state();
        let others = state.groups.keys().filter(|&name| *name != self.meta_name);
        let mut groups = self
            .settle(node, others.cloned().collect(), options)
            .await?;
        let meta = vec![self.meta_name.clone()];
        groups.extend(self.settle(node, meta, options).await?);
        let again = self.meta.state().standing(node) == Some(NodeStanding::Removed);
        let left = MetaCommand::Left { node };
        self.note_step(node, ChangeStep::NoteRemoved, left, options)
            .await?;
        if !again {
            let took = started.elapsed();
            self.manager.raise(Event::NodeRemoved { node, took });
        }
        Ok(ChangeReport {
            node,
            groups,
            took: started.elapsed(),
        })
    }

    /// Waits until the node keeps the cluster's uid: until then it has no group that it could join.
    async fn await_seat(&self, node: u64, options: &ChangeOptions) -> Result<(), ClusterError> {
        let point = |done| ChangePoint {
            node,
            group: None,
            step: ChangeStep::AwaitSeat,
            done,
        };
        options.at(point(false)).await;
        let started = Instant::now();
        let mut changes = self.meta.changes();
        let seated = changes.wait_for(|state| state.nodes.get(&node).is_some_and(|it| it.seated));
        let seated = timeout_at(options.deadline, seated).await.is_ok();
        if !seated {
            let waited = started.elapsed();
            return Err(ClusterError::NotSeated { node, waited });
        }
        self.taken(point(true), options).await;
        Ok(())
    }

    /// Drives these groups towards what is noted of the node, several at a time.
    pub(in crate::cluster) async fn settle(
        &self,
        node: u64,
        groups: Vec<GroupName>,
        options: &ChangeOptions,
    ) -> Result<BTreeMap<GroupName, GroupChange>, ClusterError> {
        let total = groups.len();
        let parallelism = options.parallelism;
        let parallelism = parallelism.unwrap_or_else(|| self.config().parallelism);
        let all = stream::iter(groups).map(|group| async move {
            let changed = self.settle_group(node, &group, options).await;
            (group, changed)
        });
        let all: Vec<_> = all.buffer_unordered(parallelism.max(1)).collect().await;
        let mut done = BTreeMap::new();
        let mut failed = BTreeMap::new();
        for (group, changed) in all {
            match changed {
                Ok(change) => drop(done.insert(group, change)),
                Err(error) => drop(failed.insert(group, error)),
            }
        }
        if failed.is_empty() {
            Ok(done)
        } else {
            Err(ClusterError::Groups {
                node,
                total,
                failed,
            })
        }
    }

    async fn settle_group(
        &self,
        node: u64,
        group: &GroupName,
        options: &ChangeOptions,
    ) -> Result<GroupChange, OperationError> {
        let started = Instant::now();
        let mut steps = Vec::new();
        let mut last = None;
        let first = Pause::new(self.config().retry_min, self.config().retry_max);
        let mut pause = first;
        while Instant::now() < options.deadline {
            // Asked anew each time: the goal may have changed meanwhile.
            let state = self.founded(group, options.deadline).await?;
            let Some(goal) = goal(&state, node, group) else {
                // The group was deleted meanwhile, so nobody is in it any more.
                return Ok(GroupChange {
                    steps,
                    took: started.elapsed(),
                });
            };
            match self.step(group, goal, options).await {
                Ok(None) => {
                    self.tell_closed(&state, node, group, options, &mut steps)
                        .await;
                    return Ok(GroupChange {
                        steps,
                        took: started.elapsed(),
                    });
                }
                Ok(Some(ChangeStep::AwaitLag)) => {
                    if steps.last() != Some(&ChangeStep::AwaitLag) {
                        steps.push(ChangeStep::AwaitLag);
                    }
                    last = Some("it lags".to_owned());
                    sleep(pause.next(rand::random())).await;
                }
                Ok(Some(step)) => {
                    steps.push(step);
                    pause = first;
                }
                Err(error) if error.is_retryable() => {
                    last = Some(error.to_string());
                    sleep(pause.next(rand::random())).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(OperationError::Unfinished {
            group: group.clone(),
            node,
            limit: started.elapsed(),
            last: last.unwrap_or_else(|| "its time was over before its turn came".to_owned()),
        })
    }

    /// Has the group's leader take the next step. `None`: there is none.
    async fn step(
        &self,
        group: &GroupName,
        goal: GroupGoal,
        options: &ChangeOptions,
    ) -> Result<Option<ChangeStep>, OperationError> {
        let node = goal.node.node;
        let seen = self.manager().seen_group(group)?;
        let point = |step: &GroupStep, done| {
            ChangeStep::of(step).map(|step| ChangePoint {
                node,
                group: Some(group.clone()),
                step,
                done,
            })
        };
        // A single request must not use up the time of those that would follow its failure.
        let deadline = options
            .deadline
            .min(Instant::now() + self.config().step_timeout);
        if options.observer.is_some() {
            let next = seen.change(goal.clone().dry(), deadline).await?;
            if let Some(point) = point(&next.step, false) {
                options.at(point).await;
            }
        }
        let changed = seen.change(goal, deadline).await?;
        if let Some(point) = point(&changed.step, true) {
            self.taken(point, options).await;
        }
        Ok(ChangeStep::of(&changed.step))
    }

    /// Waits until a group is founded: before that it has no leader who could change it.
    async fn founded(
        &self,
        group: &GroupName,
        deadline: Instant,
    ) -> Result<Arc<MetaState>, OperationError> {
        let started = Instant::now();
        let mut changes = self.meta.changes();
        let founded =
            changes.wait_for(|state| state.groups.get(group).is_none_or(|group| group.founded));
        let state = match timeout_at(deadline, founded).await {
            Ok(Ok(state)) => Arc::clone(&state),
            Ok(Err(_)) | Err(_) => {
                return Err(OperationError::Unfinished {
                    group: group.clone(),
                    node: self.me(),
                    limit: started.elapsed(),
                    last: "the group is not founded yet".to_owned(),
                });
            }
        };
        Ok(state)
    }

    /// Tells a node that it is in a group no more. One that does not hear it is not asked for: it is
    /// not in the group's membership, so nobody counts on it.
    async fn tell_closed(
        &self,
        state: &MetaState,
        node: u64,
        group: &GroupName,
        options: &ChangeOptions,
        steps: &mut Vec<ChangeStep>,
    ) {
        let Some(record) = state.groups.get(group) else {
            return;
        };
        // Who took it out may have died before it told it so, which only the end of the change settles.
        let out = steps.contains(&ChangeStep::Remove);
        let settled = state.standing(node) == Some(NodeStanding::Removed) && !out;
        if record.role(node).is_some() || *group == self.meta_name || settled {
            return;
        }
        let point = |done| ChangePoint {
            node,
            group: Some(group.clone()),
            step: ChangeStep::Close,
            done,
        };
        options.at(point(false)).await;
        let close = Close {
            group: group.clone(),
            id: record.id,
        };
        let deadline = options
            .deadline
            .min(Instant::now() + self.config().ask_timeout);
        let told = if node == self.me() {
            let closed = self.close_group(&close, deadline).await;
            closed.map_err(|error| error.to_string())
        } else {
            let told = control::ask::<_, ()>(self.handle(), node, method::CLOSE, &close, deadline);
            told.await.map_err(|error| error.to_string())
        };
        match told {
            Ok(()) if out => steps.push(ChangeStep::Close),
            Ok(()) => {}
            Err(error) => tracing::debug!(
                target: "quicraft::cluster",
                node = self.me(), peer = node, group = %group, error,
                "a node was not told that it is out of a group"
            ),
        }
        self.taken(point(true), options).await;
    }
}

/// What the node is to be in the group. `None` if the group or the node is no more.
fn goal(state: &MetaState, node: u64, group: &GroupName) -> Option<GroupGoal> {
    let record: NodeRecord = state.nodes.get(&node)?.record.clone();
    let role = state.groups.get(group)?.role(node);
    Some(GroupGoal::new(record, role))
}
