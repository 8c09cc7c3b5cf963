//! What a step does: the shell of `transport/src/link`, reduced to what the machine can tell apart.

use quicraft_transport::admission::{Candidate, ProbeOutcome, Rank, Verdict};
use quicraft_transport::close::{CloseClass, CloseCode};
use quicraft_transport::life::{Adoption, DialEnd, Ending, LifeAction, LifeEvent, Setback};
use quicraft_transport::limits::{DRAINING_MAX, PROBE_INTERVAL, RETRY_AFTER};
use tokio::time::Instant;

use super::action::Action;
use super::connection::{ACCEPTOR, Control, DIALER, Data, Stage};
use super::world::{BASE, DRAIN, DialTask, IDLE, Outcome, Rules, SMALLER, World, number};

impl World {
    /// Does one step.
    pub(crate) fn apply(&mut self, rules: &Rules, action: Action) {
        match action {
            Action::Deliver { slot, from, later } => {
                let now = if later { *BASE + PROBE_INTERVAL } else { *BASE };
                self.deliver(slot, from, now);
            }
            Action::DeliverData { slot, from, index } => self.deliver_data(slot, from, index),
            Action::DeliverClose { slot, from } => self.deliver_close(slot, from),
            Action::LoseClose { slot, from } => {
                self.budget.lost_closes -= 1;
                self.connection_mut(slot).wires[from].clear();
            }
            Action::TimeOut { slot, end } => self.hear_end(slot, end, Ending::Lost),
            Action::EndProbe { slot, end } => self.end_probe(slot, end),
            Action::ReportDial { place } => {
                self.process_mut(place).dial = DialTask::None;
                self.feed(place, LifeEvent::DialEnded(DialEnd::Linked));
            }
            Action::StartDial { place } => self.dial(place),
            Action::Due { place, last } => {
                let due = self.process(place).life.next_due().expect("it is armed");
                let now = if last { *BASE + DRAIN * 2 } else { due };
                if !last && due >= *BASE + IDLE {
                    self.budget.looks -= 1;
                }
                self.feed_at(place, LifeEvent::Due, now);
            }
            Action::SendCall { call } => {
                let slot = self.link(self.calls[call].caller).expect("it has a link");
                let end = self
                    .connection(slot)
                    .end_of(self.calls[call].caller)
                    .expect("its end");
                self.calls[call].outcome = Outcome::Sent(slot);
                self.send_data(slot, end, Data::Call(call));
            }
            Action::Want { place } => self.feed(place, LifeEvent::Wanted),
            _ => self.disturb(rules, action),
        }
        self.rest();
        self.tidy();
    }

    /// Does a step that nobody asked for.
    fn disturb(&mut self, rules: &Rules, action: Action) {
        match action {
            Action::Renew { place } => {
                self.budget.renewals -= 1;
                self.feed(place, LifeEvent::Renew);
            }
            Action::Change { place } => {
                self.budget.changes -= 1;
                self.feed(place, LifeEvent::Changed);
            }
            Action::Need { place, eager } => {
                if !eager {
                    self.budget.lulls -= 1;
                }
                self.process_mut(place).eager = eager;
                self.feed(place, LifeEvent::Eager(eager));
            }
            Action::Crash { place } => {
                self.budget.crashes -= 1;
                self.vanish(place);
            }
            Action::Start { place } => self.start(rules, place),
            Action::Pause { place } => {
                self.budget.pauses -= 1;
                self.process_mut(place).paused = true;
            }
            Action::Continue { place } => self.process_mut(place).paused = false,
            Action::Partition => {
                self.budget.partitions -= 1;
                self.partitioned = true;
            }
            Action::Heal => self.partitioned = false,
            Action::Stop { place } => self.stop(place),
            Action::Exit { place } => {
                self.close_all(place, CloseCode::Shutdown);
                self.vanish(place);
            }
            Action::Bar { place } => {
                self.budget.bars -= 1;
                self.process_mut(place).admits = false;
                self.feed(place, LifeEvent::Barred(CloseCode::NotMember));
            }
            Action::Admit { place } => {
                self.process_mut(place).admits = true;
                self.feed(place, LifeEvent::Admitted);
            }
            other => unreachable!("{other:?} is done elsewhere"),
        }
    }

    fn stop(&mut self, place: usize) {
        self.budget.stops -= 1;
        self.process_mut(place).stopping = true;
        if let Some(slot) = self.link(place) {
            let end = self.connection(slot).end_of(place).expect("its end");
            self.send(slot, end, Control::GoingAway);
        }
        self.feed(place, LifeEvent::Stop);
    }

    fn close_all(&mut self, place: usize, code: CloseCode) {
        for slot in 0..self.connections.len() {
            let open = self.connections[slot].as_ref().is_some_and(|connection| {
                let end = connection.end_of(place);
                end.is_some_and(|end| connection.stages[end].is_adopted())
            });
            if open {
                self.close(slot, place, code);
            }
        }
    }

    /// A process is gone without a word; what it has sent may still arrive.
    fn vanish(&mut self, place: usize) {
        self.processes[place] = None;
        for connection in self.connections.iter_mut().flatten() {
            if let Some(end) = connection.end_of(place) {
                let unseen = end == ACCEPTOR && connection.boots[ACCEPTOR] == 0;
                if !unseen {
                    connection.stages[end] = Stage::Closed;
                }
            }
        }
        for call in self.calls.iter_mut().filter(|call| call.caller == place) {
            if let Outcome::Sent(_) = call.outcome {
                call.outcome = Outcome::Failed;
            }
        }
    }

    // --- What arrives -----------------------------------------------------------------------------

    fn deliver(&mut self, slot: usize, from: usize, now: Instant) {
        let to = 1 - from;
        let message = self.connection_mut(slot).wires[from].control.remove(0);
        let place = self.connection(slot).places[to];
        match message {
            Control::Hello => self.on_hello(slot, place, now),
            Control::Welcome => {
                if self.process(place).stopping {
                    return self.refuse(slot, to, CloseCode::Shutdown);
                }
                self.judge(slot, to, now);
            }
            Control::Confirm => {
                self.adopt(slot, to, now);
                self.recede(slot);
            }
            Control::Done => self.feed(place, LifeEvent::PeerDone(number(slot))),
            Control::GoingAway => self.feed(place, LifeEvent::Leaving(number(slot))),
        }
    }

    fn on_hello(&mut self, slot: usize, place: usize, now: Instant) {
        let process = self.processes[place].as_mut().expect("it runs");
        let connection = self.connections[slot].as_mut().expect("it is there");
        connection.boots[ACCEPTOR] = process.boot;
        connection.epochs[ACCEPTOR] = process.epoch;
        if !process.admits {
            return self.refuse(slot, ACCEPTOR, CloseCode::NotMember);
        }
        if process.stopping {
            return self.refuse(slot, ACCEPTOR, CloseCode::Shutdown);
        }
        let (boot, generation) = (connection.boots[DIALER].into(), connection.generation);
        self.feed(place, LifeEvent::Approached);
        self.process_mut(place).life.observe(boot, generation);
        self.judge(slot, ACCEPTOR, now);
        self.recede(slot);
    }

    /// Tells an acceptor whose handshake has ended that the dial is over.
    fn recede(&mut self, slot: usize) {
        let Some(connection) = &self.connections[slot] else {
            return;
        };
        let stage = connection.stages[ACCEPTOR];
        if stage.is_adopted() || stage == Stage::Closed {
            self.feed(connection.places[ACCEPTOR], LifeEvent::Receded);
        }
    }

    fn deliver_data(&mut self, slot: usize, from: usize, index: usize) {
        match self.connection_mut(slot).wires[from].data.remove(index) {
            Data::Call(call) => {
                self.calls[call].served += 1;
                self.send_data(slot, 1 - from, Data::Answer(call));
            }
            Data::Answer(call) => self.calls[call].outcome = Outcome::Answered,
        }
    }

    fn deliver_close(&mut self, slot: usize, from: usize) {
        let wire = &mut self.connection_mut(slot).wires[from];
        let code = wire.close.expect("it is under way");
        wire.clear();
        self.hear_end(slot, 1 - from, Ending::ByPeer(code));
    }

    // --- Judging ----------------------------------------------------------------------------------

    fn candidate(&self, slot: usize, end: usize) -> Candidate {
        let connection = self.connection(slot);
        Candidate {
            connection: number(slot),
            boot: connection.boots[1 - end].into(),
            epoch: connection.epochs[1 - end].into(),
            rank: Rank {
                generation: connection.generation,
                dialer_is_smaller: connection.places[DIALER] == SMALLER,
            },
        }
    }

    fn judge(&mut self, slot: usize, end: usize, now: Instant) {
        let candidate = self.candidate(slot, end);
        let place = self.connection(slot).places[end];
        match self.process_mut(place).life.judge(&candidate, now) {
            Verdict::Admit if end == DIALER => self.adopt(slot, end, now),
            Verdict::Admit => {
                self.connection_mut(slot).stages[end] = Stage::Welcomed;
                self.send(slot, end, Control::Welcome);
            }
            Verdict::Refuse(refusal) => self.refuse(slot, end, refusal.code),
            Verdict::Probe { incumbents } => {
                let slots = 0..self.connections.len();
                let asked = slots.filter(|slot| incumbents.contains(&number(*slot)));
                let incumbents = asked.fold(0, |bits, slot| bits | (1 << slot));
                self.connection_mut(slot).stages[end] = Stage::Probing { incumbents };
            }
        }
    }

    /// The incumbents that a probe still waits for.
    pub(crate) fn incumbents(&self, slot: usize, end: usize) -> Vec<usize> {
        let Stage::Probing { incumbents } = self.connection(slot).stages[end] else {
            return Vec::new();
        };
        let slots = 0..self.connections.len();
        slots.filter(|slot| incumbents & (1 << slot) != 0).collect()
    }

    fn end_probe(&mut self, slot: usize, end: usize) {
        let asked = self.incumbents(slot, end);
        if asked.into_iter().any(|slot| self.is_answered(slot)) {
            self.refuse(slot, end, CloseCode::DuplicateNode);
        } else {
            let place = self.connection(slot).places[end];
            self.connection_mut(slot).stages[end] = Stage::Waiting;
            self.outcome(place, ProbeOutcome::Silent);
            self.judge(slot, end, *BASE);
        }
        if end == ACCEPTOR {
            self.recede(slot);
        }
    }

    fn outcome(&mut self, place: usize, outcome: ProbeOutcome) {
        let life = &mut self.process_mut(place).life;
        let actions = life.probe_ended(outcome, *BASE, 0.0);
        self.act(place, actions);
    }

    /// Adopts, where the machine lets it.
    fn adopt(&mut self, slot: usize, end: usize, now: Instant) {
        let candidate = self.candidate(slot, end);
        let place = self.connection(slot).places[end];
        let process = self.process_mut(place);
        // The roster and the stop are looked at once more, under the lock of the machine.
        if !process.admits {
            return self.refuse(slot, end, CloseCode::NotMember);
        }
        if process.stopping {
            return self.refuse(slot, end, CloseCode::Shutdown);
        }
        let actions = match process.life.adopt(&candidate, end == DIALER, now) {
            Adoption::Link(actions) | Adoption::Loser(actions) => actions,
            Adoption::Refused(refusal) => return self.refuse(slot, end, refusal.code),
        };
        if end == DIALER {
            process.dial = DialTask::Linked;
            self.send(slot, end, Control::Confirm);
        }
        self.connection_mut(slot).stages[end] = Stage::Adopted;
        self.act(place, actions);
    }

    /// Closes a connection that this end does not adopt.
    fn refuse(&mut self, slot: usize, end: usize, code: CloseCode) {
        let connection = self.connection_mut(slot);
        connection.wires[end].close = Some(code);
        self.end_closed(slot, end, Ending::Ours(code));
    }

    // --- How it ends ------------------------------------------------------------------------------

    /// This end closes an adopted connection.
    fn close(&mut self, slot: usize, place: usize, code: CloseCode) {
        let connection = self.connection_mut(slot);
        let end = connection.end_of(place).expect("its end");
        connection.wires[end].close = Some(code);
        self.end_closed(slot, end, Ending::Ours(code));
    }

    /// An end hears that its connection is gone, which may end a handshake, too.
    fn hear_end(&mut self, slot: usize, end: usize, ending: Ending) {
        let connection = self.connection(slot);
        let unseen = connection.boots[end] == 0;
        let begun = end == ACCEPTOR && !unseen && !connection.stages[end].is_adopted();
        self.end_closed(slot, end, ending);
        if begun {
            self.recede(slot);
        }
    }

    /// An end of a connection is gone, and its process has to know.
    fn end_closed(&mut self, slot: usize, end: usize, ending: Ending) {
        let connection = self.connection_mut(slot);
        let place = connection.places[end];
        let stage = std::mem::replace(&mut connection.stages[end], Stage::Closed);
        if stage == Stage::Closed {
            return;
        }
        if let Stage::Probing { .. } = stage {
            self.outcome(place, ProbeOutcome::Answered);
        }
        if stage.is_adopted() {
            for call in self.calls.iter_mut().filter(|call| call.caller == place) {
                if call.outcome == Outcome::Sent(slot) {
                    call.outcome = Outcome::Failed;
                }
            }
            let connection = number(slot);
            self.feed(place, LifeEvent::Lost { connection, ending });
        } else if end == DIALER {
            self.process_mut(place).dial = DialTask::None;
            let end = DialEnd::Failed(setback(ending));
            self.feed(place, LifeEvent::DialEnded(end));
        }
    }

    // --- The machine ------------------------------------------------------------------------------

    pub(crate) fn feed(&mut self, place: usize, event: LifeEvent) {
        self.feed_at(place, event, *BASE);
    }

    fn feed_at(&mut self, place: usize, event: LifeEvent, now: Instant) {
        let actions = self.process_mut(place).life.handle(event, now, 0.0);
        self.act(place, actions);
    }

    /// Does what a machine says, in its order. That a connection is gone is heard afterwards.
    fn act(&mut self, place: usize, actions: Vec<LifeAction>) {
        let mut closed = Vec::new();
        for action in actions {
            match action {
                LifeAction::Dial => self.dial(place),
                LifeAction::Drain(id) => {
                    let slot = self.slot(place, id);
                    let end = self.connection(slot).end_of(place).expect("its end");
                    self.connection_mut(slot).stages[end] = Stage::Draining { rested: false };
                }
                LifeAction::SayDone(id) => {
                    let slot = self.slot(place, id);
                    let end = self.connection(slot).end_of(place).expect("its end");
                    self.send(slot, end, Control::Done);
                }
                LifeAction::Close(id, code) => closed.push((self.slot(place, id), code)),
                LifeAction::CheckUse(id) => self.check_use(place, id),
            }
        }
        for (slot, code) in closed {
            let drains = self.known().filter(|(_, connection)| {
                let end = connection.end_of(place);
                end.is_some_and(|end| matches!(connection.stages[end], Stage::Draining { .. }))
            });
            self.overflowed |= drains.count() > DRAINING_MAX;
            self.close(slot, place, code);
        }
    }

    fn slot(&self, place: usize, id: quicraft_transport::admission::ConnectionId) -> usize {
        let mut known = self.known().filter(|(slot, _)| number(*slot) == id);
        let found = known.find(|(_, connection)| connection.end_of(place).is_some());
        found
            .map(|(slot, _)| slot)
            .expect("the machine names a connection that is there")
    }

    fn check_use(&mut self, place: usize, id: quicraft_transport::admission::ConnectionId) {
        let slot = self.slot(place, id);
        let connection = self.connection(slot);
        let carried = connection.wires.iter().any(|wire| !wire.data.is_empty());
        let in_use = carried
            || connection
                .places
                .iter()
                .any(|place| self.calls_on(slot, *place));
        // What is in use now was used last now; what is not, long ago.
        let since = if in_use { *BASE } else { *BASE - DRAIN };
        let connection = id;
        self.feed(place, LifeEvent::Quiet { connection, since });
    }

    /// Tells the machines which draining connections carry no call of theirs any more.
    fn rest(&mut self) {
        for slot in 0..self.connections.len() {
            for end in [DIALER, ACCEPTOR] {
                let Some(connection) = &self.connections[slot] else {
                    continue;
                };
                let place = connection.places[end];
                let drains = connection.stages[end] == Stage::Draining { rested: false };
                if drains && !self.calls_on(slot, place) {
                    self.connection_mut(slot).stages[end] = Stage::Draining { rested: true };
                    self.feed(place, LifeEvent::Rested(number(slot)));
                }
            }
        }
    }
}

/// What the end of a connection means for the dial that made it.
fn setback(ending: Ending) -> Setback {
    match ending {
        Ending::Lost => Setback::Retry,
        Ending::ByPeer(CloseCode::Superseded) | Ending::Ours(CloseCode::Superseded) => {
            Setback::Superseded
        }
        Ending::ByPeer(code) => match code.class() {
            CloseClass::Fatal => Setback::Fatal(code),
            CloseClass::RetryAfter => Setback::RetryAfter(RETRY_AFTER),
            _ => Setback::Retry,
        },
        Ending::Ours(_) => Setback::RetryAfter(RETRY_AFTER),
    }
}
