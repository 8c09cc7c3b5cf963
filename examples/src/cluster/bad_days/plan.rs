//! What happens to whom and when, drawn from a seed before anything happens. Pure: no process, no
//! clock.
//!
//! Each trouble takes one node away for a while and gives it back. Most of the time one node has
//! trouble, sometimes two; when the plan ends, none.

use std::time::Duration;

use super::super::draws::Draws;

/// How long a node is gone after a kill or an orderly stop, in milliseconds: shorter and longer
/// than the others need to notice.
const GONE: (u64, u64) = (100, 3_000);

/// How long a node is paused, in milliseconds: up to the idle timeout of its links, 4 s.
const PAUSED: (u64, u64) = (100, 4_200);

/// Between two troubles, in milliseconds: shorter and longer than an election takes.
const BETWEEN: (u64, u64) = (50, 2_000);

/// One trouble in so many begins while another node has one.
const SECOND: u64 = 5;

/// One pause in so many ends with a kill.
const PAUSED_AND_KILLED: u64 = 6;

/// One thing that happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// SIGKILL.
    Kill,
    /// SIGTERM: it stops in order.
    Terminate,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Continue,
    /// It is started again.
    Restart,
}

/// One thing that happens, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Since the start of the plan.
    pub at: Duration,
    /// The place of the node.
    pub node: usize,
    /// What happens to it.
    pub action: Action,
}

/// Draws `number` events for `nodes` nodes. At least 2 nodes and 2 events; in a smaller plan
/// nothing happens.
#[must_use]
pub fn plan(seed: u64, nodes: usize, number: usize) -> Vec<Event> {
    let mut plan = Plan {
        draws: Draws::new("bad days", seed),
        nodes: nodes as u64,
        events: Vec::new(),
        free: 0,
        alone: None,
    };
    if nodes >= 2 {
        while plan.events.len() + 2 <= number {
            plan.trouble(number);
        }
    }
    plan.events.sort_by_key(|event| event.at);
    plan.events
}

struct Plan {
    draws: Draws,
    nodes: u64,
    events: Vec<Event>,
    /// When all nodes are well again.
    free: u64,
    /// The latest trouble, if it is the only one in its time: node, begin, end.
    alone: Option<(u64, u64, u64)>,
}

impl Plan {
    fn trouble(&mut self, number: usize) {
        let left = number - self.events.len();
        let (node, begin) = match self.alone.take() {
            Some((other, from, to)) if self.draws.one_in(SECOND) => {
                let node = (other + self.draws.between((1, self.nodes - 1))) % self.nodes;
                (node, self.draws.between((from + 1, to)))
            }
            _ => {
                let node = self.draws.between((0, self.nodes - 1));
                (node, self.free + self.draws.between(BETWEEN))
            }
        };
        let was_alone = begin >= self.free;
        // One event more than two would be left over.
        let end = if left == 3 {
            self.paused_and_killed(node, begin)
        } else {
            match self.draws.between((0, 3)) {
                0 => self.gone(node, begin, Action::Kill),
                1 => self.gone(node, begin, Action::Terminate),
                _ if left > 4 && self.draws.one_in(PAUSED_AND_KILLED) => {
                    self.paused_and_killed(node, begin)
                }
                _ => self.paused(node, begin),
            }
        };
        self.free = self.free.max(end);
        self.alone = was_alone.then_some((node, begin, end));
    }

    fn gone(&mut self, node: u64, begin: u64, action: Action) -> u64 {
        let end = begin + self.draws.between(GONE);
        self.happens(begin, node, action);
        self.happens(end, node, Action::Restart);
        end
    }

    fn paused(&mut self, node: u64, begin: u64) -> u64 {
        let end = begin + self.draws.between(PAUSED);
        self.happens(begin, node, Action::Pause);
        self.happens(end, node, Action::Continue);
        end
    }

    fn paused_and_killed(&mut self, node: u64, begin: u64) -> u64 {
        let killed = begin + self.draws.between(PAUSED);
        self.happens(begin, node, Action::Pause);
        self.gone(node, killed, Action::Kill)
    }

    fn happens(&mut self, at: u64, node: u64, action: Action) {
        self.events.push(Event {
            at: Duration::from_millis(at),
            node: usize::try_from(node).unwrap_or(0),
            action,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The most nodes in trouble at once; panics where a node's events are in no order.
    fn most_in_trouble(events: &[Event]) -> usize {
        let mut gone = BTreeSet::new();
        let mut paused = BTreeSet::new();
        let mut most = 0;
        let mut last = Duration::ZERO;
        for event in events {
            assert!(event.at >= last);
            last = event.at;
            match event.action {
                Action::Kill => {
                    paused.remove(&event.node);
                    assert!(gone.insert(event.node), "{event:?}");
                }
                Action::Terminate => {
                    assert!(!paused.contains(&event.node), "{event:?}");
                    assert!(gone.insert(event.node), "{event:?}");
                }
                Action::Pause => {
                    assert!(!gone.contains(&event.node), "{event:?}");
                    assert!(paused.insert(event.node), "{event:?}");
                }
                Action::Continue => assert!(paused.remove(&event.node), "{event:?}"),
                Action::Restart => assert!(gone.remove(&event.node), "{event:?}"),
            }
            most = most.max(gone.len() + paused.len());
        }
        assert!(gone.is_empty() && paused.is_empty());
        most
    }

    #[test]
    fn plans_are_whole_and_never_take_more_than_two() {
        let mut twice = 0;
        for seed in 0..200 {
            for number in [2, 3, 4, 5, 12, 13, 41, 200] {
                let events = plan(seed, 3, number);
                assert_eq!(events.len(), number, "seed {seed}");
                let most = most_in_trouble(&events);
                assert!((1..=2).contains(&most), "seed {seed}: {most}");
                twice += usize::from(most == 2);
            }
        }
        assert!(twice > 0);
        assert!(plan(1, 3, 1).is_empty() && plan(1, 1, 9).is_empty());
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        assert_eq!(plan(7, 3, 50), plan(7, 3, 50));
        assert_ne!(plan(7, 3, 50), plan(8, 3, 50));
        let nodes: BTreeSet<usize> = plan(7, 3, 50).iter().map(|event| event.node).collect();
        assert_eq!(nodes.len(), 3);
    }
}
