//! One network, and the cluster that is started on it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use openraft::Config;
use quicraft_tests::sim::SimSpec;
use quicraft_tests::switch::Conditions;
use quicraft_transport::Congestion;

use crate::pair::Failure;

/// Who decides how fast a link may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Cubic,
    Bbr,
}

impl Controller {
    pub(super) const ALL: [Self; 2] = [Self::Cubic, Self::Bbr];

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// One network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) controller: Controller,
    /// Milliseconds.
    pub(super) round_trip: u64,
    /// Lost datagrams of a hundred, in each direction.
    pub(super) loss: f64,
    seed: u64,
}

impl Setting {
    pub(super) const fn new(controller: Controller, round_trip: u64, loss: f64, seed: u64) -> Self {
        Self {
            controller,
            round_trip,
            loss,
            seed,
        }
    }

    pub(super) const fn round_trip(&self) -> Duration {
        Duration::from_millis(self.round_trip)
    }

    /// Three nodes whose timing fits the distance.
    pub(super) fn spec(&self, groups: u64) -> SimSpec {
        let mut spec = SimSpec::new(3, groups, self.round_trip()).timed_as(raft(self.round_trip));
        spec.conditions = Conditions {
            loss: self.loss / 100.0,
            ..spec.conditions
        };
        spec.transport.congestion = match self.controller {
            Controller::Cubic => Congestion::Cubic,
            Controller::Bbr => Congestion::Bbr,
        };
        spec.seeded(self.seed)
    }

    /// Runs it in virtual time.
    pub(super) fn run<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        runtime.block_on(work)
    }
}

/// A heartbeat of four round trips, at least 200 ms, and an election after four to eight of them:
/// at 100 ms what this project recommends there.
fn raft(round_trip: u64) -> Config {
    let heartbeat = (4 * round_trip).max(200);
    Config {
        heartbeat_interval: heartbeat,
        election_timeout_min: 4 * heartbeat,
        election_timeout_max: 8 * heartbeat,
        ..quicraft_tests::raft::config()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_follow_the_distance() {
        let of = |round_trip| {
            let config = raft(round_trip);
            let Config {
                heartbeat_interval,
                election_timeout_min,
                election_timeout_max,
                ..
            } = config;
            (
                heartbeat_interval,
                election_timeout_min,
                election_timeout_max,
            )
        };
        assert_eq!(of(20), (200, 800, 1_600));
        assert_eq!(of(100), (400, 1_600, 3_200));
        assert_eq!(of(200), (800, 3_200, 6_400));
    }

    #[test]
    fn the_network_is_as_it_was_asked_for() {
        let spec = Setting::new(Controller::Bbr, 50, 3.0, 7).spec(2);
        assert_eq!(spec.conditions.delay, Duration::from_millis(25));
        assert!((spec.conditions.loss - 0.03).abs() < 1e-12);
        assert_eq!(spec.transport.congestion, Congestion::Bbr);
        assert_eq!((spec.seed, spec.groups, spec.nodes), (7, 2, 3));
    }
}
