//! The waits between two attempts of one request. It must not know what the attempts are.

use std::time::Duration;

/// Waits that double from a shortest to a longest one, each spread over its upper half, so that the
/// requests that met the same election do not come back at the same moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    /// From `shortest` to `longest`.
    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            next: shortest,
            longest,
        }
    }

    /// The next wait: between half of the present step and all of it. `random` is uniform in 0..1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let step = self.next.min(self.longest);
        self.next = (step * 2).min(self.longest);
        step / 2 + (step / 2).mul_f64(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        let mut pause = Pause::new(ms(20), ms(70));
        let waits: Vec<_> = (0..4).map(|_| pause.next(1.0)).collect();
        assert_eq!(waits, [ms(20), ms(40), ms(70), ms(70)]);
        assert_eq!(Pause::new(ms(20), ms(70)).next(0.0), ms(10));
    }
}
