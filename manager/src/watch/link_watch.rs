//! The links of this node, and whether their round trips suit the timeouts of its groups. It must not
//! know how a round trip is measured, nor what makes it unsafe.

use std::collections::BTreeMap;
use std::time::Duration;

use quicraft_transport::{LinkState, LinkStatus};

use super::event::Event;
use super::gauges::LinkGauges;
use crate::raft_config::TimingWarning;

/// A warning ends when the timeouts would suit a round trip that is longer by this part, so that one
/// at the limit does not raise an event a second; and it is raised again when the round trip has
/// grown by as much, because the advice has just that room.
const ROOM: u32 = 4;

/// What is remembered of the links.
#[derive(Debug, Default)]
pub(crate) struct LinkWatch {
    peers: BTreeMap<u64, PeerTrack>,
}

#[derive(Debug)]
struct PeerTrack {
    gauges: LinkGauges,
    timing: TimingTrack,
}

/// Whether a peer was warned of.
#[derive(Debug, Default)]
struct TimingTrack {
    /// As it was raised.
    raised: Option<TimingWarning>,
    /// As it is now.
    current: Option<TimingWarning>,
}

impl LinkWatch {
    /// Takes how the links stand. `judge` says whether a round trip to a peer is unsafe.
    pub(crate) fn observe(
        &mut self,
        links: &[LinkStatus],
        judge: impl Fn(u64, Duration) -> Option<TimingWarning>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for link in links {
            let peer = link.peer.get();
            let track = self.peers.entry(peer).or_insert_with(|| PeerTrack {
                gauges: LinkGauges::new(peer, &link.lanes),
                timing: TimingTrack::default(),
            });
            let up = link.state == LinkState::Up;
            let round_trip = link.rtt.filter(|_| up);
            if let Some(round_trip) = round_trip {
                let judged = |round_trip| judge(peer, round_trip);
                events.extend(track.timing.turn(peer, round_trip, judged));
            }
            let warned = track.timing.raised.is_some();
            track.gauges.set(up, round_trip, warned);
            track.gauges.carried(&link.lanes);
        }
        let is_known = |peer: &u64| links.iter().any(|link| link.peer.get() == *peer);
        self.peers.retain(|peer, track| {
            let known = is_known(peer);
            if !known {
                track.gauges.set(false, None, false);
            }
            known
        });
        events
    }

    /// The warnings that stand, in the order of the peers' ids.
    pub(crate) fn warnings(&self) -> Vec<TimingWarning> {
        let tracks = self.peers.values();
        tracks.filter_map(|track| track.timing.current).collect()
    }
}

impl TimingTrack {
    /// A round trip was measured.
    fn turn(
        &mut self,
        peer: u64,
        round_trip: Duration,
        judge: impl Fn(Duration) -> Option<TimingWarning>,
    ) -> Option<Event> {
        let roomy = |time: Duration| time.saturating_add(time / ROOM);
        let now = judge(round_trip);
        match (self.raised, now) {
            (None, None) => None,
            (Some(raised), Some(now)) if now.round_trip <= roomy(raised.round_trip) => {
                self.current = Some(now);
                None
            }
            (_, Some(now)) => {
                self.raised = Some(now);
                self.current = Some(now);
                Some(Event::TimingUnsafe { warning: now })
            }
            (Some(_), None) => {
                if let Some(still) = judge(roomy(round_trip)) {
                    self.current = Some(still);
                    return None;
                }
                *self = Self::default();
                Some(Event::TimingSafe { peer, round_trip })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft_config::lan;

    const MS: Duration = Duration::from_millis(1);

    fn raised(event: Option<Event>) -> Option<&'static str> {
        event.map(|event| event.name())
    }

    /// `lan` is safe up to 75 ms.
    #[test]
    fn a_warning_is_raised_once_and_ends_with_room() {
        let config = lan();
        let mut track = TimingTrack::default();
        let mut turn = |round_trip: Duration| {
            let event = track.turn(3, round_trip, |time| TimingWarning::of(3, &config, time));
            (raised(event), track.current.is_some())
        };
        assert_eq!(turn(75 * MS), (None, false));
        assert_eq!(turn(80 * MS), (Some("timing_unsafe"), true));
        assert_eq!(turn(80 * MS), (None, true));
        assert_eq!(turn(100 * MS), (None, true), "the advice has that room");
        assert_eq!(turn(101 * MS), (Some("timing_unsafe"), true));
        assert_eq!(turn(61 * MS), (None, true), "too near to call it safe");
        assert_eq!(turn(60 * MS), (Some("timing_safe"), false));
        assert_eq!(turn(60 * MS), (None, false));
    }
}
