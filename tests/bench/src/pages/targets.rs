//! The targets of this project's speed, each beside what was measured.

use crate::all::Collected;
use crate::report::Table;

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A figure of a measurement, less another one where that is not empty.
#[derive(Clone, Copy, Debug)]
struct Target {
    what: &'static str,
    measurement: &'static str,
    figure: &'static str,
    less: &'static str,
    bound: Bound,
}

const fn target(what: &'static str, at: (&'static str, &'static str), bound: Bound) -> Target {
    let (measurement, figure) = at;
    Target {
        what,
        measurement,
        figure,
        less: "",
        bound,
    }
}

const fn beyond_idle(what: &'static str, figure: &'static str) -> Target {
    Target {
        less: "/idle_p99_ms",
        ..target(what, ("mixed", figure), Bound::AtMost(5.0))
    }
}

use Bound::{AtLeast, AtMost};

const TARGETS: [Target; 20] = [
    target(
        "256 calls in flight: calls/s over tonic",
        ("rpc", "/calls_256_vs_tonic"),
        AtLeast(12.0),
    ),
    target(
        "the same over bare quinn with the same frames",
        ("rpc", "/calls_256_vs_bare"),
        AtLeast(0.8),
    ),
    target(
        "1 call in flight: p50 over tonic",
        ("rpc", "/p50_1_vs_tonic"),
        AtMost(0.6),
    ),
    target(
        "the same over bare quinn",
        ("rpc", "/p50_1_vs_bare"),
        AtMost(1.15),
    ),
    target(
        "256 calls in flight: CPU a call over tonic",
        ("rpc", "/cpu_256_vs_tonic"),
        AtMost(0.1),
    ),
    target(
        "a snapshot, default datagrams: bytes/s over bare quinn",
        ("bulk", "/default_vs_bare"),
        AtLeast(0.95),
    ),
    target(
        "a snapshot, jumbo path: bytes/s over tonic",
        ("bulk", "/jumbo_vs_tonic"),
        AtLeast(1.3),
    ),
    target(
        "the same over TLS over TCP",
        ("bulk", "/jumbo_vs_tls"),
        AtLeast(1.3),
    ),
    beyond_idle(
        "heartbeats beside a snapshot: p99 beyond the idle one, ms",
        "/snapshot_p99_ms",
    ),
    beyond_idle(
        "heartbeats beside 8 MiB batches: p99 beyond the idle one, ms",
        "/append_p99_ms",
    ),
    target(
        "10,000 groups: CPU a heartbeat over tonic",
        ("heartbeats", "/cpu_10000_vs_tonic"),
        AtMost(0.1),
    ),
    target(
        "1,000 groups: datagrams/s over those of 100",
        ("heartbeats", "/datagrams_1000_vs_100"),
        AtMost(2.0),
    ),
    target(
        "an idle group: bytes on each side",
        ("heartbeats", "/bytes_per_idle_group"),
        AtMost(4_096.0),
    ),
    target(
        "1,024 clients, 64 groups: writes/s over tonic",
        ("cluster", "/writes_1024_64_vs_tonic"),
        AtLeast(3.0),
    ),
    target(
        "the same over a function call",
        ("cluster", "/writes_1024_64_vs_channel"),
        AtLeast(0.5),
    ),
    target(
        "100 ms, one client: commit p50 beyond the round trip, ms",
        ("wan", "/commit_p50_100ms_over_rtt_ms"),
        AtMost(10.0),
    ),
    target(
        "100 ms, 1 % lost: p99 of groups that lost nothing over no loss",
        ("wan", "/p99_groups_unlost_ratio"),
        AtMost(1.2),
    ),
    target(
        "a snapshot with three cuts: bytes sent over its size",
        ("snapshot-resume", "/ratio"),
        AtMost(1.05),
    ),
    target(
        "the same: cuts that it went on from",
        ("snapshot-resume", "/resumes"),
        AtLeast(3.0),
    ),
    target(
        "an idle link: bytes of both ends",
        ("scale", "/bytes_per_idle_link"),
        AtMost(2.0 * 512.0 * 1024.0),
    ),
];

impl Target {
    fn found(&self, collected: &Collected) -> Option<f64> {
        let measurement = collected.of(self.measurement)?;
        let less = if self.less.is_empty() {
            Some(0.0)
        } else {
            measurement.figure(self.less)
        };
        Some(measurement.figure(self.figure)? - less?)
    }

    fn row(&self, collected: &Collected) -> [String; 5] {
        let bound = match self.bound {
            AtLeast(least) => format!("at least {least}"),
            AtMost(most) => format!("at most {most}"),
        };
        let found = self.found(collected);
        let verdict = match (found, self.bound) {
            (None, _) => "not measured",
            (Some(found), AtLeast(least)) if found >= least => "yes",
            (Some(found), AtMost(most)) if found <= most => "yes",
            (Some(_), _) => "**no**",
        };
        [
            self.what.to_owned(),
            format!("`{}`", self.measurement),
            bound,
            found.map_or_else(|| "-".to_owned(), short),
            verdict.to_owned(),
        ]
    }
}

fn short(found: f64) -> String {
    if found.abs() >= 100.0 {
        format!("{found:.0}")
    } else {
        format!("{found:.2}")
    }
}

/// All of them, as a table.
pub(crate) fn table(collected: &Collected) -> Table {
    let mut table = Table::new(["figure", "command", "target", "measured", "reached"]);
    for target in TARGETS {
        table.row(target.row(collected));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::all::Measurement;

    fn collected(name: &str, figures: &str) -> Collected {
        let mut collected = Collected::default();
        let said = vec![figures.to_owned()];
        collected.put(Measurement::new(name, name, Duration::ZERO, said).unwrap());
        collected
    }

    fn reached(target: &Target, collected: &Collected) -> String {
        let [.., reached] = target.row(collected);
        reached
    }

    #[test]
    fn a_bound_holds_at_itself_and_not_past_it() {
        let least = target("a", ("rpc", "/a"), AtLeast(2.0));
        let most = target("a", ("rpc", "/a"), AtMost(2.0));
        let of = |figure: &str| collected("rpc", &format!("{{\"a\": {figure}}}"));
        assert_eq!(
            [reached(&least, &of("2")), reached(&most, &of("2"))],
            ["yes", "yes"]
        );
        assert_eq!(reached(&least, &of("1.99")), "**no**");
        assert_eq!(reached(&most, &of("2.01")), "**no**");
        assert_eq!(reached(&most, &of("null")), "not measured");
    }

    #[test]
    fn what_loads_add_is_judged_beyond_the_idle_latency() {
        let mixed = collected("mixed", "{\"idle_p99_ms\": 1.0, \"snapshot_p99_ms\": 6.5}");
        let target = beyond_idle("a", "/snapshot_p99_ms");
        assert_eq!(target.found(&mixed), Some(5.5));
        assert_eq!(reached(&target, &mixed), "**no**");
    }
}
