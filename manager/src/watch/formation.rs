//! How far the forming of the cluster is, as one word, and when that word changes. Pure but for its
//! gauges.

use metrics::Gauge;
use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::cluster::{FormationReport, FormationState};

/// How far the forming of the cluster is, as this node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FormationStage {
    /// Nobody has asked for a cluster on this node.
    #[default]
    Idle,
    /// It is not known yet whether there is a cluster.
    Asking,
    /// There is one, and some node or group is not where it is to be.
    Forming,
    /// Every node and every group is where it is to be.
    Formed,
    /// It cannot go on without an operator.
    Failed,
}

impl FormationStage {
    /// Every stage.
    pub const ALL: [Self; 5] = [
        Self::Idle,
        Self::Asking,
        Self::Forming,
        Self::Formed,
        Self::Failed,
    ];

    /// A short, stable name for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Asking => "asking",
            Self::Forming => "forming",
            Self::Formed => "formed",
            Self::Failed => "failed",
        }
    }

    fn of(report: &FormationReport) -> Self {
        let mut states = report.nodes.values().chain(report.groups.values());
        if states.any(|state| matches!(state, FormationState::Failed(_))) {
            Self::Failed
        } else if report.is_done() {
            Self::Formed
        } else if report.uid.is_none() {
            Self::Asking
        } else {
            Self::Forming
        }
    }
}

/// What was seen of the forming last.
#[derive(Debug)]
pub(crate) struct FormationTrack {
    stage: FormationStage,
    done: usize,
    total: usize,
    gauges: [Gauge; FormationStage::ALL.len()],
}

impl FormationTrack {
    pub(crate) fn new() -> Self {
        let gauges = FormationStage::ALL
            .map(|stage| metrics::gauge!("quicraft_formation_state", "state" => stage.label()));
        let track = Self {
            stage: FormationStage::Idle,
            done: 0,
            total: 0,
            gauges,
        };
        track.show();
        track
    }

    pub(crate) const fn stage(&self) -> FormationStage {
        self.stage
    }

    /// Takes how far it is now.
    pub(crate) fn turn(&mut self, report: &FormationReport) -> Option<Event> {
        let states = || report.nodes.values().chain(report.groups.values());
        let stage = FormationStage::of(report);
        let done = states().filter(|&state| *state == FormationState::Done);
        let (done, total) = (done.count(), states().count());
        if (stage, done, total) == (self.stage, self.done, self.total) {
            return None;
        }
        (self.stage, self.done, self.total) = (stage, done, total);
        self.show();
        Some(Event::FormationProgress { stage, done, total })
    }

    fn show(&self) {
        for (stage, gauge) in FormationStage::ALL.iter().zip(&self.gauges) {
            gauge.set(if *stage == self.stage { 1.0 } else { 0.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_change_is_told_once_and_a_fall_back_as_well() {
        let pending = || FormationState::Pending("not yet".to_owned());
        let mut report = FormationReport {
            uid: None,
            nodes: BTreeMap::from([(1, pending()), (2, pending())]),
            groups: BTreeMap::new(),
        };
        let mut track = FormationTrack::new();
        let mut turn = |report: &FormationReport| match track.turn(report) {
            Some(Event::FormationProgress { stage, done, total }) => Some((stage, done, total)),
            Some(other) => panic!("{other:?}"),
            None => None,
        };
        assert_eq!(turn(&report), Some((FormationStage::Asking, 0, 2)));
        assert_eq!(turn(&report), None);
        report.uid = Some(7);
        report.nodes.insert(1, FormationState::Done);
        assert_eq!(turn(&report), Some((FormationStage::Forming, 1, 2)));
        report.nodes.insert(2, FormationState::Done);
        assert_eq!(turn(&report), Some((FormationStage::Formed, 2, 2)));
        assert_eq!(turn(&report), None);
        report.nodes.insert(3, pending());
        assert_eq!(turn(&report), Some((FormationStage::Forming, 2, 3)));
        report
            .nodes
            .insert(3, FormationState::Failed("lost".to_owned()));
        assert_eq!(turn(&report), Some((FormationStage::Failed, 2, 3)));
    }
}
