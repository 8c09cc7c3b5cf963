//! The life of the link to one peer, as one state machine: when to dial, which connection is the
//! link, when a connection drains and when it is closed.
//!
//! Pure: events and times come in, actions come out, and the tasks of `link/` do them. It must not
//! know sockets, tasks, clocks or what a call is. The table of states and events is in
//! ARCHITECTURE.md; `tests/tests/life` explores it.

mod backoff;
mod event;
mod reach;
mod settings;

use tokio::time::Instant;

pub use backoff::Backoff;
pub use event::{DialEnd, Ending, LifeAction, LifeEvent, Setback};
pub use reach::LifeState;
pub use settings::LifeSettings;

use crate::admission::{
    AdmissionRefusal, Candidate, ConnectionId, PeerRecord, ProbeOutcome, Verdict,
};
use crate::close::CloseCode;
use reach::Reach;

/// A connection that takes no new calls and ends when both of its ends are done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Drain {
    connection: ConnectionId,
    ours_done: bool,
    peers_done: bool,
    due: Instant,
    code: CloseCode,
}

/// What became of a candidate that asked to be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the link has to act on every outcome"
)]
pub enum Adoption {
    /// It is the link.
    Link(Vec<LifeAction>),
    /// It lost to another connection of the same boot while its handshake ran. Its dialer may have
    /// sent a call already, so it drains.
    Loser(Vec<LifeAction>),
    /// It is closed.
    Refused(AdmissionRefusal),
}

/// Everything that this end remembers and plans about one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerLife {
    settings: LifeSettings,
    record: PeerRecord,
    reach: Reach,
    drains: Vec<Drain>,
    /// When the link drains although nothing took its place: its peer has said `Done` on it.
    handover: Option<Instant>,
    /// Whether this end dialled the link.
    dialled: bool,
}

impl PeerLife {
    /// A peer that was never met.
    #[must_use]
    pub fn new(settings: LifeSettings) -> Self {
        Self {
            reach: Reach::new(&settings),
            record: PeerRecord::new(),
            drains: Vec::new(),
            handover: None,
            dialled: false,
            settings,
        }
    }

    /// How this end stands to the peer.
    #[must_use]
    pub const fn state(&self) -> &LifeState {
        self.reach.state()
    }

    /// What admission remembers.
    #[must_use]
    pub const fn record(&self) -> &PeerRecord {
        &self.record
    }

    /// Whether a dial is under way.
    #[must_use]
    pub const fn is_dialling(&self) -> bool {
        self.reach.is_dialling()
    }

    /// When [`LifeEvent::Due`] is to be fed, if nothing else happens before.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let drains = self.drains.iter().map(|drain| drain.due);
        let single = [self.reach.due(), self.handover];
        drains.chain(single.into_iter().flatten()).min()
    }

    /// The generation of the next dial of one address: one more than the highest that was seen.
    #[must_use]
    pub const fn next_generation(&mut self) -> u64 {
        self.record.next_generation()
    }

    /// Remembers the generation of a hello, whatever becomes of it.
    pub fn observe(&mut self, boot: u128, generation: u64) {
        self.record.observe(boot, generation);
    }

    /// Judges a candidate by rules 4 to 7. Nothing changes but the note that a probe has begun.
    pub fn judge(&mut self, candidate: &Candidate, now: Instant) -> Verdict {
        self.record.judge(candidate, now)
    }

    /// Ends the probe that a judgement asked for.
    pub fn probe_ended(
        &mut self,
        outcome: ProbeOutcome,
        now: Instant,
        random: f64,
    ) -> Vec<LifeAction> {
        let had_link = self.record.link().is_some();
        let closed = self.record.probe_ended(outcome, now);
        let mut actions = Vec::new();
        for connection in closed {
            self.drains.retain(|drain| drain.connection != connection);
            actions.push(LifeAction::Close(connection, CloseCode::Replaced));
        }
        if had_link && self.record.link().is_none() {
            self.handover = None;
            self.reach
                .lost(&self.settings, Ending::Lost, now, random, &mut actions);
        }
        actions
    }

    /// Adopts a candidate whose handshake has come to that point, if it may be: at Welcome where
    /// this end `dialled`, at Confirm where it accepted. Only the latter may have been used
    /// already when it loses.
    pub fn adopt(&mut self, candidate: &Candidate, dialled: bool, now: Instant) -> Adoption {
        match self.record.judge(candidate, now) {
            Verdict::Admit => {}
            Verdict::Refuse(refusal) if refusal.code == CloseCode::Superseded && !dialled => {
                return self.adopt_loser(candidate, now);
            }
            Verdict::Refuse(refusal) => return Adoption::Refused(refusal),
            Verdict::Probe { .. } => {
                // Another boot was adopted since this one was judged; it comes back and is probed
                // for.
                drop(self.record.probe_ended(ProbeOutcome::Answered, now));
                let detail = "another boot came first";
                return Adoption::Refused(AdmissionRefusal::new(CloseCode::Busy, detail));
            }
        }
        let mut actions = Vec::new();
        let previous = self.record.adopt(candidate);
        let peers_done = self.handover.take().is_some();
        if let Some(previous) = previous {
            self.drain(previous, peers_done, CloseCode::Retired, now, &mut actions);
        }
        self.dialled = dialled;
        self.reach.up(&self.settings, now);
        Adoption::Link(actions)
    }

    fn adopt_loser(&mut self, candidate: &Candidate, now: Instant) -> Adoption {
        let mut actions = Vec::new();
        self.record.adopt_draining(candidate);
        let connection = candidate.connection;
        self.drain(connection, false, CloseCode::Retired, now, &mut actions);
        Adoption::Loser(actions)
    }

    /// Puts a connection, which the record counts as draining already, into draining.
    fn drain(
        &mut self,
        connection: ConnectionId,
        peers_done: bool,
        code: CloseCode,
        now: Instant,
        actions: &mut Vec<LifeAction>,
    ) {
        self.drains.push(Drain {
            connection,
            ours_done: false,
            peers_done,
            due: now + self.settings.drain,
            code,
        });
        actions.push(LifeAction::Drain(connection));
        if let Some(oldest) = self.record.overflow() {
            self.drains.retain(|drain| drain.connection != oldest);
            actions.push(LifeAction::Close(oldest, CloseCode::Retired));
        }
    }

    /// Takes an event. `random` is uniform in 0..1 and spreads the waits between dials.
    #[must_use = "the actions are what happens"]
    pub fn handle(&mut self, event: LifeEvent, now: Instant, random: f64) -> Vec<LifeAction> {
        let mut actions = Vec::new();
        let out = &mut actions;
        let settings = &self.settings;
        match event {
            LifeEvent::Wanted => self.reach.wanted(out),
            LifeEvent::Eager(eager) => self.reach.eager(settings, eager, now, out),
            LifeEvent::Admitted => self.reach.admitted(settings, now, out),
            LifeEvent::Barred(code) => self.barred(code, out),
            LifeEvent::Changed => self.reach.changed(out),
            LifeEvent::Renew => self.reach.renew(out),
            LifeEvent::DialEnded(end) => self.reach.dial_ended(settings, end, now, random, out),
            LifeEvent::Lost { connection, ending } => {
                self.lost(connection, ending, now, random, out);
            }
            LifeEvent::Approached => self.reach.approached(),
            LifeEvent::Receded => self.reach.receded(),
            LifeEvent::Leaving(connection) => {
                if self.record.link() == Some(connection) {
                    self.reach.leaving();
                }
            }
            LifeEvent::PeerDone(connection) => self.peer_done(connection, now, out),
            LifeEvent::Rested(connection) => self.rested(connection, out),
            LifeEvent::Quiet { connection, since } => {
                self.quiet(connection, since, now, random, out)
            }
            LifeEvent::Due => self.due(now, random, out),
            LifeEvent::Stop => self.reach.stop(),
        }
        actions
    }

    /// Forgets the epochs of the peer, so that one restored from a backup may enter.
    pub const fn forget(&mut self) {
        self.record.forget();
    }

    /// Closes everything at once: a link that is only about to be gone would be taken for one if the
    /// peer is admitted again meanwhile.
    fn barred(&mut self, code: CloseCode, actions: &mut Vec<LifeAction>) {
        self.drains.clear();
        self.handover = None;
        let closed = self.record.clear();
        let close = |connection| LifeAction::Close(connection, code);
        actions.extend(closed.into_iter().map(close));
        self.reach.barred();
    }

    fn lost(
        &mut self,
        connection: ConnectionId,
        ending: Ending,
        now: Instant,
        random: f64,
        actions: &mut Vec<LifeAction>,
    ) {
        self.drains.retain(|drain| drain.connection != connection);
        if self.record.lost(connection) {
            self.handover = None;
            self.reach
                .lost(&self.settings, ending, now, random, actions);
        }
    }

    fn peer_done(&mut self, connection: ConnectionId, now: Instant, actions: &mut Vec<LifeAction>) {
        if self.record.link() == Some(connection) {
            // The peer has another connection, which reaches us soon; or it needs none any more.
            self.handover.get_or_insert(now + self.settings.handover);
            return;
        }
        self.done(connection, |drain| drain.peers_done = true, actions);
    }

    fn rested(&mut self, connection: ConnectionId, actions: &mut Vec<LifeAction>) {
        let drains = self
            .drains
            .iter()
            .any(|drain| drain.connection == connection && !drain.ours_done);
        if drains {
            actions.push(LifeAction::SayDone(connection));
            self.done(connection, |drain| drain.ours_done = true, actions);
        }
    }

    /// Notes that one end of a draining connection is done, and closes it when both are.
    fn done(
        &mut self,
        connection: ConnectionId,
        note: impl FnOnce(&mut Drain),
        actions: &mut Vec<LifeAction>,
    ) {
        let place = self
            .drains
            .iter()
            .position(|drain| drain.connection == connection);
        let Some(place) = place else { return };
        note(&mut self.drains[place]);
        let Drain {
            ours_done,
            peers_done,
            code,
            ..
        } = self.drains[place];
        if ours_done && peers_done {
            self.drains.remove(place);
            // Closed from here on, so it takes no place; its end may be heard of much later.
            self.record.lost(connection);
            actions.push(LifeAction::Close(connection, code));
        }
    }

    /// A link that carried nothing for a while, and that nobody here needs, is given up by the end
    /// that dialled it.
    fn quiet(
        &mut self,
        connection: ConnectionId,
        since: Instant,
        now: Instant,
        random: f64,
        actions: &mut Vec<LifeAction>,
    ) {
        if self.record.link() != Some(connection) {
            return;
        }
        let idle = self.settings.idle.map(|idle| since + idle);
        let unused = idle.is_some_and(|idle| idle <= now);
        if unused && self.dialled && self.reach.is_unneeded() {
            self.retire(CloseCode::Idle, now, random, actions);
        } else {
            self.reach.check_again(&self.settings, now);
        }
    }

    /// Gives the link up without another one in its place.
    fn retire(
        &mut self,
        code: CloseCode,
        now: Instant,
        random: f64,
        actions: &mut Vec<LifeAction>,
    ) {
        let peers_done = self.handover.take().is_some();
        if let Some(link) = self.record.retire() {
            self.drain(link, peers_done, code, now, actions);
            self.reach.retired(&self.settings, now, random, actions);
        }
    }

    fn due(&mut self, now: Instant, random: f64, actions: &mut Vec<LifeAction>) {
        let over: Vec<_> = self
            .drains
            .iter()
            .filter(|drain| drain.due <= now)
            .map(|drain| (drain.connection, drain.code))
            .collect();
        self.drains.retain(|drain| drain.due > now);
        for (connection, code) in over {
            self.record.lost(connection);
            actions.push(LifeAction::Close(connection, code));
        }
        if self.handover.is_some_and(|due| due <= now) {
            // Nothing took its place: the peer needs no link any more.
            self.retire(CloseCode::Idle, now, random, actions);
        }
        if self.reach.due().is_some_and(|due| due <= now) {
            self.reach
                .due_now(&self.settings, self.record.link(), now, actions);
        }
    }
}

#[cfg(test)]
mod tests;
