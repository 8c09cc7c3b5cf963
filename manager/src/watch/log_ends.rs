//! Since when a log has had its entries: what turns a lag in entries into one in seconds.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Ends of a log that are kept. When it is full, every other of the older half goes: what lies far
/// back is then known less exactly, the oldest of all still exactly. 64 take 1.5 KiB per group, and
/// only where a follower lacks entries that old.
const ENDS_MAX: usize = 64;

/// Where a leader's log ended, and since when, oldest first.
#[derive(Debug, Default)]
pub(crate) struct LogEnds {
    ends: VecDeque<(Instant, u64)>,
}

impl LogEnds {
    /// The log ends at `last` now.
    pub(crate) fn note(&mut self, now: Instant, last: Option<u64>) {
        let Some(last) = last else { return };
        if self.ends.back().is_some_and(|&(_, known)| known >= last) {
            return;
        }
        if self.ends.len() == ENDS_MAX {
            let mut place = 0;
            self.ends.retain(|_| {
                place += 1;
                place > ENDS_MAX / 2 || place % 2 == 1
            });
        }
        self.ends.push_back((now, last));
    }

    /// Since when there is an entry that a follower lacks which has everything up to `matched`.
    pub(crate) fn lacking_since(&self, matched: Option<u64>) -> Option<Instant> {
        let lacks = |&&(_, end): &&(Instant, u64)| matched.is_none_or(|matched| end > matched);
        self.ends.iter().find(lacks).map(|&(at, _)| at)
    }

    /// All followers have everything up to `matched`.
    pub(crate) fn forget(&mut self, matched: u64) {
        while self.ends.len() > 1 && self.ends.front().is_some_and(|&(_, end)| end <= matched) {
            self.ends.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_oldest_entry_that_is_lacking_counts() {
        let start = Instant::now();
        let mut ends = LogEnds::default();
        assert_eq!(ends.lacking_since(None), None);
        ends.note(start, Some(10));
        ends.note(start + S, Some(10));
        ends.note(start + S * 2, Some(20));
        assert_eq!(ends.lacking_since(None), Some(start));
        assert_eq!(ends.lacking_since(Some(9)), Some(start));
        assert_eq!(ends.lacking_since(Some(10)), Some(start + S * 2));
        assert_eq!(ends.lacking_since(Some(20)), None);
        ends.forget(10);
        assert_eq!(ends.lacking_since(Some(9)), Some(start + S * 2));
        // The end of the log itself stays.
        ends.forget(20);
        assert_eq!(ends.ends.len(), 1);
    }

    /// At the limit every end is there; one more thins the past and keeps the present.
    #[test]
    fn a_long_past_is_kept_in_a_bounded_place() {
        let start = Instant::now();
        let mut ends = LogEnds::default();
        for second in 0..ENDS_MAX as u64 {
            ends.note(start + S * u32::try_from(second).unwrap(), Some(second));
        }
        assert_eq!(ends.ends.len(), ENDS_MAX);
        assert_eq!(ends.lacking_since(None), Some(start));
        for second in ENDS_MAX as u64..10_000 {
            let at = start + S * u32::try_from(second).unwrap();
            ends.note(at, Some(second));
            assert!(ends.ends.len() <= ENDS_MAX);
            assert_eq!(ends.lacking_since(Some(second - 1)), Some(at));
        }
        assert_eq!(ends.lacking_since(None), Some(start));
        let at = ends.lacking_since(Some(5_000)).unwrap();
        assert!(at >= start + S * 5_001, "never older than it is");
    }
}
