//! The result of a rotation, for people and as JSON.

use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use super::super::load::Totals;
use super::super::observed::Observed;
use super::super::readback::Readback;
use super::super::report::{Outcome, lasting_faults, millis};
use super::super::status::Calls;
use super::options::RotateOptions;
use super::step::Step;

/// The share of the calls that were asked for which has to be made, in percent: a load that does not
/// come about shows nothing.
const LOAD_PERCENT: f64 = 95.0;

/// What the steps have found.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) steps: Vec<(Step, Duration)>,
    pub(super) took: Duration,
    pub(super) before: Calls,
    pub(super) after: Calls,
    pub(super) elections: u64,
    pub(super) written: u64,
    pub(super) totals: &'a Totals,
    pub(super) observed: &'a Observed,
    pub(super) digests_differ: Vec<u64>,
    pub(super) readback: &'a Readback,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StepReport {
    /// What the nodes were given.
    pub step: &'static str,
    /// Until no link showed anything older.
    pub took_ms: u64,
}

/// What a rotation has shown.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RotateReport {
    /// Node processes.
    pub nodes: u64,
    /// Raft groups.
    pub groups: u64,
    /// The steps in their order.
    pub steps: Vec<StepReport>,
    /// From before the first step to after the last.
    pub took_ms: u64,
    /// Calls between nodes that were answered meanwhile.
    pub calls: u64,
    /// The same for each second.
    pub calls_per_second: f64,
    /// What was asked for.
    pub calls_wanted: u64,
    /// Calls that failed.
    pub calls_failed: u64,
    /// The slowest answer, in milliseconds.
    pub calls_slowest_ms: u64,
    /// Why the last of those that failed did.
    pub last_failure: Option<String>,
    /// Elections during the rotation, over all groups.
    pub elections: u64,
    /// Writes that were acknowledged.
    pub writes_acked: u64,
    /// Attempts that were repeated.
    pub retries: u64,
    /// Acknowledged writes that some node does not have as they were sent.
    pub writes_lost: u64,
    /// Groups whose digests differ between nodes at the same applied index.
    pub digests_differ: Vec<u64>,
    /// The most live connections that a pair of nodes had at any time; those that drain do not
    /// count.
    pub links_max: u64,
}

impl RotateReport {
    /// Puts together what the steps have found.
    pub(super) fn new(options: &RotateOptions, found: Findings<'_>) -> Self {
        let (before, after) = (found.before, found.after);
        let calls = after.answered - before.answered;
        let steps = found.steps.into_iter().map(|(step, took)| StepReport {
            step: step.name(),
            took_ms: millis(took),
        });
        Self {
            nodes: options.nodes,
            groups: options.groups,
            steps: steps.collect(),
            took_ms: millis(found.took),
            calls,
            calls_per_second: calls as f64 / found.took.as_secs_f64(),
            calls_wanted: options.calls,
            calls_failed: after.failed - before.failed,
            calls_slowest_ms: after.slowest_ms,
            last_failure: after.last_failure,
            elections: found.elections,
            writes_acked: found.written,
            retries: found.totals.retries,
            writes_lost: found.readback.lost.len() as u64,
            digests_differ: found.digests_differ,
            links_max: found.observed.links_max(),
        }
    }
}

impl Outcome for RotateReport {
    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.calls_failed > 0 {
            let why = self.last_failure.as_deref().unwrap_or("nobody knows why");
            faults.push(format!("{} calls failed ({why})", self.calls_failed));
        }
        if self.calls_per_second < self.calls_wanted as f64 * LOAD_PERCENT / 100.0 {
            faults.push(format!(
                "{:.0} calls a second came about, not {}",
                self.calls_per_second, self.calls_wanted
            ));
        }
        if self.elections > 0 {
            faults.push(format!("{} elections", self.elections));
        }
        if self.retries > 0 {
            faults.push(format!("{} writes had to be repeated", self.retries));
        }
        faults.extend(lasting_faults(
            self.writes_lost,
            &self.digests_differ,
            self.links_max,
        ));
        faults
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        for step in &self.steps {
            row(step.step, format!("{} ms", step.took_ms));
        }
        row(
            "calls between nodes",
            format!(
                "{}, {:.0} a second, the slowest {} ms",
                self.calls, self.calls_per_second, self.calls_slowest_ms
            ),
        );
        row("calls that failed", self.calls_failed.to_string());
        row("elections", self.elections.to_string());
        row(
            "writes acknowledged, repeated, lost",
            format!(
                "{}, {}, {}",
                self.writes_acked, self.retries, self.writes_lost
            ),
        );
        row("most links of a pair", self.links_max.to_string());
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> RotateReport {
        RotateReport {
            nodes: 3,
            groups: 1,
            steps: Vec::new(),
            took_ms: 1,
            calls: 1,
            calls_per_second: 950.0,
            calls_wanted: 1_000,
            calls_failed: 0,
            calls_slowest_ms: 1,
            last_failure: None,
            elections: 0,
            writes_acked: 1,
            retries: 0,
            writes_lost: 0,
            digests_differ: Vec::new(),
            links_max: 1,
        }
    }

    #[test]
    fn each_promise_is_held_at_its_limit() {
        assert_eq!(report().faults(), Vec::<String>::new());
        let spoilt: [fn(&mut RotateReport); 7] = [
            |report| report.calls_per_second = 949.9,
            |report| report.calls_failed = 1,
            |report| report.elections = 1,
            |report| report.retries = 1,
            |report| report.writes_lost = 1,
            |report| report.digests_differ = vec![0],
            |report| report.links_max = 2,
        ];
        for spoil in spoilt {
            let mut report = report();
            spoil(&mut report);
            assert_eq!(report.faults().len(), 1, "{report:?}");
        }
    }
}
