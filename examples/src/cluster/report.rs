//! The result, for people and as JSON.

use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use super::change::Changes;
use super::drill::Drill;
use super::load::{Finished, Totals};
use super::observed::Observed;
use super::options::Options;
use super::phase::Phase;
use super::readback::Readback;

/// What a job has found, as everybody is told.
pub trait Outcome {
    /// What is wrong with the cluster, in words; empty when it kept its promises.
    fn faults(&self) -> Vec<String>;

    /// The findings as a table that people can read.
    fn table(&self) -> String;

    /// The findings as one JSON object.
    ///
    /// # Errors
    ///
    /// The serializer's own.
    fn json(&self) -> serde_json::Result<String>;
}

/// What the main job has found. Times are in milliseconds; those of a kill are absent when nobody
/// was killed.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Node processes.
    pub nodes: u64,
    /// Raft groups.
    pub groups: u64,
    /// Clients that wrote at the same time.
    pub clients: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// What keys and values derive from.
    pub seed: u64,
    /// Writes that were acknowledged.
    pub writes_acked: u64,
    /// Attempts that ended without an answer or with one that does not say whether the write was
    /// done. Each was repeated with the same bytes until it was acknowledged.
    pub writes_unknown: u64,
    /// Attempts that were repeated, those included.
    pub retries: u64,
    /// Writes that were read back at once at another node, while nodes came and went.
    pub reads: u64,
    /// Of these, reads that did not give what was written, in 5 s.
    pub reads_failed: u64,
    /// Acknowledged writes that some node does not have as they were sent.
    pub writes_lost: u64,
    /// Groups whose digests differ between nodes at the same applied index.
    pub digests_differ: Vec<u64>,
    /// The most live connections that a pair of nodes had at any time.
    pub links_per_pair: u64,
    /// Leaders that were killed.
    pub leader_kills: u64,
    /// Elections after the first of each group, over all groups.
    pub elections: u64,
    /// Acknowledged writes a second, the outage included.
    pub writes_per_second: f64,
    /// Half of the writes were acknowledged within this, all their retries included.
    pub p50_ms: f64,
    /// 99 of 100 writes were.
    pub p99_ms: f64,
    /// The node that was killed.
    pub killed_node: Option<u64>,
    /// Groups that the killed node led.
    pub groups_led_by_killed: Option<usize>,
    /// From the kill to the next write: 95 of 100 of the killed node's groups.
    pub failover_p95_ms: Option<u64>,
    /// From the kill to the next write: the slowest of these groups.
    pub failover_max_ms: Option<u64>,
    /// How long the restarted node's slowest peer took to let it in, from the first packet.
    pub admitted_ms: Option<u64>,
    /// From the start of the restarted node's transport to its last link, whoever dialled.
    pub linked_ms: Option<u64>,
    /// From the restart until the node had applied all that was committed before it.
    pub recovered_ms: Option<u64>,
    /// From the first new process until all nodes had their share of the leaders.
    pub grow_seconds: Option<f64>,
    /// Until the last of the removed processes knew that it was removed.
    pub shrink_seconds: Option<f64>,
    /// Writes while all nodes restarted in turn.
    pub rolling_restart_writes: Option<u64>,
    /// The same for each second of that time.
    pub rolling_restart_writes_per_second: Option<f64>,
    /// Of these, writes that took longer than 5 s or whose fate was unknown at first.
    pub rolling_restart_failed_writes: Option<u64>,
    /// 99 of 100 of these writes were acknowledged within this.
    pub rolling_restart_p99_ms: Option<f64>,
    /// What else went wrong, in words.
    #[serde(skip)]
    pub faults: Vec<String>,
}

impl Report {
    /// Puts together what the steps have found.
    #[must_use]
    pub fn new(
        options: &Options,
        finished: &Finished,
        drill: Option<&Drill>,
        changes: Option<&Changes>,
        observed: &Observed,
        digests_differ: Vec<u64>,
        readback: &Readback,
    ) -> Self {
        let totals = &finished.totals;
        let quantile = |quantile| rounded(totals.latency.value_at_quantile(quantile) as f64 / 1e3);
        let slowest = drill
            .is_some()
            .then(|| finished.failovers.iter().max())
            .flatten();
        let restarts = changes.and_then(|changes| changes.restarts.as_deref());
        let seconds = finished.took.as_secs_f64().max(f64::MIN_POSITIVE);
        Self {
            nodes: options.nodes,
            groups: options.groups,
            clients: options.clients,
            value_bytes: options.value_bytes,
            seed: options.seed,
            writes_acked: totals.acknowledged,
            writes_unknown: totals.unknown,
            retries: totals.retries,
            reads: totals.reads,
            reads_failed: totals.reads_failed.len() as u64,
            writes_lost: readback.lost.len() as u64,
            digests_differ,
            links_per_pair: observed.links_max(),
            leader_kills: u64::from(drill.is_some()),
            elections: observed.elections(),
            writes_per_second: rounded(totals.acknowledged as f64 / seconds),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            killed_node: drill.map(|drill| drill.node),
            groups_led_by_killed: drill.map(|drill| drill.led.len()),
            failover_p95_ms: percentile(&finished.failovers, 95).map(millis),
            failover_max_ms: slowest.copied().map(millis),
            admitted_ms: drill.map(|drill| millis(drill.admitted)),
            linked_ms: drill.map(|drill| millis(drill.linked)),
            recovered_ms: drill.map(|drill| millis(drill.recovered)),
            grow_seconds: changes.and_then(|it| it.grew).map(seconds_of),
            shrink_seconds: changes.and_then(|it| it.shrank).map(seconds_of),
            rolling_restart_writes: restarts.map(|it| it.writes()),
            rolling_restart_writes_per_second: restarts.map(|it| rounded(it.writes_per_second())),
            rolling_restart_failed_writes: restarts.map(|it| it.failed().len() as u64),
            rolling_restart_p99_ms: restarts.map(|it| rounded(it.p99().as_secs_f64() * 1e3)),
            faults: faults(totals, changes),
        }
    }
}

impl Outcome for Report {
    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn faults(&self) -> Vec<String> {
        let lost = lasting_faults(self.writes_lost, &self.digests_differ, self.links_per_pair);
        lost.into_iter()
            .chain(self.faults.iter().cloned())
            .collect()
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("nodes, groups", format!("{}, {}", self.nodes, self.groups));
        row("writes acknowledged", self.writes_acked.to_string());
        row("writes lost", self.writes_lost.to_string());
        row(
            "digests",
            if self.digests_differ.is_empty() {
                "equal on all nodes".to_owned()
            } else {
                format!("DIFFERENT in groups {:?}", self.digests_differ)
            },
        );
        row("most links of a pair", self.links_per_pair.to_string());
        row(
            "writes per second",
            format!("{:.0}", self.writes_per_second),
        );
        row(
            "p50, p99",
            format!("{} ms, {} ms", self.p50_ms, self.p99_ms),
        );
        row(
            "attempts repeated",
            format!("{}, {} of unknown fate", self.retries, self.writes_unknown),
        );
        row("elections", self.elections.to_string());
        if let (Some(node), Some(groups)) = (self.killed_node, self.groups_led_by_killed) {
            let time = |time: Option<u64>| time.map_or_else(String::new, |ms| format!("{ms} ms"));
            row("killed", format!("node {node}, which led {groups} groups"));
            row("next write, 95 % of them", time(self.failover_p95_ms));
            row("next write, the slowest", time(self.failover_max_ms));
            row("restarted node let in", time(self.admitted_ms));
            row("restarted node linked to all", time(self.linked_ms));
            row("restarted node caught up", time(self.recovered_ms));
        }
        if self.reads > 0 {
            let reads = format!("{}, {} failed", self.reads, self.reads_failed);
            row("reads at another node", reads);
        }
        if let Some(seconds) = self.grow_seconds {
            row("nodes added in", format!("{seconds} s"));
        }
        if let Some(seconds) = self.shrink_seconds {
            row("nodes removed in", format!("{seconds} s"));
        }
        if let (Some(writes), Some(rate), Some(failed), Some(p99)) = (
            self.rolling_restart_writes,
            self.rolling_restart_writes_per_second,
            self.rolling_restart_failed_writes,
            self.rolling_restart_p99_ms,
        ) {
            let text = format!("{writes} writes, {rate} a second, {failed} failed, p99 {p99} ms");
            row("all nodes restarted", text);
        }
        table.to_string()
    }
}

fn seconds_of(time: Duration) -> f64 {
    rounded(time.as_secs_f64())
}

/// What clients noticed of changes that nobody should notice, with one example of each kind.
fn faults(totals: &Totals, changes: Option<&Changes>) -> Vec<String> {
    let mut faults = changes.map_or_else(Vec::new, |changes| changes.faults.clone());
    if let Some(example) = totals.reads_failed.first() {
        let count = totals.reads_failed.len();
        faults.push(format!("{count} reads failed, the first: {example}"));
    }
    let restarts = changes.and_then(|changes| changes.restarts.as_deref());
    let failed = restarts.map_or_else(Vec::new, Phase::failed);
    if let Some(example) = failed.first() {
        let count = failed.len();
        faults.push(format!(
            "{count} writes failed while the nodes restarted, the first: {example}"
        ));
    }
    faults
}

/// What no job may leave behind, whatever it did: a lost write, nodes that differ, a second link.
pub(super) fn lasting_faults(
    writes_lost: u64,
    digests_differ: &[u64],
    links_max: u64,
) -> Vec<String> {
    let mut faults = Vec::new();
    if writes_lost > 0 {
        faults.push(format!("{writes_lost} acknowledged writes are lost"));
    }
    if !digests_differ.is_empty() {
        faults.push(format!(
            "the digests of groups {digests_differ:?} differ between nodes"
        ));
    }
    if links_max != 1 {
        faults.push(format!(
            "a pair of nodes had {links_max} links at once instead of 1"
        ));
    }
    faults
}

/// The smallest value that `percent` of `values` do not exceed.
fn percentile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Two digits behind the point are more than such a measurement is worth.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<Duration> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 95), Some(Duration::from_millis(19)));
        assert_eq!(percentile(&values, 100), Some(Duration::from_millis(20)));
        assert_eq!(percentile(&values[..1], 95), Some(values[0]));
        assert_eq!(percentile(&[], 95), None);
    }
}
