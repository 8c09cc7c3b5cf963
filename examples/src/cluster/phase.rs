//! A part of a load that is counted by itself: what clients noticed of one thing that was done.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::client::Written;
use super::limits::SERVED;
use super::load::histogram;

/// What clients noticed.
#[derive(Debug)]
pub struct Phase {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    latency: Histogram<u64>,
    began: Instant,
    last: Instant,
    writes: u64,
    failed: Vec<String>,
}

impl Phase {
    pub(super) fn new() -> Self {
        let began = Instant::now();
        let counts = Counts {
            latency: histogram(),
            began,
            last: began,
            writes: 0,
            failed: Vec::new(),
        };
        let counts = Mutex::new(counts);
        Self { counts }
    }

    /// A write was acknowledged. One that took too long, or whose fate was unknown at first, counts
    /// as failed: an application would not have had its answer.
    pub(super) fn saw(&self, number: u64, written: &Written) {
        let mut counts = self.lock();
        let micros = u64::try_from(written.took.as_micros()).unwrap_or(u64::MAX);
        counts.latency.saturating_record(micros);
        counts.writes += 1;
        counts.last = Instant::now();
        if written.took > SERVED || written.unknown > 0 {
            let (took, unknown) = (written.took, written.unknown);
            let why = written.last.as_deref().unwrap_or("no attempt failed");
            counts.failed.push(format!(
                "write {number} took {took:?}, {unknown} attempts of unknown fate ({why})"
            ));
        }
    }

    /// Writes that were acknowledged.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// The same for each second, from its begin to the last of them.
    #[must_use]
    pub fn writes_per_second(&self) -> f64 {
        let counts = self.lock();
        counts.writes as f64 / (counts.last - counts.began).as_secs_f64().max(0.001)
    }

    /// Writes that count as failed, in words.
    #[must_use]
    pub fn failed(&self) -> Vec<String> {
        self.lock().failed.clone()
    }

    /// 99 of 100 writes were acknowledged within this.
    #[must_use]
    pub fn p99(&self) -> Duration {
        Duration::from_micros(self.lock().latency.value_at_quantile(0.99))
    }

    /// No code panics while it holds this lock, so a poisoned one is still whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_and_unknown_is_failed() {
        let phase = Phase::new();
        let now = Instant::now();
        let written = |took, unknown| Written {
            attempted: now,
            acknowledged: now,
            took,
            retries: 1,
            unknown,
            last: None,
        };
        phase.saw(1, &written(SERVED, 0));
        assert_eq!((phase.writes(), phase.failed().len()), (1, 0));
        phase.saw(2, &written(SERVED + Duration::from_millis(1), 0));
        phase.saw(3, &written(Duration::ZERO, 1));
        assert_eq!((phase.writes(), phase.failed().len()), (3, 2));
        assert!(phase.p99() >= SERVED);
    }
}
