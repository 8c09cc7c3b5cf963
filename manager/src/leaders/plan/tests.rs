//! Every plan against a search of all plans, and what a plan promises.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn group(number: usize, leader: u64, candidates: impl IntoIterator<Item = u64>) -> LedGroup {
    LedGroup {
        name: GroupName::parse(&format!("orders/{number}")).unwrap(),
        leader,
        candidates: candidates.into_iter().collect(),
    }
}

fn nobody() -> BTreeSet<u64> {
    BTreeSet::new()
}

/// The groups as they are led after a plan.
fn after(groups: &[LedGroup], plan: &[Handover]) -> Vec<LedGroup> {
    let mut groups = groups.to_vec();
    for handover in plan {
        let group = groups
            .iter_mut()
            .find(|group| group.name == handover.group)
            .expect("a group of the input");
        assert_eq!(group.leader, handover.from, "{handover:?}");
        group.leader = handover.to;
    }
    groups
}

fn load(groups: &[LedGroup]) -> BTreeMap<u64, i64> {
    let mut load = BTreeMap::new();
    for group in groups {
        *load.entry(group.leader).or_default() += 1;
    }
    load
}

fn unevenness(groups: &[LedGroup]) -> i64 {
    load(groups).values().map(|led| led * led).sum()
}

/// The least unevenness that there is, and the fewest moves to it, by trying everything.
fn least(groups: &[LedGroup], unfit: &BTreeSet<u64>) -> (i64, usize) {
    fn search(
        rest: &[LedGroup],
        unfit: &BTreeSet<u64>,
        load: &mut BTreeMap<u64, i64>,
        moves: usize,
    ) -> (i64, usize) {
        let Some((group, rest)) = rest.split_first() else {
            return (load.values().map(|led| led * led).sum(), moves);
        };
        let mut open: Vec<u64> = group.candidates.difference(unfit).copied().collect();
        if open.is_empty() {
            open.push(group.leader);
        }
        let mut best = (i64::MAX, usize::MAX);
        for node in open {
            *load.entry(node).or_default() += 1;
            let moved = moves + usize::from(node != group.leader);
            best = best.min(search(rest, unfit, load, moved));
            *load.entry(node).or_default() -= 1;
        }
        best
    }
    search(groups, unfit, &mut BTreeMap::new(), 0)
}

#[test]
fn a_new_node_gets_its_share_and_nothing_else_moves() {
    let groups: Vec<_> = (0..64).map(|n| group(n, 1 + n as u64 % 3, 1..=5)).collect();
    let plan = balance(&groups, &nobody());
    // 64 = 4 x 13 + 12; what the two new ones get is all that moves.
    let led: Vec<_> = load(&after(&groups, &plan)).into_values().collect();
    assert!(led.iter().all(|led| [12, 13].contains(led)), "{led:?}");
    assert!(plan.iter().all(|handover| handover.to > 3), "{plan:?}");
    assert!((25..=26).contains(&plan.len()), "{}", plan.len());
}

#[test]
fn a_group_goes_around_another_where_voters_differ() {
    // 1 leads three, and shares none with the idle 3; 2 shares with both.
    let mut groups: Vec<_> = (0..3).map(|n| group(n, 1, [1, 2])).collect();
    groups.push(group(3, 2, [2, 3]));
    let plan = balance(&groups, &nobody());
    let moved: Vec<_> = plan.iter().map(|move_| (move_.from, move_.to)).collect();
    assert_eq!(moved, [(1, 2), (2, 3)]);
}

#[test]
fn a_drained_node_gives_away_what_it_can_and_nobody_else_anything() {
    // 1 leads a group that nobody else can lead, and 2 leads more than its share.
    let mut groups: Vec<_> = (0..4).map(|n| group(n, 1, 1..=3)).collect();
    groups.extend((4..8).map(|n| group(n, 2, 1..=3)));
    groups.push(group(8, 1, [1]));
    let plan = drain(&groups, 1, &nobody());
    assert_eq!(plan.len(), 4);
    assert!(
        plan.iter()
            .all(|handover| (handover.from, handover.to) == (1, 3))
    );
    // To a node that is unfit, nothing goes.
    let plan = drain(&groups, 1, &BTreeSet::from([3]));
    assert!(
        plan.iter()
            .all(|handover| (handover.from, handover.to) == (1, 2))
    );
    assert_eq!(drain(&groups, 1, &BTreeSet::from([2, 3])), []);
    assert_eq!(drain(&groups, 3, &nobody()), []);
}

#[test]
fn a_leader_that_may_not_lead_gives_its_group_away() {
    let groups = [group(0, 4, 1..=3)];
    let plan = balance(&groups, &nobody());
    assert_eq!((plan[0].from, plan[0].to), (4, 1));
}

#[test]
fn a_thousand_groups_of_one_node_are_spread_over_seven() {
    let groups: Vec<_> = (0..1_000).map(|n| group(n, 7, 1..=7)).collect();
    let plan = balance(&groups, &nobody());
    let led: Vec<_> = load(&after(&groups, &plan)).into_values().collect();
    assert!(led.iter().all(|led| [142, 143].contains(led)), "{led:?}");
    assert_eq!(plan.len(), 857);
}

fn any_groups(most: usize) -> impl Strategy<Value = Vec<LedGroup>> {
    let one = (proptest::collection::btree_set(1..6_u64, 1..5), any::<u8>());
    proptest::collection::vec(one, 0..most).prop_map(|groups| {
        let groups = groups.into_iter().enumerate();
        let groups = groups.map(|(number, (candidates, choice))| {
            let leader = candidates
                .iter()
                .nth(usize::from(choice) % candidates.len());
            let leader = leader.copied().expect("not empty");
            group(number, leader, candidates)
        });
        groups.collect()
    })
}

fn any_unfit() -> impl Strategy<Value = BTreeSet<u64>> {
    proptest::collection::btree_set(1..6_u64, 0..3)
}

proptest! {
    /// No assignment is more even, and none as even is reached with fewer moves.
    #[test]
    fn no_plan_is_fairer_or_shorter(groups in any_groups(8), unfit in any_unfit()) {
        let plan = balance(&groups, &unfit);
        let found = (unevenness(&after(&groups, &plan)), plan.len());
        prop_assert_eq!(found, least(&groups, &unfit));
    }

    /// A plan names fit voters only and no group twice; once it is done there is nothing to do, and
    /// the order of the input does not matter.
    #[test]
    fn a_plan_is_followed_once(groups in any_groups(60), unfit in any_unfit()) {
        let plan = balance(&groups, &unfit);
        for handover in &plan {
            let group = groups.iter().find(|group| group.name == handover.group).unwrap();
            prop_assert!(group.candidates.contains(&handover.to), "{:?}", handover);
            prop_assert!(!unfit.contains(&handover.to), "{:?}", handover);
        }
        prop_assert!(plan.windows(2).all(|pair| pair[0].group < pair[1].group));
        prop_assert_eq!(balance(&after(&groups, &plan), &unfit), []);
        let mut turned = groups;
        turned.reverse();
        prop_assert_eq!(balance(&turned, &unfit), plan);
    }

    /// With the same voters everywhere, no node leads two groups more than another.
    #[test]
    fn shares_differ_by_one_where_all_vote_everywhere(
        leaders in proptest::collection::vec(1..6_u64, 1..100),
    ) {
        let groups: Vec<_> = leaders.iter().enumerate()
            .map(|(number, &leader)| group(number, leader, 1..=5)).collect();
        let load = load(&after(&groups, &balance(&groups, &nobody())));
        let all = (1..6_u64).map(|node| load.get(&node).copied().unwrap_or_default());
        let all: Vec<_> = all.collect();
        let (most, fewest) = (all.iter().max(), all.iter().min());
        prop_assert!(most.unwrap() - fewest.unwrap() <= 1, "{:?}", all);
    }

    /// A drained node ends with none where another fit voter exists; only its groups move.
    #[test]
    fn a_drained_node_ends_with_none(groups in any_groups(60), node in 1..6_u64, unfit in any_unfit()) {
        let plan = drain(&groups, node, &unfit);
        prop_assert!(plan.iter().all(|handover| handover.from == node));
        for group in after(&groups, &plan) {
            let mut others = group.candidates.iter();
            let other = others.any(|other| *other != node && !unfit.contains(other));
            prop_assert!(group.leader != node || !other, "{:?}", group);
        }
        let moved = after(&groups, &plan);
        prop_assert_eq!(drain(&moved, node, &unfit), []);
    }
}
