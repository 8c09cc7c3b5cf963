//! Admission: any list of events on the record of one peer, with the promises of the design checked
//! after each.

use std::collections::BTreeMap;
use std::time::Duration;

use quicraft_transport::admission::{
    AdmissionRefusal, Candidate, ConnectionId, PeerRecord, ProbeOutcome, Rank, Verdict,
};
use quicraft_transport::close::{CloseClass, CloseCode};
use quicraft_transport::limits::{DRAINING_MAX, PROBE_INTERVAL, RETRY_AFTER};
use tokio::time::Instant;

use super::input::Input;

/// Boots that a peer has in one list of events, clones of it included.
const BOOTS: u8 = 5;
/// Handshakes that wait for their Confirm at a time.
const WELCOMED_MAX: usize = 4;

/// Feeds a list of events to a record and checks what it decides against what is true.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn admission(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let mut model = Model::new(&mut input);
    while !input.is_empty() {
        model.step(&mut input);
        model.check();
    }
    model.next > 0
}

/// What is true of the peer, as far as promises speak of it.
struct Model {
    record: PeerRecord,
    now: Instant,
    /// One epoch for each boot, for its whole life.
    epochs: [u64; BOOTS as usize],
    epoch_max: u64,
    next: u64,
    /// Adopted connections and their boots.
    alive: BTreeMap<ConnectionId, u128>,
    link: Option<ConnectionId>,
    /// Candidates that were judged at Hello and have not confirmed.
    welcomed: Vec<Candidate>,
    /// The connections that a probe asks.
    probed: Option<Vec<ConnectionId>>,
    answered_at: Option<Instant>,
}

impl Model {
    fn new(input: &mut Input<'_>) -> Self {
        let ordered = input.chance();
        let epochs = std::array::from_fn(|_| if ordered { input.count() } else { 0 });
        Self {
            record: PeerRecord::new(),
            now: Instant::now(),
            epochs,
            epoch_max: 0,
            next: 0,
            alive: BTreeMap::new(),
            link: None,
            welcomed: Vec::new(),
            probed: None,
            answered_at: None,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(9) {
            0 | 1 => self.hello(input),
            2 => self.confirm(input),
            3 => self.end_probe(input.chance()),
            4 => self.lose(input),
            5 => self.now += Duration::from_millis(u64::from(input.byte()) * 10),
            6 => self.retire(),
            7 => self.record.observe(self.boot(input), input.generation()),
            _ => self.forget(),
        }
    }

    fn boot(&self, input: &mut Input<'_>) -> u128 {
        u128::from(input.below(BOOTS))
    }

    fn epoch(&self, boot: u128) -> u64 {
        let place = usize::try_from(boot).unwrap_or_else(|error| panic!("{error}"));
        self.epochs[place]
    }

    /// A handshake comes to its Hello, or our own to its Welcome.
    fn hello(&mut self, input: &mut Input<'_>) {
        let boot = self.boot(input);
        let ours = input.chance();
        let generation = if ours {
            self.record.next_generation()
        } else {
            input.generation()
        };
        self.next += 1;
        let candidate = Candidate {
            connection: ConnectionId::new(self.next),
            boot,
            epoch: self.epoch(boot),
            rank: Rank {
                generation,
                dialer_is_smaller: input.chance(),
            },
        };
        if !ours {
            self.record.observe(boot, generation);
        }
        if !self.judge(&candidate) {
            return;
        }
        if ours || input.chance() {
            self.adopt(&candidate);
        } else if self.welcomed.len() < WELCOMED_MAX {
            self.welcomed.push(candidate);
        }
    }

    /// An acceptor judges again at Confirm.
    fn confirm(&mut self, input: &mut Input<'_>) {
        if self.welcomed.is_empty() {
            return;
        }
        let place = usize::from(input.byte()) % self.welcomed.len();
        let candidate = self.welcomed.remove(place);
        match self.record.judge(&candidate, self.now) {
            Verdict::Admit => self.adopt(&candidate),
            Verdict::Refuse(refusal) if refusal.code == CloseCode::Superseded => {
                self.record.adopt_draining(&candidate);
                self.alive.insert(candidate.connection, candidate.boot);
                self.overflow();
            }
            Verdict::Refuse(_) => {}
            // The newcomer comes back; nobody was asked.
            Verdict::Probe { .. } => {
                assert!(
                    self.record
                        .probe_ended(ProbeOutcome::Answered, self.now)
                        .is_empty()
                );
                self.answered_at = Some(self.now);
            }
        }
    }

    /// Whether the record admits a candidate; a probe begins if it says so.
    fn judge(&mut self, candidate: &Candidate) -> bool {
        let before = self.record.clone();
        let verdict = self.record.judge(candidate, self.now);
        let incumbent = self.alive.values().next().copied();
        let restarted = incumbent.is_none_or(|boot| boot != candidate.boot);
        match verdict {
            Verdict::Admit => {
                assert!(candidate.epoch >= self.epoch_max, "an epoch went back");
                assert!(
                    self.alive.is_empty() || !restarted,
                    "an incumbent was passed over"
                );
                assert_eq!(before, self.record, "a judgement changes nothing");
                return true;
            }
            Verdict::Probe { incumbents } => {
                assert!(self.probed.is_none(), "two probes at once");
                assert!(restarted && !self.alive.is_empty());
                assert!(incumbents.iter().eq(self.alive_in_order().iter()));
                let rested = self
                    .answered_at
                    .is_none_or(|at| self.now - at >= PROBE_INTERVAL);
                assert!(rested, "more than a probe a second");
                self.probed = Some(incumbents);
            }
            Verdict::Refuse(refusal) => {
                assert_eq!(before, self.record, "a judgement changes nothing");
                self.told(&refusal, candidate, restarted);
            }
        }
        false
    }

    /// A refused newcomer learns a code, and a true restart is not refused.
    fn told(&self, refusal: &AdmissionRefusal, candidate: &Candidate, restarted: bool) {
        if refusal.code.class() == CloseClass::RetryAfter {
            assert!(refusal.retry_after > Duration::ZERO && refusal.retry_after <= RETRY_AFTER);
        }
        match refusal.code {
            CloseCode::StaleIncarnation => assert!(candidate.epoch < self.epoch_max),
            CloseCode::Superseded => {}
            CloseCode::DuplicateNode => {
                let same = candidate.epoch != 0 && candidate.epoch == self.epoch_max;
                let answered = self
                    .answered_at
                    .is_some_and(|at| self.now - at < PROBE_INTERVAL);
                assert!(restarted && !self.alive.is_empty() && (same || answered));
            }
            CloseCode::Busy => assert!(self.probed.is_some() && !self.alive.is_empty()),
            code => panic!("rules 4 to 7 have no {code}"),
        }
    }

    fn adopt(&mut self, candidate: &Candidate) {
        let drained = self.record.adopt(candidate);
        assert_eq!(drained, self.link, "the former link drains");
        self.epoch_max = self.epoch_max.max(candidate.epoch);
        self.alive.insert(candidate.connection, candidate.boot);
        self.link = Some(candidate.connection);
        self.overflow();
        assert!(
            matches!(
                self.record.judge(candidate, self.now),
                Verdict::Refuse(refusal) if refusal.code == CloseCode::Superseded
            ),
            "the same rank twice"
        );
    }

    fn overflow(&mut self) {
        if let Some(closed) = self.record.overflow() {
            assert!(self.alive.remove(&closed).is_some() && Some(closed) != self.link);
        }
    }

    fn end_probe(&mut self, answered: bool) {
        let Some(asked) = self.probed.take() else {
            return;
        };
        if answered {
            let closed = self.record.probe_ended(ProbeOutcome::Answered, self.now);
            assert!(closed.is_empty(), "an incumbent that answers was displaced");
            self.answered_at = Some(self.now);
            return;
        }
        let closed = self.record.probe_ended(ProbeOutcome::Silent, self.now);
        for connection in closed {
            assert!(asked.contains(&connection), "closed, and was never asked");
            assert!(self.alive.remove(&connection).is_some());
            if self.link == Some(connection) {
                self.link = None;
            }
        }
        let left = asked.iter().any(|asked| self.alive.contains_key(asked));
        assert!(!left, "a silent incumbent was kept");
    }

    fn lose(&mut self, input: &mut Input<'_>) {
        let known: Vec<_> = self.alive.keys().copied().collect();
        if known.is_empty() {
            return;
        }
        let connection = known[usize::from(input.byte()) % known.len()];
        let was_link = self.record.lost(connection);
        assert_eq!(was_link, self.link == Some(connection));
        self.alive.remove(&connection);
        if was_link {
            self.link = None;
        }
    }

    fn retire(&mut self) {
        assert_eq!(self.record.retire(), self.link.take());
        self.overflow();
    }

    fn forget(&mut self) {
        self.record.forget();
        self.epoch_max = 0;
        self.answered_at = None;
    }

    /// The link and then the draining ones, as the record names them.
    fn alive_in_order(&self) -> Vec<ConnectionId> {
        let link = self.record.link().into_iter();
        link.chain(self.record.draining()).collect()
    }

    fn check(&self) {
        assert_eq!(self.record.link(), self.link);
        let mut known = self.alive_in_order();
        known.sort_unstable();
        assert!(known.iter().eq(self.alive.keys()), "the living are known");
        assert!(self.record.draining().count() <= DRAINING_MAX);
        let mut boots: Vec<_> = self.alive.values().collect();
        boots.dedup();
        assert!(boots.len() <= 1, "two incarnations live");
        assert_eq!(self.record.epoch_max(), self.epoch_max);
    }
}
