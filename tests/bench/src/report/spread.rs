//! The same figure of several rounds: its median, and how far the rounds lie apart.

use std::fmt;

use crate::pair::Failure;

/// A figure of each round, all of them finite and above 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    /// Takes the figure of one more round.
    ///
    /// # Errors
    ///
    /// One that is not finite and above 0: something did not run, and must not count as a figure.
    pub(crate) fn add(&mut self, figure: f64) -> Result<(), Failure> {
        if !figure.is_finite() || figure <= 0.0 {
            return Err(format!("a round yielded {figure}, which is no figure").into());
        }
        self.0.push(figure);
        // Finite ones have an order.
        self.0.sort_by(f64::total_cmp);
        Ok(())
    }

    /// The middle one, or what lies half way between the two in the middle; `None` of nothing.
    pub(crate) fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        let upper = *self.0.get(middle)?;
        if self.0.len() % 2 == 1 {
            return Some(upper);
        }
        Some(f64::midpoint(self.0[middle - 1], upper))
    }

    /// The lowest and the highest.
    fn range(&self) -> Option<(f64, f64)> {
        Some((*self.0.first()?, *self.0.last()?))
    }
}

impl fmt::Display for Spread {
    /// The median with its range, with as many decimals as the formatter asks for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(median), Some((low, high))) = (self.median(), self.range()) else {
            return f.write_str("-");
        };
        let decimals = f.precision().unwrap_or(1);
        write!(
            f,
            "{median:.decimals$} ({low:.decimals$}..{high:.decimals$})"
        )
    }
}

/// The median of `ours` for each one of `theirs`.
///
/// # Errors
///
/// One of them has no figure.
pub(crate) fn ratio(ours: &Spread, theirs: &Spread) -> Result<f64, Failure> {
    let of = |spread: &Spread| spread.median().ok_or("a ratio of nothing");
    Ok(of(ours)? / of(theirs)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(figures: &[f64]) -> Spread {
        let mut spread = Spread::default();
        for figure in figures {
            spread.add(*figure).unwrap();
        }
        spread
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(spread(&[]).median(), None);
        assert_eq!(spread(&[5.0]).median(), Some(5.0));
        assert_eq!(spread(&[9.0, 1.0]).median(), Some(5.0));
        assert_eq!(spread(&[100.0, 1.0, 3.0]).median(), Some(3.0));
        assert_eq!(spread(&[4.0, 100.0, 1.0, 2.0]).median(), Some(3.0));
    }

    #[test]
    fn the_spread_goes_from_the_lowest_to_the_highest() {
        assert_eq!(format!("{:.0}", spread(&[3.0, 1.0, 8.0])), "3 (1..8)");
        assert_eq!(format!("{:.2}", spread(&[0.25])), "0.25 (0.25..0.25)");
        assert_eq!(format!("{}", spread(&[])), "-");
    }

    #[test]
    fn a_round_that_did_not_run_is_no_figure() {
        for figure in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Spread::default().add(figure).is_err(), "{figure}");
        }
    }

    #[test]
    fn a_ratio_is_one_of_medians() {
        let (ours, theirs) = (spread(&[1.0, 6.0, 7.0]), spread(&[2.0, 3.0, 90.0]));
        assert!((ratio(&ours, &theirs).unwrap() - 2.0).abs() < 1e-12);
        assert!(ratio(&ours, &spread(&[])).is_err());
        assert!(ratio(&spread(&[]), &theirs).is_err());
    }
}
