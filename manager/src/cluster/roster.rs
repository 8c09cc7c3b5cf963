//! Who may enter follows the applied state of the meta group, and the configured seeds until it is as
//! new as what let this node in.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use quicraft_transport::{LinkState, NodeId, RosterEntry};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Cluster, MetaGroup};
use crate::control;
use crate::control::wire::{Neighbours, method};
use crate::meta::{MetaState, NodeRecord, NodeStanding};

/// What is to be done to the transport's roster.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Admit {
    /// The node may enter, and is reached there.
    In(NodeRecord),
    /// The node was removed, and is told so for ever.
    Removed(u64),
    /// The node was configured, and the cluster does not know it.
    Unknown(u64),
}

/// What the state asks of a roster that has `known`. A state that may be older than what let this
/// node in is only added: the peers that it would drop may be all that can bring a newer one.
fn admissions(state: &MetaState, me: u64, known: &[u64], current: bool) -> Vec<Admit> {
    let nodes = state.nodes.values().filter(|it| it.record.node != me);
    let mut steps: Vec<_> = nodes
        .filter_map(|entry| match entry.standing {
            NodeStanding::Joining | NodeStanding::Member | NodeStanding::Leaving => {
                Some(Admit::In(entry.record.clone()))
            }
            NodeStanding::Removed => current.then_some(Admit::Removed(entry.record.node)),
        })
        .collect();
    if current {
        let unknown = known.iter().filter(|it| !state.nodes.contains_key(it));
        steps.extend(
            unknown
                .filter(|&&it| it != me)
                .map(|&it| Admit::Unknown(it)),
        );
    }
    steps
}

impl Cluster {
    /// Follows the state for as long as the cluster runs.
    ///
    /// A node that was away, or that was configured with some members only, may not know the node that
    /// leads now, and would refuse it. So while it has no link to a leader, it asks those that it
    /// knows who else there is.
    pub(super) async fn follow_roster(self: Arc<Self>, floor: u64) {
        let Some(group) = self.group().cloned() else {
            return;
        };
        let mut changes = self.meta.changes();
        let mut removed = BTreeSet::new();
        let (mut floor, mut current) = (floor, false);
        let mut asks = interval(self.config().ask_timeout);
        asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let state = Arc::clone(&changes.borrow_and_update());
            if state.uid != 0 {
                self.adopt_uid(state.uid);
                self.admit(&state, current, &mut removed);
            }
            let followed = tokio::select! {
                changed = changes.changed() => changed,
                () = group.applied(floor), if !current => {
                    current = true;
                    Ok(())
                }
                _ = asks.tick() => {
                    if let Some(newer) = self.ask_neighbours(&*group).await {
                        (floor, current) = (newer, false);
                    }
                    Ok(())
                }
            };
            if followed.is_err() {
                return;
            }
        }
    }

    /// The nodes that may enter, as this one knows them.
    pub(crate) fn neighbours(&self) -> Option<Neighbours> {
        let group = self.group()?;
        // In this order: what is applied meanwhile is in the index and not missed.
        let state = self.meta.state();
        let nodes = state.admitted().map(|entry| entry.record.clone());
        Some(Neighbours {
            nodes: nodes.collect(),
            floor: group.applied_index(),
        })
    }

    /// Lets in whom others know, where this node does not know more itself. Returns the index that it
    /// has to apply to know it by itself.
    async fn ask_neighbours(&self, group: &dyn MetaGroup) -> Option<u64> {
        if group.leader().is_some_and(|leader| self.reaches(leader)) {
            return None;
        }
        let peers = self.handle().roster().members().into_iter();
        let peers: Vec<_> = peers.filter(|peer| peer.get() != self.me()).collect();
        let asked = stream::iter(peers).map(|peer| async move {
            let deadline = Instant::now() + self.config().ask_timeout;
            let method = method::NEIGHBOURS;
            let told = control::ask(self.handle(), peer.get(), method, &(), deadline).await;
            told.ok()
        });
        let told: Vec<Option<Neighbours>> = asked
            .buffer_unordered(self.config().parallelism)
            .collect()
            .await;
        let newest = told.into_iter().flatten().max_by_key(|told| told.floor)?;
        if newest.floor <= group.applied_index() {
            return None;
        }
        for record in newest.nodes.iter().filter(|it| it.node != self.me()) {
            let problem = self.let_in(record).err();
            self.problem(format_args!("roster, node {}", record.node), problem);
        }
        Some(newest.floor)
    }

    fn reaches(&self, node: u64) -> bool {
        let up = |id| self.handle().peer(id).status().state == LinkState::Up;
        node == self.me() || NodeId::new(node).is_ok_and(up)
    }

    /// The configured members may enter, and are dialled, until the applied state says who may.
    pub(super) fn seed_roster(&self) {
        for member in &self.spec.members {
            let known = NodeId::new(member.node).map(|id| self.handle().roster().get(id));
            if member.node == self.me() || known.is_ok_and(|known| known.is_some()) {
                continue;
            }
            let problem = self.let_in(member).err();
            self.problem(format_args!("roster, node {}", member.node), problem);
        }
    }

    fn adopt_uid(&self, uid: u128) {
        if self.handle().cluster_uid() != uid
            && let Err(error) = self.handle().set_cluster_uid(uid)
        {
            self.problem("uid", Some(error.to_string()));
        }
    }

    fn admit(&self, state: &MetaState, current: bool, removed: &mut BTreeSet<u64>) {
        let roster = self.handle().roster();
        let known: Vec<_> = roster.members().into_iter().map(NodeId::get).collect();
        for step in admissions(state, self.me(), &known, current) {
            let problem = match &step {
                Admit::In(record) => self.let_in(record).err(),
                Admit::Removed(node) => {
                    if let (Ok(id), true) = (NodeId::new(*node), removed.insert(*node)) {
                        roster.remove(id);
                    }
                    None
                }
                Admit::Unknown(node) => {
                    if let Ok(id) = NodeId::new(*node) {
                        roster.withdraw(id);
                    }
                    None
                }
            };
            if let (Admit::In(record), Some(why)) = (&step, problem) {
                self.problem(format_args!("roster, node {}", record.node), Some(why));
            }
        }
    }

    fn let_in(&self, record: &NodeRecord) -> Result<(), String> {
        let roster = self.handle().roster();
        let node = NodeId::new(record.node).map_err(|error| error.to_string())?;
        let addresses = record.peer_addresses();
        let let_in = match record.pin {
            Some(pin) => roster.insert(RosterEntry::new(node, addresses).pinned(pin)),
            // What else is known of it stays, a key that was seen first among it.
            None => roster.learn(node, addresses),
        };
        let_in.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::NodeEntry;

    fn state(nodes: &[(u64, NodeStanding)]) -> MetaState {
        let mut state = MetaState::default();
        for &(id, standing) in nodes {
            let entry = NodeEntry {
                record: NodeRecord::new(id, [format!("10.0.0.{id}:4000")]),
                standing,
                seated: true,
            };
            state.nodes.insert(id, entry);
        }
        state
    }

    fn steps(current: bool) -> Vec<Admit> {
        let state = state(&[
            (1, NodeStanding::Member),
            (2, NodeStanding::Leaving),
            (3, NodeStanding::Removed),
            (4, NodeStanding::Joining),
        ]);
        admissions(&state, 1, &[2, 3, 9], current)
    }

    fn node(id: u64) -> Admit {
        Admit::In(NodeRecord::new(id, [format!("10.0.0.{id}:4000")]))
    }

    #[test]
    fn a_current_state_says_who_may_enter_and_who_not() {
        let expected = [node(2), Admit::Removed(3), node(4), Admit::Unknown(9)];
        assert_eq!(steps(true), expected);
    }

    #[test]
    fn a_state_that_may_be_old_shuts_nobody_out() {
        assert_eq!(steps(false), [node(2), node(4)]);
    }
}
