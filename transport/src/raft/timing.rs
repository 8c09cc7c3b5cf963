//! What an openraft configuration means for the timing of links.
//!
//! This room only computes; it must not know links or settings of the transport.

use std::time::Duration;

use openraft::Config;

use super::limits::{DERIVED_DIAL_BACKOFF_MAX, DERIVED_IDLE_TIMEOUT, DERIVED_INITIAL_RTT};

/// The settings of a transport that follow from Raft's heartbeat and election timeouts.
///
/// With groups of different configurations on one transport, use the one with the shortest election
/// timeout: a link serves all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaftTiming {
    /// Wait before the first redial of a peer. An eighth of the shortest election timeout.
    pub dial_backoff_min: Duration,
    /// Longest wait before a redial, before jitter. Half the shortest election timeout (at most
    /// 5 s), so that a peer that is back takes part in the next election.
    pub dial_backoff_max: Duration,
    /// Silence after which a link is given up. Twice the longest election timeout, within 1.5 to
    /// 30 s: Raft elects around a silent peer long before, and a link should outlive one election.
    pub idle_timeout: Duration,
    /// Silence after which a link is probed. A quarter of the idle timeout, so that three probes
    /// may be lost.
    pub keep_alive: Duration,
    /// What is assumed of the first round trip. A quarter of the heartbeat interval, within 20 to
    /// 333 ms: an interval is meant to be at least two round trips, and a first packet that is lost
    /// is repeated after three times this.
    pub initial_rtt: Duration,
}

impl RaftTiming {
    /// Derives the settings. Never fails; a configuration that openraft would refuse gives what its
    /// numbers say.
    #[must_use]
    pub fn derive(config: &Config) -> Self {
        let heartbeat = Duration::from_millis(config.heartbeat_interval);
        let election_min = Duration::from_millis(config.election_timeout_min);
        let election_max = Duration::from_millis(config.election_timeout_max);

        let dial_backoff_max = (election_min / 2).min(DERIVED_DIAL_BACKOFF_MAX);
        let (idle_min, idle_max) = DERIVED_IDLE_TIMEOUT;
        let idle_timeout = election_max.saturating_mul(2).clamp(idle_min, idle_max);
        let (rtt_min, rtt_max) = DERIVED_INITIAL_RTT;
        Self {
            dial_backoff_min: (election_min / 8).min(dial_backoff_max),
            dial_backoff_max,
            idle_timeout,
            keep_alive: idle_timeout / 4,
            initial_rtt: (heartbeat / 4).clamp(rtt_min, rtt_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(heartbeat: u64, election_min: u64, election_max: u64) -> RaftTiming {
        RaftTiming::derive(&Config {
            heartbeat_interval: heartbeat,
            election_timeout_min: election_min,
            election_timeout_max: election_max,
            ..Config::default()
        })
    }

    #[test]
    fn the_defaults_of_this_project() {
        let ms = Duration::from_millis;
        assert_eq!(
            derived(200, 1_000, 2_000),
            RaftTiming {
                dial_backoff_min: ms(125),
                dial_backoff_max: ms(500),
                idle_timeout: ms(4_000),
                keep_alive: ms(1_000),
                initial_rtt: ms(50),
            }
        );
    }

    #[test]
    fn the_bounds_hold() {
        let fast = derived(50, 150, 300);
        assert_eq!(fast.idle_timeout, DERIVED_IDLE_TIMEOUT.0);
        assert_eq!(fast.initial_rtt, DERIVED_INITIAL_RTT.0);
        let slow = derived(60_000, 120_000, 240_000);
        assert_eq!(slow.idle_timeout, DERIVED_IDLE_TIMEOUT.1);
        assert_eq!(slow.initial_rtt, DERIVED_INITIAL_RTT.1);
        assert_eq!(slow.dial_backoff_max, DERIVED_DIAL_BACKOFF_MAX);
        // A nonsensical configuration must not overflow.
        let absurd = derived(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(absurd.idle_timeout, DERIVED_IDLE_TIMEOUT.1);
    }

    proptest::proptest! {
        #[test]
        fn a_redial_is_due_before_the_next_election(
            heartbeat in 1..100_000_u64, election in 2..1_000_000_u64, spread in 1..100_000_u64,
        ) {
            let timing = derived(heartbeat, election, election + spread);
            assert!(timing.dial_backoff_min <= timing.dial_backoff_max);
            assert!(timing.dial_backoff_max < Duration::from_millis(election));
            assert!(timing.keep_alive < timing.idle_timeout / 3);
        }
    }
}
