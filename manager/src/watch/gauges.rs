//! The gauges of a group, and of the node. Handles are made once and kept, so that setting them is a
//! store and no search.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{Counter, Gauge};
use quicraft_transport::link::LaneStatus;

use super::report::{FollowerReport, GroupReport};
use crate::GroupName;

/// What a group shows. A series of a follower is there from the first time that this node leads; it
/// is NaN while this node does not, because then it cannot know.
#[derive(Debug)]
pub(crate) struct GroupGauges {
    group: String,
    elections: Counter,
    followers: BTreeMap<u64, FollowerGauges>,
}

#[derive(Debug)]
struct FollowerGauges {
    lag_entries: Gauge,
    lag_seconds: Gauge,
    ack_age: Gauge,
}

impl GroupGauges {
    pub(crate) fn new(group: &GroupName) -> Self {
        let group = group.to_string();
        Self {
            elections: metrics::counter!("quicraft_elections_total", "group" => group.clone()),
            group,
            followers: BTreeMap::new(),
        }
    }

    pub(crate) fn set(&mut self, elections: u64, report: &GroupReport) {
        if elections > 0 {
            self.elections.increment(elections);
        }
        let followers = report.followers.as_deref().unwrap_or_default();
        for follower in followers {
            let group = &self.group;
            let gauges = self.followers.entry(follower.node);
            let gauges = gauges.or_insert_with(|| FollowerGauges::new(group, follower.node));
            gauges.set(follower);
        }
        // Sorted both, but few: a group has a handful of members.
        let gone = |node: &u64| !followers.iter().any(|follower| follower.node == *node);
        self.followers.retain(|node, gauges| {
            let gone = gone(node);
            if gone {
                gauges.unknown();
            }
            !gone
        });
    }
}

impl Drop for GroupGauges {
    fn drop(&mut self) {
        for gauges in self.followers.values() {
            gauges.unknown();
        }
    }
}

impl FollowerGauges {
    fn new(group: &str, peer: u64) -> Self {
        let labels = [("group", group.to_owned()), ("peer", peer.to_string())];
        Self {
            lag_entries: metrics::gauge!("quicraft_replication_lag_entries", &labels),
            lag_seconds: metrics::gauge!("quicraft_replication_lag_seconds", &labels),
            ack_age: metrics::gauge!("quicraft_heartbeat_ack_age_seconds", &labels),
        }
    }

    fn set(&self, follower: &FollowerReport) {
        let entries = follower
            .lag_entries
            .map_or(f64::NAN, |entries| entries as f64);
        self.lag_entries.set(entries);
        self.lag_seconds.set(follower.lag);
        let age = follower.since_acked.map(|age| age.as_secs_f64());
        self.ack_age.set(age.unwrap_or(f64::NAN));
    }

    fn unknown(&self) {
        for gauge in [&self.lag_entries, &self.lag_seconds, &self.ack_age] {
            gauge.set(f64::NAN);
        }
    }
}

/// What a node shows of all its groups together.
#[derive(Debug)]
pub(crate) struct NodeGauges {
    groups: Gauge,
    led: Gauge,
    leaderless: Gauge,
    failed: Gauge,
}

impl NodeGauges {
    pub(crate) fn new() -> Self {
        Self {
            groups: metrics::gauge!("quicraft_groups"),
            led: metrics::gauge!("quicraft_groups_led"),
            leaderless: metrics::gauge!("quicraft_groups_without_leader"),
            failed: metrics::gauge!("quicraft_groups_failed"),
        }
    }

    pub(crate) fn set<'a>(&self, groups: impl Iterator<Item = &'a GroupReport> + Clone) {
        let count = |which: fn(&GroupReport) -> bool| {
            groups.clone().filter(|&group| which(group)).count() as f64
        };
        self.groups.set(count(|_| true));
        self.led.set(count(|group| group.followers.is_some()));
        self.leaderless.set(count(|group| {
            group.status.leader.is_none() && group.status.failure.is_none()
        }));
        self.failed
            .set(count(|group| group.status.failure.is_some()));
    }
}

/// What a node shows of the link to a peer.
#[derive(Debug)]
pub(crate) struct LinkGauges {
    up: Gauge,
    round_trip: Gauge,
    timing_unsafe: Gauge,
    lanes: Vec<LaneCounters>,
}

/// Counters that the transport keeps; each is set to what it says.
#[derive(Debug)]
struct LaneCounters {
    sent_bytes: Counter,
    received_bytes: Counter,
    calls: Counter,
    served: Counter,
}

impl LinkGauges {
    pub(crate) fn new(peer: u64, lanes: &[LaneStatus]) -> Self {
        let peer = peer.to_string();
        let of_lane = |lane: &LaneStatus| {
            let labels = [
                ("peer", peer.clone()),
                ("lane", lane.lane.name().to_owned()),
            ];
            LaneCounters {
                sent_bytes: metrics::counter!("quicraft_lane_sent_bytes_total", &labels),
                received_bytes: metrics::counter!("quicraft_lane_received_bytes_total", &labels),
                calls: metrics::counter!("quicraft_lane_calls_total", &labels),
                served: metrics::counter!("quicraft_lane_served_total", &labels),
            }
        };
        let lanes = lanes.iter().map(of_lane).collect();
        Self {
            up: metrics::gauge!("quicraft_link_up", "peer" => peer.clone()),
            round_trip: metrics::gauge!(
                "quicraft_link_round_trip_seconds", "peer" => peer.clone()
            ),
            timing_unsafe: metrics::gauge!("quicraft_timing_unsafe", "peer" => peer),
            lanes,
        }
    }

    pub(crate) fn set(&self, up: bool, round_trip: Option<Duration>, unsafe_now: bool) {
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        self.up.set(flag(up));
        let round_trip = round_trip.map(|time| time.as_secs_f64());
        self.round_trip.set(round_trip.unwrap_or(f64::NAN));
        self.timing_unsafe.set(flag(unsafe_now));
    }

    pub(crate) fn carried(&self, lanes: &[LaneStatus]) {
        for (counters, lane) in self.lanes.iter().zip(lanes) {
            counters.sent_bytes.absolute(lane.sent_bytes);
            counters.received_bytes.absolute(lane.received_bytes);
            counters.calls.absolute(lane.calls);
            counters.served.absolute(lane.served);
        }
    }
}
