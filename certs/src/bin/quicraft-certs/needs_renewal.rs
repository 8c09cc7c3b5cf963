//! `needs-renewal`: a question for scripts, answered by the exit code.

use std::path::PathBuf;

use clap::Args;
use quicraft_certs::WallClock;

use crate::date::{DAY, date, distance};
use crate::failure::Failure;
use crate::pem::first_certificate;
use crate::report::Report;

/// Ask whether a certificate is to be renewed: exit 0 renew now, 1 not yet, 2 error
///
/// It is due after two thirds of its life, or with --within, so many days before its end. One that
/// has expired is due too. In a script: if quicraft-certs needs-renewal --cert FILE; then ...; fi
#[derive(Debug, Args)]
pub(crate) struct NeedsRenewal {
    /// The certificate
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Due so many days before the end [default: after two thirds of the life]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(0..=36_500))]
    within: Option<u64>,
}

impl NeedsRenewal {
    /// What every error exits with: 1 is an answer here.
    const ERROR: u8 = 2;

    pub(crate) fn run(self) -> Result<Report, Failure> {
        self.answer()
            .map_err(|failure| failure.exiting_with(Self::ERROR))
    }

    fn answer(&self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let (_, facts) = first_certificate(&self.cert)?;
        let due = due(facts.not_before, facts.not_after, self.within);
        let now = WallClock::system().now().as_secs();
        let is_due = now >= due;
        report.exit_with(u8::from(!is_due));
        report.line(format!(
            "{}: {}, due {} ({}), ends {} ({})",
            self.cert.display(),
            if is_due { "renew now" } else { "not yet" },
            distance(now, due),
            date(due),
            distance(now, facts.not_after),
            date(facts.not_after)
        ));
        report.field("cert", self.cert.display().to_string());
        report.field("needs_renewal", is_due);
        report.field("expired", now > facts.not_after);
        report.field("due", date(due));
        report.field("not_after", date(facts.not_after));
        Ok(report)
    }
}

/// When a certificate is to be renewed: as `Credentials::renewal_due` of the library, or so many
/// days before its end.
pub(crate) const fn due(not_before: u64, not_after: u64, within: Option<u64>) -> u64 {
    match within {
        Some(days) => not_after.saturating_sub(days * DAY),
        None => not_before.saturating_add(not_after.saturating_sub(not_before) / 3 * 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thirds_of_the_life_or_days_before_the_end() {
        assert_eq!(due(100, 400, None), 300);
        assert_eq!(due(400, 100, None), 400);
        assert_eq!(due(0, 10 * DAY, Some(3)), 7 * DAY);
        assert_eq!(due(0, 10 * DAY, Some(0)), 10 * DAY);
        assert_eq!(due(0, DAY, Some(2)), 0);
    }
}
