//! The machine's times, at the limit and one past it, and the ways of a draining connection.
//!
//! What each state does with each event is shown by `tests/tests/life/table.rs`.

use std::time::Duration;

use super::*;
use crate::admission::Rank;
use crate::limits::{
    DRAIN_LIMIT, DRAINING_MAX, HANDOVER_LIMIT, PARKED_RETRY, PROBE_INTERVAL, RETRY_AFTER,
};

const MS: Duration = Duration::from_millis(1);
const NS: Duration = Duration::from_nanos(1);
const GRACE: Duration = Duration::from_millis(250);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_secs(40);

/// A machine with its time. Every wait between dials is the longest of its step.
struct Sample {
    life: PeerLife,
    now: Instant,
}

impl Sample {
    fn new(dials_first: bool, eager: bool) -> Self {
        let life = PeerLife::new(LifeSettings {
            dials_first,
            grace: GRACE,
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            idle: Some(IDLE),
            drain: DRAIN_LIMIT,
            handover: HANDOVER_LIMIT,
            parked: PARKED_RETRY,
        });
        let now = Instant::now();
        let mut sample = Self { life, now };
        assert_eq!(sample.feed(LifeEvent::Eager(eager)), []);
        sample
    }

    /// The peer is in the roster.
    fn admitted(dials_first: bool, eager: bool) -> Self {
        let mut sample = Self::new(dials_first, eager);
        drop(sample.feed(LifeEvent::Admitted));
        sample
    }

    fn feed(&mut self, event: LifeEvent) -> Vec<LifeAction> {
        self.life.handle(event, self.now, 1.0)
    }

    fn fail(&mut self, setback: Setback) {
        let ended = LifeEvent::DialEnded(DialEnd::Failed(setback));
        assert_eq!(self.feed(ended), []);
    }

    fn adopt(&mut self, number: u64, dialled: bool) -> Adoption {
        let candidate = candidate(number, 1);
        self.life.adopt(&candidate, dialled, self.now)
    }

    /// A newcomer of another boot asks for the incumbents' place.
    fn probe(&mut self) {
        let verdict = self.life.judge(&candidate(100, 2), self.now);
        assert!(matches!(verdict, Verdict::Probe { .. }), "{verdict:?}");
    }

    /// A link that was dialled or accepted, with the dial over.
    fn up(number: u64, dialled: bool, eager: bool) -> Self {
        let mut sample = Self::admitted(true, eager);
        assert_eq!(sample.adopt(number, dialled), Adoption::Link(Vec::new()));
        assert_eq!(sample.feed(LifeEvent::DialEnded(DialEnd::Linked)), []);
        sample
    }

    fn lose(&mut self, number: u64, ending: Ending) -> Vec<LifeAction> {
        let connection = id(number);
        self.feed(LifeEvent::Lost { connection, ending })
    }

    /// The wait is over at this time and not a moment before. Returns what it does then.
    fn waits(&mut self, wait: Duration) -> Vec<LifeAction> {
        assert_eq!(self.life.next_due(), Some(self.now + wait));
        let due = self.now + wait;
        self.now = due - NS;
        let before = self.life.clone();
        assert_eq!(self.feed(LifeEvent::Due), []);
        assert_eq!(self.life, before, "it fired too early");
        self.now = due;
        self.feed(LifeEvent::Due)
    }
}

/// A connection of one boot of the peer, with that boot's epoch.
fn candidate(number: u64, boot: u64) -> Candidate {
    Candidate {
        connection: id(number),
        boot: boot.into(),
        epoch: boot,
        rank: Rank {
            generation: number,
            dialer_is_smaller: true,
        },
    }
}

fn id(number: u64) -> ConnectionId {
    ConnectionId::new(number)
}

#[test]
fn the_smaller_id_dials_at_once_and_the_larger_after_its_grace() {
    let mut smaller = Sample::new(true, true);
    let actions = smaller.feed(LifeEvent::Admitted);
    assert_eq!(actions, [LifeAction::Dial]);
    let mut larger = Sample::admitted(false, true);
    assert_eq!(larger.waits(GRACE), [LifeAction::Dial]);
    assert_eq!(*larger.life.state(), LifeState::Dialling);
}

#[test]
fn a_dial_of_the_peer_that_is_near_is_worth_a_grace_to_the_smaller_id_too() {
    let mut sample = Sample::new(true, true);
    assert_eq!(sample.feed(LifeEvent::Approached), []);
    assert_eq!(sample.feed(LifeEvent::Admitted), []);
    assert_eq!(sample.feed(LifeEvent::Receded), []);
    assert_eq!(sample.waits(GRACE), [LifeAction::Dial]);
}

#[test]
fn who_needs_the_peer_dials_whatever_its_id() {
    let mut sample = Sample::admitted(false, false);
    assert_eq!(*sample.life.state(), LifeState::Idle);
    assert_eq!(sample.feed(LifeEvent::Wanted), [LifeAction::Dial]);
    assert_eq!(sample.feed(LifeEvent::Wanted), []);
}

#[test]
fn failed_dials_wait_longer_each_time() {
    let mut sample = Sample::admitted(true, true);
    for wait in [50, 100, 200, 400, 500, 500] {
        sample.fail(Setback::Retry);
        assert_eq!(sample.waits(wait * MS), [LifeAction::Dial]);
        assert_eq!(*sample.life.state(), LifeState::Redialling);
    }
}

#[test]
fn a_peer_that_asks_for_a_wait_gets_it() {
    let mut sample = Sample::admitted(true, true);
    let wait = Duration::from_secs(7);
    sample.fail(Setback::RetryAfter(wait));
    assert_eq!(sample.waits(wait), [LifeAction::Dial]);
    // A wait below the backoff is no way around it.
    sample.fail(Setback::RetryAfter(MS));
    assert_eq!(sample.waits(2 * BACKOFF_MIN), [LifeAction::Dial]);
}

#[test]
fn a_parked_peer_is_tried_every_five_minutes_and_at_a_change() {
    let parked = || {
        let mut sample = Sample::admitted(true, true);
        sample.fail(Setback::Fatal(CloseCode::Removed));
        assert!(matches!(
            sample.life.state(),
            LifeState::Parked {
                code: CloseCode::Removed,
                ..
            }
        ));
        sample
    };
    assert_eq!(parked().waits(PARKED_RETRY), [LifeAction::Dial]);
    assert_eq!(parked().feed(LifeEvent::Changed), [LifeAction::Dial]);
    let mut came_in = parked();
    assert_eq!(came_in.adopt(1, false), Adoption::Link(Vec::new()));
    assert!(matches!(came_in.life.state(), LifeState::Up { .. }));
}

#[test]
fn a_link_stands_when_it_lived_for_the_longest_wait() {
    let lost_after = |age: Duration| {
        let mut sample = Sample::up(1, true, true);
        sample.now += age;
        let actions = sample.lose(1, Ending::Lost);
        (actions, sample)
    };
    let (actions, mut fleeting) = lost_after(BACKOFF_MAX - NS);
    assert_eq!(actions, []);
    assert_eq!(fleeting.waits(BACKOFF_MIN), [LifeAction::Dial]);
    let (actions, stood) = lost_after(BACKOFF_MAX);
    assert_eq!(actions, [LifeAction::Dial]);
    assert_eq!(*stood.life.state(), LifeState::Dialling);
}

#[test]
fn what_the_peer_said_at_the_end_decides_about_the_next_dial() {
    let ended = |code| {
        let mut sample = Sample::up(1, true, true);
        sample.now += BACKOFF_MAX;
        let actions = sample.lose(1, Ending::ByPeer(code));
        assert_eq!(actions.is_empty(), code != CloseCode::Idle, "{code}");
        sample
    };
    assert_eq!(
        ended(CloseCode::Shutdown).waits(BACKOFF_MIN),
        [LifeAction::Dial]
    );
    assert_eq!(
        ended(CloseCode::NotMember).waits(RETRY_AFTER),
        [LifeAction::Dial]
    );
    assert_eq!(
        ended(CloseCode::Replaced).waits(PARKED_RETRY),
        [LifeAction::Dial]
    );
    assert!(ended(CloseCode::Idle).life.is_dialling());
}

#[test]
fn a_peer_that_goes_away_is_dialled_after_a_wait() {
    let mut sample = Sample::up(1, true, true);
    assert_eq!(sample.feed(LifeEvent::Leaving(id(2))), []);
    assert!(matches!(sample.life.state(), LifeState::Up { .. }));
    assert_eq!(sample.feed(LifeEvent::Leaving(id(1))), []);
    assert_eq!(*sample.life.state(), LifeState::Leaving);
    assert_eq!(sample.lose(1, Ending::ByPeer(CloseCode::Shutdown)), []);
    assert_eq!(sample.waits(BACKOFF_MIN), [LifeAction::Dial]);
}

#[test]
fn a_replaced_connection_closes_when_both_ends_are_done() {
    let replaced = || {
        let mut sample = Sample::up(1, true, true);
        let drain = vec![LifeAction::Drain(id(1))];
        assert_eq!(sample.adopt(2, true), Adoption::Link(drain));
        sample
    };
    let close = LifeAction::Close(id(1), CloseCode::Retired);
    let mut sample = replaced();
    let rested = sample.feed(LifeEvent::Rested(id(1)));
    assert_eq!(rested, [LifeAction::SayDone(id(1))]);
    assert_eq!(sample.feed(LifeEvent::Rested(id(1))), [], "said once");
    assert_eq!(sample.feed(LifeEvent::PeerDone(id(1))), [close]);
    let mut sample = replaced();
    assert_eq!(sample.feed(LifeEvent::PeerDone(id(1))), []);
    let rested = sample.feed(LifeEvent::Rested(id(1)));
    assert_eq!(rested, [LifeAction::SayDone(id(1)), close]);
    assert_eq!(replaced().waits(DRAIN_LIMIT), [close]);
}

#[test]
fn the_loser_of_a_handshake_drains_where_it_was_accepted_and_is_closed_where_it_was_dialled() {
    let mut sample = Sample::up(2, true, true);
    let drain = vec![LifeAction::Drain(id(1))];
    assert_eq!(sample.adopt(1, false), Adoption::Loser(drain));
    assert_eq!(sample.life.record().link(), Some(id(2)));
    let Adoption::Refused(refusal) = sample.adopt(1, true) else {
        panic!("it lost");
    };
    assert_eq!(refusal.code, CloseCode::Superseded);
}

#[test]
fn one_connection_more_than_may_drain_closes_the_oldest() {
    let mut sample = Sample::up(1, true, true);
    let last = DRAINING_MAX as u64 + 2;
    for number in 2..=last {
        let mut expected = vec![LifeAction::Drain(id(number - 1))];
        if number == last {
            expected.push(LifeAction::Close(id(1), CloseCode::Retired));
        }
        assert_eq!(sample.adopt(number, true), Adoption::Link(expected));
    }
}

#[test]
fn a_connection_that_both_ends_are_done_with_takes_no_place_of_those_that_drain() {
    let mut sample = Sample::up(1, true, true);
    let last = DRAINING_MAX as u64 + 2;
    for number in 2..last {
        drop(sample.adopt(number, true));
    }
    assert_eq!(
        sample.feed(LifeEvent::Rested(id(2))),
        [LifeAction::SayDone(id(2))]
    );
    let closed = [LifeAction::Close(id(2), CloseCode::Retired)];
    assert_eq!(sample.feed(LifeEvent::PeerDone(id(2))), closed);
    // Its end is not heard of yet, and the oldest one goes on with its calls.
    let drained = vec![LifeAction::Drain(id(last - 1))];
    assert_eq!(sample.adopt(last, true), Adoption::Link(drained));
    let ours = Ending::Ours(CloseCode::Retired);
    assert_eq!(sample.lose(2, ours), []);
}

#[test]
fn a_link_on_which_the_peer_is_done_waits_for_another_and_then_drains() {
    let done = || {
        let mut sample = Sample::up(1, false, true);
        assert_eq!(sample.feed(LifeEvent::PeerDone(id(1))), []);
        sample
    };
    let mut alone = done();
    let actions = alone.waits(HANDOVER_LIMIT);
    assert_eq!(actions, [LifeAction::Drain(id(1)), LifeAction::Dial]);
    let close = LifeAction::Close(id(1), CloseCode::Idle);
    let rested = alone.feed(LifeEvent::Rested(id(1)));
    assert_eq!(rested, [LifeAction::SayDone(id(1)), close]);
    // The other one comes in time, and the peer's Done counts for the drain.
    let mut replaced = done();
    let drain = vec![LifeAction::Drain(id(1))];
    assert_eq!(replaced.adopt(2, false), Adoption::Link(drain));
    let close = LifeAction::Close(id(1), CloseCode::Retired);
    let rested = replaced.feed(LifeEvent::Rested(id(1)));
    assert_eq!(rested, [LifeAction::SayDone(id(1)), close]);
}

#[test]
fn only_the_dialler_gives_up_a_link_that_nobody_needs_and_only_after_the_idle_time() {
    let quiet = |dialled: bool, eager: bool, since: Duration| {
        let mut sample = Sample::up(1, dialled, eager);
        let begun = sample.now;
        if !eager {
            assert_eq!(sample.waits(IDLE / 4), [LifeAction::CheckUse(id(1))]);
        }
        sample.now = begun + since;
        let (connection, since) = (id(1), begun);
        sample.feed(LifeEvent::Quiet { connection, since })
    };
    let drain = [LifeAction::Drain(id(1))];
    assert_eq!(quiet(true, false, IDLE), drain);
    assert_eq!(quiet(true, false, IDLE - NS), []);
    assert_eq!(quiet(false, false, IDLE), []);
    assert_eq!(quiet(true, true, IDLE), []);
}

#[test]
fn a_silent_incumbent_is_closed_and_its_place_is_free() {
    let mut sample = Sample::up(1, true, true);
    drop(sample.adopt(2, true));
    sample.now += BACKOFF_MAX;
    sample.probe();
    let (now, random) = (sample.now, 1.0);
    let answered = sample.life.probe_ended(ProbeOutcome::Answered, now, random);
    assert_eq!(answered, []);
    assert_eq!(sample.life.record().link(), Some(id(2)));
    sample.now += PROBE_INTERVAL;
    sample.probe();
    let (now, random) = (sample.now, 1.0);
    let actions = sample.life.probe_ended(ProbeOutcome::Silent, now, random);
    let close = |number| LifeAction::Close(id(number), CloseCode::Replaced);
    assert_eq!(actions, [close(2), close(1), LifeAction::Dial]);
    assert_eq!(sample.life.record().draining().count(), 0);
}

#[test]
fn nothing_is_dialled_after_a_stop_or_while_the_roster_bars_the_peer() {
    for (event, state) in [
        (LifeEvent::Stop, LifeState::Stopped),
        (LifeEvent::Barred(CloseCode::Removed), LifeState::Barred),
    ] {
        let mut sample = Sample::up(1, true, true);
        drop(sample.feed(event));
        for event in [LifeEvent::Wanted, LifeEvent::Changed, LifeEvent::Renew] {
            assert_eq!(sample.feed(event), [], "{event:?} in {state:?}");
        }
        assert_eq!(sample.lose(1, Ending::Lost), []);
        assert_eq!(*sample.life.state(), state);
        assert_eq!(sample.life.next_due(), None);
    }
}

#[test]
fn a_peer_that_leaves_behind_a_done_is_dialled_again() {
    let mut sample = Sample::up(1, true, true);
    assert_eq!(sample.feed(LifeEvent::PeerDone(id(1))), []);
    assert_eq!(sample.feed(LifeEvent::Leaving(id(1))), []);
    assert_eq!(sample.waits(HANDOVER_LIMIT), [LifeAction::Drain(id(1))]);
    assert_eq!(sample.waits(BACKOFF_MIN), [LifeAction::Dial]);
    let mut unneeded = Sample::up(1, true, false);
    assert_eq!(unneeded.feed(LifeEvent::PeerDone(id(1))), []);
    assert_eq!(unneeded.feed(LifeEvent::Leaving(id(1))), []);
    assert_eq!(unneeded.waits(HANDOVER_LIMIT), [LifeAction::Drain(id(1))]);
    assert_eq!(*unneeded.life.state(), LifeState::Idle);
}

#[test]
fn who_is_barred_loses_everything_at_once_and_starts_anew_when_admitted() {
    let mut sample = Sample::up(1, true, true);
    drop(sample.adopt(2, true));
    let close = |number| LifeAction::Close(id(number), CloseCode::Suspended);
    let barred = LifeEvent::Barred(CloseCode::Suspended);
    assert_eq!(sample.feed(barred), [close(2), close(1)]);
    assert_eq!(sample.feed(barred), []);
    assert_eq!(*sample.life.state(), LifeState::Barred);
    assert_eq!(sample.life.record().link(), None);
    // Admitted again before the closed link is known to be gone: that it goes then changes nothing.
    assert_eq!(sample.feed(LifeEvent::Admitted), [LifeAction::Dial]);
    let ours = Ending::Ours(CloseCode::Suspended);
    assert_eq!(sample.lose(2, ours), []);
    assert_eq!(*sample.life.state(), LifeState::Dialling);
}

#[test]
fn a_change_during_a_dial_is_followed_by_another_only_if_it_fails() {
    let mut failed = Sample::admitted(true, true);
    assert_eq!(failed.feed(LifeEvent::Changed), []);
    let ended = LifeEvent::DialEnded(DialEnd::Failed(Setback::Retry));
    assert_eq!(failed.feed(ended), [LifeAction::Dial]);
    let mut linked = Sample::admitted(true, true);
    assert_eq!(linked.feed(LifeEvent::Changed), []);
    assert_eq!(linked.adopt(1, true), Adoption::Link(Vec::new()));
    assert_eq!(linked.feed(LifeEvent::DialEnded(DialEnd::Linked)), []);
}

#[test]
fn two_renewals_during_a_dial_make_one_more() {
    let mut sample = Sample::up(1, true, true);
    assert_eq!(sample.feed(LifeEvent::Renew), [LifeAction::Dial]);
    assert_eq!(sample.feed(LifeEvent::Renew), []);
    assert_eq!(sample.feed(LifeEvent::Renew), []);
    let ended = LifeEvent::DialEnded(DialEnd::Linked);
    assert_eq!(sample.feed(ended), [LifeAction::Dial]);
    assert_eq!(sample.feed(ended), []);
}
