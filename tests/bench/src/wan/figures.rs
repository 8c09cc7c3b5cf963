//! From runs to medians, a table and JSON. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use quicraft_tests::sim::Latencies;
use serde_json::{Value, json};

use super::setting::{Controller, Setting};
use super::{GROUPS_LOSS, groups, one_group};
use crate::pair::Failure;
use crate::report::{Spread, Table, ratio};

/// One network, in whole numbers: its losses of 100,000 datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    controller: Controller,
    round_trip: u64,
    loss: u64,
}

impl Place {
    fn of(setting: &Setting) -> Self {
        Self {
            controller: setting.controller,
            round_trip: setting.round_trip,
            loss: thousandths(setting.loss),
        }
    }

    fn percent(&self) -> f64 {
        self.loss as f64 / 1_000.0
    }
}

/// A share of a hundred as one of 100,000. Losses are checked to be small and above 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "losses are from 0 to 50"
)]
const fn thousandths(percent: f64) -> u64 {
    (percent * 1_000.0).round() as u64
}

/// All rounds of one group on one network.
#[derive(Debug, Default)]
struct OneGroup {
    alone_p50_ms: Spread,
    alone_p99_ms: Spread,
    together_p50_ms: Spread,
    together_p99_ms: Spread,
    writes_per_second: Spread,
    leader_changes: u64,
}

/// All rounds of many groups on one network.
#[derive(Debug, Default)]
struct Groups {
    p99_ms: Spread,
    untouched_p99_ms: Spread,
    untouched_percent: Spread,
    leader_changes: u64,
}

/// All rounds of everything.
#[derive(Debug, Default)]
pub(super) struct Figures {
    one_group: BTreeMap<Place, OneGroup>,
    groups: BTreeMap<Place, Groups>,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn some(times: &Latencies) -> Result<&Latencies, Failure> {
    let nothing = "nothing was committed";
    (!times.is_empty())
        .then_some(times)
        .ok_or_else(|| nothing.into())
}

impl Figures {
    pub(super) fn add_one_group(
        &mut self,
        setting: &Setting,
        taken: &one_group::Taken,
    ) -> Result<(), Failure> {
        let rounds = self.one_group.entry(Place::of(setting)).or_default();
        let (alone, together) = (some(&taken.alone)?, some(&taken.together)?);
        rounds.alone_p50_ms.add(ms(alone.p50()))?;
        rounds.alone_p99_ms.add(ms(alone.p99()))?;
        rounds.together_p50_ms.add(ms(together.p50()))?;
        rounds.together_p99_ms.add(ms(together.p99()))?;
        rounds.leader_changes += taken.leader_changes;
        rounds.writes_per_second.add(taken.writes_per_second)
    }

    pub(super) fn add_groups(
        &mut self,
        setting: &Setting,
        taken: &groups::Taken,
    ) -> Result<(), Failure> {
        let rounds = self.groups.entry(Place::of(setting)).or_default();
        let (all, untouched) = (some(&taken.all)?, some(&taken.untouched)?);
        rounds.p99_ms.add(ms(all.p99()))?;
        rounds.untouched_p99_ms.add(ms(untouched.p99()))?;
        let share = untouched.len() as f64 / all.len() as f64;
        rounds.leader_changes += taken.leader_changes;
        rounds.untouched_percent.add(share * 100.0)
    }

    /// Takes what another thread measured elsewhere.
    pub(super) fn merge(&mut self, other: Self) {
        self.one_group.extend(other.one_group);
        self.groups.extend(other.groups);
    }

    /// What a commit of one client takes beyond the round trip, in the median, without loss.
    fn over_round_trip(&self, controller: Controller, round_trip: u64) -> Option<f64> {
        let place = Place {
            controller,
            round_trip,
            loss: 0,
        };
        let p50 = self.one_group.get(&place)?.alone_p50_ms.median()?;
        Some(p50 - round_trip as f64)
    }

    /// The 99th percentile of writes that lost nothing, over that of all writes where nothing is lost.
    fn unlost(&self, controller: Controller) -> Result<Option<f64>, Failure> {
        let of = |loss| {
            let mut places = self.groups.iter();
            places.find(|(place, _)| place.controller == controller && place.loss == loss)
        };
        match (of(thousandths(GROUPS_LOSS)), of(0)) {
            (Some((_, lossy)), Some((_, lossless))) => {
                Ok(Some(ratio(&lossy.untouched_p99_ms, &lossless.p99_ms)?))
            }
            _ => Ok(None),
        }
    }

    fn leader_changes(&self) -> u64 {
        let one_group = self.one_group.values().map(|rounds| rounds.leader_changes);
        let groups = self.groups.values().map(|rounds| rounds.leader_changes);
        one_group.chain(groups).sum()
    }

    /// One JSON object. What has no controller in its name is CUBIC's, the default.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        let mut medians = json!({});
        for (place, rounds) in &self.one_group {
            let controller = place.controller.key();
            let (round_trip, loss) = (place.round_trip.to_string(), place.percent().to_string());
            medians[controller][round_trip][loss] = json!({
                "commit_p50_ms": rounds.alone_p50_ms.median(),
                "commit_p99_ms": rounds.alone_p99_ms.median(),
                "together_p50_ms": rounds.together_p50_ms.median(),
                "together_p99_ms": rounds.together_p99_ms.median(),
                "writes_per_second": rounds.writes_per_second.median(),
                "leader_changes": rounds.leader_changes,
            });
        }
        let mut groups = json!({});
        for (place, rounds) in &self.groups {
            groups[place.controller.key()][place.percent().to_string()] = json!({
                "p99_ms": rounds.p99_ms.median(),
                "untouched_p99_ms": rounds.untouched_p99_ms.median(),
                "untouched_percent": rounds.untouched_percent.median(),
                "leader_changes": rounds.leader_changes,
            });
        }
        Ok(json!({
            "commit_p50_100ms_over_rtt_ms": self.over_round_trip(Controller::Cubic, 100),
            "commit_p50_100ms_over_rtt_ms_bbr": self.over_round_trip(Controller::Bbr, 100),
            "p99_groups_unlost_ratio": self.unlost(Controller::Cubic)?,
            "p99_groups_unlost_ratio_bbr": self.unlost(Controller::Bbr)?,
            "leader_changes": self.leader_changes(),
            "medians": medians,
            "groups": groups,
        }))
    }

    fn one_group_table(&self) -> Table {
        let mut table = Table::new([
            "controller",
            "round trip ms",
            "loss %",
            "1 client: p50 ms",
            "p99 ms",
            "all clients: p50 ms",
            "p99 ms",
            "writes/s",
            "leader changes",
        ]);
        for (place, rounds) in &self.one_group {
            table.row([
                place.controller.to_string(),
                place.round_trip.to_string(),
                place.percent().to_string(),
                format!("{:.0}", rounds.alone_p50_ms),
                format!("{:.0}", rounds.alone_p99_ms),
                format!("{:.0}", rounds.together_p50_ms),
                format!("{:.0}", rounds.together_p99_ms),
                format!("{:.0}", rounds.writes_per_second),
                rounds.leader_changes.to_string(),
            ]);
        }
        table
    }

    fn groups_table(&self) -> Table {
        let mut table = Table::new([
            "groups of one client",
            "loss %",
            "p99 ms",
            "p99 ms of those that lost nothing",
            "which are %",
            "leader changes",
        ]);
        for (place, rounds) in &self.groups {
            table.row([
                place.controller.to_string(),
                place.percent().to_string(),
                format!("{:.0}", rounds.p99_ms),
                format!("{:.0}", rounds.untouched_p99_ms),
                format!("{:.0}", rounds.untouched_percent),
                rounds.leader_changes.to_string(),
            ]);
        }
        table
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n{}", self.one_group_table(), self.groups_table())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn times(millis: u32) -> Latencies {
        (0..10).map(|_| MS * millis).collect()
    }

    fn groups(all: u32, untouched: u32) -> groups::Taken {
        groups::Taken {
            all: times(all),
            untouched: times(untouched),
            leader_changes: 1,
        }
    }

    #[test]
    fn what_the_targets_ask_for_is_told() {
        let setting = |loss| Setting::new(Controller::Cubic, 100, loss, 1);
        let mut figures = Figures::default();
        let taken = one_group::Taken {
            alone: times(104),
            together: times(120),
            writes_per_second: 500.0,
            leader_changes: 2,
        };
        figures.add_one_group(&setting(0.0), &taken).unwrap();
        figures
            .add_groups(&setting(0.0), &groups(110, 110))
            .unwrap();
        figures
            .add_groups(&setting(1.0), &groups(300, 121))
            .unwrap();
        let json = figures.json().unwrap();
        let near = |key: &str, expected: f64| {
            let found = json[key].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-9, "{key}: {found}");
        };
        near("commit_p50_100ms_over_rtt_ms", 4.0);
        near("p99_groups_unlost_ratio", 1.1);
        assert_eq!(json["leader_changes"], 4);
        assert!(json["p99_groups_unlost_ratio_bbr"].is_null());
        assert_eq!(
            json["medians"]["cubic"]["100"]["0"]["together_p99_ms"],
            120.0
        );
        assert_eq!(json["groups"]["cubic"]["1"]["untouched_percent"], 100.0);
    }

    #[test]
    fn a_run_without_commits_is_an_error() {
        let setting = Setting::new(Controller::Bbr, 100, 0.1, 1);
        let mut nothing = groups(110, 110);
        nothing.untouched = Latencies::default();
        assert!(Figures::default().add_groups(&setting, &nothing).is_err());
    }
}
