//! The wall clock: the one place of the workspace that reads it. Certificates and CRLs have dates
//! in wall time; every other wait uses the runtime's clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// Where the date comes from: the system, or a hand that sets it.
///
/// Certificates are judged by seconds, so a clock has a resolution of one second. A clone of a
/// manual clock is the same clock.
#[derive(Clone, Default)]
pub struct WallClock(Source);

#[derive(Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl WallClock {
    /// The clock of the operating system. This is the default.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until it is set: for tests and for simulated time.
    #[must_use]
    pub fn manual(start: UnixTime) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start.as_secs()))))
    }

    /// The time now.
    ///
    /// A system clock before 1970 reads as 1970. Then no certificate is valid yet, so nobody is
    /// let in by a broken clock.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    pub fn now(&self) -> UnixTime {
        match &self.0 {
            Source::System => UnixTime::since_unix_epoch(
                SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default(),
            ),
            Source::Manual(seconds) => {
                UnixTime::since_unix_epoch(Duration::from_secs(seconds.load(Ordering::Acquire)))
            }
        }
    }

    /// Moves a manual clock forward; a system clock is left alone. It stops at [`u64::MAX`]
    /// seconds.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(seconds) = &self.0 {
            // The closure never returns `None`, so both arms carry the former value, which
            // nobody needs.
            let (Ok(_) | Err(_)) =
                seconds.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                    Some(now.saturating_add(by.as_secs()))
                });
        }
    }

    /// Sets a manual clock, forward or back; a system clock is left alone.
    pub fn set(&self, to: UnixTime) {
        if let Source::Manual(seconds) = &self.0 {
            seconds.store(to.as_secs(), Ordering::Release);
        }
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System => f.write_str("WallClock::system"),
            Source::Manual(_) => write!(f, "WallClock::manual({})", self.now().as_secs()),
        }
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

/// `time` moved by `by`, for limits such as "nextUpdate and a day".
pub(crate) fn after(time: UnixTime, by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        time.as_secs().saturating_add(by.as_secs()),
    ))
}

/// Seconds of a certificate's date. A date before 1970 reads as 1970.
pub(crate) fn from_timestamp(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_until_it_is_moved() {
        let clock = WallClock::manual(from_timestamp(100));
        let same = clock.clone();
        assert_eq!(same.now().as_secs(), 100);
        clock.advance(Duration::from_secs(5));
        assert_eq!(same.now().as_secs(), 105);
        clock.advance(Duration::MAX);
        assert_eq!(same.now().as_secs(), u64::MAX);
        same.set(from_timestamp(-1));
        assert_eq!(clock.current_time().map(|now| now.as_secs()), Some(0));
    }

    #[test]
    fn the_system_clock_is_later_than_this_code_and_cannot_be_set() {
        let clock = WallClock::system();
        clock.set(from_timestamp(0));
        // 2025-01-01, before this line was written.
        assert!(clock.now().as_secs() > 1_735_689_600);
    }
}
