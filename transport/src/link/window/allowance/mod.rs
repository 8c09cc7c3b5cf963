//! How many bytes may be on their way, so that nothing waits long behind them. A pure machine.
//!
//! It knows what a path carries from what was acknowledged in the past seconds, and how long its empty
//! way is from the shortest round trip of the past seconds. More than the product of both is a queue;
//! it allows a queue of [`QUEUE_MIN`] and a little more on long paths, and as many bytes as a link
//! begins with in any case. Before it has seen a queue it allows everything. When it has become slower
//! for a queue that stands all the same, it empties its own for a round, and what is late then is
//! from now on no sign of a queue: others share the path, or its delay varies. This room must not
//! know packets, streams or clocks.

use std::time::{Duration, Instant};

/// The queue that is allowed: 2 ms. A heartbeat may be late by 5 ms on a loopback; a shorter queue
/// runs empty whenever the other end's thread waits for a processor.
pub(super) const QUEUE_MIN: Duration = Duration::from_millis(2);

/// On long paths this part of the round trip, if it is more: 3 ms of 100. The timers that space
/// packets have a resolution of a millisecond, and their bursts must not look like a queue.
const QUEUE_PART: u32 = 32;

/// So many acknowledgements in a row have to come late until it is a queue: 80 packets at 10 to one
/// acknowledgement. One alone is a thread that waited.
const LATE_MAX: u32 = 8;

/// What a path carries is taken over a round trip, and over 10 ms at least: threads that wait for a
/// processor take in bursts what has come meanwhile, which is more than the path carries.
const ROUND_MIN: Duration = Duration::from_millis(10);

/// For how long what a path has carried is taken for what it can carry; twice at most.
const RATE_PERIOD: Duration = Duration::from_secs(1);

/// The same for the shortest round trip. When it ends, the queue is drained for one round trip, or a
/// queue that always stands would be taken for a longer way.
const WAY_PERIOD: Duration = Duration::from_secs(10);

/// Without a queue this part more is allowed after each round: 0.8 ms of 100, less than a queue.
const STEP_PART: u64 = 128;

/// The part doubles after so many rounds without a queue: twenty for a bandwidth that has doubled.
const DOUBLED_EVERY: u32 = 4;

/// A cut that is no mistake shortens the queue and not the rate. When less than 9/10 of the best rate
/// is carried and the queue still stands, it is looked whether the queue is ours.
const BEST_PART: (u64, u64) = (9, 10);

/// Whether late acknowledgements are looked into: it may be others who queue, or the path may be one
/// whose delay varies. To wait for that would make the sender slower, round by round, without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    No,
    /// For this round so many bytes may be on their way, less than the path holds, so that a queue of
    /// ours is gone.
    Draining(u64),
    /// What is late in this one is not late because of us.
    Looking,
}

/// Decides it.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    /// What is allowed in any case.
    floor: u64,
    /// The shortest round trips of this period and of the one before.
    way: [Duration; 2],
    way_since: Option<Instant>,
    /// The highest rates of this period and of the one before, bytes a second.
    rate: [u64; 2],
    rate_since: Option<Instant>,
    round: Round,
    /// The last packet that left.
    sent: u64,
    /// The newest packet of the acknowledgement that is being read: its round trip.
    newest: Option<Duration>,
    /// Acknowledgements in a row that came late.
    late: u32,
    /// No further cut before this packet is acknowledged: the last one has no effect until then.
    cut_at: u64,
    /// `None` until a queue was seen.
    allowed: Option<u64>,
    /// What is allowed more at the end of the next round.
    step: u64,
    /// Rounds since there was a queue.
    clean: u32,
    /// How late acknowledgements were without a queue of ours, when it was last looked.
    noise: Duration,
    /// The highest rate since then.
    best: u64,
    look: Look,
    /// To be looked at the end of this round, because a period has ended.
    due: bool,
}

/// A round trip, and [`ROUND_MIN`] at least.
#[derive(Clone, Debug, Default)]
struct Round {
    since: Option<Instant>,
    /// Its last packet.
    end: u64,
    acknowledged: u64,
    /// Of its acknowledgements.
    trips: Duration,
    count: u32,
    /// Whether the allowance, and nothing else, has held back the sender.
    full: bool,
    queued: bool,
}

impl Allowance {
    pub(super) fn new(floor: u64) -> Self {
        Self {
            floor,
            way: [Duration::MAX; 2],
            way_since: None,
            rate: [0; 2],
            rate_since: None,
            round: Round::default(),
            sent: 0,
            newest: None,
            late: 0,
            cut_at: 0,
            allowed: None,
            step: 0,
            clean: 0,
            noise: Duration::ZERO,
            best: 0,
            look: Look::No,
            due: false,
        }
    }

    /// Bytes that may be on their way; `u64::MAX` as long as nothing speaks against it.
    pub(super) fn bytes(&self) -> u64 {
        let Some(allowed) = self.allowed else {
            return u64::MAX;
        };
        match self.look {
            Look::Draining(bytes) => bytes.min(allowed).max(self.floor),
            Look::No | Look::Looking => allowed.max(self.floor),
        }
    }

    /// Packets up to `packet` have left.
    pub(super) const fn sent(&mut self, packet: u64) {
        self.sent = packet;
    }

    /// Bytes are acknowledged that had left at `sent`.
    pub(super) fn acknowledged(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.round.acknowledged = self.round.acknowledged.saturating_add(bytes);
        let trip = now.saturating_duration_since(sent);
        self.newest = Some(self.newest.map_or(trip, |newest| newest.min(trip)));
    }

    /// The acknowledgement ends. `in_flight` bytes are still on their way; `packet` is the last one
    /// that was acknowledged; `waits` says whether the sender has more to send than it may.
    pub(super) fn ended(&mut self, now: Instant, in_flight: u64, packet: u64, waits: bool) {
        let Some(trip) = self.newest.take() else {
            return;
        };
        self.due |= self.note_way(now, trip) && waits;
        self.round.trips = self.round.trips.saturating_add(trip);
        self.round.count = self.round.count.saturating_add(1);
        let queued = trip > self.way().saturating_add(self.queue()) && in_flight >= self.floor;
        self.late = if queued { self.late + 1 } else { 0 };
        let Some(since) = self.round.since else {
            // The first one only starts the clock: what it acknowledges has left before.
            return self.begin(now);
        };
        let elapsed = now.saturating_duration_since(since);
        if self.late >= LATE_MAX {
            self.round.queued = true;
            if packet >= self.cut_at && elapsed >= QUEUE_MIN {
                if self.allowed.is_none() {
                    // The rounds of slow start have carried less than the path does.
                    self.note_rate(now, elapsed, true);
                }
                self.cut();
            }
        }
        self.round.full |= waits;
        if packet >= self.round.end && elapsed >= ROUND_MIN {
            self.note_rate(now, elapsed, self.round.full);
            self.grow();
            self.look(elapsed);
            self.begin(now);
        }
    }

    const fn begin(&mut self, now: Instant) {
        self.round = Round {
            since: Some(now),
            end: self.sent,
            acknowledged: 0,
            trips: Duration::ZERO,
            count: 0,
            full: false,
            queued: false,
        };
    }

    /// Looks, at the end of a round, whether cuts have only made the sender slower.
    fn look(&mut self, elapsed: Duration) {
        let rate = self.rate[0].max(self.rate[1]);
        self.best = self.best.max(rate);
        self.look = match self.look {
            Look::Draining(_) => Look::Looking,
            Look::Looking => {
                let mean = self.round.trips / self.round.count.max(1);
                let late = if self.round.queued {
                    mean
                } else {
                    Duration::ZERO
                };
                self.noise = late.saturating_sub(self.way());
                self.best = rate;
                self.allowed = self.allowed.max(Some(self.carried(self.queue())));
                Look::No
            }
            Look::No => {
                let carried = per_second(self.round.acknowledged, elapsed);
                let (part, whole) = BEST_PART;
                let slow = self.round.queued && carried < self.best / whole * part;
                if self.allowed.is_some() && (self.due || slow && self.round.full) {
                    self.due = false;
                    // Of what it carries now: what it has carried before may be more.
                    let held = u128::from(carried) * self.way().as_micros() / 1_000_000;
                    Look::Draining(u64::try_from(held / 4 * 3).unwrap_or(u64::MAX))
                } else {
                    Look::No
                }
            }
        };
    }

    /// Packets are lost, and the sender may use no more than `window` of what it did.
    pub(super) fn lost(&mut self, window: u64) {
        if self.allowed.is_some_and(|allowed| allowed > window) {
            self.allowed = Some(window);
            self.step = 0;
        }
    }

    /// The shortest round trip of late.
    fn way(&self) -> Duration {
        self.way[0].min(self.way[1])
    }

    fn queue(&self) -> Duration {
        QUEUE_MIN.max(self.way() / QUEUE_PART) + self.noise
    }

    /// What the path carries in a round trip and so much longer.
    fn carried(&self, longer: Duration) -> u64 {
        let rate = self.rate[0].max(self.rate[1]);
        let time = self.way().saturating_add(longer);
        let bytes = u128::from(rate) * time.as_micros() / 1_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Takes a round trip; `true` when a period has ended.
    fn note_way(&mut self, now: Instant, trip: Duration) -> bool {
        let since = *self.way_since.get_or_insert(now);
        let over = now.saturating_duration_since(since) >= WAY_PERIOD;
        if over {
            self.way = [Duration::MAX, self.way[0]];
            self.way_since = Some(now);
        }
        self.way[0] = self.way[0].min(trip);
        over
    }

    /// Takes what this round has carried. Only rounds that the path has limited make older ones
    /// forgotten: what an idle link carries says nothing about the path.
    fn note_rate(&mut self, now: Instant, elapsed: Duration, limited: bool) {
        let rate = per_second(self.round.acknowledged, elapsed);
        let since = *self.rate_since.get_or_insert(now);
        let period = RATE_PERIOD.max(self.way().saturating_mul(4));
        if limited && now.saturating_duration_since(since) >= period {
            self.rate = [0, self.rate[0]];
            self.rate_since = Some(now);
        }
        self.rate[0] = self.rate[0].max(rate);
    }

    fn cut(&mut self) {
        let fitting = self.carried(self.queue());
        self.allowed = Some(fitting);
        (self.step, self.clean) = (0, 0);
        self.late = 0;
        self.cut_at = self.sent;
    }

    /// A round without a queue: there may be room. Little at first, and twice as much each time.
    fn grow(&mut self) {
        let Some(allowed) = self.allowed else { return };
        if self.round.queued {
            (self.step, self.clean) = (0, 0);
        } else if self.round.full && self.look == Look::No {
            self.clean += 1;
            let doubled = self.clean.is_multiple_of(DOUBLED_EVERY);
            let step = if doubled { self.step * 2 } else { self.step };
            self.step = step.max(allowed / STEP_PART);
            self.allowed = Some(allowed.saturating_add(self.step));
        }
    }
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000 / elapsed.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
