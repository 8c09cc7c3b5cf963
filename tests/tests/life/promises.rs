//! The promises, as they hold in every world, from one world to the next, and at rest.

use quicraft_transport::life::LifeState;

use super::connection::Stage;
use super::world::{CLONE, DialTask, LARGER, NAMES, Outcome, Rules, SMALLER, World, number};

impl World {
    /// A promise that is broken in this world.
    pub(crate) fn broken(&self, rules: &Rules) -> Option<String> {
        for place in [SMALLER, LARGER, CLONE] {
            if let Some(broken) = self.broken_at(place) {
                return Some(format!("{}: {broken}", NAMES[place]));
            }
        }
        for (index, call) in self.calls.iter().enumerate() {
            if call.served > 1 {
                return Some(format!("call {index} was served {} times", call.served));
            }
            if call.outcome == Outcome::Answered && call.served == 0 {
                return Some(format!("call {index} was answered by nobody"));
            }
            let allowed = self.overflowed || !rules.is_faultless();
            if call.outcome == Outcome::Failed && !allowed {
                return Some(format!("call {index} failed without a fault"));
            }
        }
        None
    }

    /// The machine of a process and its connections tell the same.
    fn broken_at(&self, place: usize) -> Option<String> {
        let process = self.processes[place].as_ref()?;
        let life = &process.life;
        let mut links = Vec::new();
        let mut drains = Vec::new();
        for (slot, connection) in self.known() {
            match connection.end_of(place).map(|end| connection.stages[end]) {
                Some(Stage::Adopted) => links.push(number(slot)),
                Some(Stage::Draining { .. }) => drains.push(number(slot)),
                _ => {}
            }
        }
        if links.len() > 1 {
            return Some("more than one live link".to_owned());
        }
        let link = life.record().link();
        if links.first().copied() != link {
            return Some(format!("its link is {links:?}, the record says {link:?}"));
        }
        let mut known: Vec<_> = life.record().draining().collect();
        known.sort_unstable();
        if known != drains {
            return Some(format!("{drains:?} drain, the record says {known:?}"));
        }
        let state = life.state();
        let shown = matches!(state, LifeState::Up { .. } | LifeState::Leaving);
        let apart = matches!(state, LifeState::Barred | LifeState::Stopped);
        if !apart && shown != link.is_some() {
            return Some(format!("its link is {link:?} in the state {state:?}"));
        }
        if *state == LifeState::Barred && link.is_some() {
            return Some("a link to a peer that the roster bars".to_owned());
        }
        let dials = !matches!(process.dial, DialTask::None);
        if dials != life.is_dialling() {
            return Some(format!(
                "its dial is {:?}, the machine says else",
                process.dial
            ));
        }
        None
    }

    /// A promise that is broken by the step from `before` to this world.
    pub(crate) fn broken_since(&self, before: &Self) -> Option<String> {
        for place in [SMALLER, LARGER, CLONE] {
            let (Some(old), Some(new)) = (&before.processes[place], &self.processes[place]) else {
                continue;
            };
            let (Some(was), Some(is)) = (before.link(place), self.link(place)) else {
                continue;
            };
            if old.boot != new.boot || was == is || !before.is_answered(was) {
                continue;
            }
            let boot = |world: &Self, slot: usize| {
                let connection = world.connection(slot);
                connection
                    .end_of(place)
                    .map(|end| connection.boots[1 - end])
            };
            if boot(before, was) != boot(self, is) {
                let name = NAMES[place];
                return Some(format!("{name}: an incumbent that answers was displaced"));
            }
        }
        None
    }

    /// A promise that is broken in a world in which everything has arrived and no timer has fired
    /// yet: the order of the connections alone makes both ends keep the same one.
    pub(crate) fn broken_in_calm(&self, larger: usize) -> Option<String> {
        let links = [SMALLER, larger].map(|place| self.link(place));
        match links {
            [Some(one), Some(other)] if one != other => {
                Some(format!("when all has arrived the links are {links:?}"))
            }
            _ => None,
        }
    }

    /// A promise that is broken in a world in which nothing happens any more by itself: both
    /// nodes run, reach each other, and let each other in.
    pub(crate) fn broken_at_rest(&self, larger: usize) -> Option<String> {
        let ends = [SMALLER, larger];
        let links = ends.map(|place| self.link(place));
        let wanted = ends.iter().any(|place| self.process(*place).eager);
        match links {
            [Some(one), Some(other)] if one == other => {}
            [None, None] if !wanted => {}
            _ => return Some(format!("at rest the links are {links:?}")),
        }
        if let Some((slot, _)) = self.known().find(|(slot, _)| Some(*slot) != links[0]) {
            return Some(format!("at rest connection #{slot} is still there"));
        }
        let open = |outcome| matches!(outcome, Outcome::Waiting | Outcome::Sent(_));
        let mut calls = self.calls.iter();
        let left = calls.position(|call| open(call.outcome) && ends.contains(&call.caller));
        if let Some(call) = left {
            return Some(format!("at rest call {call} has no end"));
        }
        None
    }
}
