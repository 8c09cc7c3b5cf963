//! What is allowed on paths of any kind: a bottleneck with a queue without end, and a sender that has
//! always more to send.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const PACKET: u64 = 1_400;
/// Packets to one acknowledgement.
const TOGETHER: usize = 10;
const FLOOR: u64 = 128 * 1024;
const MS: Duration = Duration::from_millis(1);

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A bottleneck, and a sender in front of it.
struct Path {
    /// Bytes a second.
    rate: u64,
    round_trip: Duration,
    /// Each packet comes later by up to so much, in order.
    jitter: Duration,
    random: u64,
    /// What the sender may have on its way at most, whatever is allowed.
    ceiling: u64,
    now: Instant,
    free_at: Instant,
    /// When the next burst may leave, and what the present one has used.
    next_at: Instant,
    credit: Duration,
    /// Packets on their way: when they left, and when their acknowledgement comes.
    flying: VecDeque<(Instant, Instant)>,
    sent: u64,
    acknowledged: u64,
    /// Of a slow start that ends at the ceiling.
    window: u64,
    allowance: Allowance,
}

/// What was seen in some time.
#[derive(Debug)]
struct Seen {
    bytes: u64,
    /// How long the last packet of each acknowledgement waited for the bottleneck.
    queues: Vec<Duration>,
}

impl Seen {
    fn worst(&self) -> Duration {
        self.queues.iter().copied().max().unwrap_or_default()
    }

    /// The queue that 99 of 100 acknowledgements stayed below.
    fn p99(&self) -> Duration {
        let mut queues = self.queues.clone();
        queues.sort_unstable();
        queues
            .get(queues.len() * 99 / 100)
            .copied()
            .unwrap_or_default()
    }
}

impl Path {
    fn new(rate: u64, round_trip: Duration, ceiling: u64) -> Self {
        let now = start();
        Self {
            rate,
            round_trip,
            jitter: Duration::ZERO,
            random: 1,
            ceiling,
            now,
            free_at: now,
            next_at: now,
            credit: Duration::ZERO,
            flying: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
            window: FLOOR,
            allowance: Allowance::new(FLOOR),
        }
    }

    fn in_flight(&self) -> u64 {
        self.flying.len() as u64 * PACKET
    }

    fn may(&self) -> u64 {
        let window = self.window.min(self.allowance.bytes());
        window.min(self.ceiling)
    }

    /// A part of the jitter, from a linear congruential generator.
    fn noise(&mut self) -> Duration {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.jitter
            .mul_f64((self.random >> 40) as f64 / f64::from(1 << 24))
    }

    /// Sends what may leave now. Packets are spaced as quinn does it: a quarter faster than a window
    /// in a round trip, in bursts of 2 ms. Returns when the next one may leave.
    fn fill(&mut self) -> Option<Instant> {
        while self.in_flight() + PACKET <= self.may() {
            if self.now < self.next_at {
                return Some(self.next_at);
            }
            let takes = Duration::from_nanos(PACKET * 1_000_000_000 / self.rate);
            self.free_at = self.free_at.max(self.now) + takes;
            let last = self.flying.back().map(|(_, at)| *at);
            let at = self.free_at + self.round_trip + self.noise();
            let at = last.map_or(at, |last| at.max(last));
            self.flying.push_back((self.now, at));
            self.sent += 1;
            self.allowance.sent(self.sent);
            let spaced = self
                .round_trip
                .mul_f64(PACKET as f64 / self.may() as f64 / 1.25);
            self.credit += spaced;
            if self.credit > 2 * MS {
                self.next_at = self.now + self.credit;
                self.credit = Duration::ZERO;
            }
        }
        None
    }

    /// Runs it for so long.
    fn run(&mut self, time: Duration) -> Seen {
        let (end, mut seen) = (
            self.now + time,
            Seen {
                bytes: 0,
                queues: Vec::new(),
            },
        );
        while self.now < end {
            let next = self.fill();
            let together = TOGETHER.min(self.flying.len());
            let due = together.checked_sub(1).map(|last| self.flying[last]);
            let (left, at) = match (due, next) {
                (Some((_, at)), Some(next)) if next < at => {
                    self.now = next;
                    continue;
                }
                (None, Some(next)) => {
                    self.now = next;
                    continue;
                }
                (Some(due), _) => due,
                (None, None) => unreachable!("there is always something to send"),
            };
            let waits = next.is_none() && self.may() < self.ceiling;
            self.now = self.now.max(at);
            for (left, _) in self.flying.drain(..together) {
                self.allowance.acknowledged(self.now, left, PACKET);
                self.acknowledged += 1;
                seen.bytes += PACKET;
                if self.window <= self.allowance.bytes() {
                    self.window = (self.window + PACKET).min(self.ceiling);
                }
            }
            let queue = (self.now - left).saturating_sub(self.round_trip);
            seen.queues.push(queue);
            let in_flight = self.in_flight();
            self.allowance
                .ended(self.now, in_flight, self.acknowledged, waits);
        }
        seen
    }
}

/// The path of a loopback, of a gigabit in one house, of two continents, and a slow one.
const PATHS: [(u64, Duration); 4] = [
    (400_000_000, Duration::from_micros(100)),
    (125_000_000, Duration::from_micros(500)),
    (12_500_000, Duration::from_millis(200)),
    (125_000_000, Duration::from_millis(20)),
];

#[test]
fn a_sender_that_never_stops_makes_no_long_queue_and_fills_the_path() {
    for (rate, round_trip) in PATHS {
        let mut path = Path::new(rate, round_trip, 16 << 20);
        // Slow start.
        path.run(round_trip * 20 + 200 * MS);
        // On the longest path beyond the time at which the queue is drained.
        let long = round_trip > 100 * MS;
        let time = if long { WAY_PERIOD } else { 500 * MS } + 2_000 * MS;
        let seen = path.run(time);
        let share = seen.bytes as f64 / time.as_secs_f64() / rate as f64;
        let p99 = seen.p99();
        assert!(share > 0.95, "{rate} B/s, {round_trip:?}: {share}");
        let most = if long { 10 * MS } else { 3 * MS };
        assert!(p99 < most, "{rate} B/s, {round_trip:?}: {p99:?}");
    }
}

/// Too little is on its way for a queue of its own, however late it comes.
#[test]
fn as_much_as_a_link_begins_with_is_always_allowed() {
    let mut path = Path::new(1_000_000, 20 * MS, FLOOR - PACKET);
    let seen = path.run(Duration::from_secs(5));
    assert!(seen.worst() > 100 * MS, "{:?}", seen.worst());
    assert_eq!(path.allowance.bytes(), u64::MAX);
    path.ceiling = 16 << 20;
    path.run(Duration::from_secs(5));
    assert!(path.allowance.bytes() < FLOOR * 5 / 4);
}

/// Twice the bandwidth is used soon, and half of it makes no long queue for long.
#[test]
fn a_path_that_changes_is_followed() {
    let mut path = Path::new(12_500_000, 50 * MS, 16 << 20);
    path.run(Duration::from_secs(5));
    path.rate = 25_000_000;
    path.run(Duration::from_secs(2));
    let seen = path.run(Duration::from_secs(3));
    assert!(seen.bytes > 70_000_000, "{}", seen.bytes);
    path.rate = 12_500_000;
    path.run(Duration::from_secs(4));
    let seen = path.run(Duration::from_secs(3));
    assert!(seen.p99() < 20 * MS, "{:?}", seen.p99());
    assert!(seen.bytes > 35_000_000, "{}", seen.bytes);
    // A longer way is no queue, once the shorter one is forgotten.
    path.round_trip = 100 * MS;
    path.run(Duration::from_secs(30));
    let seen = path.run(Duration::from_secs(3));
    assert!(seen.bytes > 34_000_000, "{}", seen.bytes);
}

/// Noise is no queue of ours: what it delays is not held back, without end, for it. The longest one
/// here is longer than the way itself, and no sender can tell it from a queue for sure.
#[test]
fn a_path_whose_delay_varies_keeps_its_speed() {
    for (jitter, least) in [(2, 0.8), (5, 0.8), (20, 0.8), (60, 0.45)] {
        let mut path = Path::new(12_500_000, 50 * MS, 16 << 20);
        path.jitter = jitter * MS;
        path.run(Duration::from_secs(10));
        let seen = path.run(Duration::from_secs(30));
        let share = seen.bytes as f64 / 30.0 / 12_500_000.0;
        assert!(share > least, "{jitter} ms: {share}");
    }
}

/// Others fill a queue in front of ours, which ours cannot shorten.
#[test]
fn a_queue_of_others_is_not_waited_for() {
    let mut path = Path::new(12_500_000, 50 * MS, 16 << 20);
    path.run(Duration::from_secs(5));
    path.round_trip = 90 * MS;
    path.run(Duration::from_secs(2));
    let seen = path.run(Duration::from_secs(20));
    let share = seen.bytes as f64 / 20.0 / 12_500_000.0;
    assert!(share > 0.9, "{share}");
}

/// An idle second changes nothing.
#[test]
fn an_idle_path_keeps_what_it_knows() {
    let mut path = Path::new(12_500_000, 50 * MS, 16 << 20);
    path.run(Duration::from_secs(5));
    let before = path.allowance.bytes();
    path.flying.clear();
    path.now += Duration::from_secs(1);
    path.ceiling = PACKET;
    path.acknowledged = path.sent;
    path.run(Duration::from_secs(5));
    assert!(path.allowance.bytes() >= before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever the path, and whatever limits the sender: never less than the floor, no queue that
    /// stays, and the bandwidth is used.
    #[test]
    fn any_path(
        megabits in 20_u64..4_000,
        round_trip_us in 50_u64..150_000,
    ) {
        let (rate, round_trip) = (megabits * 125_000, Duration::from_micros(round_trip_us));
        let mut path = Path::new(rate, round_trip, 16 << 20);
        path.run(round_trip * 30 + 300 * MS);
        prop_assert!(path.allowance.bytes() >= FLOOR);
        // Long enough for what a look costs, two rounds at three quarters, to be little of it.
        let time = round_trip * 40 + 800 * MS;
        let seen = path.run(time);
        let carries = (rate as f64 * time.as_secs_f64())
            .min((16 << 20) as f64 / round_trip.as_secs_f64() * time.as_secs_f64());
        let share = seen.bytes as f64 / carries;
        prop_assert!(share > 0.9, "{share}");
        let floor = Duration::from_secs_f64(FLOOR as f64 / rate as f64);
        // A look may take a late round for noise, and allow as much again until the next one.
        let most = (QUEUE_MIN.max(round_trip / QUEUE_PART)) * 4 + 5 * MS + floor;
        prop_assert!(seen.p99() < most, "{:?} of {most:?}", seen.p99());
    }

    /// Whatever comes in, in whatever order: no panic, never below the floor.
    #[test]
    fn any_input(events in prop::collection::vec((0_u64..50_000, 0_u64..50_000, any::<u64>(), any::<u64>(), any::<bool>()), 0..200)) {
        let mut allowance = Allowance::new(FLOOR);
        let mut now = start();
        let origin = now;
        for (pause, ago, bytes, packet, waits) in events {
            now += Duration::from_micros(pause);
            allowance.sent(packet);
            let sent = now.checked_sub(Duration::from_micros(ago)).unwrap_or(origin);
            allowance.acknowledged(now, sent, bytes);
            allowance.ended(now, bytes, packet, waits);
            if pause % 7 == 0 {
                allowance.lost(bytes);
            }
            prop_assert!(allowance.bytes() >= FLOOR);
        }
    }
}
