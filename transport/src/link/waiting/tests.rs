//! Calls that wait, without a network.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

impl Ticket<'_> {
    async fn outcome(mut self) -> Outcome {
        poll_fn(|context| self.poll(context)).await
    }
}

fn later() -> Instant {
    Instant::now() + LIMIT
}

fn settle(waiting: &Waiting, id: u64, body: &'static str) {
    waiting.settle(std::iter::once((
        id,
        Ok(Bytes::from_static(body.as_bytes())),
    )));
}

fn answered(outcome: Option<Outcome>) -> Bytes {
    match outcome {
        Some(Outcome::Answered(Ok(body))) => body,
        other => panic!("not answered: {other:?}"),
    }
}

/// The frames of calls with these ids that leave.
fn leave(waiting: &Waiting, outbox: &Outbox, ids: &[u64]) -> Vec<Frame> {
    for id in ids {
        let frame = Frame::bare(FrameKind::Call, Lane::Call, *id);
        outbox.offer(frame).unwrap();
    }
    let mut frames = outbox.taken();
    waiting.depart(&mut frames);
    frames.into_iter().map(|queued| queued.frame).collect()
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_never_settles_a_newer_call() {
    let waiting = Waiting::default();
    let old = waiting.begin(Waker::noop(), later(), None).unwrap();
    let old_id = old.id();
    drop(old);
    let newer = waiting.begin(Waker::noop(), later(), None).unwrap();
    let id = newer.id();
    assert_eq!(place_of(old_id), place_of(id), "the same place");
    settle(&waiting, old_id, "old");
    settle(&waiting, id + 1, "of another place");
    settle(&waiting, 0, "of nobody");
    let mut outcome = Box::pin(newer.outcome());
    assert!(outcome.as_mut().now_or_never().is_none());
    settle(&waiting, id, "new");
    settle(&waiting, id, "again");
    assert_eq!(answered(outcome.now_or_never()), "new");
}

#[tokio::test(start_paused = true)]
async fn each_call_ends_at_its_own_deadline() {
    let waiting = Waiting::default();
    let start = Instant::now();
    let ms = Duration::from_millis;
    // The sweep sleeps to the first of them when the earlier ones come.
    let limits = [ms(5_000), ms(70), ms(300), ms(20), ms(70)];
    let calls = limits.map(|limit| {
        let ticket = waiting.begin(Waker::noop(), start + limit, None).unwrap();
        async move {
            let outcome = ticket.outcome().await;
            assert!(matches!(outcome, Outcome::Late), "{outcome:?}");
            start.elapsed()
        }
    });
    let all = futures_util::future::join_all(calls);
    let took = tokio::select! {
        took = all => took,
        () = waiting.sweep() => unreachable!("it never ends"),
    };
    assert_eq!(took, limits);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_answered_in_time_is_not_late() {
    let waiting = Waiting::default();
    let call = waiting.begin(Waker::noop(), later(), None).unwrap();
    settle(&waiting, call.id(), "in time");
    assert!(waiting.expire(later()).is_none());
    assert_eq!(answered(call.outcome().now_or_never()), "in time");
}

#[tokio::test(start_paused = true)]
async fn only_a_call_that_has_left_is_cancelled() {
    let (waiting, outbox) = (Waiting::default(), Outbox::for_tests());
    let begin = || {
        waiting
            .begin(Waker::noop(), later(), Some(&outbox))
            .unwrap()
    };
    let (unsent, sent, answered, late) = (begin(), begin(), begin(), begin());
    let ids = [&sent, &answered, &late].map(Ticket::id);
    let left = leave(&waiting, &outbox, &ids);
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|frame| frame.header.deadline_ms == 5_000));
    settle(&waiting, answered.id(), "x");
    drop((unsent, answered));
    assert!(outbox.taken().is_empty());
    drop(sent);
    waiting.expire(later());
    assert!(matches!(late.outcome().await, Outcome::Late));
    let cancels = outbox.taken();
    let cancels = cancels.iter().map(|queued| {
        assert_eq!(queued.frame.header.kind, FrameKind::Cancel);
        queued.frame.header.id
    });
    assert_eq!(cancels.collect::<Vec<_>>(), [ids[0], ids[2]]);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_or_late_does_not_leave() {
    let (waiting, outbox) = (Waiting::default(), Outbox::for_tests());
    let given_up = waiting.begin(Waker::noop(), later(), None).unwrap().id();
    let late = waiting.begin(Waker::noop(), Instant::now(), None).unwrap();
    let fine = waiting.begin(Waker::noop(), later(), None).unwrap();
    let left = leave(&waiting, &outbox, &[given_up, late.id(), fine.id()]);
    let left: Vec<_> = left.iter().map(|frame| frame.header.id).collect();
    assert_eq!(left, [fine.id()]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_fails_what_has_left_and_an_end_fails_all() {
    let (waiting, outbox) = (Waiting::default(), Outbox::for_tests());
    let (left, stays) = (
        waiting.begin(Waker::noop(), later(), None).unwrap(),
        waiting.begin(Waker::noop(), later(), None).unwrap(),
    );
    assert_eq!(leave(&waiting, &outbox, &[left.id()]).len(), 1);
    waiting.cut("the stream");
    let cut = |outcome: Option<Outcome>| match outcome {
        Some(Outcome::Cut(reason)) => reason,
        other => panic!("not cut: {other:?}"),
    };
    assert_eq!(&*cut(left.outcome().now_or_never()), "the stream");
    let mut stays = Box::pin(stays.outcome());
    assert!(stays.as_mut().now_or_never().is_none());
    waiting.end("the link");
    waiting.end("again");
    assert_eq!(&*cut(stays.now_or_never()), "the link");
    let refused = waiting
        .begin(Waker::noop(), later(), None)
        .map(|ticket| ticket.id());
    assert!(matches!(&refused, Err(NoPlace::Ended(reason)) if &**reason == "the link"));
}

#[tokio::test(start_paused = true)]
async fn places_at_the_limit_and_one_past_it() {
    let waiting = Waiting::default();
    let begin = || waiting.begin(Waker::noop(), later(), None);
    let mut tickets: Vec<_> = (0..CALLS_WAITING_MAX).map(|_| begin().unwrap()).collect();
    assert!(matches!(begin(), Err(NoPlace::Full)));
    tickets.pop();
    tickets.push(begin().unwrap());
    drop(tickets);
    assert_eq!(lock(&waiting.table).places.capacity(), 0, "memory is kept");
    assert!(begin().is_ok());
}
