//! The result of killed changes, for people and as JSON.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use super::super::load::Totals;
use super::super::observed::Observed;
use super::super::readback::Readback;
use super::super::report::{Outcome, lasting_faults};
use super::options::KilledChangesOptions;
use super::plan::{Change, Pair};
use super::seconds;

/// What became of one change.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PairReport {
    /// Its number, from 1.
    pub pair: usize,
    /// `add` or `remove`.
    pub change: &'static str,
    /// The node that came or went.
    pub node: u64,
    /// The node that ran the change and was to die in it.
    pub killed_node: u64,
    /// The node that was asked to end it.
    pub other_node: u64,
    /// `before` or `after`.
    pub when: &'static str,
    /// The step.
    pub step: String,
    /// The group that took the step, unless the change takes it once.
    pub group: Option<String>,
    /// Whether the change came there, and the node died.
    pub met: bool,
    /// From the first call to the end of the process.
    pub killed_seconds: f64,
    /// From the first call until another node said twice that the change is made.
    pub finished_seconds: f64,
    /// From the first call until the node that had died was back with all its links and groups.
    pub seconds: f64,
}

impl PairReport {
    pub(super) fn new(number: usize, pair: &Pair, node: u64) -> Self {
        Self {
            pair: number,
            change: match pair.change {
                Change::Add => "add",
                Change::Remove(_) => "remove",
            },
            node,
            killed_node: pair.killed,
            other_node: pair.other,
            when: if pair.at.done { "after" } else { "before" },
            step: pair.at.step_name(),
            group: pair.at.group.as_ref().map(ToString::to_string),
            met: false,
            killed_seconds: 0.0,
            finished_seconds: 0.0,
            seconds: 0.0,
        }
    }
}

impl fmt::Display for PairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pair, change, node, ..
        } = self;
        let (killed, when, step) = (self.killed_node, self.when, &self.step);
        write!(
            f,
            "pair {pair}: {change} {node}, node {killed} dies {when} {step}"
        )?;
        self.group
            .iter()
            .try_for_each(|group| write!(f, " of {group}"))
    }
}

/// What the steps have found.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) took: Duration,
    pub(super) pairs: Vec<PairReport>,
    pub(super) members: Vec<u64>,
    pub(super) members_wrong: Option<String>,
    pub(super) written: u64,
    pub(super) totals: &'a Totals,
    pub(super) observed: &'a Observed,
    pub(super) digests_differ: Vec<u64>,
    pub(super) readback: &'a Readback,
    pub(super) faults: Vec<String>,
}

/// What killed changes have left.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct KilledChangesReport {
    /// Raft groups, beside the one that holds the cluster.
    pub groups: u64,
    /// What the pairs, keys and values derive from.
    pub seed: u64,
    /// Kills that were asked for.
    pub kills_wanted: usize,
    /// Nodes that died in a change.
    pub kills: usize,
    /// Changes that were made without coming to where the node was to die.
    pub not_met: usize,
    /// Different places that nodes died at: before or after a step of a kind of change.
    pub places: usize,
    /// Every change.
    pub pairs: Vec<PairReport>,
    /// The members in the end.
    pub members: Vec<u64>,
    /// Where a node sees other members, if one does.
    pub members_wrong: Option<String>,
    /// Writes that were acknowledged.
    pub writes_acked: u64,
    /// Attempts whose fate was unknown; each was repeated until it was acknowledged.
    pub writes_unknown: u64,
    /// Attempts that were repeated, those included.
    pub retries: u64,
    /// Acknowledged writes that some node does not have as they were sent.
    pub writes_lost: u64,
    /// Groups whose digests differ between nodes at the same applied index.
    pub digests_differ: Vec<u64>,
    /// The most live connections that a pair of nodes had at any time that was seen.
    pub links_max: u64,
    /// Elections after the first of each group, over all groups.
    pub elections: u64,
    /// All of it.
    pub seconds: f64,
    /// What went wrong without ending the job.
    pub faults: Vec<String>,
}

impl KilledChangesReport {
    /// Puts together what the steps have found.
    pub(super) fn new(options: &KilledChangesOptions, found: Findings<'_>) -> Self {
        let met = || found.pairs.iter().filter(|pair| pair.met);
        let places = met().map(|pair| (pair.change, pair.when, &pair.step));
        let places = places.collect::<BTreeSet<_>>().len();
        let kills = met().count();
        Self {
            groups: options.groups,
            seed: options.seed,
            kills_wanted: options.pairs,
            kills,
            not_met: found.pairs.len() - kills,
            places,
            pairs: found.pairs,
            members: found.members,
            members_wrong: found.members_wrong,
            writes_acked: found.written,
            writes_unknown: found.totals.unknown,
            retries: found.totals.retries,
            writes_lost: found.readback.lost.len() as u64,
            digests_differ: found.digests_differ,
            links_max: found.observed.links_max(),
            elections: found.observed.elections(),
            seconds: seconds(found.took),
            faults: found.faults,
        }
    }
}

impl Outcome for KilledChangesReport {
    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        if self.kills != self.kills_wanted {
            let (kills, wanted) = (self.kills, self.kills_wanted);
            faults.push(format!(
                "{kills} nodes died in a change instead of {wanted}"
            ));
        }
        if let Some(wrong) = &self.members_wrong {
            faults.push(format!("not as it is to be: {wrong}"));
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
        let mut row = |name: String, value: String| {
            table.add_row([name, value]);
        };
        for pair in &self.pairs {
            let end = if pair.met { "made" } else { "NOT MET, made" };
            row(
                pair.to_string(),
                format!(
                    "{end} in {} s, all well after {}",
                    pair.finished_seconds, pair.seconds
                ),
            );
        }
        let (kills, places) = (self.kills, self.places);
        row(
            "kills, at different places".to_owned(),
            format!("{kills}, {places}"),
        );
        row("members".to_owned(), format!("{:?}", self.members));
        row(
            "writes acknowledged".to_owned(),
            self.writes_acked.to_string(),
        );
        row("writes lost".to_owned(), self.writes_lost.to_string());
        row("elections".to_owned(), self.elections.to_string());
        row("all of it".to_owned(), format!("{} s", self.seconds));
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> KilledChangesReport {
        KilledChangesReport {
            groups: 1,
            seed: 1,
            kills_wanted: 2,
            kills: 2,
            not_met: 1,
            places: 2,
            pairs: Vec::new(),
            members: vec![1, 2, 3],
            members_wrong: None,
            writes_acked: 9,
            writes_unknown: 1,
            retries: 1,
            writes_lost: 0,
            digests_differ: Vec::new(),
            links_max: 1,
            elections: 5,
            seconds: 9.0,
            faults: Vec::new(),
        }
    }

    #[test]
    fn each_promise_is_held() {
        assert_eq!(report().faults(), Vec::<String>::new());
        for change in [
            (|report| report.kills = 1) as fn(&mut KilledChangesReport),
            |report| report.members_wrong = Some("kv/0".to_owned()),
            |report| report.writes_lost = 1,
            |report| report.digests_differ = vec![0],
            |report| report.links_max = 2,
            |report| report.faults = vec!["it ended in another way".to_owned()],
        ] {
            let mut wrong = report();
            change(&mut wrong);
            assert_eq!(wrong.faults().len(), 1);
        }
    }
}
