//! The heartbeats of all groups to one peer, from the moment that one is made until it is answered
//! or given up. Pure: times come in, frames go out.
//!
//! A group has one place here for as long as it has a client, and no heartbeat costs memory of its
//! own: the bytes stand in the frame in which they will leave. This room must not know links, and
//! not what a heartbeat says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::limits::CONTROL_BODY_BYTES_MAX;
use crate::raft::limits::{
    HEARTBEAT_FRAMES_MAX, HEARTBEATS_GATHERED_MAX, HEARTBEATS_PER_FRAME_MAX,
};
use crate::raft::wire::WireError;
use crate::raft::wire::beats::{self, BeatAnswer};
use crate::{CallError, GroupId};

/// What became of a heartbeat.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It was answered.
    Answered(BeatAnswer),
    /// The frame that it was in failed.
    Failed(Arc<CallError>),
    /// Its deadline has passed.
    Expired,
    /// The answer is none.
    Unusable,
    /// This node stops.
    Stopped,
}

/// Why a heartbeat is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It is larger than a frame.
    TooLarge { size: usize, limit: usize },
    /// As many as there may be wait already.
    Full,
}

/// One heartbeat: a place, and which of the place's heartbeats it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    place: u32,
    round: u32,
}

/// The place of one group's client.
#[derive(Debug)]
struct Place {
    /// Counts heartbeats, so that what comes for an earlier one is not taken for this one's.
    round: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No heartbeat is under way.
    Resting,
    Waiting {
        deadline: Instant,
        waker: Option<Waker>,
    },
    Over(Outcome),
}

/// Heartbeats that leave together.
#[derive(Debug)]
struct Frame {
    body: BytesMut,
    tickets: Vec<Ticket>,
    /// Those of the tickets that have no outcome yet.
    open: usize,
    /// No deadline in it is earlier.
    expires: Instant,
    /// No deadline in it is later.
    deadline: Instant,
}

/// A frame that is due.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) number: u64,
    pub(super) body: Bytes,
    pub(super) deadline: Instant,
}

/// What the keeper is to do.
#[derive(Debug)]
pub(super) enum Step {
    Send(Departure),
    /// Until then, or until something happens.
    Wait(Option<Instant>),
    /// Nobody is here any more.
    End,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gatherer {
    window: Duration,
    places: Vec<Place>,
    free: Vec<u32>,
    /// Frames that have not left: full ones, and the last of them that takes more.
    gathering: VecDeque<Frame>,
    gathered: usize,
    /// Frames that have left and are not answered, by number.
    sent: BTreeMap<u64, Frame>,
    /// The number of the first frame in `gathering`.
    next_number: u64,
    left_at: Option<Instant>,
    /// What the keeper sleeps to.
    alarm: Option<Instant>,
    /// Whether there is a keeper.
    kept: bool,
    /// The tickets of a frame that is over, to be used again.
    spare: Vec<Ticket>,
}

impl Gatherer {
    /// Frames are numbered from `first_number` on, which no other run of this node may have near:
    /// an answer that is on its way to an earlier run must not find a frame.
    pub(super) const fn new(window: Duration, first_number: u64) -> Self {
        Self {
            window,
            places: Vec::new(),
            free: Vec::new(),
            gathering: VecDeque::new(),
            gathered: 0,
            sent: BTreeMap::new(),
            next_number: first_number,
            left_at: None,
            alarm: None,
            kept: false,
            spare: Vec::new(),
        }
    }

    // --- Groups -----------------------------------------------------------------------------------

    /// A place for a client.
    pub(super) fn enter(&mut self) -> u32 {
        if let Some(place) = self.free.pop() {
            return place;
        }
        self.places.push(Place {
            round: 0,
            state: State::Resting,
        });
        // A place takes more memory than 2^32 of them would leave.
        u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
    }

    /// Gives a place back. Returns whether the keeper has to hear of it.
    pub(super) fn leave(&mut self, place: u32) -> bool {
        if let Some(known) = self.places.get_mut(place as usize) {
            known.round = known.round.wrapping_add(1);
            known.state = State::Resting;
            self.free.push(place);
        }
        if self.is_empty() && !self.kept {
            self.clear();
        }
        self.is_empty() && self.kept
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Takes a heartbeat. The second of the answers is whether the keeper has to hear of it.
    pub(super) fn push(
        &mut self,
        place: u32,
        group: GroupId,
        body: &[u8],
        deadline: Instant,
    ) -> Result<(Ticket, bool), NotTaken> {
        let size = beats::heartbeat_bytes(group, body.len());
        let limit = CONTROL_BODY_BYTES_MAX - beats::HEARTBEAT_HEAD_BYTES_MAX;
        if size > limit {
            return Err(NotTaken::TooLarge { size, limit });
        }
        if self.gathered == HEARTBEATS_GATHERED_MAX {
            return Err(NotTaken::Full);
        }
        let Some(known) = self.places.get_mut(place as usize) else {
            return Err(NotTaken::Full);
        };
        known.round = known.round.wrapping_add(1);
        known.state = State::Waiting {
            deadline,
            waker: None,
        };
        let round = known.round;
        let begun = self.room_for(size, deadline);
        if let Some(frame) = self.gathering.back_mut() {
            beats::put_heartbeat(&mut frame.body, group, body);
            frame.tickets.push(Ticket { place, round });
            frame.open += 1;
            frame.expires = frame.expires.min(deadline);
            frame.deadline = frame.deadline.max(deadline);
        }
        self.gathered += 1;
        let early = self.alarm.is_none_or(|alarm| deadline < alarm);
        Ok((Ticket { place, round }, begun || early))
    }

    /// Begins a frame if the last one cannot take so many bytes more. Returns whether it did.
    fn room_for(&mut self, size: usize, deadline: Instant) -> bool {
        let fits = self.gathering.back().is_some_and(|frame| {
            frame.tickets.len() < HEARTBEATS_PER_FRAME_MAX
                && frame.body.len() + size <= CONTROL_BODY_BYTES_MAX
        });
        if fits {
            return false;
        }
        let mut body = BytesMut::with_capacity(1_024);
        beats::begin(&mut body, self.next_number + self.gathering.len() as u64);
        let mut tickets = std::mem::take(&mut self.spare);
        tickets.clear();
        self.gathering.push_back(Frame {
            body,
            tickets,
            open: 0,
            expires: deadline,
            deadline,
        });
        true
    }

    /// What became of a heartbeat.
    pub(super) fn poll(&mut self, ticket: Ticket, cx: &Context<'_>) -> Poll<Outcome> {
        let Some(place) = self.place(ticket) else {
            return Poll::Ready(Outcome::Stopped);
        };
        match std::mem::replace(&mut place.state, State::Resting) {
            State::Resting => Poll::Ready(Outcome::Stopped),
            State::Over(outcome) => Poll::Ready(outcome),
            State::Waiting { deadline, waker } => {
                let same = waker.filter(|waker| waker.will_wake(cx.waker()));
                let waker = Some(same.unwrap_or_else(|| cx.waker().clone()));
                place.state = State::Waiting { deadline, waker };
                Poll::Pending
            }
        }
    }

    /// Nobody waits for this heartbeat any more.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        if let Some(place) = self.place(ticket) {
            place.round = place.round.wrapping_add(1);
            place.state = State::Resting;
        }
    }

    fn place(&mut self, ticket: Ticket) -> Option<&mut Place> {
        let place = self.places.get_mut(ticket.place as usize)?;
        (place.round == ticket.round).then_some(place)
    }

    // --- The keeper -------------------------------------------------------------------------------

    /// Whether there is none yet; from now on there is.
    pub(super) const fn needs_keeper(&mut self) -> bool {
        !std::mem::replace(&mut self.kept, true)
    }

    /// What is to be done now, while `under_way` frames have no reply.
    pub(super) fn step(&mut self, now: Instant, under_way: usize, woken: &mut Vec<Waker>) -> Step {
        self.expire(now, woken);
        if self.is_empty() {
            self.kept = false;
            self.clear();
            return Step::End;
        }
        let open = self.left_at.map_or(now, |left| left + self.window);
        let room = under_way < HEARTBEAT_FRAMES_MAX;
        let due = open <= now || self.gathering.len() > 1;
        if room
            && due
            && let Some(departure) = self.depart(now)
        {
            return Step::Send(departure);
        }
        let opening = (room && !self.gathering.is_empty()).then_some(open);
        let frames = self.sent.values().chain(&self.gathering);
        let expiry = frames.map(|frame| frame.expires).min();
        self.alarm = opening.into_iter().chain(expiry).min();
        Step::Wait(self.alarm)
    }

    fn depart(&mut self, now: Instant) -> Option<Departure> {
        let mut frame = self.gathering.pop_front()?;
        let number = self.next_number;
        self.next_number += 1;
        self.gathered -= frame.tickets.len();
        self.left_at = Some(now);
        let (body, deadline) = (std::mem::take(&mut frame.body).freeze(), frame.deadline);
        self.sent.insert(number, frame);
        Some(Departure {
            number,
            body,
            deadline,
        })
    }

    /// Gives up what is past its deadline, and forgets frames of which nothing is left.
    fn expire(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        let places = &mut self.places;
        for frame in self.sent.values_mut().chain(&mut self.gathering) {
            if frame.expires <= now {
                frame.expire(places, now, woken);
            }
        }
        self.sent.retain(|_, frame| frame.open > 0);
        // A frame of which every heartbeat is dead does not leave. Its number stays unused.
        while self.gathering.front().is_some_and(|frame| frame.open == 0) {
            if let Some(frame) = self.gathering.pop_front() {
                self.gathered -= frame.tickets.len();
                self.next_number += 1;
            }
        }
    }

    /// Takes note of answers, in the reply to the frame of that number or behind it.
    pub(super) fn settle(
        &mut self,
        number: u64,
        whole: &Bytes,
        mut rest: &[u8],
        woken: &mut Vec<Waker>,
    ) -> Result<(), WireError> {
        let Some(frame) = self.sent.get_mut(&number) else {
            // Late, for heartbeats that were given up.
            return Ok(());
        };
        let mut next = 0;
        while !rest.is_empty() {
            let (at, answer) = beats::take_answer(whole, &mut rest, &mut next)?;
            let ticket = frame.tickets.get(at).copied();
            let ticket = ticket.ok_or(WireError::Malformed("an answer to no heartbeat"))?;
            frame.settle(&mut self.places, ticket, Outcome::Answered(answer), woken);
        }
        if frame.open == 0 {
            self.forget_frame(number);
        }
        Ok(())
    }

    /// The frame of that number has failed: so has every heartbeat in it that has no answer.
    pub(super) fn fail(&mut self, number: u64, outcome: &Outcome, woken: &mut Vec<Waker>) {
        if let Some(mut frame) = self.sent.remove(&number) {
            frame.settle_all(&mut self.places, outcome, woken);
            self.keep_spare(frame.tickets);
        }
    }

    /// There is no keeper any more, and nobody answers.
    pub(super) fn stop(&mut self, woken: &mut Vec<Waker>) {
        self.next_number += self.gathering.len() as u64;
        let sent = std::mem::take(&mut self.sent).into_values();
        for mut frame in sent.chain(std::mem::take(&mut self.gathering)) {
            frame.settle_all(&mut self.places, &Outcome::Stopped, woken);
        }
        self.kept = false;
        self.gathered = 0;
        self.alarm = None;
    }

    fn forget_frame(&mut self, number: u64) {
        if let Some(frame) = self.sent.remove(&number) {
            self.keep_spare(frame.tickets);
        }
    }

    fn keep_spare(&mut self, tickets: Vec<Ticket>) {
        if self.spare.capacity() == 0 {
            self.spare = tickets;
        }
    }

    /// Gives memory back when nobody is here. Frames keep counting.
    fn clear(&mut self) {
        self.next_number += self.gathering.len() as u64;
        self.gathering = VecDeque::new();
        self.gathered = 0;
        self.sent = BTreeMap::new();
        (self.places, self.free, self.spare) = (Vec::new(), Vec::new(), Vec::new());
        (self.left_at, self.alarm) = (None, None);
    }
}

impl Frame {
    fn settle(
        &mut self,
        places: &mut [Place],
        ticket: Ticket,
        outcome: Outcome,
        woken: &mut Vec<Waker>,
    ) {
        let Some(place) = places.get_mut(ticket.place as usize) else {
            return;
        };
        if place.round == ticket.round && matches!(place.state, State::Waiting { .. }) {
            self.open = self.open.saturating_sub(1);
            let before = std::mem::replace(&mut place.state, State::Over(outcome));
            if let State::Waiting { waker, .. } = before {
                woken.extend(waker);
            }
        }
    }

    fn settle_all(&mut self, places: &mut [Place], outcome: &Outcome, woken: &mut Vec<Waker>) {
        for at in 0..self.tickets.len() {
            let ticket = self.tickets[at];
            self.settle(places, ticket, outcome.clone(), woken);
        }
    }

    /// Gives up what is past its deadline, and counts anew what is not.
    fn expire(&mut self, places: &mut [Place], now: Instant, woken: &mut Vec<Waker>) {
        let (mut open, mut expires) = (0, None::<Instant>);
        for at in 0..self.tickets.len() {
            let ticket = self.tickets[at];
            let place = places.get(ticket.place as usize);
            let Some(State::Waiting { deadline, .. }) = place
                .filter(|place| place.round == ticket.round)
                .map(|place| &place.state)
            else {
                continue;
            };
            let deadline = *deadline;
            if deadline <= now {
                self.settle(places, ticket, Outcome::Expired, woken);
            } else {
                open += 1;
                expires = Some(expires.map_or(deadline, |earliest| earliest.min(deadline)));
            }
        }
        self.open = open;
        self.expires = expires.unwrap_or(self.deadline);
    }
}
