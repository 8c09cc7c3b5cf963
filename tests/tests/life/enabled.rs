//! Which steps are possible, and within which bounds.

use super::action::Action;
use super::connection::{ACCEPTOR, Control, DIALER, Stage};
use super::world::{BASE, CLONE, DRAIN, DialTask, IDLE, LARGER, Outcome, Rules, SMALLER, World};
use quicraft_transport::life::LifeState;

/// The steps, in an order in which a fair schedule may take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What is under way arrives, and is acted upon.
    Messages,
    /// What ends by itself ends.
    Silence,
    /// Calls are made.
    Calls,
    /// Timers fire.
    Timers,
    /// A link is looked at, because it may have been idle for long.
    Looks,
    /// The longest of them.
    Drains,
}

impl World {
    /// All steps that do not need a fault.
    pub(crate) fn natural(&self, steps: &mut Vec<(Kind, Action)>) {
        for slot in 0..self.connections.len() {
            if self.connections[slot].is_some() {
                for from in [DIALER, ACCEPTOR] {
                    self.arrivals(slot, from, steps);
                    self.ends(slot, from, steps);
                }
            }
        }
        for place in [SMALLER, LARGER, CLONE] {
            if self.acts(place) {
                self.times(place, steps);
            }
        }
        for (index, call) in self.calls.iter().enumerate() {
            if call.outcome == Outcome::Waiting && self.acts(call.caller) {
                if self.link(call.caller).is_some() {
                    steps.push((Kind::Calls, Action::SendCall { call: index }));
                } else if *self.process(call.caller).life.state() == LifeState::Idle {
                    let place = call.caller;
                    steps.push((Kind::Calls, Action::Want { place }));
                }
            }
        }
    }

    fn arrivals(&self, slot: usize, from: usize, steps: &mut Vec<(Kind, Action)>) {
        let connection = self.connection(slot);
        let to = 1 - from;
        if !self.acts(connection.places[to]) || connection.stages[to] == Stage::Closed {
            return;
        }
        if self.partitioned {
            return;
        }
        let wire = &connection.wires[from];
        let probing = matches!(connection.stages[to], Stage::Probing { .. });
        if let Some(message) = wire.control.first()
            && !probing
        {
            let later = false;
            steps.push((Kind::Messages, Action::Deliver { slot, from, later }));
            if self.is_judged_later(slot, to, *message) {
                let later = true;
                steps.push((Kind::Messages, Action::Deliver { slot, from, later }));
            }
        }
        if connection.stages[to].is_adopted() {
            for index in 0..wire.data.len() {
                steps.push((Kind::Messages, Action::DeliverData { slot, from, index }));
            }
        }
        if wire.close.is_some() {
            steps.push((Kind::Messages, Action::DeliverClose { slot, from }));
        }
    }

    /// Whether it makes a difference that a candidate comes a second after the last probe.
    fn is_judged_later(&self, slot: usize, to: usize, message: Control) -> bool {
        let judged = matches!(
            message,
            Control::Hello | Control::Welcome | Control::Confirm
        );
        let place = self.connection(slot).places[to];
        judged && self.processes[CLONE].is_some() && place == SMALLER
    }

    fn ends(&self, slot: usize, end: usize, steps: &mut Vec<(Kind, Action)>) {
        let connection = self.connection(slot);
        let place = connection.places[end];
        let stage = connection.stages[end];
        if stage == Stage::Closed {
            return;
        }
        // Nobody waits here: the dial is over, and its first packet may be lost.
        let unseen = end == ACCEPTOR && connection.boots[ACCEPTOR] == 0;
        if unseen {
            if connection.stages[DIALER] == Stage::Closed {
                steps.push((Kind::Silence, Action::TimeOut { slot, end }));
            }
            return;
        }
        if !self.acts(place) {
            return;
        }
        if let Stage::Probing { .. } = stage {
            let asked = self.incumbents(slot, end);
            let answers = asked.iter().any(|slot| self.is_answered(*slot));
            // A Confirm that is under way arrives long before the window of the probe is over.
            let soon = asked.iter().any(|slot| {
                let connection = self.connections[*slot].as_ref();
                self.is_reached(*slot)
                    && connection.is_some_and(|known| known.stages.contains(&Stage::Welcomed))
            });
            if answers || !soon {
                steps.push((Kind::Silence, Action::EndProbe { slot, end }));
            }
        }
        let other = connection.stages[1 - end] == Stage::Closed;
        let gone = other && connection.wires[1 - end].close.is_none();
        if gone || !self.is_reached(slot) {
            steps.push((Kind::Silence, Action::TimeOut { slot, end }));
        }
    }

    fn times(&self, place: usize, steps: &mut Vec<(Kind, Action)>) {
        let process = self.process(place);
        match process.dial {
            DialTask::Linked => steps.push((Kind::Messages, Action::ReportDial { place })),
            DialTask::Queued if self.budget.dials[place] > 0 => {
                steps.push((Kind::Messages, Action::StartDial { place }));
            }
            DialTask::None | DialTask::Queued | DialTask::Running(_) => {}
        }
        let due = process.life.next_due();
        let last = false;
        if due.is_some_and(|due| due < *BASE + IDLE) {
            steps.push((Kind::Timers, Action::Due { place, last }));
        } else if due.is_some_and(|due| due < *BASE + DRAIN) && self.budget.looks > 0 {
            steps.push((Kind::Looks, Action::Due { place, last }));
        }
        if process.life.record().draining().next().is_some() {
            let last = true;
            steps.push((Kind::Drains, Action::Due { place, last }));
        }
    }

    /// All steps of the explorer.
    pub(crate) fn steps(&self, rules: &Rules) -> Vec<Action> {
        let mut natural = Vec::new();
        self.natural(&mut natural);
        let mut steps: Vec<_> = natural
            .into_iter()
            .filter(|(kind, _)| *kind != Kind::Drains || rules.slow_drains)
            .map(|(_, action)| action)
            .collect();
        for place in [SMALLER, LARGER, CLONE] {
            self.faults(place, &mut steps);
        }
        if self.partitioned {
            steps.push(Action::Heal);
        } else if self.budget.partitions > 0 {
            steps.push(Action::Partition);
        }
        if self.budget.lost_closes > 0 {
            for (slot, connection) in self.known() {
                for from in [DIALER, ACCEPTOR] {
                    if connection.wires[from].close.is_some() {
                        steps.push(Action::LoseClose { slot, from });
                    }
                }
            }
        }
        steps
    }

    fn faults(&self, place: usize, steps: &mut Vec<Action>) {
        let budget = &self.budget;
        let Some(process) = &self.processes[place] else {
            if place != CLONE && self.runs[place] > 0 {
                steps.push(Action::Start { place });
            }
            return;
        };
        if process.paused {
            steps.push(Action::Continue { place });
            return;
        }
        let linked = !matches!(
            process.life.state(),
            LifeState::Idle | LifeState::Barred | LifeState::Stopped
        );
        let mut when = |allowed: bool, action: Action| {
            if allowed {
                steps.push(action);
            }
        };
        when(budget.renewals > 0 && linked, Action::Renew { place });
        when(budget.changes > 0 && linked, Action::Change { place });
        when(budget.crashes > 0, Action::Crash { place });
        when(budget.pauses > 0, Action::Pause { place });
        when(
            budget.stops > 0 && !process.stopping,
            Action::Stop { place },
        );
        when(process.stopping, Action::Exit { place });
        when(budget.bars > 0 && process.admits, Action::Bar { place });
        when(!process.admits, Action::Admit { place });
        let eager = false;
        when(
            budget.lulls > 0 && process.eager,
            Action::Need { place, eager },
        );
    }
}
