//! What has changed in a group since it was last looked at. Pure: samples and the time come in,
//! events and a report come out.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::GroupStatus;
use crate::watch::event::Event;
use crate::watch::log_ends::LogEnds;
use crate::watch::report::{FollowerReport, GroupReport, Liveness};
use crate::watch::sample::{FollowerSample, GroupSample};

/// What is remembered of a group.
#[derive(Debug, Default)]
pub(crate) struct GroupTrack {
    /// What the sample before said.
    last: Option<GroupReport>,
    /// The newest term, if nobody was seen to lead in it.
    electing: Option<String>,
    leading: Option<Leading>,
    dead: BTreeSet<u64>,
}

/// What is remembered while this node leads.
#[derive(Debug, Default)]
struct Leading {
    /// Where its log ended when.
    ends: LogEnds,
    /// Since when each follower is one of this leader's. A learner that was just added has not been
    /// silent for as long as its leader leads.
    since: BTreeMap<u64, Instant>,
}

/// What a sample has brought.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) events: Vec<Event>,
    /// Followers that were found dead now, and for how long they have been silent.
    pub(crate) died: Vec<(u64, Duration)>,
    /// Followers that were dead and are there again.
    pub(crate) back: Vec<u64>,
    /// Terms that began since the sample before.
    pub(crate) elections: u64,
}

impl GroupTrack {
    /// Takes a sample.
    pub(crate) fn observe(&mut self, sample: GroupSample, now: Instant) -> Seen {
        let GroupSample {
            status,
            term,
            closing,
            config,
            followers,
        } = sample;
        let mut events = Vec::new();
        let elections = self.compare(&status, term, closing, &mut events);
        let dead_after = Duration::from_millis(config.election_timeout_max);
        let followers = followers.map(|followers| {
            let lead = Lead {
                now,
                last: status.last_log_index,
                limit: dead_after,
                heartbeats: config.enable_heartbeat,
            };
            self.lead(&lead, &followers)
        });
        let (died, back) = self.turns(followers.as_deref(), now);
        self.last = Some(GroupReport {
            status,
            term,
            dead_after,
            followers,
        });
        Seen {
            events,
            died,
            back,
            elections,
        }
    }

    /// What the last sample said.
    pub(crate) const fn report(&self) -> Option<&GroupReport> {
        self.last.as_ref()
    }

    /// Raises what is different now, and returns the number of terms that began.
    fn compare(
        &mut self,
        status: &GroupStatus,
        term: Option<u64>,
        closing: bool,
        events: &mut Vec<Event>,
    ) -> u64 {
        let group = || status.name.clone();
        let last = self.last.as_ref();
        let mut elections = 0;
        if let Some(known) = last.filter(|known| known.status.term != status.term) {
            let grown = term
                .zip(known.term)
                .map(|(now, then)| now.saturating_sub(then));
            elections = grown.unwrap_or(1);
            if let Some(term) = self.electing.take() {
                events.push(Event::ElectionLost {
                    group: group(),
                    term,
                });
            }
            if status.leader.is_none() {
                let term = status.term.clone();
                self.electing = Some(term.clone());
                events.push(Event::ElectionStarted {
                    group: group(),
                    term,
                });
            }
        }
        if status.leader.is_some() {
            self.electing = None;
        }
        let led = last.and_then(|known| known.status.leader);
        if led != status.leader {
            events.push(Event::LeaderChanged {
                group: group(),
                from: led,
                to: status.leader,
                term: status.term.clone(),
            });
        }
        let moved = last.is_some_and(|known| {
            known.status.voters != status.voters || known.status.learners != status.learners
        });
        if moved {
            events.push(Event::MembershipChanged {
                group: group(),
                voters: status.voters.clone(),
                learners: status.learners.clone(),
            });
        }
        let failed = last.and_then(|known| known.status.failure.as_ref());
        if let (None, Some(reason), false) = (failed, &status.failure, closing) {
            events.push(Event::GroupFailed {
                group: group(),
                reason: reason.clone(),
            });
        }
        elections
    }

    fn lead(&mut self, lead: &Lead, followers: &[FollowerSample]) -> Vec<FollowerReport> {
        let leading = self.leading.get_or_insert_default();
        let Leading { ends, since } = leading;
        ends.note(lead.now, lead.last);
        since.retain(|known, _| followers.iter().any(|follower| follower.node == *known));
        let reports = followers.iter().map(|follower| {
            let since = since.entry(follower.node).or_insert(lead.now);
            lead.report(follower, *since, ends)
        });
        let reports = reports.collect();
        let matched = followers.iter().map(|follower| follower.matched);
        if let Some(Some(lowest)) = matched.min() {
            ends.forget(lowest);
        }
        reports
    }

    /// Followers that died or came back since the sample before.
    fn turns(
        &mut self,
        followers: Option<&[FollowerReport]>,
        now: Instant,
    ) -> (Vec<(u64, Duration)>, Vec<u64>) {
        let Some(followers) = followers else {
            self.leading = None;
            self.dead.clear();
            return (Vec::new(), Vec::new());
        };
        let since = self.leading.as_ref().map(|leading| &leading.since);
        self.dead
            .retain(|dead| followers.iter().any(|follower| follower.node == *dead));
        let mut died = Vec::new();
        let mut back = Vec::new();
        for follower in followers {
            match follower.liveness {
                Liveness::Dead => {
                    if self.dead.insert(follower.node) {
                        let since = since.and_then(|since| since.get(&follower.node));
                        let silent = follower.since_acked.or_else(|| since.map(|at| now - *at));
                        died.push((follower.node, silent.unwrap_or_default()));
                    }
                }
                Liveness::Alive => {
                    if self.dead.remove(&follower.node) {
                        back.push(follower.node);
                    }
                }
                Liveness::Unknown => {}
            }
        }
        (died, back)
    }
}

/// A leader at the moment of a sample.
struct Lead {
    now: Instant,
    last: Option<u64>,
    limit: Duration,
    heartbeats: bool,
}

impl Lead {
    fn report(&self, follower: &FollowerSample, since: Instant, ends: &LogEnds) -> FollowerReport {
        // Who never answered this leader is silent for as long as it follows it.
        let silent = follower.since_acked.unwrap_or(self.now - since);
        let liveness = if silent > self.limit {
            // Without heartbeats an idle group is silent by itself.
            let told = self.heartbeats || follower.matched < self.last;
            if told {
                Liveness::Dead
            } else {
                Liveness::Unknown
            }
        } else if follower.since_acked.is_some() {
            Liveness::Alive
        } else {
            Liveness::Unknown
        };
        let lacking = ends.lacking_since(follower.matched);
        let lag = lacking.map_or(Duration::ZERO, |at| self.now - at);
        let entries = |index: Option<u64>| index.map_or(0, |index| index.saturating_add(1));
        let answered = follower.since_acked.is_some() || follower.matched.is_some();
        let lag_entries = entries(self.last).saturating_sub(entries(follower.matched));
        FollowerReport {
            node: follower.node,
            liveness,
            matched: follower.matched,
            lag_entries: answered.then_some(lag_entries),
            lag: if liveness == Liveness::Dead {
                lag.max(silent)
            } else {
                lag
            },
            since_acked: follower.since_acked,
        }
    }
}
