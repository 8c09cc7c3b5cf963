//! Where a value stands on an axis, and which values an axis names. Pure.

/// How an axis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// From 0.
    Linear,
    /// In powers, from the tick below the smallest value.
    Log,
    /// In powers, and bars begin at 1, where both are the same.
    Ratio,
}

/// An axis of these values.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    run: Run,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

/// More names than this do not fit beside each other.
const TICKS_MAX: usize = 9;

impl Scale {
    /// `None` where there is nothing to show, or a logarithm of nothing.
    pub(crate) fn of(run: Run, values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let high = values.clone().reduce(f64::max)?;
        let low = values.reduce(f64::min)?;
        if !high.is_finite() || high <= 0.0 || (run != Run::Linear && low <= 0.0) {
            return None;
        }
        let ticks = match run {
            Run::Linear => linear(high),
            Run::Log => powers(low, high),
            Run::Ratio => powers(low.min(1.0), high.max(1.0)),
        };
        let (low, high) = (*ticks.first()?, *ticks.last()?);
        Some(Self {
            run,
            low,
            high,
            ticks,
        })
    }

    /// From 0 at the lower end to 1 at the upper one.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let place = match self.run {
            Run::Linear => value / self.high,
            Run::Log | Run::Ratio => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        place.clamp(0.0, 1.0)
    }

    /// Where bars begin.
    pub(crate) fn foot(&self) -> f64 {
        match self.run {
            Run::Linear | Run::Log => 0.0,
            Run::Ratio => self.place(1.0),
        }
    }

    /// What the axis names: only the powers of ten where all would be too many.
    pub(crate) fn ticks(&self) -> impl Iterator<Item = f64> {
        let many = self.run != Run::Linear && self.ticks.len() > TICKS_MAX;
        let named = move |tick: &f64| !many || (tick.log10() - tick.log10().round()).abs() < 1e-9;
        self.ticks.iter().copied().filter(named)
    }
}

/// 1, 2 and 5 times the power of ten with this exponent.
fn lattice(exponent: i32) -> [f64; 3] {
    [1.0, 2.0, 5.0].map(|digit: f64| digit * 10_f64.powi(exponent))
}

/// From 0 in at most ten equal steps of 1, 2 or 5 times a power of ten to above the value.
fn linear(high: f64) -> Vec<f64> {
    let step = (-6..12)
        .flat_map(lattice)
        .find(|step| high / step <= 6.0)
        .unwrap_or(high);
    let mut ticks = vec![0.0];
    let mut count = 0.0;
    while ticks.last().is_some_and(|last| *last < high) {
        count += 1.0;
        ticks.push(step * count);
    }
    ticks
}

/// The lattice from the last at or below the lowest value to the first above the highest.
fn powers(low: f64, high: f64) -> Vec<f64> {
    let all: Vec<f64> = (-6..12).flat_map(lattice).collect();
    let first = all.iter().rposition(|tick| *tick <= low).unwrap_or(0);
    let last = all.iter().position(|tick| *tick > high);
    all[first..=last.unwrap_or(all.len() - 1)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(run: Run, values: &[f64]) -> Vec<f64> {
        Scale::of(run, values.iter().copied())
            .unwrap()
            .ticks()
            .collect()
    }

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        assert_eq!(
            ticks(Run::Linear, &[3.0, 11.0]),
            [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
        );
        assert_eq!(ticks(Run::Log, &[30.0, 110.0]), [20.0, 50.0, 100.0, 200.0]);
        assert_eq!(
            ticks(Run::Log, &[3.0, 110_000.0]),
            [10.0, 100.0, 1e3, 1e4, 1e5]
        );
    }

    #[test]
    fn bars_of_ratios_begin_at_one() {
        let scale = Scale::of(Run::Ratio, [0.6, 12.0].into_iter()).unwrap();
        assert!(scale.place(0.6) < scale.foot() && scale.foot() < scale.place(12.0));
        let above = Scale::of(Run::Ratio, [3.0].into_iter()).unwrap();
        assert_eq!(above.foot(), 0.0);
    }

    #[test]
    fn nothing_has_no_scale() {
        assert!(Scale::of(Run::Linear, std::iter::empty()).is_none());
        assert!(Scale::of(Run::Log, [0.0, 1.0].into_iter()).is_none());
    }
}
