//! openraft's settings for networks near and far, and the judgement whether given ones are safe.
//!
//! Pure: durations in, settings out. It must not know links, groups or who measures a round trip.
//!
//! Where openraft's words mislead: a follower campaigns after `election_timeout_max` (the leader's
//! lease) **and** a random time between `election_timeout_min` and `election_timeout_max`. So with
//! [`lan`] a dead leader is replaced after 1.8 to 2.4 s, not after 0.6 to 1.2 s.

mod judge;
mod stagger;
#[cfg(test)]
mod tests;

use std::time::Duration;

use openraft::Config;

pub use judge::{Advice, TimingJudgement, TimingWarning, UnsafeTiming, judge};
pub use stagger::staggered;

/// The heartbeat of [`lan`]. A group then costs each follower 7 small messages a second, which share
/// frames; half of it would double what a thousand idle groups cost, to save half a second per
/// failure. 75 ms of round trip are safe with it.
const LAN_HEARTBEAT: Duration = Duration::from_millis(150);

/// The shortest heartbeat of [`wan`]: between data centres a failover of 4 s is usual, and paths
/// change by tens of milliseconds.
const WAN_HEARTBEAT_MIN: Duration = Duration::from_millis(250);

/// Heartbeats are at least so many round trips apart. openraft gives a heartbeat up after its
/// interval: with two round trips, an answer may still take twice as long as usual.
const HEARTBEAT_ROUND_TRIPS: u32 = 2;

/// The shortest election timeout in heartbeats. Three heartbeats in a row may be lost or late.
const ELECTION_HEARTBEATS: u32 = 4;

/// The longest election timeout in shortest ones: the range in which voters draw is as wide as the
/// shortest, so that two seldom draw the same.
const ELECTION_SPREAD: u32 = 2;

/// How long a snapshot may stand still, nearby. openraft's 200 ms are shorter than an fsync of a
/// busy disk.
const LAN_SNAPSHOT: Duration = Duration::from_secs(5);

/// The same between data centres: longer than a path needs to come back after a change of routes.
const WAN_SNAPSHOT: Duration = Duration::from_secs(10);

/// Entries of one append between data centres. The transport bounds bytes by itself and splits what
/// is larger than a frame; fewer, larger messages catch a follower up with fewer answers.
const WAN_PAYLOAD_ENTRIES: u64 = 1_024;

/// Settings for nodes within 75 ms of each other: heartbeat 150 ms, election 600 to 1,200 ms, a
/// snapshot may stand still for 5 s.
///
/// Both presets turn pre-vote on, so that a node that was cut off does not unseat a leader when it
/// comes back; set `enable_leader_restore: Some(false)`, because a leader that restarts may have lost
/// entries that its followers hold, and must not give their log ids to others; and suppress
/// heartbeats to followers that acknowledged an append within the last half interval.
/// Everything else is openraft's default, and the host's to change.
#[must_use]
pub fn lan() -> Config {
    preset(LAN_HEARTBEAT, LAN_SNAPSHOT)
}

/// Settings for nodes whose largest round trip is `round_trip_max`: heartbeats two round trips apart
/// and at least 250 ms, the shortest election timeout 4 heartbeats, the longest 8, a snapshot may
/// stand still for 10 s, and up to 1,024 entries go into one append. See [`lan`] for the rest.
///
/// The transport's own times follow from the result:
/// `TransportConfig::with_timing(RaftTiming::derive(&config))`.
#[must_use]
pub fn wan(round_trip_max: Duration) -> Config {
    let heartbeat = round_trip_max
        .saturating_mul(HEARTBEAT_ROUND_TRIPS)
        .max(WAN_HEARTBEAT_MIN);
    Config {
        max_payload_entries: WAN_PAYLOAD_ENTRIES,
        ..preset(heartbeat, WAN_SNAPSHOT)
    }
}

fn preset(heartbeat: Duration, snapshot: Duration) -> Config {
    let heartbeat = millis(heartbeat);
    let election_min = heartbeat.saturating_mul(u64::from(ELECTION_HEARTBEATS));
    Config {
        heartbeat_interval: heartbeat,
        // Half: an idle group keeps its full rate, and the longest gap under writes, 1.7 intervals,
        // stays far below an election timeout.
        heartbeat_min_interval: Some(heartbeat / 2),
        election_timeout_min: election_min,
        election_timeout_max: election_min.saturating_mul(u64::from(ELECTION_SPREAD)),
        install_snapshot_timeout: millis(snapshot),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}

/// Whole milliseconds, rounded up, as openraft counts. At most an hour, so that no sum of openraft's
/// overflows; no network is that slow.
fn millis(time: Duration) -> u64 {
    const HOUR: u64 = 3_600_000;
    let whole = time.as_micros().div_ceil(1_000);
    u64::try_from(whole).unwrap_or(HOUR).min(HOUR)
}
