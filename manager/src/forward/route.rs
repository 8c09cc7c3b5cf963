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

/// Why a node has not answered the request. In every case it has not run it.
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
}

/// The way of one request.
#[derive(Debug)]
pub(crate) struct Route {
    me: u64,
    /// The nodes that are asked in turn while no leader is known.
    others: Vec<u64>,
    turn: usize,
    hint: Option<u64>,
    hints: u32,
    /// Nodes in a row that do not have the group.
    strangers: usize,
    wait: bool,
    pause: Pause,
}

impl Route {
    /// A request of node `me`; `others` are asked in turn while nobody knows the leader.
    pub(crate) const fn new(me: u64, others: Vec<u64>, pause: Pause) -> Self {
        Self {
            me,
            others,
            turn: 0,
            hint: None,
            hints: 0,
            strangers: 0,
            wait: false,
            pause,
        }
    }

    /// The next step. `leader` is whom this node takes for the leader, `random` is uniform in 0..1.
    pub(crate) fn next(&mut self, leader: Option<u64>, random: f64) -> Step {
        if std::mem::take(&mut self.wait) {
            return Step::Wait(self.pause.next(random));
        }
        let known = self.hint.take().or(leader);
        match known.or_else(|| self.take_turn()) {
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
            Missed::NotHosted if self.strangers + 1 < self.others.len() => self.strangers += 1,
            Missed::NotLeader(_) | Missed::NotHosted | Missed::NotNow | Missed::Unreachable => {
                self.hints = 0;
                self.strangers = 0;
                self.wait = true;
            }
        }
    }

    fn take_turn(&mut self) -> Option<u64> {
        let node = self
            .others
            .get(self.turn % self.others.len().max(1))
            .copied();
        self.turn = self.turn.wrapping_add(1);
        node
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn route(others: &[u64]) -> Route {
        Route::new(1, others.to_vec(), Pause::new(20 * MS, 500 * MS))
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

    fn why() -> impl Strategy<Value = Missed> {
        prop_oneof![
            proptest::option::of(1..5_u64).prop_map(Missed::NotLeader),
            Just(Missed::NotHosted),
            Just(Missed::NotNow),
            Just(Missed::Unreachable),
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
