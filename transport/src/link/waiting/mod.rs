//! Calls that wait for their answers on one lane.
//!
//! Each has a place in a table, and an id that names the place and is never given twice: an old
//! answer finds nobody. One timer serves all of them, set to the next deadline. This room must not
//! know how frames travel.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::Refusal;
use crate::frame::{Frame, FrameKind, Lane};
use crate::limits::CALLS_WAITING_MAX;
use crate::link::local::lock;
use crate::link::outbox::{Outbox, Queued};
use crate::link::serve::remaining_ms;

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
    /// may be working on the call, says so with a `Cancel` in `cancels`. `waker` is of the task that
    /// waits, see [`outcome_of`].
    pub(crate) fn begin<'a>(
        &'a self,
        waker: &Waker,
        deadline: Instant,
        cancels: Option<&'a Outbox>,
    ) -> Result<Ticket<'a>, NoPlace> {
        let (id, earlier) = {
            let mut table = lock(&self.table);
            let id = table.begin(waker, deadline)?;
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
    pub(crate) fn depart(&self, frames: &mut VecDeque<Queued>) {
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
        let mut woken = Vec::with_capacity(answers.size_hint().0);
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
    fn begin(&mut self, waker: &Waker, deadline: Instant) -> Result<u64, NoPlace> {
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
            state: State::Waiting(Some(waker.clone())),
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
    /// 0 when the place was given up.
    id: u64,
    cancels: Option<&'a Outbox>,
}

/// Begins a call and waits for what comes of it. `begin` takes the ticket with
/// [`Waiting::begin`] and its waker: whoever settles the call from then on wakes this task, so
/// the table is not locked for a look that would find nothing.
///
/// Cancel safe: dropping this gives the call up as dropping its ticket does.
pub(crate) async fn outcome_of<'a, E>(
    begin: impl FnOnce(&Waker) -> Result<Ticket<'a>, E>,
) -> Result<Outcome, E> {
    let (mut begin, mut ticket) = (Some(begin), None);
    poll_fn(|context| match (begin.take(), &mut ticket) {
        (Some(begin), ticket) => match begin(context.waker()) {
            Ok(begun) => {
                *ticket = Some(begun);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        },
        (None, Some(ticket)) => ticket.poll(context).map(Ok),
        (None, None) => Poll::Pending,
    })
    .await
}

impl Ticket<'_> {
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// What comes of the call. Its place is free again then.
    fn poll(&mut self, context: &Context<'_>) -> Poll<Outcome> {
        let (outcome, under_way) = {
            let mut table = lock(&self.waiting.table);
            // The place is this ticket's until it is given up.
            match table.place(self.id).map(|place| place.poll(context)) {
                Some(Poll::Ready(outcome)) => (outcome, table.give_up(self.id)),
                Some(Poll::Pending) | None => return Poll::Pending,
            }
        };
        self.gave_up(under_way);
        Poll::Ready(outcome)
    }

    fn gave_up(&mut self, under_way: bool) {
        let id = std::mem::take(&mut self.id);
        if let (true, Some(cancels)) = (under_way, self.cancels) {
            // At most one for each call that has left, so their number is bounded as that is.
            cancels.push(Frame::bare(FrameKind::Cancel, Lane::Call, id), None);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            let under_way = lock(&self.waiting.table).give_up(self.id);
            self.gave_up(under_way);
        }
    }
}

#[cfg(test)]
mod tests;
