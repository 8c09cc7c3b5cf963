//! The gatherer, driven by hand: what leaves when, and who is told what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::gatherer::{Departure, Gatherer, NotTaken, Outcome, Step, Ticket};
use crate::limits::CONTROL_BODY_BYTES_MAX;
use crate::raft::limits::{
    HEARTBEAT_FRAMES_MAX, HEARTBEATS_GATHERED_MAX, HEARTBEATS_PER_FRAME_MAX,
};
use crate::raft::wire::beats::{AnswerFrame, heartbeats, number};
use crate::{CallError, GroupId, NodeId, Refusal, RefusalCode, UnreachableReason};

const WINDOW: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_millis(100);
const FIRST: u64 = 1_000;

/// A gatherer, the time, and how often somebody was woken.
struct Bench {
    gatherer: Gatherer,
    now: Instant,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            gatherer: Gatherer::new(WINDOW, FIRST),
            now: Instant::now(),
            wakes: Arc::default(),
        }
    }

    /// A group with a heartbeat on its way.
    fn beat(&mut self, group: u64, limit: Duration) -> Ticket {
        let place = self.gatherer.enter();
        self.push(place, group, limit)
    }

    fn push(&mut self, place: u32, group: u64, limit: Duration) -> Ticket {
        let (group, deadline) = (GroupId::new(group), self.now + limit);
        let (ticket, _) = self.gatherer.push(place, group, b"beat", deadline).unwrap();
        assert!(self.poll(ticket).is_none());
        ticket
    }

    fn poll(&mut self, ticket: Ticket) -> Option<Outcome> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        match self.gatherer.poll(ticket, &Context::from_waker(&waker)) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Gatherer, &mut Vec<Waker>) -> T) -> T {
        let mut woken = Vec::new();
        let result = act(&mut self.gatherer, &mut woken);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    fn step(&mut self) -> Step {
        let now = self.now;
        self.with(|gatherer, woken| gatherer.step(now, 0, woken))
    }

    /// What leaves now; the number of its heartbeats too.
    fn departs(&mut self) -> (Departure, usize) {
        let Step::Send(departure) = self.step() else {
            panic!("nothing leaves")
        };
        let (of, rest) = number(&departure.body).unwrap();
        assert_eq!(of, departure.number);
        assert!(departure.body.len() <= CONTROL_BODY_BYTES_MAX);
        let count = heartbeats(rest).unwrap().len();
        (departure, count)
    }

    /// How long nothing leaves, if that is known.
    fn waits(&mut self) -> Option<Duration> {
        match self.step() {
            Step::Wait(alarm) => alarm.map(|alarm| alarm - self.now),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, number: u64, places: &[u32]) {
        let mut frame = AnswerFrame::new(None, 1 << 16);
        for place in places {
            assert!(frame.put(*place, &Ok(Bytes::from_static(&[1]))));
        }
        let frame = frame.finish();
        self.with(|gatherer, woken| gatherer.settle(number, &frame, &frame, woken))
            .unwrap();
    }
}

fn matched(outcome: Option<Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Answered(Ok(reply))) if *reply == [1])
}

#[test]
fn a_lone_heartbeat_leaves_at_once_and_those_behind_it_together() {
    let mut bench = Bench::new();
    let first = bench.beat(1, LIMIT);
    let (sent, count) = bench.departs();
    assert_eq!((sent.number, count), (FIRST, 1));
    bench.now += WINDOW / 2;
    let others: Vec<_> = (2..=100).map(|group| bench.beat(group, LIMIT)).collect();
    assert_eq!(bench.waits(), Some(WINDOW / 2));
    bench.now += WINDOW / 2;
    let (second, count) = bench.departs();
    assert_eq!((second.number, count), (FIRST + 1, 99));
    // The deadline is that of the last of them.
    assert_eq!(second.deadline, bench.now - WINDOW / 2 + LIMIT);

    // Answers in any order, and each to its own.
    bench.answer(second.number, &[3, 98]);
    assert!(matched(bench.poll(others[3])));
    assert!(matched(bench.poll(others[98])));
    assert!(bench.poll(others[0]).is_none());
    assert!(bench.poll(first).is_none());
    bench.answer(sent.number, &[0]);
    assert!(matched(bench.poll(first)));
    bench.now += 2 * WINDOW;
    bench.push(0, 1, LIMIT);
    assert_eq!(bench.departs().1, 1, "alone again");
}

/// R15: at most 1,024 heartbeats and 64 KiB.
#[test]
fn a_frame_that_is_full_leaves_without_its_window() {
    let mut bench = Bench::new();
    bench.beat(0, LIMIT);
    drop(bench.departs());
    let frames = 3 * HEARTBEATS_PER_FRAME_MAX as u64;
    for group in 0..frames {
        bench.beat(group, LIMIT);
    }
    assert_eq!(bench.departs().1, HEARTBEATS_PER_FRAME_MAX);
    assert_eq!(bench.departs().1, HEARTBEATS_PER_FRAME_MAX);
    assert_eq!(bench.waits(), Some(WINDOW), "the last is not full yet");
    bench.now += WINDOW;
    assert_eq!(bench.departs().1, HEARTBEATS_PER_FRAME_MAX);

    // The same for bytes: 40 KiB and 30 KiB do not fit one frame.
    let deadline = bench.now + LIMIT;
    for size in [40 << 10, 30 << 10] {
        let place = bench.gatherer.enter();
        let pushed = bench
            .gatherer
            .push(place, GroupId::new(1), &vec![0; size], deadline);
        assert!(pushed.is_ok());
    }
    assert_eq!(bench.departs().1, 1);
    bench.now += WINDOW;
    assert_eq!(bench.departs().1, 1);
}

#[test]
fn what_a_frame_cannot_carry_is_refused() {
    let mut bench = Bench::new();
    let place = bench.gatherer.enter();
    let deadline = bench.now + LIMIT;
    // A number before all, group and length before the heartbeat.
    let most = CONTROL_BODY_BYTES_MAX - 20 - 1 - 3;
    let mut push = |size: usize| {
        let group = GroupId::new(1);
        bench.gatherer.push(place, group, &vec![0; size], deadline)
    };
    assert!(matches!(push(most + 1), Err(NotTaken::TooLarge { .. })));
    assert!(push(most).is_ok());
    let (departure, _) = bench.departs();
    assert!(departure.body.len() > most);
}

#[test]
fn gathered_heartbeats_are_bounded() {
    let mut bench = Bench::new();
    let deadline = bench.now + LIMIT;
    let place = bench.gatherer.enter();
    let group = GroupId::new(1);
    for _ in 0..HEARTBEATS_GATHERED_MAX {
        bench.gatherer.push(place, group, b"", deadline).unwrap();
    }
    let past = bench.gatherer.push(place, group, b"", deadline);
    assert_eq!(past.err(), Some(NotTaken::Full));
    drop(bench.departs());
    assert!(bench.gatherer.push(place, group, b"", deadline).is_ok());
}

#[test]
fn frames_under_way_are_bounded_and_then_gathered() {
    let mut bench = Bench::new();
    bench.beat(1, LIMIT);
    let now = bench.now;
    let full = bench.with(|gatherer, woken| gatherer.step(now, HEARTBEAT_FRAMES_MAX, woken));
    assert!(matches!(full, Step::Wait(Some(alarm)) if alarm == now + LIMIT));
    bench.beat(2, LIMIT);
    let room = bench.with(|gatherer, woken| gatherer.step(now, HEARTBEAT_FRAMES_MAX - 1, woken));
    assert!(matches!(room, Step::Send(_)));
}

#[test]
fn a_deadline_is_each_heartbeats_own() {
    let mut bench = Bench::new();
    let (short, long) = (bench.beat(1, LIMIT / 2), bench.beat(2, LIMIT));
    let (sent, _) = bench.departs();
    assert_eq!(bench.waits(), Some(LIMIT / 2));
    bench.now += LIMIT / 2;
    assert_eq!(bench.waits(), Some(LIMIT / 2));
    assert_eq!(
        bench.wakes.0.load(Ordering::Relaxed),
        1,
        "only whom it concerns"
    );
    assert!(matches!(bench.poll(short), Some(Outcome::Expired)));
    assert!(bench.poll(long).is_none());
    bench.now += LIMIT / 2;
    assert_eq!(bench.waits(), None);
    assert!(matches!(bench.poll(long), Some(Outcome::Expired)));
    // Too late.
    bench.answer(sent.number, &[0, 1]);
}

#[test]
fn heartbeats_that_died_while_they_waited_do_not_leave() {
    let mut bench = Bench::new();
    bench.beat(1, LIMIT);
    drop(bench.departs());
    let dead = bench.beat(2, WINDOW / 2);
    bench.now += WINDOW;
    assert!(matches!(bench.step(), Step::Wait(_)), "nobody waits for it");
    assert!(matches!(bench.poll(dead), Some(Outcome::Expired)));
    bench.beat(3, LIMIT);
    let (sent, count) = bench.departs();
    assert_eq!((sent.number, count), (FIRST + 2, 1));
}

/// An answer to a heartbeat that was given up is not taken for one to the next: openraft dates the
/// leader's lease from when the answered one was made.
#[test]
fn a_late_answer_is_no_answer_to_the_next_heartbeat() {
    let mut bench = Bench::new();
    let (place, _another) = (bench.gatherer.enter(), bench.gatherer.enter());
    let first = bench.push(place, 1, LIMIT);
    let (sent, _) = bench.departs();
    bench.gatherer.forget(first);
    bench.now += WINDOW;
    let second = bench.push(place, 1, LIMIT);
    let (next, _) = bench.departs();
    bench.answer(sent.number, &[0]);
    assert!(bench.poll(second).is_none());
    bench.answer(next.number, &[0]);
    assert!(matched(bench.poll(second)));
    // Nor for one of another group that has the place now.
    bench.now += WINDOW;
    bench.push(place, 1, LIMIT);
    let (old, _) = bench.departs();
    assert!(!bench.gatherer.leave(place));
    assert_eq!(bench.gatherer.enter(), place);
    let other = bench.push(place, 2, LIMIT);
    bench.answer(old.number, &[0]);
    assert!(bench.poll(other).is_none());
}

#[test]
fn a_frame_that_fails_fails_for_all_that_wait_on_it_and_for_nobody_else() {
    let mut bench = Bench::new();
    let (one, two) = (bench.beat(1, LIMIT), bench.beat(2, LIMIT));
    let (sent, _) = bench.departs();
    let three = bench.beat(3, LIMIT);
    bench.answer(sent.number, &[1]);
    let error = Arc::new(CallError::Unreachable {
        peer: NodeId::new(2).unwrap(),
        group: super::HEARTBEATS,
        address: None,
        reason: UnreachableReason::Dialling,
    });
    let failed = Outcome::Failed(error);
    bench.with(|gatherer, woken| gatherer.fail(sent.number, &failed, woken));
    assert!(matches!(bench.poll(one), Some(Outcome::Failed(_))));
    assert!(matched(bench.poll(two)));
    assert!(bench.poll(three).is_none());
}

#[test]
fn refusals_and_garbage_are_told_apart() {
    let mut bench = Bench::new();
    let (one, two) = (bench.beat(1, LIMIT), bench.beat(2, LIMIT));
    let (sent, _) = bench.departs();
    let mut frame = AnswerFrame::new(None, 1 << 16);
    let refusal = Refusal::new(RefusalCode::UnknownGroup, "not here");
    assert!(frame.put(0, &Err(refusal.clone())));
    let mut bytes = frame.finish().to_vec();
    bytes.push(3);
    let bytes = Bytes::from(bytes);
    let settled = bench.with(|gatherer, woken| gatherer.settle(sent.number, &bytes, &bytes, woken));
    assert!(settled.is_err());
    let first = bench.poll(one);
    assert!(matches!(first, Some(Outcome::Answered(Err(said))) if said == refusal));
    assert!(bench.poll(two).is_none());
    // A place that the frame did not have.
    let beyond = Bytes::from_static(&[2 << 2]);
    let settled =
        bench.with(|gatherer, woken| gatherer.settle(sent.number, &beyond, &beyond, woken));
    assert!(settled.is_err());
}

#[test]
fn the_keeper_ends_with_the_last_client_and_leaves_nothing() {
    let mut bench = Bench::new();
    assert!(bench.gatherer.needs_keeper());
    assert!(!bench.gatherer.needs_keeper());
    let (one, two) = (bench.gatherer.enter(), bench.gatherer.enter());
    bench.push(one, 1, LIMIT);
    let (sent, _) = bench.departs();
    assert!(!bench.gatherer.leave(one));
    assert!(bench.gatherer.leave(two));
    assert!(matches!(bench.step(), Step::End));
    // The next one begins anew, with numbers that no answer is on its way to.
    assert!(bench.gatherer.needs_keeper());
    bench.beat(1, LIMIT);
    assert!(bench.departs().0.number > sent.number);
}

#[test]
fn nobody_waits_when_the_keeper_is_stopped() {
    let mut bench = Bench::new();
    let sent = bench.beat(1, LIMIT);
    drop(bench.departs());
    let gathered = bench.beat(2, LIMIT);
    bench.with(Gatherer::stop);
    assert_eq!(bench.wakes.0.load(Ordering::Relaxed), 2);
    assert!(matches!(bench.poll(sent), Some(Outcome::Stopped)));
    assert!(matches!(bench.poll(gathered), Some(Outcome::Stopped)));
    assert!(bench.gatherer.needs_keeper());
    bench.beat(3, LIMIT);
    bench.now += WINDOW;
    assert_eq!(bench.departs().0.number, FIRST + 2);
}
