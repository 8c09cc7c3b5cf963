//! Rules 4 to 7, case by case, and their promises under any order of events.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::limits::RETRY_AFTER;

fn candidate(connection: u64, boot: u128, epoch: u64, generation: u64) -> Candidate {
    let rank = Rank {
        generation,
        dialer_is_smaller: true,
    };
    Candidate {
        connection: ConnectionId::new(connection),
        boot,
        epoch,
        rank,
    }
}

fn admitted(record: &mut PeerRecord, candidate: Candidate) -> Option<ConnectionId> {
    assert_eq!(record.judge(&candidate, Instant::now()), Verdict::Admit);
    record.adopt(&candidate)
}

fn code(verdict: Verdict) -> CloseCode {
    match verdict {
        Verdict::Refuse(refusal) => refusal.code,
        other => panic!("{other:?} is no refusal"),
    }
}

/// A4, A10: an older epoch, until it is forgotten.
#[test]
fn rule_4_an_older_epoch_is_stale_and_zero_too_once_there_was_one() {
    let now = Instant::now();
    let mut record = PeerRecord::new();
    admitted(&mut record, candidate(1, 1, 5, 1));
    assert!(record.lost(ConnectionId::new(1)));
    assert_eq!(
        code(record.judge(&candidate(2, 2, 4, 1), now)),
        CloseCode::StaleIncarnation
    );
    assert_eq!(
        code(record.judge(&candidate(2, 2, 0, 1), now)),
        CloseCode::StaleIncarnation
    );
    assert_eq!(record.judge(&candidate(2, 2, 5, 1), now), Verdict::Admit);
    record.forget();
    assert_eq!(record.judge(&candidate(2, 2, 4, 1), now), Verdict::Admit);
}

/// A5: nobody is there.
#[test]
fn rule_5_nobody_there_is_admitted() {
    let mut record = PeerRecord::new();
    assert_eq!(admitted(&mut record, candidate(1, 1, 0, 1)), None);
    assert_eq!(record.link(), Some(ConnectionId::new(1)));
}

/// A6, A8: the order decides.
#[test]
fn rule_6_only_a_higher_rank_wins_and_the_former_link_drains() {
    let now = Instant::now();
    let mut record = PeerRecord::new();
    admitted(&mut record, candidate(1, 1, 1, 5));
    assert_eq!(
        code(record.judge(&candidate(2, 1, 1, 5), now)),
        CloseCode::Superseded
    );
    let mut crossed = candidate(2, 1, 1, 5);
    crossed.rank.dialer_is_smaller = false;
    assert_eq!(code(record.judge(&crossed, now)), CloseCode::Superseded);
    let previous = admitted(&mut record, candidate(3, 1, 1, 6));
    assert_eq!(previous, Some(ConnectionId::new(1)));
    assert_eq!(
        record.draining().collect::<Vec<_>>(),
        [ConnectionId::new(1)]
    );
    // The floor stays when the link is gone, so that a late packet of an old dial is refused.
    record.lost(ConnectionId::new(3));
    assert_eq!(
        code(record.judge(&candidate(4, 1, 1, 6), now)),
        CloseCode::Superseded
    );
    assert_eq!(record.next_generation(), 7);
}

/// A7: one epoch, two boots.
#[test]
fn rule_7_the_same_epoch_is_a_duplicate_without_a_probe() {
    let now = Instant::now();
    let mut record = PeerRecord::new();
    admitted(&mut record, candidate(1, 1, 3, 1));
    assert_eq!(
        code(record.judge(&candidate(2, 2, 3, 1), now)),
        CloseCode::DuplicateNode
    );
    // Without a persisted epoch nothing is the same: 0 has to be probed.
    let mut record = PeerRecord::new();
    admitted(&mut record, candidate(1, 1, 0, 1));
    let verdict = record.judge(&candidate(2, 2, 0, 1), now);
    assert_eq!(
        verdict,
        Verdict::Probe {
            incumbents: vec![ConnectionId::new(1)]
        }
    );
}

/// A7: an incumbent that answers.
#[test]
fn rule_7_an_incumbent_that_answers_stays_and_is_left_alone_for_a_second() {
    let start = Instant::now();
    let mut record = PeerRecord::new();
    admitted(&mut record, candidate(1, 1, 1, 1));
    let newcomer = candidate(2, 2, 2, 1);
    assert!(matches!(
        record.judge(&newcomer, start),
        Verdict::Probe { .. }
    ));
    // A third boot meanwhile.
    assert_eq!(
        code(record.judge(&candidate(3, 3, 3, 1), start)),
        CloseCode::Busy
    );
    assert!(record.probe_ended(ProbeOutcome::Answered, start).is_empty());
    assert_eq!(record.link(), Some(ConnectionId::new(1)));
    let Verdict::Refuse(refusal) = record.judge(&newcomer, start + PROBE_INTERVAL / 4) else {
        panic!("the incumbent has just answered");
    };
    assert_eq!(refusal.code, CloseCode::DuplicateNode);
    assert_eq!(refusal.retry_after, PROBE_INTERVAL * 3 / 4);
    assert!(refusal.retry_after <= RETRY_AFTER);
    let just_before = start + PROBE_INTERVAL - Duration::from_nanos(1);
    assert_eq!(
        code(record.judge(&newcomer, just_before)),
        CloseCode::DuplicateNode
    );
    let verdict = record.judge(&newcomer, start + PROBE_INTERVAL);
    assert!(matches!(verdict, Verdict::Probe { .. }));
}

/// A7: a probe says nothing of a connection that it did not ask.
#[test]
fn rule_7_a_connection_that_came_during_the_probe_outlives_it() {
    let now = Instant::now();
    let mut record = PeerRecord::new();
    admitted(&mut record, candidate(1, 1, 1, 1));
    let newcomer = candidate(2, 2, 2, 1);
    let verdict = record.judge(&newcomer, now);
    let incumbents = vec![ConnectionId::new(1)];
    assert_eq!(verdict, Verdict::Probe { incumbents });
    // The incumbent, whose connection was cut, dials again while that one is asked.
    let cut = admitted(&mut record, candidate(3, 1, 1, 2));
    assert_eq!(cut, Some(ConnectionId::new(1)));
    let closed = record.probe_ended(ProbeOutcome::Silent, now);
    assert_eq!(closed, [ConnectionId::new(1)]);
    assert_eq!(record.link(), Some(ConnectionId::new(3)));
    // Judged again, the newcomer meets the connection that was not asked.
    let incumbents = vec![ConnectionId::new(3)];
    assert_eq!(record.judge(&newcomer, now), Verdict::Probe { incumbents });
}

/// A7: an incumbent that is silent.
#[test]
fn rule_7_a_silent_incumbent_is_closed_and_a_second_crash_within_the_second_is_admitted() {
    let now = Instant::now();
    let mut record = PeerRecord::new();
    admitted(&mut record, candidate(1, 1, 1, 1));
    for run in 2..5_u64 {
        let newcomer = candidate(run, run.into(), run, 1);
        assert!(matches!(
            record.judge(&newcomer, now),
            Verdict::Probe { .. }
        ));
        let closed = record.probe_ended(ProbeOutcome::Silent, now);
        assert_eq!(closed, [ConnectionId::new(run - 1)]);
        assert_eq!(admitted(&mut record, newcomer), None);
    }
}

/// A8: at most four drain.
#[test]
fn draining_connections_are_bounded() {
    let mut record = PeerRecord::new();
    for generation in 1..=DRAINING_MAX as u64 + 1 {
        admitted(&mut record, candidate(generation, 1, 1, generation));
        assert_eq!(record.overflow(), None);
    }
    let last = DRAINING_MAX as u64 + 2;
    admitted(&mut record, candidate(last, 1, 1, last));
    assert_eq!(record.overflow(), Some(ConnectionId::new(1)));
    assert_eq!(record.overflow(), None);
}

/// What can happen to a record, in any order.
#[derive(Clone, Debug)]
enum Step {
    Dial { boot: u8, generation: u8 },
    EndProbe { answered: bool },
    Lose { connection: u8 },
    Pass { ms: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..4, 0_u8..8).prop_map(|(boot, generation)| Step::Dial { boot, generation }),
        any::<bool>().prop_map(|answered| Step::EndProbe { answered }),
        (0_u8..20).prop_map(|connection| Step::Lose { connection }),
        (0_u16..1_500).prop_map(|ms| Step::Pass { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn promises_hold_in_any_order(steps in proptest::collection::vec(step(), 1..60)) {
        let mut now = Instant::now();
        let mut record = PeerRecord::new();
        // Connections that are alive, with the boot at their other end.
        let mut alive: BTreeSet<(ConnectionId, u128)> = BTreeSet::new();
        let mut probing = false;
        let mut epoch_max = 0;
        let mut next = 0_u64;
        for step in steps {
            match step {
                Step::Dial { boot, generation } => {
                    next += 1;
                    // A boot has one epoch for its whole life.
                    let epoch = u64::from(boot / 2);
                    let newcomer = candidate(next, boot.into(), epoch, generation.into());
                    match record.judge(&newcomer, now) {
                        Verdict::Admit => {
                            // No epoch goes back, and no live incumbent of another boot is passed over.
                            prop_assert!(epoch >= epoch_max);
                            prop_assert!(alive.iter().all(|(_, known)| *known == newcomer.boot));
                            epoch_max = epoch_max.max(epoch);
                            record.adopt(&newcomer);
                            alive.insert((newcomer.connection, newcomer.boot));
                            if let Some(closed) = record.overflow() {
                                alive.retain(|(connection, _)| *connection != closed);
                            }
                            prop_assert_eq!(record.link(), Some(newcomer.connection));
                        }
                        Verdict::Probe { incumbents } => {
                            prop_assert!(!probing, "two probes at once");
                            prop_assert!(!incumbents.is_empty());
                            probing = true;
                        }
                        Verdict::Refuse(_) => {
                            // A true restart is always admitted where nobody is.
                            let fresh = epoch >= epoch_max && alive.is_empty();
                            let known = record.boot == Some(newcomer.boot);
                            prop_assert!(!fresh || known);
                        }
                    }
                }
                Step::EndProbe { answered } if probing => {
                    probing = false;
                    let outcome = if answered { ProbeOutcome::Answered } else { ProbeOutcome::Silent };
                    let closed = record.probe_ended(outcome, now);
                    // An incumbent that answers is never displaced.
                    prop_assert!(!answered || closed.is_empty());
                    for id in closed {
                        alive.retain(|(connection, _)| *connection != id);
                    }
                }
                Step::EndProbe { .. } => {}
                Step::Lose { connection } => {
                    let id = ConnectionId::new(connection.into());
                    record.lost(id);
                    alive.retain(|(connection, _)| *connection != id);
                }
                Step::Pass { ms } => now += Duration::from_millis(ms.into()),
            }
            // The record knows exactly the connections that are alive.
            let known: BTreeSet<_> = record.link().into_iter().chain(record.draining()).collect();
            let living: BTreeSet<_> = alive.iter().map(|(connection, _)| *connection).collect();
            prop_assert_eq!(known, living);
            prop_assert!(record.draining().count() <= DRAINING_MAX);
        }
    }
}

/// A record after any events, and the time there: candidates whose verdicts are followed, and
/// probes, losses and time.
fn after(steps: Vec<Step>) -> (PeerRecord, Instant, u64) {
    let (mut record, mut now, mut next) = (PeerRecord::new(), Instant::now(), 0);
    for step in steps {
        match step {
            Step::Dial { boot, generation } => {
                next += 1;
                let epoch = u64::from(boot / 2);
                let newcomer = candidate(next, boot.into(), epoch, generation.into());
                if record.judge(&newcomer, now) == Verdict::Admit {
                    record.adopt(&newcomer);
                    record.overflow();
                }
            }
            Step::EndProbe { answered } if record.probing.is_some() => {
                let outcomes = [ProbeOutcome::Silent, ProbeOutcome::Answered];
                record.probe_ended(outcomes[usize::from(answered)], now);
            }
            Step::EndProbe { .. } => {}
            Step::Lose { connection } => drop(record.lost(ConnectionId::new(connection.into()))),
            Step::Pass { ms } => now += Duration::from_millis(ms.into()),
        }
    }
    (record, now, next)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A7: a node that has really started anew is let in, whatever was before: at once where nobody
    /// is, and otherwise after one probe, for which it waits a second at most.
    #[test]
    fn a_true_restart_is_always_admitted(
        steps in proptest::collection::vec(step(), 0..60),
        ordered in any::<bool>(),
    ) {
        let (mut record, mut now, next) = after(steps);
        // Without a persisted epoch it comes as the last of those that have none.
        let epoch = if ordered { record.epoch_max() + 1 } else { 0 };
        prop_assume!(epoch >= record.epoch_max());
        let newcomer = candidate(next + 1, 1 << 100, epoch, 1);
        // A probe for somebody else is over in its time; it finds nobody, because the node is new.
        if record.probing.is_some() {
            record.probe_ended(ProbeOutcome::Silent, now);
        }
        let (begun, mut probes) = (now, 0);
        loop {
            match record.judge(&newcomer, now) {
                Verdict::Admit => break,
                Verdict::Probe { .. } => {
                    probes += 1;
                    record.probe_ended(ProbeOutcome::Silent, now);
                }
                Verdict::Refuse(refusal) => {
                    prop_assert_eq!(refusal.code, CloseCode::DuplicateNode);
                    prop_assert!(!refusal.retry_after.is_zero(), "it would knock for ever");
                    now += refusal.retry_after;
                }
            }
            prop_assert!(probes <= 1 && now - begun <= PROBE_INTERVAL);
        }
        record.adopt(&newcomer);
        prop_assert_eq!(record.link(), Some(newcomer.connection));
    }

    /// A7: of processes of one node that all live, the first one stays, however they knock and
    /// redial; it is asked at most once a second, and each of the others learns why not.
    #[test]
    fn duplicates_that_live_never_alternate(
        knocks in proptest::collection::vec((0_u8..4, 0_u8..3, 0_u16..1_500), 1..80),
        epochs in proptest::collection::vec(0_u64..4, 4),
    ) {
        let (mut record, mut now, mut next) = (PeerRecord::new(), Instant::now(), 0);
        let (mut first, mut asked) = (None, None::<Instant>);
        for (boot, ahead, ms) in knocks {
            now += Duration::from_millis(ms.into());
            next += 1;
            // A redial counts on from what it has seen; a duplicate cannot, and says anything.
            let generation = record.generation_max + u64::from(ahead);
            let epoch = epochs[usize::from(boot)];
            let newcomer = candidate(next, boot.into(), epoch, generation);
            match record.judge(&newcomer, now) {
                Verdict::Admit => {
                    record.adopt(&newcomer);
                    record.overflow();
                    prop_assert_eq!(*first.get_or_insert(boot), boot, "they alternate");
                }
                Verdict::Probe { .. } => {
                    prop_assert!(asked.is_none_or(|at| now - at >= PROBE_INTERVAL));
                    asked = Some(now);
                    let closed = record.probe_ended(ProbeOutcome::Answered, now);
                    prop_assert!(closed.is_empty());
                }
                Verdict::Refuse(refusal) if Some(boot) == first => {
                    prop_assert_eq!(refusal.code, CloseCode::Superseded);
                }
                Verdict::Refuse(refusal) => {
                    let known = [CloseCode::DuplicateNode, CloseCode::StaleIncarnation];
                    prop_assert!(known.contains(&refusal.code), "{}", refusal.code);
                }
            }
        }
    }
}
