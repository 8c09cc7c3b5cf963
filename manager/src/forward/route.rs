//! Where a request for a group goes next: here, to another node, or nowhere for a moment.
//!
//! Pure: what is known and what went wrong come in, the next step comes out. It must not know what
//! the request is, nor how it travels.

use std::time::Duration;

use super::pause::Pause;

/// Hints that are followed one after the other without a wait. Two nodes that each believe in the
/// other would otherwise send a request round and round. 3: the former leader, its successor, and
/// the one to whom leadership was just handed.
const HINTS_MAX: u32 = 3;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the Raft of this node.
    Here,
    /// Ask another node.
    There(u64),
    /// Ask nobody for so long, or until another leader is known.
    Wait(Duration),
}

/// Why a node has not answered the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// It does not lead, and may know who does.
    NotLeader(Option<u64>),
    /// It has no such group.
    NotHosted,
    /// It leads and cannot serve now: its lease has run out, it is busy or it stops.
    NotNow,
    /// It was not reached.
    Unreachable,
    /// What became of the request is not known, and it may be asked again: the one case in which it
    /// may have been run.
    Lost,
}

/// The way of one request.
#[derive(Debug)]
pub(crate) struct Route {
    me: u64,
    /// Whose turn it is among those that are asked while no leader is known, and how many they are.
    turn: usize,
    others: usize,
    hint: Option<u64>,
    hints: u32,
    /// Nodes in a row that do not have the group.
    strangers: usize,
    wait: bool,
    /// The next attempt may be made at once if a leader is known.
    again: bool,
    pause: Pause,
}

impl Route {
    /// A request of node `me`.
    pub(crate) const fn new(me: u64, pause: Pause) -> Self {
        Self {
            me,
            turn: 0,
            others: 0,
            hint: None,
            hints: 0,
            strangers: 0,
            wait: false,
            again: false,
            pause,
        }
    }

    /// The next step. `leader` is whom this node takes for the leader; `others` are asked in turn
    /// while nobody knows it; `random` is uniform in 0..1.
    pub(crate) fn next(
        &mut self,
        leader: Option<u64>,
        others: impl FnOnce() -> Vec<u64>,
        random: f64,
    ) -> Step {
        let known = self.hint.take().or(leader);
        let again = std::mem::take(&mut self.again) && known.is_some();
        if std::mem::take(&mut self.wait) && !again {
            return Step::Wait(self.pause.next(random));
        }
        match known.or_else(|| self.take_turn(&others())) {
            Some(node) if node == self.me => Step::Here,
            Some(node) => Step::There(node),
            None => Step::Wait(self.pause.next(random)),
        }
    }

    /// Notes that `node` has not run the request, and why.
    pub(crate) const fn missed(&mut self, node: u64, why: Missed) {
        match why {
            Missed::NotLeader(Some(leader)) if leader != node && self.hints < HINTS_MAX => {
                self.hints += 1;
                self.strangers = 0;
                self.hint = Some(leader);
            }
            // The next in turn is asked at once, until all were asked.
            Missed::NotHosted if self.strangers + 1 < self.others => self.strangers += 1,
            // No election has to be waited for, only a link or a busy moment.
            Missed::Lost if self.hints < HINTS_MAX => {
                self.hints += 1;
                self.wait = true;
                self.again = true;
            }
            Missed::NotLeader(_)
            | Missed::NotHosted
            | Missed::NotNow
            | Missed::Unreachable
            | Missed::Lost => {
                self.hints = 0;
                self.strangers = 0;
                self.wait = true;
            }
        }
    }

    fn take_turn(&mut self, others: &[u64]) -> Option<u64> {
        self.others = others.len();
        let node = others.get(self.turn % others.len().max(1)).copied();
        self.turn = self.turn.wrapping_add(1);
        node
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A route, and those that it asks in turn.
    struct Way(Route, Vec<u64>);

    impl Way {
        fn next(&mut self, leader: Option<u64>, random: f64) -> Step {
            self.0.next(leader, || self.1.clone(), random)
        }

        fn missed(&mut self, node: u64, why: Missed) {
            self.0.missed(node, why);
        }
    }

    fn route(others: &[u64]) -> Way {
        Way(
            Route::new(1, Pause::new(20 * MS, 500 * MS)),
            others.to_vec(),
        )
    }

    #[test]
    fn a_known_leader_is_asked_wherever_it_is() {
        assert_eq!(route(&[]).next(Some(1), 0.5), Step::Here);
        assert_eq!(route(&[]).next(Some(3), 0.5), Step::There(3));
    }

    #[test]
    fn a_hint_goes_before_what_this_node_believes() {
        let mut route = route(&[]);
        route.missed(2, Missed::NotLeader(Some(3)));
        assert_eq!(route.next(Some(2), 0.5), Step::There(3));
        assert_eq!(route.next(Some(2), 0.5), Step::There(2));
    }

    #[test]
    fn the_last_hint_is_followed_and_one_more_is_not() {
        let mut route = route(&[]);
        for hint in 0..HINTS_MAX {
            let (asked, leader) = if hint % 2 == 0 { (2, 3) } else { (3, 2) };
            route.missed(asked, Missed::NotLeader(Some(leader)));
            assert_eq!(route.next(Some(2), 0.5), Step::There(leader));
        }
        route.missed(3, Missed::NotLeader(Some(2)));
        assert!(matches!(route.next(Some(2), 0.5), Step::Wait(_)));
        assert_eq!(route.next(Some(2), 0.5), Step::There(2));
    }

    #[test]
    fn a_node_that_names_itself_and_does_not_lead_is_not_asked_again_at_once() {
        let mut route = route(&[]);
        route.missed(2, Missed::NotLeader(Some(2)));
        assert!(matches!(route.next(Some(2), 0.5), Step::Wait(_)));
    }

    #[test]
    fn all_others_are_asked_once_before_a_wait_where_nobody_has_the_group() {
        let mut route = route(&[2, 3, 4]);
        for other in [2, 3, 4] {
            assert_eq!(route.next(None, 0.5), Step::There(other));
            route.missed(other, Missed::NotHosted);
        }
        assert!(matches!(route.next(None, 0.5), Step::Wait(_)));
        assert_eq!(route.next(None, 0.5), Step::There(2));
    }

    #[test]
    fn without_a_leader_and_others_it_waits() {
        assert!(matches!(route(&[]).next(None, 0.5), Step::Wait(_)));
    }

    #[test]
    fn those_that_are_asked_in_turn_are_not_listed_while_a_leader_is_known() {
        let mut route = Route::new(1, Pause::new(20 * MS, 500 * MS));
        assert_eq!(
            route.next(Some(2), || panic!("a leader is known"), 0.5),
            Step::There(2)
        );
    }

    #[test]
    fn what_was_lost_is_asked_again_at_once_while_a_leader_is_known() {
        let mut known = route(&[2, 3]);
        for _ in 0..HINTS_MAX {
            known.missed(2, Missed::Lost);
            assert_eq!(known.next(Some(2), 0.5), Step::There(2));
        }
        known.missed(2, Missed::Lost);
        assert!(matches!(known.next(Some(2), 0.5), Step::Wait(_)));
        assert_eq!(known.next(Some(2), 0.5), Step::There(2));
        let mut unknown = route(&[2, 3]);
        unknown.missed(2, Missed::Lost);
        assert!(matches!(unknown.next(None, 0.5), Step::Wait(_)));
    }

    fn why() -> impl Strategy<Value = Missed> {
        prop_oneof![
            proptest::option::of(1..5_u64).prop_map(Missed::NotLeader),
            Just(Missed::NotHosted),
            Just(Missed::NotNow),
            Just(Missed::Unreachable),
            Just(Missed::Lost),
        ]
    }

    proptest! {
        /// Whatever others answer, no request goes round without a pause: between two waits it asks
        /// at most each hint and each other node once, and the node that it began with.
        #[test]
        fn no_request_circles_without_a_wait(
            leader in proptest::option::of(1..5_u64),
            others in proptest::collection::vec(2..6_u64, 0..5),
            answers in proptest::collection::vec((why(), 0.0..1.0_f64), 1..200),
        ) {
            let bound = (HINTS_MAX as usize + 1) * (others.len() + 1) + 1;
            let mut route = route(&others);
            let mut asked = 0;
            for (why, random) in answers {
                match route.next(leader, random) {
                    Step::Here => route.missed(1, why),
                    Step::There(node) => route.missed(node, why),
                    Step::Wait(pause) => {
                        prop_assert!(pause >= 10 * MS && pause <= 500 * MS, "{pause:?}");
                        asked = 0;
                        continue;
                    }
                }
                asked += 1;
                prop_assert!(asked <= bound, "{asked} without a wait");
            }
        }
    }
}
