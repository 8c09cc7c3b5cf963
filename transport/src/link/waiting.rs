//! Calls that wait for their answers on one lane.
//!
//! Each has a place in a table, and an id that names the place and is never given twice: an old
//! answer finds nobody. One timer serves all of them, set to the next deadline. This room must not
//! know how frames travel.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::local::lock;
use super::outbox::{Outbox, Queued};
use super::serve::remaining_ms;
use crate::Refusal;
use crate::frame::{Frame, FrameKind, Lane};
use crate::limits::CALLS_WAITING_MAX;

/// The lower bits of an id are its place, the upper ones count the calls: 2^48 of them outlast every
/// connection.
const PLACE_BITS: u32 = CALLS_WAITING_MAX.trailing_zeros();
const PLACE_MASK: u64 = CALLS_WAITING_MAX as u64 - 1;

/// Places for which the table keeps its memory while nobody waits.
const KEPT_PLACES: usize = 1_024;

/// What a call that waited has learnt.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered(Result<Bytes, Refusal>),
    /// Its deadline has passed.
    Late,
    /// No answer can come any more, and why.
    Cut(Arc<str>),
}

/// Why a call cannot wait here.
#[derive(Debug)]
pub(crate) enum NoPlace {
    /// [`CALLS_WAITING_MAX`] calls wait.
    Full,
    /// The lane has ended, and why.
    Ended(Arc<str>),
}

/// The calls of one lane that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    table: Mutex<Table>,
    /// Wakes the sweep, because a deadline comes before the one that it sleeps to.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Table {
    places: Vec<Place>,
    free: Vec<usize>,
    /// Ids that were given.
    given: u64,
    /// To when the sweep sleeps.
    sweep_at: Option<Instant>,
    ended: Option<Arc<str>>,
}

#[derive(Debug)]
struct Place {
    /// 0: nobody waits here.
    id: u64,
    deadline: Instant,
    /// The peer may be working on it, for all that is known here.
    under_way: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Settled(Outcome),
}

impl Waiting {
    /// A place for a call until `deadline`. Dropping the ticket gives the place up and, if the peer
    /// may be working on the call, says so with a `Cancel` in `cancels`.
    pub(crate) fn begin<'a>(
        &'a self,
        deadline: Instant,
        cancels: Option<&'a Outbox>,
    ) -> Result<Ticket<'a>, NoPlace> {
        let (id, earlier) = {
            let mut table = lock(&self.table);
            let id = table.begin(deadline)?;
            let earlier = table.sweep_at.is_none_or(|at| deadline < at);
            if earlier {
                table.sweep_at = Some(deadline);
            }
            (id, earlier)
        };
        if earlier {
            self.earlier.notify_one();
        }
        Ok(Ticket {
            waiting: self,
            id,
            cancels,
        })
    }

    /// Takes those frames away whose calls do not wait any more, and tells the others how long
    /// their callers still wait.
    pub(crate) fn depart(&self, frames: &mut Vec<Queued>) {
        let now = Instant::now();
        let mut table = lock(&self.table);
        frames.retain_mut(|Queued { frame, .. }| {
            if !matches!(frame.header.kind, FrameKind::Call | FrameKind::Ping) {
                return true;
            }
            let Some(place) = table.waiting(frame.header.id) else {
                return false;
            };
            place.under_way = place.deadline > now;
            frame.header.deadline_ms = remaining_ms(Some(place.deadline), now);
            place.under_way
        });
    }

    /// Hands out answers. One to a call that nobody waits for is dropped.
    pub(crate) fn settle(&self, answers: impl Iterator<Item = (u64, Result<Bytes, Refusal>)>) {
        let mut woken = Vec::new();
        {
            let mut table = lock(&self.table);
            for (id, answer) in answers {
                if let Some(place) = table.waiting(id) {
                    woken.extend(place.settle(Outcome::Answered(answer)));
                }
            }
        }
        // Outside the lock, because whoever wakes up wants it.
        woken.into_iter().for_each(Waker::wake);
    }

    /// Fails the calls that the peer may be working on. Those that have not left go on.
    pub(crate) fn cut(&self, reason: &str) {
        let reason = Arc::from(reason);
        self.settle_all(
            |place| place.under_way,
            |_| Outcome::Cut(Arc::clone(&reason)),
        );
    }

    /// Fails every call, now and from now on.
    pub(crate) fn end(&self, reason: &str) {
        let reason: Arc<str> = Arc::from(reason);
        lock(&self.table)
            .ended
            .get_or_insert_with(|| Arc::clone(&reason));
        self.settle_all(|_| true, |_| Outcome::Cut(Arc::clone(&reason)));
    }

    fn settle_all(&self, chosen: impl Fn(&Place) -> bool, outcome: impl Fn(&Place) -> Outcome) {
        let mut woken = Vec::new();
        {
            let mut table = lock(&self.table);
            for place in table.places.iter_mut().filter(|place| place.waits()) {
                if chosen(place) {
                    woken.extend(place.settle(outcome(place)));
                }
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }

    /// Ends the calls whose deadlines pass, for as long as it is polled.
    pub(crate) async fn sweep(&self) {
        loop {
            let earlier = self.earlier.notified();
            match self.expire(Instant::now()) {
                Some(next) => tokio::select! {
                    () = sleep_until(next) => {}
                    () = earlier => {}
                },
                None => earlier.await,
            }
        }
    }

    /// Ends the calls whose deadlines have passed; the next deadline.
    fn expire(&self, now: Instant) -> Option<Instant> {
        self.settle_all(|place| place.deadline <= now, |_| Outcome::Late);
        let mut table = lock(&self.table);
        let waiting = table.places.iter().filter(|place| place.waits());
        let next = waiting.map(|place| place.deadline).min();
        table.sweep_at = next;
        next
    }
}

impl Table {
    fn begin(&mut self, deadline: Instant) -> Result<u64, NoPlace> {
        if let Some(reason) = &self.ended {
            return Err(NoPlace::Ended(Arc::clone(reason)));
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() == CALLS_WAITING_MAX => return Err(NoPlace::Full),
            None => self.places.len(),
        };
        self.given += 1;
        let id = self.given << PLACE_BITS | place as u64;
        let taken = Place {
            id,
            deadline,
            under_way: false,
            state: State::Waiting(None),
        };
        match self.places.get_mut(place) {
            Some(free) => *free = taken,
            None => self.places.push(taken),
        }
        Ok(id)
    }

    fn place(&mut self, id: u64) -> Option<&mut Place> {
        self.places
            .get_mut(place_of(id))
            .filter(|found| found.id == id)
    }

    fn waiting(&mut self, id: u64) -> Option<&mut Place> {
        self.place(id).filter(|place| place.waits())
    }

    /// Gives a place up. Whether the peer may be working on its call.
    fn give_up(&mut self, id: u64) -> bool {
        let Some(place) = self.place(id) else {
            return false;
        };
        let under_way = place.under_way;
        place.id = 0;
        place.state = State::Waiting(None);
        self.free.push(place_of(id));
        if self.free.len() == self.places.len() && self.places.len() > KEPT_PLACES {
            // A burst does not keep its memory for ever.
            (self.places, self.free) = (Vec::new(), Vec::new());
        }
        under_way
    }
}

/// The place that an id names.
fn place_of(id: u64) -> usize {
    // The mask leaves what fits.
    usize::try_from(id & PLACE_MASK).unwrap_or(usize::MAX)
}

impl Place {
    const fn waits(&self) -> bool {
        self.id != 0 && matches!(self.state, State::Waiting(_))
    }

    fn settle(&mut self, outcome: Outcome) -> Option<Waker> {
        // One that is late may still run at the peer.
        self.under_way &= matches!(outcome, Outcome::Late);
        match std::mem::replace(&mut self.state, State::Settled(outcome)) {
            State::Waiting(waker) => waker,
            State::Settled(_) => None,
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Outcome> {
        match &mut self.state {
            State::Waiting(Some(known)) if known.will_wake(context.waker()) => Poll::Pending,
            State::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            State::Settled(_) => match std::mem::replace(&mut self.state, State::Waiting(None)) {
                State::Settled(outcome) => Poll::Ready(outcome),
                State::Waiting(_) => Poll::Pending,
            },
        }
    }
}

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    waiting: &'a Waiting,
    id: u64,
    cancels: Option<&'a Outbox>,
}

impl Ticket<'_> {
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// What comes of the call.
    pub(crate) async fn outcome(self) -> Outcome {
        poll_fn(|context| match lock(&self.waiting.table).place(self.id) {
            Some(place) => place.poll(context),
            // The place is this ticket's until it is dropped.
            None => Poll::Pending,
        })
        .await
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let under_way = lock(&self.waiting.table).give_up(self.id);
        if let (true, Some(cancels)) = (under_way, self.cancels) {
            // At most one for each call that has left, so their number is bounded as that is.
            cancels.push(Frame::bare(FrameKind::Cancel, Lane::Call, self.id), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

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
        let old = waiting.begin(later(), None).unwrap();
        let old_id = old.id();
        drop(old);
        let newer = waiting.begin(later(), None).unwrap();
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
            let ticket = waiting.begin(start + limit, None).unwrap();
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
        let call = waiting.begin(later(), None).unwrap();
        settle(&waiting, call.id(), "in time");
        assert!(waiting.expire(later()).is_none());
        assert_eq!(answered(call.outcome().now_or_never()), "in time");
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_call_that_has_left_is_cancelled() {
        let (waiting, outbox) = (Waiting::default(), Outbox::for_tests());
        let begin = || waiting.begin(later(), Some(&outbox)).unwrap();
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
        let given_up = waiting.begin(later(), None).unwrap().id();
        let late = waiting.begin(Instant::now(), None).unwrap();
        let fine = waiting.begin(later(), None).unwrap();
        let left = leave(&waiting, &outbox, &[given_up, late.id(), fine.id()]);
        let left: Vec<_> = left.iter().map(|frame| frame.header.id).collect();
        assert_eq!(left, [fine.id()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_fails_what_has_left_and_an_end_fails_all() {
        let (waiting, outbox) = (Waiting::default(), Outbox::for_tests());
        let (left, stays) = (
            waiting.begin(later(), None).unwrap(),
            waiting.begin(later(), None).unwrap(),
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
        let refused = waiting.begin(later(), None).map(|ticket| ticket.id());
        assert!(matches!(&refused, Err(NoPlace::Ended(reason)) if &**reason == "the link"));
    }

    #[tokio::test(start_paused = true)]
    async fn places_at_the_limit_and_one_past_it() {
        let waiting = Waiting::default();
        let begin = || waiting.begin(later(), None);
        let mut tickets: Vec<_> = (0..CALLS_WAITING_MAX).map(|_| begin().unwrap()).collect();
        assert!(matches!(begin(), Err(NoPlace::Full)));
        tickets.pop();
        tickets.push(begin().unwrap());
        drop(tickets);
        assert_eq!(lock(&waiting.table).places.capacity(), 0, "memory is kept");
        assert!(begin().is_ok());
    }
}
