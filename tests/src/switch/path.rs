//! One direction from a host to a host: decides what becomes of each datagram.
//!
//! No lock, no task and no socket here: a path is told the time and a size, and answers with a
//! [`Fate`].

use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::conditions::Conditions;
use super::counters::Counters;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What becomes of a datagram that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes no further; the counters say why.
    Dropped,
    /// It is due at this time, and so is its copy, if there is one.
    Due { at: Instant, copied: bool },
}

/// One direction from a host to a host.
#[derive(Debug)]
pub(super) struct Path {
    /// The path's own conditions; without them it follows the default of the switch.
    own: Option<Conditions>,
    pub(super) blocked: bool,
    pub(super) counters: Counters,
    rng: StdRng,
    /// When the last byte that waits for the bandwidth will have left.
    free_at: Option<Instant>,
    /// When the latest datagram is due that was not held back: jitter keeps the order by it.
    latest_due: Option<Instant>,
}

impl Path {
    /// The random numbers of a path depend on the seed and its two ends alone. The three are mixed
    /// so that no two paths of a switch, and no path of two seeds, share them.
    pub(super) fn new(seed: u64, from: IpAddr, to: IpAddr) -> Self {
        let from = bits(from) ^ u128::from(seed);
        let to = bits(to) ^ (u128::from(seed) << 64);
        let mut key = [0; 32];
        key[..16].copy_from_slice(&from.to_be_bytes());
        key[16..].copy_from_slice(&to.to_be_bytes());
        Self {
            own: None,
            blocked: false,
            counters: Counters::default(),
            rng: StdRng::from_seed(key),
            free_at: None,
            latest_due: None,
        }
    }

    pub(super) fn conditions<'a>(&'a self, default: &'a Conditions) -> &'a Conditions {
        self.own.as_ref().unwrap_or(default)
    }

    /// From now on these conditions hold.
    pub(super) fn set(&mut self, conditions: Conditions) {
        self.own = Some(conditions);
        self.reroute();
    }

    /// What is under way arrives as it was going to, and what is sent from now on may overtake it,
    /// as after a change of route.
    pub(super) fn reroute(&mut self) {
        self.latest_due = None;
    }

    /// Decides about a datagram of `bytes` that is sent `now`; its sender may be cut off.
    pub(super) fn send(
        &mut self,
        now: Instant,
        bytes: usize,
        cut: bool,
        default: &Conditions,
    ) -> Fate {
        // Always drawn, whether a knob needs it or not: turning one knob then leaves the random
        // choices of the others as they were.
        let [lost, late, copied, jitter]: [f64; 4] = self.rng.random();
        let conditions = self.own.as_ref().unwrap_or(default);

        self.counters.sent += 1;
        self.counters.sent_bytes += bytes as u64;
        if self.blocked || cut {
            self.counters.dropped.blocked += 1;
            return Fate::Dropped;
        }
        if bytes > conditions.mtu {
            self.counters.dropped.too_large += 1;
            return Fate::Dropped;
        }
        let left = match conditions.bandwidth {
            None => now,
            Some(bandwidth) => {
                let limit = conditions.queue_limit().unwrap_or(u64::MAX);
                let starts = self.free_at.map_or(now, |free_at| free_at.max(now));
                let waiting = bytes_in(starts - now, bandwidth) + bytes as u64;
                if waiting > limit {
                    self.counters.dropped.queue_full += 1;
                    return Fate::Dropped;
                }
                self.counters.longest_queue_bytes = self.counters.longest_queue_bytes.max(waiting);
                let left = starts + time_for(bytes, bandwidth);
                self.free_at = Some(left);
                left
            }
        };
        if lost < conditions.loss {
            self.counters.dropped.lost += 1;
            return Fate::Dropped;
        }
        let in_order = (left + conditions.delay + conditions.jitter.mul_f64(jitter))
            .max(self.latest_due.unwrap_or(left));
        let at = if late < conditions.reordering {
            self.counters.reordered += 1;
            in_order + conditions.reordering_delay
        } else {
            self.latest_due = Some(in_order);
            in_order
        };
        let copied = copied < conditions.duplication;
        self.counters.duplicated += u64::from(copied);
        Fate::Due { at, copied }
    }
}

/// IPv4 addresses become their mapped IPv6 form, so that all differ.
fn bits(host: IpAddr) -> u128 {
    match host {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// How many bytes leave in `time`, rounded up, so that a queue is never taken for shorter than it is.
fn bytes_in(time: Duration, bandwidth: u64) -> u64 {
    let bytes = (time.as_nanos() * u128::from(bandwidth)).div_ceil(NANOS_PER_SECOND);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How long `bytes` take, rounded down to a nanosecond.
fn time_for(bytes: usize, bandwidth: u64) -> Duration {
    let nanos = bytes as u128 * NANOS_PER_SECOND / u128::from(bandwidth);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
