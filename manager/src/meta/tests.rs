//! The cluster's state: what each command does, what it refuses, and that it may be made twice.

use proptest::prelude::*;

use super::*;
use crate::GroupName;

fn name(text: &str) -> GroupName {
    GroupName::parse(text).unwrap()
}

fn node(id: u64) -> NodeRecord {
    NodeRecord::new(id, [format!("10.0.0.{id}:4000")])
}

fn join(id: u64) -> MetaCommand {
    MetaCommand::Join {
        record: node(id),
        groups: GroupSelection::All,
        role: GroupRole::Voter,
    }
}

fn founded() -> MetaState {
    let mut state = MetaState::default();
    let found = MetaCommand::Found {
        uid: 7,
        founder: node(1),
        joining: vec![node(2), node(3)],
        meta: NewGroup::new(name("meta"), [1, 2, 3]).numbered(1),
        groups: vec![NewGroup::new(name("orders/0"), [1, 2, 3])],
    };
    state.apply(&found).unwrap();
    state.apply(&found).unwrap();
    state
}

#[test]
fn nothing_is_changed_before_the_founding() {
    let mut state = MetaState::default();
    assert_eq!(state.apply(&join(2)), Err(MetaRefusal::NotFounded));
    assert_eq!(state, MetaState::default());
}

#[test]
fn a_second_founding_is_refused_and_names_the_first() {
    let mut state = founded();
    assert_eq!(state.standing(1), Some(NodeStanding::Member));
    assert_eq!(state.standing(2), Some(NodeStanding::Joining));
    assert!(state.groups[&name("meta")].founded);
    assert!(!state.groups[&name("orders/0")].founded);
    let other = MetaCommand::Found {
        uid: 8,
        founder: node(2),
        joining: Vec::new(),
        meta: NewGroup::new(name("meta"), [2]),
        groups: Vec::new(),
    };
    assert_eq!(state.apply(&other), Err(MetaRefusal::Founded { uid: 7 }));
    assert_eq!(state, founded());
}

#[test]
fn a_node_that_was_removed_never_comes_back() {
    let mut state = founded();
    let gone = NodeStanding::Removed;
    assert_eq!(
        state.apply(&MetaCommand::Left { node: 2 }),
        Err(MetaRefusal::Standing {
            node: 2,
            standing: NodeStanding::Joining
        })
    );
    state.apply(&MetaCommand::Leave { node: 2 }).unwrap();
    assert_eq!(state.groups_of(2).count(), 0);
    state.apply(&MetaCommand::Left { node: 2 }).unwrap();
    state.apply(&MetaCommand::Left { node: 2 }).unwrap();
    state.apply(&MetaCommand::Leave { node: 2 }).unwrap();
    for command in [
        join(2),
        MetaCommand::Seat { node: 2 },
        MetaCommand::Joined { node: 2 },
        MetaCommand::Move {
            node: 2,
            addresses: vec!["10.0.0.9:4000".to_owned()],
        },
    ] {
        let refused = state.apply(&command);
        let standing = MetaRefusal::Standing {
            node: 2,
            standing: gone,
        };
        assert_eq!(refused, Err(standing), "{command:?}");
    }
    // Its address is free for another.
    let heir = NodeRecord::new(9, node(2).addresses);
    let join = MetaCommand::Join {
        record: heir,
        groups: GroupSelection::All,
        role: GroupRole::Voter,
    };
    state.apply(&join).unwrap();
}

#[test]
fn two_nodes_never_have_one_address() {
    let mut state = founded();
    let thief = NodeRecord::new(4, ["10.0.0.4:4000".to_owned(), "10.0.0.2:4000".to_owned()]);
    let theft = MetaCommand::Join {
        record: thief,
        groups: GroupSelection::All,
        role: GroupRole::Voter,
    };
    let taken = MetaRefusal::AddressTaken {
        node: 4,
        address: "10.0.0.2:4000".to_owned(),
        holder: 2,
    };
    assert_eq!(state.apply(&theft), Err(taken));
    let to = |address: &str| MetaCommand::Move {
        node: 2,
        addresses: vec![address.to_owned()],
    };
    assert!(matches!(
        state.apply(&to("10.0.0.3:4000")),
        Err(MetaRefusal::AddressTaken { holder: 3, .. })
    ));
    state.apply(&to("10.0.0.22:4000")).unwrap();
    assert!(matches!(
        state.apply(&join(2)),
        Err(MetaRefusal::OtherAddress { node: 2, .. })
    ));
}

#[test]
fn no_group_loses_its_last_voter() {
    let mut state = founded();
    let group = name("orders/0");
    state.apply(&MetaCommand::GroupFounded { group }).unwrap();
    for node in [2, 3] {
        state.apply(&MetaCommand::Leave { node }).unwrap();
    }
    let last = state.apply(&MetaCommand::Leave { node: 1 });
    assert!(matches!(last, Err(MetaRefusal::LastVoter { node: 1, .. })));
    let demote = MetaCommand::Place {
        node: 1,
        groups: GroupSelection::All,
        role: Some(GroupRole::Learner),
    };
    assert!(matches!(
        state.apply(&demote),
        Err(MetaRefusal::LastVoter { .. })
    ));
}

#[test]
fn a_number_is_given_once_for_ever() {
    let mut state = founded();
    let create = |shard: u32, id| {
        let mut group = NewGroup::new(name(&format!("orders/{shard}")), [1]);
        group.id = id;
        MetaCommand::CreateGroup(group)
    };
    assert_eq!(state.groups[&name("orders/0")].id, 2);
    let remove = MetaCommand::RemoveGroup {
        group: name("orders/0"),
    };
    state.apply(&remove).unwrap();
    state.apply(&remove).unwrap();
    assert!(matches!(
        state.apply(&create(1, Some(2))),
        Err(MetaRefusal::NumberTaken { id: 2, .. })
    ));
    state.apply(&create(1, None)).unwrap();
    assert_eq!(state.groups[&name("orders/1")].id, 3);
    assert!(matches!(
        state.apply(&create(1, Some(4))),
        Err(MetaRefusal::GroupExists { .. })
    ));
    let meta = MetaCommand::RemoveGroup {
        group: name("meta"),
    };
    assert!(matches!(state.apply(&meta), Err(MetaRefusal::Meta { .. })));
}

#[test]
fn the_last_voter_of_meta_and_the_first_learner() {
    let mut state = founded();
    for id in 4..=META_VOTERS_MAX as u64 + 1 {
        state.apply(&join(id)).unwrap();
    }
    let meta = &state.groups[&name("meta")];
    assert_eq!(meta.voters.len(), META_VOTERS_MAX);
    assert_eq!(meta.learners.len(), 1);
    assert_eq!(state.groups[&name("orders/0")].voters.len(), 8);
}

/// One that never came cannot have founded anything; one that came might have, on its own disk.
#[test]
fn only_a_founder_that_never_came_is_followed_by_another() {
    let mut state = founded();
    let group = name("orders/0");
    let refused = state.apply(&MetaCommand::Leave { node: 1 });
    let unfounded = MetaRefusal::Unfounded {
        group: group.clone(),
        node: 1,
    };
    assert_eq!(refused, Err(unfounded));
    state.groups.get_mut(&group).unwrap().founder = 2;
    state.apply(&MetaCommand::Leave { node: 2 }).unwrap();
    let record = &state.groups[&group];
    assert_eq!((record.founder, record.founded), (1, false));
    let founded = MetaCommand::GroupFounded { group };
    state.apply(&founded).unwrap();
    state.apply(&MetaCommand::Leave { node: 1 }).unwrap();
}

fn commands() -> impl Strategy<Value = MetaCommand> {
    let node = 1..6_u64;
    let group = (0..3_u32).prop_map(|shard| name(&format!("orders/{shard}")));
    let role = prop_oneof![Just(GroupRole::Voter), Just(GroupRole::Learner)];
    prop_oneof![
        (node.clone(), role.clone()).prop_map(|(id, role)| MetaCommand::Join {
            record: tests::node(id),
            groups: GroupSelection::All,
            role,
        }),
        node.clone().prop_map(|node| MetaCommand::Seat { node }),
        node.clone().prop_map(|node| MetaCommand::Joined { node }),
        node.clone().prop_map(|node| MetaCommand::Leave { node }),
        node.clone().prop_map(|node| MetaCommand::Left { node }),
        (node.clone(), proptest::option::of(role)).prop_map(|(node, role)| {
            MetaCommand::Place {
                node,
                groups: GroupSelection::All,
                role,
            }
        }),
        (group.clone(), node)
            .prop_map(|(group, id)| { MetaCommand::CreateGroup(NewGroup::new(group, [1, id])) }),
        group
            .clone()
            .prop_map(|group| MetaCommand::GroupFounded { group }),
        (group.clone(), 1..6_u64)
            .prop_map(|(group, founder)| MetaCommand::NewFounder { group, founder }),
        group.prop_map(|group| MetaCommand::RemoveGroup { group }),
    ]
}

proptest! {
    /// Whatever is asked: a refusal changes nothing, a command made again changes nothing, every
    /// group has a voter, no two have one number, nobody who was removed is anywhere.
    #[test]
    fn the_cluster_stays_whole(commands in proptest::collection::vec(commands(), 1..60)) {
        let meta = Meta::restored(founded());
        let mut gone = std::collections::BTreeSet::new();
        for command in &commands {
            let before = meta.state();
            let reply = meta.apply(command);
            let after = meta.state();
            match reply {
                MetaReply::Refused(_) => prop_assert_eq!(&before, &after),
                MetaReply::Done => {
                    let again = meta.apply(command);
                    prop_assert_eq!((again, &meta.state()), (MetaReply::Done, &after));
                }
            }
            let mut numbers: Vec<_> = after.groups.values().map(|group| group.id).collect();
            numbers.extend(&after.retired);
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), count);
            for (name, group) in &after.groups {
                prop_assert!(!group.voters.is_empty(), "{name} has no voter");
                prop_assert!(group.voters.is_disjoint(&group.learners));
                prop_assert!(group.founded || group.voters.contains(&group.founder));
            }
            for (&id, entry) in &after.nodes {
                let left = entry.standing == NodeStanding::Removed;
                prop_assert!(left || !gone.contains(&id), "node {id} came back");
                if left {
                    gone.insert(id);
                    prop_assert_eq!(after.groups_of(id).count(), 0);
                }
            }
        }
    }
}
