//! Which step a group takes next towards a goal, decided from what its leader sees.
//!
//! Pure: the effective membership and the lag come in, the step comes out. It must not know how a
//! step is taken. A step is only ever a change against the membership that was seen, and is taken
//! under the condition that it is still that one; so two that change the same group never undo each
//! other, they only have to ask again.

use std::collections::{BTreeMap, BTreeSet};

use super::goal::{GroupRefusal, GroupStep};
use crate::meta::GroupRole;

/// What the leader of a group sees of it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The leader itself.
    pub(crate) me: u64,
    /// The sets of voters: one, or several while a change of voters is half done.
    pub(crate) configs: Vec<BTreeSet<u64>>,
    /// All members, voters or not.
    pub(crate) members: BTreeSet<u64>,
    /// Whether the membership is committed; one that is not may still be taken back.
    pub(crate) committed: bool,
    /// Entries that each member lacks, of those that were heard of lately.
    pub(crate) lag: BTreeMap<u64, u64>,
    /// Entries that a node may lack to vote or to lead.
    pub(crate) lag_max: u64,
}

/// What one node is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    pub(crate) node: u64,
    pub(crate) role: Option<GroupRole>,
    /// Whether the group knows the node as its record says.
    pub(crate) same: bool,
}

/// Why no step is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Not now; ask again. Why, in words.
    NotNow(&'static str),
    /// Never, as things are.
    Refused(GroupRefusal),
}

impl View {
    fn votes(&self, node: u64) -> bool {
        self.configs.iter().any(|voters| voters.contains(&node))
    }

    /// Entries that a node lacks if they are few enough for it to vote or to lead.
    pub(crate) fn close(&self, node: u64) -> Result<u64, Option<u64>> {
        match self.lag.get(&node) {
            Some(&lag) if lag <= self.lag_max => Ok(lag),
            lag => Err(lag.copied()),
        }
    }

    /// The voter other than the leader that follows most closely, if any does closely enough.
    pub(crate) fn successor(&self) -> Result<u64, GroupRefusal> {
        let voters = self.configs.last().into_iter().flatten().copied();
        let others = voters.filter(|&node| node != self.me);
        // One that is close comes before one that is not, which comes before one that is not heard of.
        let first = others.min_by_key(|&node| match self.close(node) {
            Ok(lag) => (0, lag, node),
            Err(Some(lag)) => (1, lag, node),
            Err(None) => (2, 0, node),
        });
        let node = first.ok_or(GroupRefusal::LastVoter { node: self.me })?;
        self.may_lead(node).map(|()| node)
    }

    /// Whether leadership may be handed to a node.
    pub(crate) fn may_lead(&self, node: u64) -> Result<(), GroupRefusal> {
        if !self.votes(node) {
            return Err(GroupRefusal::NotVoter { node });
        }
        let close = self.close(node).map(|_| ());
        close.map_err(|entries| GroupRefusal::Lagging { node, entries })
    }
}

/// The next step of a group in which one node is to be something.
pub(crate) fn next_step(view: &View, aim: Aim) -> Result<GroupStep, Held> {
    if !view.committed {
        return Err(Held::NotNow("its membership is not committed yet"));
    }
    if view.configs.len() > 1 {
        return Ok(GroupStep::Settle);
    }
    let (here, votes) = (view.members.contains(&aim.node), view.votes(aim.node));
    let Some(role) = aim.role else {
        return match (here, votes) {
            (false, _) => Ok(GroupStep::Done),
            (true, false) => Ok(GroupStep::Remove),
            (true, true) => without(view, aim.node, GroupStep::Remove),
        };
    };
    if !here {
        return Ok(GroupStep::AddLearner);
    }
    if !aim.same {
        return Ok(GroupStep::SetNode);
    }
    match (role, votes) {
        (GroupRole::Voter, true) | (GroupRole::Learner, false) => Ok(GroupStep::Done),
        (GroupRole::Voter, false) => Ok(match view.close(aim.node) {
            Ok(_) => GroupStep::Promote,
            Err(entries) => GroupStep::AwaitLag { entries },
        }),
        (GroupRole::Learner, true) => without(view, aim.node, GroupStep::Demote),
    }
}

/// The step that takes a vote away, or what has to come before it.
fn without(view: &View, node: u64, step: GroupStep) -> Result<GroupStep, Held> {
    if view.configs.iter().all(|voters| voters.len() == 1) {
        return Err(Held::Refused(GroupRefusal::LastVoter { node }));
    }
    if node != view.me {
        return Ok(step);
    }
    let to = view.successor();
    to.map(|to| GroupStep::MoveLeader { to })
        .map_err(|_| Held::NotNow("no other voter follows closely enough to lead"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAG_MAX: u64 = 1_000;

    fn view(voters: &[u64], learners: &[u64]) -> View {
        let voters: BTreeSet<_> = voters.iter().copied().collect();
        let members = voters.iter().chain(learners).copied();
        let members: BTreeSet<_> = members.collect();
        View {
            me: voters.first().copied().unwrap_or(1),
            lag: members.iter().map(|&node| (node, 0)).collect(),
            configs: vec![voters],
            members,
            committed: true,
            lag_max: LAG_MAX,
        }
    }

    fn aim(node: u64, role: impl Into<Option<GroupRole>>) -> Aim {
        let role = role.into();
        Aim {
            node,
            role,
            same: true,
        }
    }

    const VOTER: GroupRole = GroupRole::Voter;
    const LEARNER: GroupRole = GroupRole::Learner;

    #[test]
    fn each_situation_has_its_step() {
        let three = || view(&[1, 2, 3], &[4]);
        let next = |view: &View, aim| next_step(view, aim).unwrap();
        assert_eq!(next(&three(), aim(5, VOTER)), GroupStep::AddLearner);
        assert_eq!(next(&three(), aim(5, LEARNER)), GroupStep::AddLearner);
        assert_eq!(next(&three(), aim(5, None)), GroupStep::Done);
        assert_eq!(next(&three(), aim(4, VOTER)), GroupStep::Promote);
        assert_eq!(next(&three(), aim(4, LEARNER)), GroupStep::Done);
        assert_eq!(next(&three(), aim(4, None)), GroupStep::Remove);
        assert_eq!(next(&three(), aim(2, VOTER)), GroupStep::Done);
        assert_eq!(next(&three(), aim(2, LEARNER)), GroupStep::Demote);
        assert_eq!(next(&three(), aim(2, None)), GroupStep::Remove);
        let moved = |node| Aim {
            same: false,
            ..aim(node, VOTER)
        };
        assert_eq!(next(&three(), moved(2)), GroupStep::SetNode);
        assert_eq!(next(&three(), moved(4)), GroupStep::SetNode);
        assert_eq!(next(&three(), moved(5)), GroupStep::AddLearner);
    }

    #[test]
    fn a_change_in_the_middle_is_ended_and_an_uncommitted_one_waited_for() {
        let mut joint = view(&[1, 2, 3], &[]);
        joint.configs.push(BTreeSet::from([1, 2]));
        assert_eq!(next_step(&joint, aim(2, VOTER)), Ok(GroupStep::Settle));
        joint.committed = false;
        let held = next_step(&joint, aim(2, VOTER));
        assert!(matches!(held, Err(Held::NotNow(_))), "{held:?}");
    }

    #[test]
    fn a_learner_votes_at_the_limit_of_its_lag_and_not_one_past_it_nor_unheard() {
        let mut view = view(&[1, 2, 3], &[4]);
        let step = |view: &View| next_step(view, aim(4, VOTER)).unwrap();
        view.lag.insert(4, LAG_MAX);
        assert_eq!(step(&view), GroupStep::Promote);
        view.lag.insert(4, LAG_MAX + 1);
        let entries = Some(LAG_MAX + 1);
        assert_eq!(step(&view), GroupStep::AwaitLag { entries });
        view.lag.remove(&4);
        assert_eq!(step(&view), GroupStep::AwaitLag { entries: None });
    }

    #[test]
    fn a_leader_hands_over_to_the_closest_voter_before_it_loses_its_vote() {
        let mut view = view(&[1, 2, 3], &[4]);
        view.lag.insert(2, 7);
        view.lag.insert(3, 5);
        for role in [None, Some(LEARNER)] {
            let step = next_step(&view, aim(1, role));
            assert_eq!(step, Ok(GroupStep::MoveLeader { to: 3 }));
        }
        view.lag.remove(&3);
        view.lag.insert(2, LAG_MAX + 1);
        let held = next_step(&view, aim(1, None));
        assert!(matches!(held, Err(Held::NotNow(_))), "{held:?}");
    }

    #[test]
    fn the_last_voter_stays() {
        for role in [None, Some(LEARNER)] {
            let held = next_step(&view(&[1], &[2]), aim(1, role));
            let refused = Held::Refused(GroupRefusal::LastVoter { node: 1 });
            assert_eq!(held, Err(refused));
        }
    }

    #[test]
    fn only_a_voter_that_follows_may_lead() {
        let mut view = view(&[1, 2, 3], &[4]);
        assert_eq!(view.may_lead(2), Ok(()));
        assert_eq!(view.may_lead(4), Err(GroupRefusal::NotVoter { node: 4 }));
        view.lag.insert(2, LAG_MAX + 1);
        let entries = Some(LAG_MAX + 1);
        let lagging = GroupRefusal::Lagging { node: 2, entries };
        assert_eq!(view.may_lead(2), Err(lagging));
        view.lag.remove(&2);
        let (node, entries) = (2, None);
        assert_eq!(
            view.may_lead(2),
            Err(GroupRefusal::Lagging { node, entries })
        );
    }

    /// A group whose memberships are taken as openraft takes them.
    #[derive(Clone, Debug)]
    struct Model {
        view: View,
        version: u64,
    }

    impl Model {
        /// Takes a step that was planned on `version`, if it is still that one. A change of voters
        /// has two entries, and may stop after the first.
        fn take(&mut self, version: u64, step: GroupStep, node: u64, stops: bool) {
            if version != self.version {
                return;
            }
            let Some(voters) = self.view.configs.last().cloned() else {
                return;
            };
            let without = || voters.iter().copied().filter(|&n| n != node).collect();
            match step {
                GroupStep::Done | GroupStep::AwaitLag { .. } | GroupStep::SetNode => return,
                GroupStep::MoveLeader { to } => {
                    self.view.me = to;
                    return;
                }
                GroupStep::AddLearner => drop(self.view.members.insert(node)),
                GroupStep::Settle => self.view.configs = vec![voters],
                GroupStep::Promote => {
                    let mut with = voters.clone();
                    with.insert(node);
                    self.reconfigure(voters, with, stops);
                }
                GroupStep::Demote => self.reconfigure(voters.clone(), without(), stops),
                GroupStep::Remove if voters.contains(&node) => {
                    self.reconfigure(voters.clone(), without(), stops);
                    if !stops {
                        self.view.members.remove(&node);
                    }
                }
                GroupStep::Remove => drop(self.view.members.remove(&node)),
            }
            self.view.lag = self.view.members.iter().map(|&node| (node, 0)).collect();
            self.version += 1;
        }

        fn reconfigure(&mut self, from: BTreeSet<u64>, to: BTreeSet<u64>, stops: bool) {
            self.view.configs = if stops { vec![from, to] } else { vec![to] };
        }

        fn is(&self, aim: Aim) -> bool {
            let here = self.view.members.contains(&aim.node);
            let votes = self.view.votes(aim.node);
            match aim.role {
                None => !here,
                Some(GroupRole::Learner) => here && !votes,
                Some(GroupRole::Voter) => votes,
            }
        }
    }

    /// One move of one of those that change the group.
    #[derive(Clone, Debug)]
    enum Move {
        Plan(usize),
        Take { who: usize, stops: bool },
        Elect(prop::sample::Index),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            (0..3_usize).prop_map(Move::Plan),
            (0..3_usize, any::<bool>()).prop_map(|(who, stops)| Move::Take { who, stops }),
            any::<prop::sample::Index>().prop_map(Move::Elect),
        ];
        prop::collection::vec(one, 0..60)
    }

    fn role() -> impl Strategy<Value = Option<GroupRole>> {
        prop_oneof![Just(None), Just(Some(VOTER)), Just(Some(LEARNER))]
    }

    proptest! {
        /// Three change a group of five voters at once, each in another node, with leaders that
        /// come and go and changes that stop half-way. Voters that nobody changes keep their vote at
        /// every moment, there is always a voter, and left alone each gets there.
        #[test]
        fn all_that_change_a_group_at_once_get_there(
            roles in (role(), role(), role()),
            moves in moves(),
        ) {
            let mut model = Model { view: view(&[1, 2, 3, 4, 5], &[6]), version: 0 };
            let aims = [aim(1, roles.0), aim(6, roles.1), aim(7, roles.2)];
            let mut plans = [None; 3];
            for step in moves {
                match step {
                    Move::Plan(who) => {
                        let step = next_step(&model.view, aims[who]).ok();
                        plans[who] = step.map(|step| (model.version, step));
                    }
                    Move::Take { who, stops } => {
                        if let Some((version, step)) = plans[who].take() {
                            model.take(version, step, aims[who].node, stops);
                        }
                    }
                    Move::Elect(who) => {
                        let voters: Vec<_> = model.view.configs.iter().flatten().copied().collect();
                        model.view.me = *who.get(&voters);
                    }
                }
                for voters in &model.view.configs {
                    prop_assert!(voters.is_superset(&BTreeSet::from([2, 3, 4, 5])), "{voters:?}");
                }
                let known = model.view.configs.iter().flatten();
                prop_assert!(known.copied().all(|node| model.view.members.contains(&node)));
            }
            for aim in aims {
                let mut steps = 0;
                while next_step(&model.view, aim) != Ok(GroupStep::Done) {
                    let step = next_step(&model.view, aim);
                    let step = step.map_err(|held| TestCaseError::fail(format!("{held:?}")))?;
                    model.take(model.version, step, aim.node, false);
                    steps += 1;
                    // A settled change, leadership moved, a learner, a voter.
                    prop_assert!(steps <= 4, "{step:?}");
                }
            }
            for aim in aims {
                prop_assert!(model.is(aim), "{aim:?}");
            }
        }
    }
}
