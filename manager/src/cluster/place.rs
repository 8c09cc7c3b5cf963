//! The groups that the cluster gives this node: opened when they are given, founded once by their
//! founder, ended when the cluster has them no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt as _};
use quicraft_transport::GroupId;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::error::ClusterError;
use super::{Cluster, lock};
use crate::meta::{GroupRecord, MetaCommand, MetaState, NodeRecord};
use crate::{GroupName, OperationError};

/// With whom a group is founded, if it is to be founded by `me` now.
///
/// All its voters that are seated found it together. Those that are not are waited for until
/// `patience` is over, and taken in later as any other node.
fn founders(
    state: &MetaState,
    group: &GroupRecord,
    me: u64,
    patience_over: bool,
) -> Option<Vec<NodeRecord>> {
    if group.founded || group.founder != me {
        return None;
    }
    let seated: Vec<_> = group
        .voters
        .iter()
        .filter_map(|voter| state.nodes.get(voter))
        .filter(|entry| entry.seated)
        .map(|entry| entry.record.clone())
        .collect();
    let all = seated.len() == group.voters.len();
    (all || patience_over).then_some(seated)
}

/// Whether each of them is done. All of them are awaited: one that fails at once must not cut off
/// those that take longer.
async fn all_done(results: impl Stream<Item = bool>) -> bool {
    results
        .fold(true, |all, done| std::future::ready(all && done))
        .await
}

impl Cluster {
    /// Follows the state for as long as the cluster runs.
    pub(super) async fn place_groups(self: Arc<Self>) {
        let mut changes = self.meta.changes();
        let mut since = BTreeMap::new();
        let mut doomed = BTreeMap::new();
        loop {
            let state = Arc::clone(&changes.borrow_and_update());
            let ended = self.end_removed(&state, &mut doomed).await;
            let opened = self.open_placed(&state, &doomed).await;
            let founded = self.found_own(&state, &mut since).await;
            let again = if ended && opened && founded {
                None
            } else {
                Some(Instant::now() + self.config().retry_max)
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return; },
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            }
        }
    }

    /// Opens what is to be here. Returns whether all of it is.
    ///
    /// A name that was given again waits until the host has destroyed what it stored for the group
    /// of that name before: the next one must not begin with its log.
    async fn open_placed(&self, state: &MetaState, doomed: &BTreeMap<u64, GroupName>) -> bool {
        let here = state.groups_of(self.me());
        let missing = here
            .filter(|(name, _)| **name != self.meta_name && self.manager.operations(name).is_err())
            .filter_map(|(name, _)| Some((name.clone(), state.groups.get(name)?.id)));
        let (missing, blocked): (Vec<_>, Vec<_>) =
            missing.partition(|(name, _)| !doomed.values().any(|before| before == name));
        let opened = stream::iter(missing).map(|(name, id)| async move {
            let manager = self.manager.clone();
            let opened = self.factory.open(manager, name.clone(), GroupId::new(id));
            let problem = match timeout(self.config().change_timeout, opened).await {
                Ok(Ok(())) => {
                    lock(&self.opened).insert(name.clone());
                    None
                }
                Ok(Err(error)) => Some(format!("node {} cannot open it: {error}", self.me())),
                Err(_) => Some(format!("node {} has not opened it in time", self.me())),
            };
            let done = problem.is_none();
            self.problem(&name, problem);
            done
        });
        let opened = all_done(opened.buffer_unordered(self.config().parallelism)).await;
        opened && blocked.is_empty()
    }

    /// Founds what this node is to found. Returns whether nothing is left to found.
    async fn found_own(&self, state: &MetaState, since: &mut BTreeMap<GroupName, Instant>) -> bool {
        let own = state.groups.iter();
        let own = own.filter(|(_, group)| !group.founded && group.founder == self.me());
        // What could not be opened has its own reason, which must not be written over.
        let (own, missing): (Vec<_>, Vec<_>) =
            own.partition(|(name, _)| self.manager.operations(name).is_ok());
        let now = Instant::now();
        since.retain(|name, _| own.iter().any(|(own, _)| *own == name));
        let due = own.iter().map(|(name, group)| {
            let first = *since.entry((*name).clone()).or_insert(now);
            let patience_over = now - first >= self.config().founding_patience;
            (
                (*name).clone(),
                founders(state, group, self.me(), patience_over),
            )
        });
        let due: Vec<_> = due.collect();
        let all = stream::iter(due).map(|(name, founders)| async move {
            let Some(founders) = founders else {
                self.problem(&name, Some("not all its voters have come yet".to_owned()));
                return false;
            };
            let founded = self.found_group(&name, founders).await;
            let problem = founded.err().map(|error| error.to_string());
            let done = problem.is_none();
            self.problem(&name, problem);
            done
        });
        let done = all_done(all.buffer_unordered(self.config().parallelism)).await;
        done && missing.is_empty()
    }

    async fn found_group(
        &self,
        name: &GroupName,
        founders: Vec<NodeRecord>,
    ) -> Result<(), ClusterError> {
        let failed = |error: OperationError| ClusterError::Factory {
            node: self.me(),
            group: name.clone(),
            reason: error.to_string(),
        };
        let group = self.manager.operations(name).map_err(failed)?;
        group.found(founders).await.map_err(failed)?;
        let founded = MetaCommand::GroupFounded {
            group: name.clone(),
        };
        let deadline = Instant::now() + self.config().ask_timeout;
        self.note(founded, deadline).await.map(drop)
    }

    /// Waits until a group is founded.
    pub(super) async fn await_founded(
        &self,
        name: &GroupName,
        deadline: Instant,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        let mut changes = self.meta.changes();
        let founded = changes.wait_for(|state| state.groups.get(name).is_some_and(|it| it.founded));
        match timeout_at(deadline, founded).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ClusterError::ShuttingDown),
            Err(_) => Err(ClusterError::NotFormed {
                waited: started.elapsed(),
                pending: self.report().pending(),
            }),
        }
    }

    /// Ends what the cluster has no more, by number, as a name may be given again. Returns whether
    /// nothing of it is left.
    async fn end_removed(&self, state: &MetaState, doomed: &mut BTreeMap<u64, GroupName>) -> bool {
        let opened = lock(&self.opened).clone();
        for name in opened {
            let Ok(group) = self.manager.operations(&name) else {
                continue;
            };
            let id = group.id().get();
            if state.groups.get(&name).is_none_or(|known| known.id != id) {
                doomed.insert(id, name);
            }
        }
        for (id, name) in doomed.clone() {
            let ended = self.end_group(&name, id).await;
            if ended.is_ok() {
                doomed.remove(&id);
            }
            self.problem(&name, ended.err().map(|error| error.to_string()));
        }
        doomed.is_empty()
    }

    /// Ends this node's part of a group and has the host delete what it stored.
    pub(super) async fn end_group(&self, name: &GroupName, id: u64) -> Result<(), ClusterError> {
        let open = self.manager.operations(name).ok();
        let given_again = open.as_ref().is_some_and(|group| group.id().get() != id);
        if open.is_some()
            && !given_again
            && let Err(error) = self.manager.remove_group(name).await
        {
            tracing::warn!(
                target: "quicraft::cluster",
                node = self.me(), group = %name, %error, "a group that ends has failed"
            );
        }
        if !given_again {
            lock(&self.opened).remove(name);
        }
        let destroyed = self.factory.destroy(name.clone(), GroupId::new(id));
        let reason = match timeout(self.config().change_timeout, destroyed).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it is not destroyed in time".to_owned(),
        };
        Err(ClusterError::Factory {
            node: self.me(),
            group: name.clone(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_group_that_fails_does_not_cut_off_another() {
        let opened = AtomicBool::new(false);
        let slow = async {
            tokio::task::yield_now().await;
            opened.store(true, Ordering::Relaxed);
            true
        };
        let groups = stream::iter([ready(false).boxed(), slow.boxed()]);
        assert!(!all_done(groups.buffer_unordered(2)).await);
        assert!(opened.load(Ordering::Relaxed));
        let all = stream::iter([ready(true), ready(true)]);
        assert!(all_done(all.buffer_unordered(2)).await);
    }
}
