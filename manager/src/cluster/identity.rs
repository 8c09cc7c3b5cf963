//! Who this node is: a member that comes back, a founder, one that is let in, or one that lost its
//! disk. Pure: what its disk holds and what its peers answered come in, a verdict comes out.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::wire::Identity;
use crate::meta::NodeStanding;

/// What this node finds on its own disk, and in its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// This node.
    pub(super) me: u64,
    /// The uid that the transport keeps; 0 if there is none.
    pub(super) uid: u128,
    /// Whether the meta group's log and state are empty.
    pub(super) blank: bool,
    /// The configured members, this node among them.
    pub(super) configured: BTreeSet<u64>,
    /// Whether the operator vouches that there is no cluster yet.
    pub(super) force_found: bool,
}

/// What became of the question to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Its answer.
    Said(Identity),
    /// It has not answered; why, in words.
    Silent(String),
}

/// What this node is, and does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A member that comes back: it starts its groups.
    Return,
    /// It founds the cluster: with this uid if it began to do so before, or with a new one.
    Found { uid: u128 },
    /// It is let in: it keeps the uid, tells the cluster through `via`, and starts its groups.
    Sit { uid: u128, via: u64 },
    /// Nothing can be said yet. Per peer, why.
    Wait(BTreeMap<u64, String>),
    /// It must not start.
    Stop(Stop),
}

/// Why a node must not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The cluster knows it with data, and its disk is empty.
    Lost { uid: u128 },
    /// It was removed, or is leaving.
    Gone(NodeStanding),
    /// It belongs to one cluster and a configured peer to another.
    OtherCluster { peer: u64, uid: u128, ours: u128 },
    /// A peer is configured with other members, so that both might found.
    OtherMembers { peer: u64, theirs: BTreeSet<u64> },
}

/// Decides. A node whose disk holds a cluster asks nobody.
pub(super) fn judge(disk: &Disk, heard: &BTreeMap<u64, Heard>) -> Verdict {
    if !disk.blank {
        return Verdict::Return;
    }
    if let Some(verdict) = known_to_a_cluster(disk, heard) {
        return verdict;
    }
    let mut silent = BTreeMap::new();
    for peer in disk.configured.iter().filter(|&&peer| peer != disk.me) {
        match heard.get(peer) {
            Some(Heard::Said(Identity::Empty { configured, .. })) => {
                if *configured != disk.configured {
                    return Verdict::Stop(Stop::OtherMembers {
                        peer: *peer,
                        theirs: configured.clone(),
                    });
                }
            }
            Some(Heard::Said(Identity::Starting { .. } | Identity::Cluster { .. })) => {
                silent.insert(*peer, "it is starting".to_owned());
            }
            Some(Heard::Silent(why)) => drop(silent.insert(*peer, why.clone())),
            None => drop(silent.insert(*peer, "it was not asked yet".to_owned())),
        }
    }
    let forced = disk.force_found && forced_before(disk, heard).is_none();
    if forced || (is_founder(disk) && silent.is_empty()) {
        return Verdict::Found { uid: disk.uid };
    }
    if let Some(first) = forced_before(disk, heard) {
        silent.insert(first, "it founds the cluster, and has not yet".to_owned());
    }
    if silent.is_empty() {
        let founder = disk.configured.first().copied().unwrap_or_default();
        silent.insert(founder, "it founds the cluster, and has not yet".to_owned());
    }
    Verdict::Wait(silent)
}

/// Exactly one of the configured members founds: the one with the lowest id.
fn is_founder(disk: &Disk) -> bool {
    disk.configured.first() == Some(&disk.me)
}

/// The first that may found without the others and has answered: a configuration that forces is often
/// that of all nodes, and they must not found one cluster each.
fn forced_before(disk: &Disk, heard: &BTreeMap<u64, Heard>) -> Option<u64> {
    let mut before = heard.iter().filter(|(peer, _)| **peer < disk.me);
    let forced = before
        .find(|(_, heard)| matches!(heard, Heard::Said(Identity::Empty { forced: true, .. })));
    forced.map(|(peer, _)| *peer)
}

/// What a blank node is to a cluster that a peer belongs to, if one does.
fn known_to_a_cluster(disk: &Disk, heard: &BTreeMap<u64, Heard>) -> Option<Verdict> {
    let mut waits = BTreeMap::new();
    let mut verdict = None;
    for (&peer, heard) in heard {
        let (uid, standing, seated) = match heard {
            Heard::Said(Identity::Cluster {
                uid,
                standing,
                seated,
            }) => (*uid, *standing, *seated),
            Heard::Said(Identity::Starting { uid }) => {
                if disk.uid != 0 && *uid != disk.uid {
                    return Some(other(disk, peer, *uid));
                }
                waits.insert(peer, "it is starting".to_owned());
                continue;
            }
            Heard::Said(Identity::Empty { .. }) | Heard::Silent(_) => continue,
        };
        if disk.uid != 0 && uid != disk.uid {
            return Some(other(disk, peer, uid));
        }
        match standing {
            None => {
                let wait = "its cluster does not have this node; add it there with add_node";
                waits.insert(peer, wait.to_owned());
            }
            Some(gone @ (NodeStanding::Leaving | NodeStanding::Removed)) => {
                return Some(Verdict::Stop(Stop::Gone(gone)));
            }
            // Its disk keeps the uid from before it is seated, and the meta group's log from before
            // it is a member.
            Some(NodeStanding::Joining) if seated && disk.uid == 0 => {
                return Some(Verdict::Stop(Stop::Lost { uid }));
            }
            Some(NodeStanding::Member) if seated => {
                return Some(Verdict::Stop(Stop::Lost { uid }));
            }
            Some(NodeStanding::Joining | NodeStanding::Member) => {
                verdict.get_or_insert(Verdict::Sit { uid, via: peer });
            }
        }
    }
    verdict.or_else(|| (!waits.is_empty()).then_some(Verdict::Wait(waits)))
}

const fn other(disk: &Disk, peer: u64, uid: u128) -> Verdict {
    Verdict::Stop(Stop::OtherCluster {
        peer,
        uid,
        ours: disk.uid,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disk(me: u64) -> Disk {
        Disk {
            me,
            uid: 0,
            blank: true,
            configured: BTreeSet::from([1, 2, 3]),
            force_found: false,
        }
    }

    fn empty_and(forced: bool) -> Heard {
        Heard::Said(Identity::Empty {
            configured: BTreeSet::from([1, 2, 3]),
            forced,
        })
    }

    fn empty() -> Heard {
        empty_and(false)
    }

    fn cluster(uid: u128, standing: Option<NodeStanding>, seated: bool) -> Heard {
        Heard::Said(Identity::Cluster {
            uid,
            standing,
            seated,
        })
    }

    fn silent() -> Heard {
        Heard::Silent("down".to_owned())
    }

    fn of(me: u64, heard: [Heard; 2]) -> Verdict {
        let peers = [1, 2, 3].into_iter().filter(|&peer| peer != me);
        judge(&disk(me), &peers.zip(heard).collect())
    }

    const JOINING: Option<NodeStanding> = Some(NodeStanding::Joining);
    const MEMBER: Option<NodeStanding> = Some(NodeStanding::Member);

    /// M5: one founds, and only where nobody has.
    #[test]
    fn only_the_lowest_founds_and_only_when_all_are_empty() {
        assert_eq!(of(1, [empty(), empty()]), Verdict::Found { uid: 0 });
        assert!(matches!(of(1, [empty(), silent()]), Verdict::Wait(why) if why.contains_key(&3)));
        assert!(matches!(of(2, [empty(), empty()]), Verdict::Wait(why) if why.contains_key(&1)));
        let mut forced = disk(2);
        forced.force_found = true;
        let heard = BTreeMap::from([(1, silent()), (3, empty())]);
        assert_eq!(judge(&forced, &heard), Verdict::Found { uid: 0 });
        // Not even by force beside a cluster.
        let heard = BTreeMap::from([(1, silent()), (3, cluster(7, None, false))]);
        assert!(matches!(judge(&forced, &heard), Verdict::Wait(_)));
    }

    /// One configuration for all nodes that forces: those that hear of each other found one cluster.
    #[test]
    fn of_those_that_are_forced_the_first_founds() {
        let mut forced = disk(2);
        forced.force_found = true;
        let found = Verdict::Found { uid: 0 };
        let before = BTreeMap::from([(1, empty_and(true)), (3, silent())]);
        assert!(matches!(judge(&forced, &before), Verdict::Wait(why) if why.contains_key(&1)));
        let behind = BTreeMap::from([(1, silent()), (3, empty_and(true))]);
        assert_eq!(judge(&forced, &behind), found);
        // One that waits for a third holds nobody up.
        let waiting = BTreeMap::from([(1, empty()), (3, silent())]);
        assert_eq!(judge(&forced, &waiting), found);
    }

    #[test]
    fn a_founder_that_was_interrupted_goes_on_with_its_uid() {
        let mut begun = disk(1);
        begun.uid = 7;
        let heard = BTreeMap::from([(2, empty()), (3, empty())]);
        assert_eq!(judge(&begun, &heard), Verdict::Found { uid: 7 });
    }

    /// M3, M4: who was seated and is empty has lost its disk.
    #[test]
    fn one_that_joins_is_let_in_once_and_a_lost_disk_never() {
        let sit = Verdict::Sit { uid: 7, via: 2 };
        assert_eq!(of(1, [cluster(7, JOINING, false), silent()]), sit);
        let lost = Verdict::Stop(Stop::Lost { uid: 7 });
        assert_eq!(of(1, [cluster(7, JOINING, true), empty()]), lost);
        assert_eq!(of(1, [cluster(7, MEMBER, true), empty()]), lost);
        // One peer that lags does not hide what another knows.
        let both = [cluster(7, JOINING, false), cluster(7, MEMBER, true)];
        assert_eq!(of(1, both), lost);
        // It kept the uid, and was interrupted before the cluster heard of it or its log began.
        let mut begun = disk(1);
        begun.uid = 7;
        for seated in [false, true] {
            let heard = BTreeMap::from([(2, cluster(7, JOINING, seated))]);
            assert_eq!(judge(&begun, &heard), sit);
        }
        let heard = BTreeMap::from([(2, cluster(7, MEMBER, true))]);
        assert_eq!(judge(&begun, &heard), lost);
    }

    #[test]
    fn what_belongs_elsewhere_stops() {
        let mut ours = disk(1);
        ours.uid = 8;
        for theirs in [
            cluster(7, JOINING, false),
            Heard::Said(Identity::Starting { uid: 7 }),
        ] {
            let heard = BTreeMap::from([(2, empty()), (3, theirs)]);
            assert!(matches!(
                judge(&ours, &heard),
                Verdict::Stop(Stop::OtherCluster {
                    peer: 3,
                    uid: 7,
                    ours: 8
                })
            ));
        }
        let theirs = BTreeSet::from([2, 3]);
        let other = Heard::Said(Identity::Empty {
            configured: theirs.clone(),
            forced: false,
        });
        assert_eq!(
            of(1, [empty(), other]),
            Verdict::Stop(Stop::OtherMembers { peer: 3, theirs })
        );
        let gone = Some(NodeStanding::Removed);
        assert!(matches!(
            of(1, [cluster(7, gone, true), empty()]),
            Verdict::Stop(Stop::Gone(NodeStanding::Removed))
        ));
    }

    #[test]
    fn a_member_that_comes_back_asks_nobody() {
        let mut member = disk(2);
        member.blank = false;
        assert_eq!(judge(&member, &BTreeMap::new()), Verdict::Return);
    }

    fn heard() -> impl Strategy<Value = Heard> {
        let standing = prop_oneof![
            Just(None),
            Just(JOINING),
            Just(MEMBER),
            Just(Some(NodeStanding::Removed))
        ];
        prop_oneof![
            Just(empty()),
            Just(silent()),
            (1..3_u128).prop_map(|uid| Heard::Said(Identity::Starting { uid })),
            (1..3_u128, standing, any::<bool>())
                .prop_map(|(uid, standing, seated)| cluster(uid, standing, seated)),
        ]
    }

    proptest! {
        /// Whatever peers answer: nobody founds beside a cluster, and nobody whom a cluster knows
        /// with data starts with an empty disk.
        #[test]
        fn no_second_cluster_and_no_lost_disk(
            me in 1..4_u64,
            uid in 0..3_u128,
            force_found in any::<bool>(),
            answers in proptest::collection::vec(heard(), 2),
        ) {
            let mut disk = disk(me);
            disk.uid = uid;
            disk.force_found = force_found;
            let peers = [1, 2, 3].into_iter().filter(|&peer| peer != me);
            let heard: BTreeMap<_, _> = peers.zip(answers).collect();
            let belongs = heard.values().any(|heard| {
                matches!(heard, Heard::Said(Identity::Starting { .. } | Identity::Cluster { .. }))
            });
            let lost = heard.values().any(|heard| {
                matches!(heard, Heard::Said(Identity::Cluster { standing: MEMBER, seated: true, .. }))
            });
            match judge(&disk, &heard) {
                Verdict::Found { .. } => prop_assert!(!belongs),
                Verdict::Sit { .. } => prop_assert!(!lost),
                Verdict::Return => prop_assert!(false, "it is blank"),
                Verdict::Wait(why) => prop_assert!(!why.is_empty()),
                Verdict::Stop(_) => prop_assert!(belongs),
            }
        }
    }
}
