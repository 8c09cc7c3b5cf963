//! The life of the link to a peer: any list of events on the machine, with a shell around it that
//! does what it says and checks that it can be done.

use std::collections::BTreeMap;
use std::time::Duration;

use quicraft_transport::TransportConfig;
use quicraft_transport::admission::{Candidate, ConnectionId, ProbeOutcome, Rank, Verdict};
use quicraft_transport::close::CloseCode;
use quicraft_transport::life::{
    Adoption, DialEnd, Ending, LifeAction, LifeEvent, LifeSettings, LifeState, PeerLife, Setback,
};
use quicraft_transport::limits::DRAINING_MAX;
use tokio::time::Instant;

use super::input::Input;

/// Feeds a list of events to the life of a peer and does its actions.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn life(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let mut shell = Shell::new(&mut input);
    while !input.is_empty() {
        shell.step(&mut input);
        shell.check();
    }
    !data.is_empty()
}

/// How far an adopted connection is on its way out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Live,
    Draining,
    /// It was told to close; its end is not known yet.
    Closed,
}

struct Shell {
    life: PeerLife,
    now: Instant,
    random: f64,
    next: u64,
    connections: BTreeMap<ConnectionId, Stage>,
    dialling: bool,
    probing: bool,
    admits: bool,
    stopped: bool,
}

impl Shell {
    fn new(input: &mut Input<'_>) -> Self {
        let settings = LifeSettings::of(&TransportConfig::default(), input.chance());
        Self {
            life: PeerLife::new(settings),
            now: Instant::now(),
            random: f64::from(input.byte()) / 256.0,
            next: 0,
            connections: BTreeMap::new(),
            dialling: false,
            probing: false,
            admits: false,
            stopped: false,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0 => self.feed(LifeEvent::Wanted),
            1 => self.feed(LifeEvent::Eager(input.chance())),
            2 => self.admit(input.chance()),
            3 => self.feed(LifeEvent::Changed),
            4 => self.feed(LifeEvent::Renew),
            5 => self.dial_fails(input),
            6 | 7 => self.candidate(input),
            8 => self.lose(input),
            9 => {
                let arrives = input.chance();
                self.feed(if arrives {
                    LifeEvent::Approached
                } else {
                    LifeEvent::Receded
                });
            }
            10 => self.on_connection(input, LifeEvent::PeerDone),
            11 => self.on_connection(input, LifeEvent::Rested),
            12 => {
                let since = self
                    .now
                    .checked_sub(Duration::from_secs(u64::from(input.byte()) * 4));
                let since = since.unwrap_or(self.now);
                self.on_connection(input, |connection| LifeEvent::Quiet { connection, since });
            }
            13 => self.on_connection(input, LifeEvent::Leaving),
            14 => self.pass(input),
            _ => self.rarely(input),
        }
    }

    fn rarely(&mut self, input: &mut Input<'_>) {
        match input.below(6) {
            0 if !self.stopped => {
                self.stopped = true;
                self.feed(LifeEvent::Stop);
            }
            1 => self.life.forget(),
            2 => self
                .life
                .observe(u128::from(input.below(4)), input.generation()),
            _ if self.probing => {
                self.probing = false;
                let outcome = match input.chance() {
                    true => ProbeOutcome::Answered,
                    false => ProbeOutcome::Silent,
                };
                let actions = self.life.probe_ended(outcome, self.now, self.random);
                self.act(actions);
            }
            _ => {}
        }
    }

    fn feed(&mut self, event: LifeEvent) {
        let actions = self.life.handle(event, self.now, self.random);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<LifeAction>) {
        for action in actions {
            match action {
                LifeAction::Dial => {
                    assert!(!self.dialling, "two dials at once");
                    assert!(self.admits && !self.stopped, "a dial of a barred peer");
                    self.dialling = true;
                }
                LifeAction::Drain(connection) => {
                    let before = self.connections.insert(connection, Stage::Draining);
                    assert!(before == Some(Stage::Live), "what drains was live");
                }
                LifeAction::SayDone(connection) => {
                    assert!(self.connections.get(&connection) == Some(&Stage::Draining));
                }
                // Closing again what is closed changes nothing: the record keeps it until its end.
                LifeAction::Close(connection, _) => {
                    let before = self.connections.insert(connection, Stage::Closed);
                    assert!(before.is_some(), "what is closed was adopted");
                }
                LifeAction::CheckUse(connection) => {
                    assert!(self.connections.get(&connection) == Some(&Stage::Live));
                }
            }
        }
    }

    /// The roster changes its mind. What is closed for it ends later.
    fn admit(&mut self, admits: bool) {
        self.admits = admits;
        if admits {
            return self.feed(LifeEvent::Admitted);
        }
        self.feed(LifeEvent::Barred(CloseCode::Removed));
        let closed = |stage: &Stage| *stage == Stage::Closed;
        assert!(
            self.connections.values().all(closed),
            "a barred peer has a link"
        );
    }

    fn dial_fails(&mut self, input: &mut Input<'_>) {
        if !std::mem::take(&mut self.dialling) {
            return;
        }
        let setback = match input.below(5) {
            0 => Setback::Retry,
            1 => Setback::Superseded,
            2 => Setback::RetryAfter(Duration::from_secs(u64::from(input.below(31)))),
            3 => Setback::Forgeable,
            _ => Setback::Fatal(CloseCode::Removed),
        };
        self.feed(LifeEvent::DialEnded(DialEnd::Failed(setback)));
    }

    /// A handshake of either end comes to the point where it is judged, and may be adopted.
    fn candidate(&mut self, input: &mut Input<'_>) {
        let ours = self.dialling && input.chance();
        let boot = input.below(4);
        let generation = if ours {
            self.life.next_generation()
        } else {
            input.generation()
        };
        if !ours {
            self.life.observe(u128::from(boot), generation);
        }
        self.next += 1;
        let candidate = Candidate {
            connection: ConnectionId::new(self.next),
            boot: u128::from(boot),
            epoch: u64::from(boot / 2),
            rank: Rank {
                generation,
                dialer_is_smaller: input.chance(),
            },
        };
        match self.life.judge(&candidate, self.now) {
            Verdict::Admit => {}
            Verdict::Refuse(_) => return,
            Verdict::Probe { .. } => {
                assert!(!self.probing, "two probes at once");
                self.probing = true;
                return;
            }
        }
        // The shell looks at the roster and at the stop once more.
        if !self.admits || self.stopped {
            return;
        }
        // What is judged and adopted in one step cannot lose in between.
        let Adoption::Link(actions) = self.life.adopt(&candidate, ours, self.now) else {
            panic!("admitted, and then not adopted");
        };
        self.connections.insert(candidate.connection, Stage::Live);
        self.act(actions);
        assert_eq!(self.life.record().link(), Some(candidate.connection));
        assert!(matches!(self.life.state(), LifeState::Up { .. }));
        if ours {
            self.dialling = false;
            self.feed(LifeEvent::DialEnded(DialEnd::Linked));
        }
    }

    fn choose(&self, input: &mut Input<'_>) -> Option<ConnectionId> {
        let known: Vec<_> = self.connections.keys().copied().collect();
        let place = usize::from(input.byte());
        (!known.is_empty()).then(|| known[place % known.len()])
    }

    fn lose(&mut self, input: &mut Input<'_>) {
        let Some(connection) = self.choose(input) else {
            return;
        };
        self.connections.remove(&connection);
        let code = CloseCode::ALL[usize::from(input.byte()) % CloseCode::ALL.len()];
        let ending = match input.below(3) {
            0 => Ending::Lost,
            1 => Ending::ByPeer(code),
            _ => Ending::Ours(code),
        };
        self.feed(LifeEvent::Lost { connection, ending });
    }

    fn on_connection(
        &mut self,
        input: &mut Input<'_>,
        event: impl FnOnce(ConnectionId) -> LifeEvent,
    ) {
        if let Some(connection) = self.choose(input) {
            self.feed(event(connection));
        }
    }

    /// Time passes, to the next due time or not so far. A due time that was taken is over.
    fn pass(&mut self, input: &mut Input<'_>) {
        let Some(due) = self.life.next_due().filter(|_| input.chance()) else {
            self.now += Duration::from_millis(u64::from(input.byte()) * 20);
            return;
        };
        self.now = self.now.max(due);
        self.feed(LifeEvent::Due);
        let next = self.life.next_due();
        assert!(next.is_none_or(|next| next > self.now), "due for ever");
    }

    fn check(&self) {
        let live = |stage: Stage| {
            self.connections
                .values()
                .filter(move |known| **known == stage)
        };
        let record = self.life.record();
        assert!(live(Stage::Live).count() <= 1, "two links");
        if let Some(link) = record.link() {
            assert!(
                self.connections.get(&link) == Some(&Stage::Live),
                "a link that is none"
            );
        } else {
            assert_eq!(
                live(Stage::Live).count(),
                0,
                "a live connection that nobody knows"
            );
        }
        assert!(live(Stage::Draining).count() <= DRAINING_MAX);
        assert!(record.draining().count() <= DRAINING_MAX);
        assert_eq!(self.life.is_dialling(), self.dialling);
        let waits = matches!(
            self.life.state(),
            LifeState::Dialling | LifeState::Redialling
        );
        assert!(
            !waits || self.dialling,
            "it waits for a dial that nobody runs"
        );
        if self.stopped {
            assert_eq!(*self.life.state(), LifeState::Stopped);
        }
    }
}
