//! Dates as operators read and type them.

use time::OffsetDateTime;

/// A day, in seconds.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// A time as `2026-11-23T09:07:15Z` (RFC 3339, UTC).
pub(crate) fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    match time {
        Some(time) => format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second()
        ),
        // Past the year 9999 there is no such text.
        None => format!("@{seconds}"),
    }
}

/// How far a time is away, as people say it: `in 12 days`, `3 hours ago`, `now`.
pub(crate) fn distance(from: u64, to: u64) -> String {
    let seconds = from.abs_diff(to);
    if seconds == 0 {
        return "now".to_owned();
    }
    let (number, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / DAY, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    if to >= from {
        format!("in {number} {unit}{plural}")
    } else {
        format!("{number} {unit}{plural} ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_in_utc() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(1_800_000_000), "2027-01-15T08:00:00Z");
        assert_eq!(date(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(date(253_402_300_800), "@253402300800");
    }

    #[test]
    fn distances_have_one_unit() {
        for (from, to, text) in [
            (10, 10, "now"),
            (10, 11, "in 1 second"),
            (0, 119, "in 119 seconds"),
            (0, 120, "in 2 minutes"),
            (7_200, 0, "2 hours ago"),
            (0, 172_799, "in 47 hours"),
            (0, 172_800, "in 2 days"),
            (DAY * 90, 0, "90 days ago"),
        ] {
            assert_eq!(distance(from, to), text);
        }
    }
}
