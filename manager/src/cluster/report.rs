//! How far the forming of the cluster is, per node and per group, as this node sees it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::error::ClusterError;
use super::{Cluster, Phase, lock};
use crate::GroupName;
use crate::meta::{MetaState, NodeStanding};

/// How far a node or a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormationState {
    /// It is where it is to be.
    Done,
    /// It is not there yet; why, in words.
    Pending(String),
    /// It does not get there by itself; why, in words.
    Failed(String),
}

impl fmt::Display for FormationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Pending(why) => write!(f, "pending: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// How far the forming of the cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormationReport {
    /// The cluster's uid, once it is founded.
    pub uid: Option<u128>,
    /// Every configured member, and every node of the cluster that was not removed.
    pub nodes: BTreeMap<u64, FormationState>,
    /// Every group.
    pub groups: BTreeMap<GroupName, FormationState>,
}

impl FormationReport {
    /// Whether every node and every group is where it is to be.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let mut states = self.nodes.values().chain(self.groups.values());
        self.uid.is_some() && states.all(|state| *state == FormationState::Done)
    }

    /// What is not done, and why.
    pub(crate) fn pending(&self) -> BTreeMap<String, String> {
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|(node, state)| (format!("node {node}"), state));
        let groups = self.groups.iter();
        let groups = groups.map(|(group, state)| (format!("group {group}"), state));
        let open = nodes
            .chain(groups)
            .filter(|(_, state)| **state != FormationState::Done);
        open.map(|(what, state)| (what, state.to_string()))
            .collect()
    }
}

/// What this node sees.
struct Seen<'a> {
    me: u64,
    phase: &'a Phase,
    state: &'a MetaState,
    configured: &'a BTreeSet<u64>,
    problems: &'a BTreeMap<String, String>,
    /// The groups that run here, and what each still misses.
    running: &'a BTreeMap<GroupName, Option<&'static str>>,
}

fn report(seen: &Seen<'_>) -> FormationReport {
    let state = seen.state;
    let admitted = state.admitted().map(|entry| entry.record.node);
    let nodes = seen.configured.iter().copied().chain(admitted);
    FormationReport {
        uid: (state.uid != 0).then_some(state.uid),
        nodes: nodes.map(|node| (node, node_state(seen, node))).collect(),
        groups: state
            .groups
            .keys()
            .map(|name| (name.clone(), group_state(seen, name)))
            .collect(),
    }
}

fn node_state(seen: &Seen<'_>, node: u64) -> FormationState {
    if node == seen.me
        && let Phase::Failed(error) = seen.phase
    {
        return FormationState::Failed(error.to_string());
    }
    if let (Phase::Asking(why), 0) = (seen.phase, seen.state.uid) {
        let why = match why.get(&node) {
            Some(why) => why.clone(),
            None if node == seen.me => "it asks its peers".to_owned(),
            None => "it has answered".to_owned(),
        };
        return FormationState::Pending(why);
    }
    let known = seen.problems.get(&format!("node {node}"));
    match seen.state.standing(node) {
        Some(NodeStanding::Member) => FormationState::Done,
        Some(NodeStanding::Joining) => {
            let why = known.cloned();
            FormationState::Pending(why.unwrap_or_else(|| "it is joining".to_owned()))
        }
        Some(NodeStanding::Leaving) => FormationState::Pending("it is leaving".to_owned()),
        // What was configured and left since is not missed.
        Some(NodeStanding::Removed) => FormationState::Done,
        None => FormationState::Pending("the cluster does not have it".to_owned()),
    }
}

fn group_state(seen: &Seen<'_>, name: &GroupName) -> FormationState {
    let Some(group) = seen.state.groups.get(name) else {
        return FormationState::Done;
    };
    let known = seen.problems.get(&name.to_string()).cloned();
    let pending = |otherwise: &str| {
        FormationState::Pending(known.clone().unwrap_or_else(|| otherwise.to_owned()))
    };
    if !group.founded {
        return pending(&format!("node {} has not founded it yet", group.founder));
    }
    match (group.role(seen.me), seen.running.get(name)) {
        (None, _) | (Some(_), Some(None)) => FormationState::Done,
        (Some(_), Some(Some(misses))) => pending(misses),
        (Some(_), None) => pending("it is not open here yet"),
    }
}

/// What a group of this node still misses. Its leader is known with the first heartbeat; that the node
/// is one of its members comes with the log, which may take longer.
const fn misses(leader: Option<u64>, member: bool) -> Option<&'static str> {
    match (leader, member) {
        (None, _) => Some("no leader is known"),
        (Some(_), false) => Some("its log has not come here yet"),
        (Some(_), true) => None,
    }
}

impl Cluster {
    /// How far the forming is.
    pub(crate) fn report(&self) -> FormationReport {
        let running = self.manager.group_status().into_iter();
        let running = running.map(|status| {
            let member = [&status.voters, &status.learners]
                .iter()
                .any(|ids| ids.contains(&self.me()));
            (status.name, misses(status.leader, member))
        });
        report(&Seen {
            me: self.me(),
            phase: &self.phase.borrow().clone(),
            state: &self.meta.state(),
            configured: &self.spec.configured(),
            problems: &lock(&self.problems).clone(),
            running: &running.collect(),
        })
    }

    /// Waits until the cluster is formed.
    pub(crate) async fn formed(&self, deadline: Instant) -> Result<FormationReport, ClusterError> {
        let started = Instant::now();
        let mut changes = self.meta.changes();
        let mut phases = self.phase.subscribe();
        let formed = async {
            loop {
                let phase = phases.borrow_and_update().clone();
                let state = Arc::clone(&changes.borrow_and_update());
                if let Phase::Failed(error) = phase {
                    return Err(error);
                }
                let report = self.report();
                if state.uid != 0 && report.is_done() {
                    return Ok(report);
                }
                tokio::select! {
                    changed = phases.changed() => changed.map_err(|_| ClusterError::ShuttingDown)?,
                    changed = changes.changed() => changed.map_err(|_| ClusterError::ShuttingDown)?,
                    // A leader becomes known without any change of the state.
                    () = self.pause() => {}
                    () = self.stop.cancelled() => return Err(ClusterError::ShuttingDown),
                }
            }
        };
        match timeout_at(deadline, formed).await {
            Ok(formed) => formed,
            Err(_) => Err(ClusterError::NotFormed {
                waited: started.elapsed(),
                pending: self.report().pending(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A heartbeat names the leader before the log has said who the members are.
    #[test]
    fn a_group_is_formed_here_when_its_log_is_here() {
        assert_eq!(misses(None, true), Some("no leader is known"));
        assert_eq!(
            misses(Some(1), false),
            Some("its log has not come here yet")
        );
        assert_eq!(misses(Some(1), true), None);
    }
}
