//! How long to wait before the next dial: doubling, with jitter.
//!
//! Pure: the caller brings the random number.

use std::time::Duration;

/// The waits between dials of one peer.
///
/// Each wait is drawn between half of a step and all of it, and the steps double from `min` to
/// `max`, so that peers that lost the same node do not knock in step ("equal jitter").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
}

impl Backoff {
    /// Waits from `min` up to `max`.
    #[must_use]
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            step: min,
        }
    }

    /// The next wait; `random` is uniform in 0..1.
    pub fn next_wait(&mut self, random: f64) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.max);
        step / 2 + (step / 2).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Starts over, after a success.
    pub const fn reset(&mut self) {
        self.step = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_to_the_maximum_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        let waits: Vec<_> = (0..5).map(|_| backoff.next_wait(1.0)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(500), ms(500)]);
        backoff.reset();
        assert_eq!(backoff.next_wait(0.0), ms(50));
    }

    proptest! {
        #[test]
        fn every_wait_lies_between_half_a_step_and_the_maximum(randoms in proptest::collection::vec(0.0..1.0_f64, 1..40)) {
            let (min, max) = (Duration::from_millis(20), Duration::from_millis(700));
            let mut backoff = Backoff::new(min, max);
            for random in randoms {
                let wait = backoff.next_wait(random);
                prop_assert!(wait >= min / 2 && wait <= max);
            }
        }
    }
}
