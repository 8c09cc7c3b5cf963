//! How long calls took, and the share of them that took longer.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::pair::Failure;

/// Up to a minute; three digits keep every value within a thousandth.
const NANOS_MAX: u64 = 60_000_000_000;

/// The latencies of one round.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self(Histogram::new_with_bounds(1, NANOS_MAX, 3)?))
    }

    /// Takes one; what is longer than a minute counts as a minute.
    pub(crate) fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(NANOS_MAX);
        self.0.saturating_record(nanos);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// What a share of all, from 0 to 1, did not exceed, in microseconds.
    pub(crate) fn micros_at(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_that_were_not_slower() {
        let mut latencies = Latencies::new().unwrap();
        for micros in 1..=1_000 {
            latencies.add(Duration::from_micros(micros));
        }
        latencies.add(Duration::from_secs(3_600));
        assert_eq!(latencies.count(), 1_001);
        let near = |share: f64, micros: f64| {
            let found = latencies.micros_at(share);
            assert!((found / micros - 1.0).abs() < 0.003, "{share}: {found}");
        };
        near(0.5, 501.0);
        near(0.99, 991.0);
        near(1.0, 60_000_000.0);
    }
}
