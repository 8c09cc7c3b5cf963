//! Which nodes exist, where they are, and who may enter.
//!
//! The host feeds it; dialling and admission read it. It must not know links.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quicraft_certs::NodeId;
use tokio::sync::watch;

use crate::PeerAddress;
use crate::admission::Standing;
use crate::limits::{ADDRESSES_MAX, PEERS_MAX};

/// When a node is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dial {
    /// At once, and again whenever the link is lost: for nodes that share a group.
    #[default]
    Eager,
    /// At the first call, and while a Raft client of it exists. A link that is not used is closed
    /// after [`idle_link_timeout`](crate::TransportConfig::idle_link_timeout).
    ByNeed,
}

/// What the roster holds about one node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RosterEntry {
    /// The node.
    pub node: NodeId,
    /// Where it can be dialled; empty for a node that only dials.
    pub addresses: Vec<PeerAddress>,
    /// SHA-256 of the subject public key info that its certificate must have, if it is pinned.
    pub pin: Option<[u8; 32]>,
    /// When it is dialled; eagerly unless it is set.
    pub dial: Dial,
}

impl RosterEntry {
    /// A node at its addresses, with any key.
    #[must_use]
    pub const fn new(node: NodeId, addresses: Vec<PeerAddress>) -> Self {
        Self {
            node,
            addresses,
            pin: None,
            dial: Dial::Eager,
        }
    }

    /// The same node, dialled only when a call needs it.
    #[must_use]
    pub const fn by_need(mut self) -> Self {
        self.dial = Dial::ByNeed;
        self
    }

    /// The same node, but only with this key.
    #[must_use]
    pub const fn pinned(mut self, key_hash: [u8; 32]) -> Self {
        self.pin = Some(key_hash);
        self
    }
}

/// Why the roster did not take an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RosterError {
    /// The bound on peers is reached.
    #[error("node {node} does not fit: the roster holds its limit of {limit} nodes")]
    Full {
        /// The node that was refused.
        node: NodeId,
        /// The bound.
        limit: usize,
    },
    /// Too many addresses.
    #[error("node {node} has {count} addresses, the limit is {limit}")]
    TooManyAddresses {
        /// The node that was refused.
        node: NodeId,
        /// Addresses given.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// The node was removed; ids are not reused.
    #[error("node {0} was removed from the roster; give the new node an id that was never used")]
    Removed(NodeId),
}

#[derive(Clone, Debug)]
enum Slot {
    Member(RosterEntry),
    Removed,
    Suspended(RosterEntry),
}

#[derive(Debug)]
struct Shared {
    slots: Mutex<BTreeMap<NodeId, Slot>>,
    /// Whether a proven node of the cluster may enter though the roster does not know it.
    open: bool,
    changed: watch::Sender<u64>,
}

/// The nodes of the cluster. A cheap clone; all clones are one roster.
#[derive(Clone, Debug)]
pub struct Roster {
    shared: Arc<Shared>,
}

impl Default for Roster {
    fn default() -> Self {
        Self::closed()
    }
}

impl Roster {
    /// An empty roster that refuses who is not in it.
    #[must_use]
    pub fn closed() -> Self {
        Self::with_policy(false)
    }

    /// An empty roster that lets in every node with a valid certificate of the cluster, unless it
    /// was removed. For hosts that keep addresses in openraft's `Node` and revoke by certificate.
    #[must_use]
    pub fn open() -> Self {
        Self::with_policy(true)
    }

    fn with_policy(open: bool) -> Self {
        let (changed, _) = watch::channel(0);
        Self {
            shared: Arc::new(Shared {
                slots: Mutex::default(),
                open,
                changed,
            }),
        }
    }

    /// Adds a node, or replaces what is known of it. Takes effect at the next dial and handshake. A
    /// suspended node stays suspended.
    ///
    /// Two nodes may have the same address for a while, as they do when one moves to where the
    /// other was: the certificate says who is really there.
    ///
    /// # Errors
    ///
    /// [`RosterError`]; the roster is unchanged then.
    pub fn insert(&self, entry: RosterEntry) -> Result<(), RosterError> {
        self.put(entry.node, |_| entry)
    }

    /// Learns where a node is, as `insert` does, but keeps what else is known of it.
    ///
    /// # Errors
    ///
    /// [`RosterError`]; the roster is unchanged then.
    pub fn learn(&self, node: NodeId, addresses: Vec<PeerAddress>) -> Result<(), RosterError> {
        self.put(node, |known| {
            let mut entry = known.map_or_else(|| RosterEntry::new(node, Vec::new()), Clone::clone);
            entry.addresses = addresses;
            entry
        })
    }

    /// Puts what `make` makes of the present entry in its place, in one step: what else changes it,
    /// a pin for example, comes before or after.
    fn put(
        &self,
        node: NodeId,
        make: impl FnOnce(Option<&RosterEntry>) -> RosterEntry,
    ) -> Result<(), RosterError> {
        let mut slots = self.slots();
        let place = slots.get(&node);
        let known = match place {
            Some(Slot::Removed) => return Err(RosterError::Removed(node)),
            Some(Slot::Member(known) | Slot::Suspended(known)) => Some(known),
            None => None,
        };
        let entry = make(known);
        let count = entry.addresses.len();
        if count > ADDRESSES_MAX {
            return Err(RosterError::TooManyAddresses {
                node,
                count,
                limit: ADDRESSES_MAX,
            });
        }
        let slot = match place {
            Some(Slot::Member(known)) if *known == entry => return Ok(()),
            // The drill goes on.
            Some(Slot::Suspended(_)) => Slot::Suspended(entry),
            None if members_and_suspended(&slots) >= PEERS_MAX => {
                return Err(RosterError::Full {
                    node,
                    limit: PEERS_MAX,
                });
            }
            _ => Slot::Member(entry),
        };
        slots.insert(node, slot);
        drop(slots);
        self.shared.changed.send_modify(|version| *version += 1);
        Ok(())
    }

    /// Pins the key of a node that has no pin yet. Returns whether it was pinned now.
    pub(crate) fn pin_first(&self, node: NodeId, key_hash: [u8; 32]) -> bool {
        let mut slots = self.slots();
        let Some(Slot::Member(entry)) = slots.get_mut(&node) else {
            return false;
        };
        let first = entry.pin.is_none();
        entry.pin.get_or_insert(key_hash);
        drop(slots);
        if first {
            self.shared.changed.send_modify(|version| *version += 1);
        }
        first
    }

    /// Removes a node for good: it is told so at its next handshake, and its id is not taken again.
    pub fn remove(&self, node: NodeId) {
        self.slots().insert(node, Slot::Removed);
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// Forgets a node: it may not enter until it is inserted again. Who was removed stays removed.
    pub fn withdraw(&self, node: NodeId) {
        let mut slots = self.slots();
        if let Some(Slot::Member(_) | Slot::Suspended(_)) = slots.get(&node) {
            slots.remove(&node);
            drop(slots);
            self.shared.changed.send_modify(|version| *version += 1);
        }
    }

    /// Cuts a node off until it is resumed, for a drill. Returns whether the roster knows it.
    #[must_use = "an unknown node is not suspended"]
    pub fn suspend(&self, node: NodeId) -> bool {
        self.swap(node, Slot::Suspended)
    }

    /// Ends a suspension. Returns whether the roster knows the node.
    #[must_use = "an unknown node is not resumed"]
    pub fn resume(&self, node: NodeId) -> bool {
        self.swap(node, Slot::Member)
    }

    fn swap(&self, node: NodeId, to: impl FnOnce(RosterEntry) -> Slot) -> bool {
        let mut slots = self.slots();
        let Some(Slot::Member(entry) | Slot::Suspended(entry)) = slots.get(&node).cloned() else {
            return false;
        };
        slots.insert(node, to(entry));
        drop(slots);
        self.shared.changed.send_modify(|version| *version += 1);
        true
    }

    /// What is known of a node that may enter.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<RosterEntry> {
        match self.slots().get(&node) {
            Some(Slot::Member(entry)) => Some(entry.clone()),
            Some(Slot::Removed | Slot::Suspended(_)) | None => None,
        }
    }

    /// The nodes that may enter, in the order of their ids.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let slots = self.slots();
        let members = slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Member(_)));
        members.map(|(node, _)| *node).collect()
    }

    /// What admission is told about a node.
    #[must_use]
    pub fn standing(&self, node: NodeId) -> Standing {
        match self.slots().get(&node) {
            Some(Slot::Member(entry)) => Standing::Member { pin: entry.pin },
            Some(Slot::Removed) => Standing::Removed,
            Some(Slot::Suspended(_)) => Standing::Suspended,
            None if self.shared.open => Standing::Member { pin: None },
            None => Standing::Unknown,
        }
    }

    /// Wakes on every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<NodeId, Slot>> {
        // Nothing panics while the lock is held, and a map is whole between two calls.
        self.shared
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nodes that were not removed; the removed ones are remembered for ever and take no place.
fn members_and_suspended(slots: &BTreeMap<NodeId, Slot>) -> usize {
    let removed = |slot: &&Slot| matches!(slot, Slot::Removed);
    slots.len() - slots.values().filter(removed).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(node: u64, address: &str) -> RosterEntry {
        RosterEntry::new(NodeId::new(node).unwrap(), vec![address.parse().unwrap()])
    }

    fn id(node: u64) -> NodeId {
        NodeId::new(node).unwrap()
    }

    #[test]
    fn a_closed_roster_knows_whom_it_holds_and_an_open_one_lets_all_in() {
        let closed = Roster::closed();
        assert_eq!(closed.standing(id(1)), Standing::Unknown);
        closed.insert(entry(1, "a:1").pinned([1; 32])).unwrap();
        assert_eq!(
            closed.standing(id(1)),
            Standing::Member { pin: Some([1; 32]) }
        );
        let open = Roster::open();
        assert_eq!(open.standing(id(1)), Standing::Member { pin: None });
        open.remove(id(1));
        assert_eq!(open.standing(id(1)), Standing::Removed);
    }

    #[test]
    fn a_removed_id_is_not_reused() {
        let roster = Roster::closed();
        roster.insert(entry(1, "a:1")).unwrap();
        roster.remove(id(1));
        assert_eq!(
            roster.insert(entry(1, "b:1")),
            Err(RosterError::Removed(id(1)))
        );
        assert!(!roster.resume(id(1)));
    }

    #[test]
    fn a_node_moves_and_keeps_its_pin() {
        let roster = Roster::closed();
        roster.insert(entry(1, "a:1").pinned([1; 32])).unwrap();
        let mut changes = roster.changes();
        changes.mark_unchanged();
        roster.learn(id(1), vec!["b:1".parse().unwrap()]).unwrap();
        assert!(changes.has_changed().unwrap());
        let known = roster.get(id(1)).unwrap();
        assert_eq!(
            (known.addresses[0].to_string(), known.pin),
            ("b:1".to_owned(), Some([1; 32]))
        );
    }

    #[test]
    fn the_same_entry_again_is_no_change() {
        let roster = Roster::closed();
        roster.insert(entry(1, "a:1")).unwrap();
        let mut changes = roster.changes();
        changes.mark_unchanged();
        roster.insert(entry(1, "a:1")).unwrap();
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn bounds_at_the_limit_and_one_past_it() {
        let roster = Roster::closed();
        for node in 1..=PEERS_MAX as u64 {
            roster
                .insert(RosterEntry::new(id(node), Vec::new()))
                .unwrap();
        }
        let past = RosterEntry::new(id(PEERS_MAX as u64 + 1), Vec::new());
        assert!(matches!(
            roster.insert(past.clone()),
            Err(RosterError::Full { .. })
        ));
        roster.remove(id(2));
        assert_eq!(roster.insert(past), Ok(()));
        let addresses = |count: u16| (1..=count).map(|port| format!("a:{port}").parse().unwrap());
        let limit = u16::try_from(ADDRESSES_MAX).unwrap();
        roster
            .insert(RosterEntry::new(id(1), addresses(limit).collect()))
            .unwrap();
        let past = RosterEntry::new(id(1), addresses(limit + 1).collect());
        assert!(matches!(
            roster.insert(past),
            Err(RosterError::TooManyAddresses { .. })
        ));
    }

    #[test]
    fn what_is_learnt_of_a_suspended_node_ends_neither_the_drill_nor_its_pin() {
        let roster = Roster::closed();
        roster.insert(entry(1, "a:1").pinned([1; 32])).unwrap();
        assert!(roster.suspend(id(1)));
        roster.learn(id(1), vec!["b:1".parse().unwrap()]).unwrap();
        assert_eq!(roster.standing(id(1)), Standing::Suspended);
        roster.insert(entry(1, "c:1").pinned([1; 32])).unwrap();
        assert_eq!(roster.standing(id(1)), Standing::Suspended);
        assert!(roster.resume(id(1)));
        let known = roster.get(id(1)).unwrap();
        assert_eq!(
            (known.addresses[0].to_string(), known.pin),
            ("c:1".to_owned(), Some([1; 32]))
        );
    }

    #[test]
    fn a_suspended_node_is_refused_until_it_is_resumed() {
        let roster = Roster::closed();
        roster.insert(entry(1, "a:1")).unwrap();
        assert!(roster.suspend(id(1)));
        assert_eq!(roster.standing(id(1)), Standing::Suspended);
        assert!(roster.members().is_empty());
        assert!(roster.resume(id(1)));
        assert_eq!(roster.standing(id(1)), Standing::Member { pin: None });
    }
}
