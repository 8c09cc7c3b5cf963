//! When to dial: how this end stands to the peer, apart from which connection is which.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::{DialEnd, Ending, LifeAction, LifeSettings, Setback};
use crate::admission::ConnectionId;
use crate::close::{CloseClass, CloseCode};
use crate::limits::{FORGEABLE_RETRY, RETRY_AFTER};

/// How this end stands to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the link shows every state to its callers"
)]
pub enum LifeState {
    /// No link, and nobody needs one; the first call dials.
    Idle,
    /// The peer is about to dial; this end does when its grace is over.
    Grace {
        /// When.
        due: Instant,
    },
    /// The first dial since there was a link, or since something changed: worth waiting for.
    Dialling,
    /// A dial after one that failed. Calls fail at once.
    Redialling,
    /// There is a link.
    Up {
        /// Since when.
        since: Instant,
        /// When its use is looked at.
        check: Option<Instant>,
    },
    /// There is a link, and the peer is about to close it.
    Leaving,
    /// No link before the next dial. Calls fail at once.
    Down {
        /// When that is.
        due: Instant,
    },
    /// The peer said that dialling cannot help; it is tried rarely.
    Parked {
        /// The next time.
        due: Instant,
        /// What it said.
        code: CloseCode,
    },
    /// The roster does not let the peer in.
    Barred,
    /// This node stops.
    Stopped,
}

/// The state, and what outlives a change of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reach {
    state: LifeState,
    backoff: Backoff,
    eager: bool,
    /// A dial is under way, whatever the state: a link may come in while it is.
    in_flight: bool,
    /// Dials of the peer that have come to their Hello.
    approaching: u32,
    /// If the dial under way fails, another follows at once: what it dialled may have changed.
    retry: bool,
    /// Another dial follows the one under way, whatever becomes of it: it may show what was replaced.
    again: bool,
}

impl Reach {
    pub(super) const fn new(settings: &LifeSettings) -> Self {
        Self {
            state: LifeState::Barred,
            backoff: Backoff::new(settings.backoff_min, settings.backoff_max),
            eager: false,
            in_flight: false,
            approaching: 0,
            retry: false,
            again: false,
        }
    }

    pub(super) const fn state(&self) -> &LifeState {
        &self.state
    }

    pub(super) const fn is_dialling(&self) -> bool {
        self.in_flight
    }

    /// Whether a link is there only for the calls on it.
    pub(super) const fn is_unneeded(&self) -> bool {
        !self.eager
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        match self.state {
            LifeState::Grace { due } | LifeState::Down { due } | LifeState::Parked { due, .. } => {
                Some(due)
            }
            LifeState::Up { check, .. } => check,
            LifeState::Idle
            | LifeState::Dialling
            | LifeState::Redialling
            | LifeState::Leaving
            | LifeState::Barred
            | LifeState::Stopped => None,
        }
    }

    // --- Events -----------------------------------------------------------------------------------

    pub(super) fn wanted(&mut self, actions: &mut Vec<LifeAction>) {
        match self.state {
            // Who needs a peer that the other end may not need has to dial, whatever its id.
            LifeState::Idle => self.dial(LifeState::Dialling, actions),
            LifeState::Grace { .. }
            | LifeState::Dialling
            | LifeState::Redialling
            | LifeState::Up { .. }
            | LifeState::Leaving
            | LifeState::Down { .. }
            | LifeState::Parked { .. }
            | LifeState::Barred
            | LifeState::Stopped => {}
        }
    }

    pub(super) fn eager(
        &mut self,
        settings: &LifeSettings,
        eager: bool,
        now: Instant,
        actions: &mut Vec<LifeAction>,
    ) {
        self.eager = eager;
        match self.state {
            LifeState::Idle if eager => self.begin(settings, now, actions),
            LifeState::Grace { .. } if !eager => self.state = LifeState::Idle,
            LifeState::Up { since, .. } => self.state = self.looked_at(settings, since, now),
            LifeState::Idle
            | LifeState::Grace { .. }
            | LifeState::Dialling
            | LifeState::Redialling
            | LifeState::Leaving
            | LifeState::Down { .. }
            | LifeState::Parked { .. }
            | LifeState::Barred
            | LifeState::Stopped => {}
        }
    }

    pub(super) fn admitted(
        &mut self,
        settings: &LifeSettings,
        now: Instant,
        actions: &mut Vec<LifeAction>,
    ) {
        if self.state == LifeState::Barred {
            self.backoff.reset();
            self.state = LifeState::Idle;
            if self.eager {
                self.begin(settings, now, actions);
            }
        }
    }

    pub(super) fn barred(&mut self) {
        if self.state != LifeState::Stopped {
            self.state = LifeState::Barred;
        }
    }

    pub(super) fn changed(&mut self, actions: &mut Vec<LifeAction>) {
        match self.state {
            LifeState::Down { .. } | LifeState::Parked { .. } | LifeState::Grace { .. } => {
                self.backoff.reset();
                self.dial(LifeState::Dialling, actions);
            }
            // The dial under way may be to where the peer was.
            LifeState::Dialling | LifeState::Redialling => self.retry = true,
            LifeState::Idle
            | LifeState::Up { .. }
            | LifeState::Leaving
            | LifeState::Barred
            | LifeState::Stopped => {}
        }
    }

    pub(super) fn renew(&mut self, actions: &mut Vec<LifeAction>) {
        match self.state {
            LifeState::Up { .. } | LifeState::Leaving if !self.in_flight => {
                self.in_flight = true;
                actions.push(LifeAction::Dial);
            }
            LifeState::Up { .. } | LifeState::Leaving => self.again = true,
            LifeState::Down { .. } | LifeState::Parked { .. } | LifeState::Grace { .. } => {
                self.dial(LifeState::Dialling, actions);
            }
            LifeState::Idle
            | LifeState::Dialling
            | LifeState::Redialling
            | LifeState::Barred
            | LifeState::Stopped => {}
        }
    }

    pub(super) fn dial_ended(
        &mut self,
        settings: &LifeSettings,
        end: DialEnd,
        now: Instant,
        random: f64,
        actions: &mut Vec<LifeAction>,
    ) {
        self.in_flight = false;
        let again = std::mem::take(&mut self.again);
        let retry = std::mem::take(&mut self.retry);
        let state = self.state;
        match state {
            LifeState::Dialling | LifeState::Redialling => {}
            LifeState::Up { .. } | LifeState::Leaving => {
                // A renewal under way was to be followed by another.
                if again {
                    self.renew(actions);
                }
                return;
            }
            LifeState::Idle
            | LifeState::Grace { .. }
            | LifeState::Down { .. }
            | LifeState::Parked { .. }
            | LifeState::Barred
            | LifeState::Stopped => return,
        }
        if again || retry {
            self.backoff.reset();
            return self.dial(LifeState::Dialling, actions);
        }
        self.state = match end {
            // What was adopted is gone already; it did not stand.
            DialEnd::Linked => self.down(Duration::ZERO, now, random),
            DialEnd::Failed(setback) => self.set_back(settings, setback, now, random),
        };
    }

    /// The link is gone.
    pub(super) fn lost(
        &mut self,
        settings: &LifeSettings,
        ending: Ending,
        now: Instant,
        random: f64,
        actions: &mut Vec<LifeAction>,
    ) {
        let left = self.state == LifeState::Leaving;
        let stood = match self.state {
            LifeState::Up { since, .. } => {
                now.saturating_duration_since(since) >= settings.backoff_max
            }
            LifeState::Leaving => true,
            LifeState::Idle
            | LifeState::Grace { .. }
            | LifeState::Dialling
            | LifeState::Redialling
            | LifeState::Down { .. }
            | LifeState::Parked { .. } => false,
            LifeState::Barred | LifeState::Stopped => return,
        };
        if stood {
            self.backoff.reset();
        }
        if !self.eager {
            self.state = LifeState::Idle;
        }
        let code = match ending {
            Ending::ByPeer(code) => Some(code),
            Ending::Lost | Ending::Ours(_) => None,
        };
        match code {
            Some(code) if code.class() == CloseClass::Fatal => {
                let due = now + settings.parked;
                self.state = LifeState::Parked { due, code };
            }
            Some(code) if code.class() == CloseClass::RetryAfter => {
                self.state = self.down(RETRY_AFTER, now, random);
            }
            _ if !self.eager => {}
            // It said that it goes; it is not there before it comes back.
            Some(CloseCode::Shutdown) => {
                self.state = self.down(Duration::ZERO, now, random);
            }
            _ if left || !stood => self.state = self.down(Duration::ZERO, now, random),
            // The peer needs no link, so it will not dial.
            Some(CloseCode::Idle) => self.dial(LifeState::Dialling, actions),
            _ => self.begin(settings, now, actions),
        }
    }

    /// The link drains and nothing has taken its place.
    pub(super) fn retired(
        &mut self,
        settings: &LifeSettings,
        now: Instant,
        random: f64,
        actions: &mut Vec<LifeAction>,
    ) {
        match self.state {
            LifeState::Up { .. } if self.eager => self.begin(settings, now, actions),
            // It said that it goes; it is not there before it comes back.
            LifeState::Leaving if self.eager => {
                self.backoff.reset();
                self.state = self.down(Duration::ZERO, now, random);
            }
            LifeState::Up { .. } | LifeState::Leaving => self.state = LifeState::Idle,
            LifeState::Idle
            | LifeState::Grace { .. }
            | LifeState::Dialling
            | LifeState::Redialling
            | LifeState::Down { .. }
            | LifeState::Parked { .. }
            | LifeState::Barred
            | LifeState::Stopped => {}
        }
    }

    pub(super) const fn approached(&mut self) {
        self.approaching = self.approaching.saturating_add(1);
    }

    pub(super) const fn receded(&mut self) {
        self.approaching = self.approaching.saturating_sub(1);
    }

    pub(super) fn leaving(&mut self) {
        if let LifeState::Up { .. } = self.state {
            self.state = LifeState::Leaving;
        }
    }

    pub(super) const fn stop(&mut self) {
        self.state = LifeState::Stopped;
    }

    /// A connection was adopted.
    pub(super) fn up(&mut self, settings: &LifeSettings, now: Instant) {
        if self.state != LifeState::Stopped {
            self.state = self.looked_at(settings, now, now);
        }
    }

    pub(super) fn check_again(&mut self, settings: &LifeSettings, now: Instant) {
        if let LifeState::Up { since, .. } = self.state {
            self.state = self.looked_at(settings, since, now);
        }
    }

    pub(super) fn due_now(
        &mut self,
        settings: &LifeSettings,
        link: Option<ConnectionId>,
        now: Instant,
        actions: &mut Vec<LifeAction>,
    ) {
        match self.state {
            LifeState::Grace { .. } => self.dial(LifeState::Dialling, actions),
            // Nobody needs it any more; the next call finds out whether the peer is back.
            LifeState::Down { .. } | LifeState::Parked { .. } if !self.eager => {
                self.state = LifeState::Idle;
            }
            LifeState::Down { .. } | LifeState::Parked { .. } => {
                self.dial(LifeState::Redialling, actions);
            }
            LifeState::Up { since, .. } => {
                self.state = self.looked_at(settings, since, now);
                actions.extend(link.map(LifeAction::CheckUse));
            }
            LifeState::Idle
            | LifeState::Dialling
            | LifeState::Redialling
            | LifeState::Leaving
            | LifeState::Barred
            | LifeState::Stopped => {}
        }
    }

    // --- Steps ------------------------------------------------------------------------------------

    /// The first dial: at once, or after a grace where the peer's own dial is near or comes first.
    fn begin(&mut self, settings: &LifeSettings, now: Instant, actions: &mut Vec<LifeAction>) {
        if settings.dials_first && self.approaching == 0 {
            self.dial(LifeState::Dialling, actions);
        } else {
            let due = now + settings.grace;
            self.state = LifeState::Grace { due };
        }
    }

    fn dial(&mut self, state: LifeState, actions: &mut Vec<LifeAction>) {
        self.state = state;
        if !std::mem::replace(&mut self.in_flight, true) {
            actions.push(LifeAction::Dial);
        }
    }

    /// No dial before the backoff, and not before `at_least`.
    fn down(&mut self, at_least: Duration, now: Instant, random: f64) -> LifeState {
        let wait = self.backoff.next_wait(random).max(at_least);
        LifeState::Down { due: now + wait }
    }

    fn set_back(
        &mut self,
        settings: &LifeSettings,
        setback: Setback,
        now: Instant,
        random: f64,
    ) -> LifeState {
        match setback {
            Setback::Retry => self.down(Duration::ZERO, now, random),
            Setback::Superseded => {
                let due = now + self.backoff.next_wait(random);
                LifeState::Grace { due }
            }
            Setback::RetryAfter(wait) => self.down(wait, now, random),
            Setback::Forgeable => {
                let wait = self.backoff.next_wait(random);
                let due = now + FORGEABLE_RETRY.min(wait * 60);
                LifeState::Down { due }
            }
            Setback::Fatal(code) => {
                let due = now + settings.parked;
                LifeState::Parked { due, code }
            }
        }
    }

    /// Up, with a look at its use where it may be given up.
    fn looked_at(&self, settings: &LifeSettings, since: Instant, now: Instant) -> LifeState {
        // Four looks in the time: it is closed at most a quarter of it too late.
        let check = settings
            .idle
            .filter(|_| !self.eager)
            .map(|idle| now + idle / 4);
        LifeState::Up { since, check }
    }
}
