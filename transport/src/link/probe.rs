//! Judging a candidate to the end: rules 4 to 7, with the probe that rule 7 may ask for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::connection::Connection;
use super::control;
use super::local::{LocalNode, lock};
use super::peer_state::PeerState;
use crate::admission::{AdmissionRefusal, Candidate, ConnectionId, ProbeOutcome, Verdict};
use crate::close::CloseCode;
use crate::limits::{PROBE_LIMIT_MAX, PROBE_LIMIT_MIN};

/// Time that an incumbent has to answer: eight round trips, within the bounds of the design.
pub(crate) fn probe_limit(rtt: Duration) -> Duration {
    (rtt * 8).clamp(PROBE_LIMIT_MIN, PROBE_LIMIT_MAX)
}

/// Judges a candidate, and probes the incumbent where the rules say so.
///
/// Cancel safe: a probe that is dropped counts as answered, so that nobody is displaced by it.
pub(crate) async fn judge(
    local: &Arc<LocalNode>,
    peer: &Arc<PeerState>,
    candidate: &Candidate,
) -> Result<(), AdmissionRefusal> {
    loop {
        let verdict = lock(&peer.life).judge(candidate, Instant::now());
        let incumbents = match verdict {
            Verdict::Admit => return Ok(()),
            Verdict::Refuse(refusal) => return Err(refusal),
            Verdict::Probe { incumbents } => incumbents,
        };
        let mut running = RunningProbe {
            local,
            peer,
            outcome: ProbeOutcome::Answered,
        };
        running.outcome = probe(peer, &incumbents).await;
        let outcome = running.outcome;
        drop(running);
        if outcome == ProbeOutcome::Answered {
            let detail = "another process of this node answers";
            return Err(AdmissionRefusal::new(CloseCode::DuplicateNode, detail));
        }
        // The incumbent is gone. Judged again, the candidate meets whatever came in between.
    }
}

/// Ends a probe in the peer's life, whatever happens to the future that runs it.
struct RunningProbe<'a> {
    local: &'a Arc<LocalNode>,
    peer: &'a Arc<PeerState>,
    outcome: ProbeOutcome,
}

impl Drop for RunningProbe<'_> {
    fn drop(&mut self) {
        self.peer.probe_ended(self.local, self.outcome);
    }
}

/// Asks all connections of the incumbent; one answer is enough.
async fn probe(peer: &PeerState, incumbents: &[ConnectionId]) -> ProbeOutcome {
    let connections: Vec<_> = {
        let connections = lock(&peer.connections);
        let asked = connections
            .iter()
            .filter(|connection| incumbents.contains(&connection.id()));
        asked.map(Arc::clone).collect()
    };
    let mut pings: FuturesUnordered<_> = connections.iter().map(ping).collect();
    while let Some(answered) = pings.next().await {
        if answered {
            return ProbeOutcome::Answered;
        }
    }
    ProbeOutcome::Silent
}

async fn ping(connection: &Arc<Connection>) -> bool {
    let deadline = Instant::now() + probe_limit(connection.rtt());
    control::ping(connection, deadline).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_eight_round_trips_within_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(probe_limit(ms(1)), PROBE_LIMIT_MIN);
        assert_eq!(probe_limit(ms(125)), PROBE_LIMIT_MIN);
        assert_eq!(probe_limit(ms(126)), ms(1_008));
        assert_eq!(probe_limit(ms(375)), PROBE_LIMIT_MAX);
        assert_eq!(probe_limit(ms(376)), PROBE_LIMIT_MAX);
    }
}
