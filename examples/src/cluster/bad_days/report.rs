//! The result of bad days, for people and as JSON.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use super::super::load::Totals;
use super::super::observed::Observed;
use super::super::readback::Readback;
use super::super::report::{Outcome, lasting_faults, millis};
use super::options::BadDaysOptions;
use super::plan::{Action, Event};
use super::rest::{Holding, Rest};

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Happened {
    /// SIGKILL.
    pub kills: usize,
    /// SIGTERM.
    pub stops: usize,
    /// SIGSTOP.
    pub pauses: usize,
    /// SIGCONT.
    pub continues: usize,
    /// Starts of a node that was gone.
    pub restarts: usize,
}

impl Happened {
    fn count(events: &[Event]) -> Self {
        let mut happened = Self::default();
        for event in events {
            *match event.action {
                Action::Kill => &mut happened.kills,
                Action::Terminate => &mut happened.stops,
                Action::Pause => &mut happened.pauses,
                Action::Continue => &mut happened.continues,
                Action::Restart => &mut happened.restarts,
            } += 1;
        }
        happened
    }
}

/// What the steps have found.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) events: &'a [Event],
    pub(super) bad_stops: Vec<String>,
    pub(super) written: u64,
    pub(super) totals: &'a Totals,
    pub(super) before: Holding,
    pub(super) rest: Rest,
    pub(super) observed: &'a Observed,
    pub(super) digests_differ: Vec<u64>,
    pub(super) readback: &'a Readback,
    pub(super) flapped: bool,
}

/// What bad days have left. Lists have one number for each node, in the order of their ids.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct BadDaysReport {
    /// Node processes.
    pub nodes: u64,
    /// Raft groups.
    pub groups: u64,
    /// What the events, keys and values derive from.
    pub seed: u64,
    /// All events.
    pub events: usize,
    /// The events by their kind.
    pub happened: Happened,
    /// Milliseconds from the last event until everything was as before; absent if it never was.
    pub rested_ms: Option<u64>,
    /// What was missing when the time for that was over.
    pub missing: Option<String>,
    /// Links that are up, of each node.
    pub links: Vec<usize>,
    /// The most live connections that a pair of nodes had at any time that was seen.
    pub links_max: u64,
    /// Whether a link was lost or replaced after everything was as before.
    pub flapped: bool,
    /// Calls in flight that were there at every look after the last event.
    pub in_flight: u64,
    /// Alive tasks before the first event.
    pub tasks_before: Vec<u64>,
    /// Alive tasks after the last event. A group's leader has more of them than a follower, so only
    /// the sums are the same.
    pub tasks_after: Vec<u64>,
    /// Open descriptors before the first event.
    pub descriptors_before: Vec<u64>,
    /// Open descriptors after the last event.
    pub descriptors_after: Vec<u64>,
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
    /// Elections after the first of each group, over all groups.
    pub elections: u64,
    /// Nodes that were asked to stop and did so badly.
    pub bad_stops: Vec<String>,
}

impl BadDaysReport {
    /// Puts together what the steps have found.
    pub(super) fn new(options: &BadDaysOptions, found: Findings<'_>) -> Self {
        let rest = found.rest;
        let links = rest.all.iter().map(|status| {
            let up = status.links.iter().filter(|link| link.connected);
            up.count()
        });
        Self {
            nodes: options.nodes,
            groups: options.groups,
            seed: options.seed,
            events: found.events.len(),
            happened: Happened::count(found.events),
            rested_ms: rest.took.map(millis),
            links: links.collect(),
            links_max: found.observed.links_max(),
            flapped: found.flapped,
            in_flight: rest.in_flight,
            missing: rest.missing,
            tasks_before: found.before.tasks,
            tasks_after: rest.holding.tasks,
            descriptors_before: found.before.descriptors,
            descriptors_after: rest.holding.descriptors,
            writes_acked: found.written,
            writes_unknown: found.totals.unknown,
            retries: found.totals.retries,
            writes_lost: found.readback.lost.len() as u64,
            digests_differ: found.digests_differ,
            elections: found.observed.elections(),
            bad_stops: found.bad_stops,
        }
    }
}

impl Outcome for BadDaysReport {
    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.bad_stops.clone();
        if let Some(missing) = &self.missing {
            faults.push(format!("not as before the first event: {missing}"));
        }
        faults.extend(lasting_faults(
            self.writes_lost,
            &self.digests_differ,
            self.links_max,
        ));
        if self.flapped {
            faults.push("a link was lost or replaced though nothing happened".to_owned());
        }
        faults
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("events", format!("{}: {:?}", self.events, self.happened));
        let rested = self.rested_ms.map(|ms| format!("{ms} ms"));
        row(
            "as before",
            rested.unwrap_or_else(|| "NEVER AGAIN".to_owned()),
        );
        row("links of each node", format!("{:?}", self.links));
        row("most links of a pair", self.links_max.to_string());
        row("calls in flight", self.in_flight.to_string());
        let pair = |before: &[u64], after: &[u64]| format!("{before:?}, then {after:?}");
        row("tasks", pair(&self.tasks_before, &self.tasks_after));
        row(
            "descriptors",
            pair(&self.descriptors_before, &self.descriptors_after),
        );
        row("writes acknowledged", self.writes_acked.to_string());
        row("writes lost", self.writes_lost.to_string());
        row("elections", self.elections.to_string());
        table.to_string()
    }
}
