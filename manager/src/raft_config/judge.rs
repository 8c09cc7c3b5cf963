//! Whether Raft's timeouts suit the round trips that are measured. It must not know who measures.

use std::fmt;
use std::time::Duration;

use openraft::Config;
use serde::{Deserialize, Serialize};

use super::{ELECTION_HEARTBEATS, ELECTION_SPREAD, HEARTBEAT_ROUND_TRIPS, millis};

/// The shortest election timeout in round trips. It is also the time limit of a vote, which takes one
/// round trip and a write on the other node's disk; a lost packet costs about two more.
const ELECTION_ROUND_TRIPS: u32 = 4;

/// Advice has room for round trips that are a quarter longer than the measured one, so that it is
/// not outdated when it was followed.
const ADVICE_ROOM: u32 = 4;

/// What [`judge`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TimingJudgement {
    /// The timeouts suit the round trip.
    Safe,
    /// A healthy peer can look dead: elections without need, and appends that are given up.
    Unsafe {
        /// Which timeout is too short.
        why: UnsafeTiming,
        /// What to set instead.
        advice: Advice,
    },
}

/// Which timeout is too short for a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UnsafeTiming {
    /// The heartbeat interval, which is also the time limit of a heartbeat.
    Heartbeat {
        /// What is set.
        interval: Duration,
        /// Two round trips.
        needed: Duration,
    },
    /// The shortest election timeout, which is also the time limit of a vote.
    Election {
        /// What is set.
        timeout_min: Duration,
        /// Four round trips.
        needed: Duration,
    },
}

/// Values of openraft's `Config` that are safe, in whole milliseconds. None is shorter than what is
/// set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Advice {
    /// `heartbeat_interval`.
    pub heartbeat: Duration,
    /// `election_timeout_min`.
    pub election_min: Duration,
    /// `election_timeout_max`.
    pub election_max: Duration,
}

/// A line of the status, and an event: the round trip to a peer makes the timeouts unsafe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimingWarning {
    /// The peer.
    pub peer: u64,
    /// The round trip that was measured.
    pub round_trip: Duration,
    /// The heartbeat interval that is set.
    pub heartbeat: Duration,
    /// Which timeout is too short.
    pub why: UnsafeTiming,
    /// What to set instead.
    pub advice: Advice,
}

impl TimingWarning {
    /// The warning of `peer`, if the round trip to it is unsafe with these settings.
    #[must_use]
    pub fn of(peer: u64, config: &Config, round_trip: Duration) -> Option<Self> {
        match judge(config, round_trip) {
            TimingJudgement::Safe => None,
            TimingJudgement::Unsafe { why, advice } => Some(Self {
                peer,
                round_trip,
                heartbeat: Duration::from_millis(config.heartbeat_interval),
                why,
                advice,
            }),
        }
    }
}

impl fmt::Display for TimingWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            peer, round_trip, ..
        } = self;
        write!(
            f,
            "node {peer} is {round_trip:?} away; {}; {}",
            self.why, self.advice
        )
    }
}

impl fmt::Display for UnsafeTiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heartbeat { interval, needed } => write!(
                f,
                "heartbeat_interval is {interval:?} and should be at least {needed:?}"
            ),
            Self::Election {
                timeout_min,
                needed,
            } => write!(
                f,
                "election_timeout_min is {timeout_min:?} and should be at least {needed:?}"
            ),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "set heartbeat_interval {}, election_timeout_min {}, election_timeout_max {}",
            self.heartbeat.as_millis(),
            self.election_min.as_millis(),
            self.election_max.as_millis()
        )
    }
}

/// Judges openraft's settings by a measured round trip: a heartbeat interval has to be two of them
/// or more, the shortest election timeout four or more. At the limit they are safe.
///
/// A peer's round trip is `TransportHandle::peer(..).rtt()`. Jitter is not in it: judge a smoothed
/// value, and warn when it stays unsafe.
#[must_use]
pub fn judge(config: &Config, round_trip: Duration) -> TimingJudgement {
    let interval = Duration::from_millis(config.heartbeat_interval);
    let timeout_min = Duration::from_millis(config.election_timeout_min);
    let heartbeat_needed = round_trip.saturating_mul(HEARTBEAT_ROUND_TRIPS);
    let election_needed = round_trip.saturating_mul(ELECTION_ROUND_TRIPS);
    let why = if interval < heartbeat_needed {
        UnsafeTiming::Heartbeat {
            interval,
            needed: heartbeat_needed,
        }
    } else if timeout_min < election_needed {
        UnsafeTiming::Election {
            timeout_min,
            needed: election_needed,
        }
    } else {
        return TimingJudgement::Safe;
    };
    TimingJudgement::Unsafe {
        why,
        advice: advice(config, round_trip),
    }
}

fn advice(config: &Config, round_trip: Duration) -> Advice {
    let roomy = round_trip.saturating_add(round_trip / ADVICE_ROOM);
    let heartbeat = millis(roomy.saturating_mul(HEARTBEAT_ROUND_TRIPS));
    let heartbeat = heartbeat.max(config.heartbeat_interval);
    let election_min = heartbeat.saturating_mul(u64::from(ELECTION_HEARTBEATS));
    let election_min = election_min.max(config.election_timeout_min);
    let election_max = election_min.saturating_mul(u64::from(ELECTION_SPREAD));
    let election_max = election_max.max(config.election_timeout_max);
    Advice {
        heartbeat: Duration::from_millis(heartbeat),
        election_min: Duration::from_millis(election_min),
        election_max: Duration::from_millis(election_max),
    }
}
