//! How often a refusal is logged. Whoever can reach the socket causes refusals, and must not be
//! able to fill a disk with them.

use std::sync::atomic::{AtomicU64, Ordering};

use rustls_pki_types::UnixTime;

/// Lines per second. Enough to see every peer of a large cluster refused after a bad rotation,
/// and at about 200 bytes a line under 200 MB a day under attack.
const LINES_PER_SECOND: u64 = 10;

/// Lets a few lines pass in each second, and counts the others.
///
/// The two numbers are not changed as one: under contention a line more or less may pass, which
/// does no harm.
#[derive(Debug)]
pub(crate) struct LogLimit {
    second: AtomicU64,
    asked: AtomicU64,
}

impl LogLimit {
    pub(crate) const fn new() -> Self {
        Self {
            second: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// How many lines were left out before this one; `None` if this one is left out too.
    pub(crate) fn admit(&self, now: UnixTime) -> Option<u64> {
        let now = now.as_secs();
        if self.second.swap(now, Ordering::AcqRel) != now {
            let asked = self.asked.swap(1, Ordering::AcqRel);
            return Some(asked.saturating_sub(LINES_PER_SECOND));
        }
        let before = self.asked.fetch_add(1, Ordering::AcqRel);
        (before < LINES_PER_SECOND).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::from_timestamp;

    #[test]
    fn a_second_has_its_lines_and_no_more() {
        let limit = LogLimit::new();
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(limit.admit(from_timestamp(7)), Some(0));
        }
        assert_eq!(limit.admit(from_timestamp(7)), None);
        assert_eq!(limit.admit(from_timestamp(7)), None);
        assert_eq!(limit.admit(from_timestamp(8)), Some(2));
        assert_eq!(limit.admit(from_timestamp(9)), Some(0));
    }
}
