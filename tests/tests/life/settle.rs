//! Whether everything comes to rest once the faults are over, on a fair schedule.

use super::action::Action;
use super::enabled::Kind;
use super::world::{Budget, CLONE, LARGER, Rules, SMALLER, World};

/// More than twice what any world needed.
const STEPS_MAX: usize = 400;
/// Dials of one end until there is rest: one that crosses, one that is refused, one that wins, and
/// some for what the past has left.
const DIALS_MAX: u8 = 8;

/// Looks at the use of a link until nothing changes.
const LOOKS_MAX: u8 = 20;

/// In which order a fair schedule takes what is possible at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The oldest connection and the smaller node first.
    First,
    /// The newest connection and the larger node first.
    Last,
}

impl World {
    /// Ends all faults and runs to rest. Returns what was done, and the promise that is broken.
    pub(crate) fn settle(mut self, rules: &Rules, order: Order) -> (Vec<String>, Option<String>) {
        let mut told = Vec::new();
        let larger = self.mend(rules, &mut told);
        for _ in 0..STEPS_MAX {
            let mut steps = Vec::new();
            self.natural(&mut steps);
            // Time passes only where nothing else is possible. A timer that does nothing but start
            // again, as the look at a link's use does, is rest.
            steps.retain(|(kind, action)| *kind < Kind::Timers || self.is_changed(rules, *action));
            let Some(kind) = steps.iter().map(|(kind, _)| *kind).min() else {
                let broken = self.broken_at_rest(larger);
                return (told, broken);
            };
            if kind >= Kind::Timers
                && let Some(broken) = self.broken_in_calm(larger)
            {
                return (told, Some(broken));
            }
            steps.retain(|(known, _)| *known == kind);
            let (_, action) = match order {
                Order::First => steps[0],
                Order::Last => steps[steps.len() - 1],
            };
            told.push(action.told(&self));
            let before = self.clone();
            self.apply(rules, action);
            let broken = self.broken(rules).or_else(|| self.broken_since(&before));
            if broken.is_some() {
                return (told, broken);
            }
        }
        (told, Some(format!("no rest after {STEPS_MAX} steps")))
    }

    fn is_changed(&self, rules: &Rules, action: Action) -> bool {
        let mut next = self.clone();
        next.apply(rules, action);
        next.budget.looks = self.budget.looks;
        next != *self
    }

    /// Ends all faults. Returns the place of the larger node that lives on.
    fn mend(&mut self, rules: &Rules, told: &mut Vec<String>) -> usize {
        let mut steps = Vec::new();
        self.budget = Budget {
            dials: [DIALS_MAX; 3],
            crashes: 1,
            looks: LOOKS_MAX,
            ..Budget::default()
        };
        if self.partitioned {
            steps.push(Action::Heal);
        }
        for place in [SMALLER, LARGER, CLONE] {
            let Some(process) = &self.processes[place] else {
                if place != CLONE {
                    steps.push(Action::Start { place });
                }
                continue;
            };
            if process.paused {
                steps.push(Action::Continue { place });
            }
            if process.stopping {
                steps.push(Action::Exit { place });
                steps.push(Action::Start { place });
            }
            if !process.admits {
                steps.push(Action::Admit { place });
            }
        }
        for action in steps {
            told.push(action.told(self));
            self.apply(rules, action);
        }
        let larger = self.survivor();
        if self.processes[CLONE].is_some() {
            let place = CLONE + LARGER - larger;
            let action = Action::Crash { place };
            told.push(action.told(self));
            self.apply(rules, action);
        }
        larger
    }

    /// Of a node and its clone the one that has to be let in when the other is gone.
    fn survivor(&self) -> usize {
        match &self.processes[CLONE] {
            Some(clone) if clone.epoch > self.process(LARGER).epoch => CLONE,
            _ => LARGER,
        }
    }
}
