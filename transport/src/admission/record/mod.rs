//! Rules 4 to 7: what is remembered of a peer, and which of its connections is the link.
//!
//! One record stands for one peer, whoever dialled. Both ends run the same rules on it: the dialer
//! at Welcome, the acceptor at Hello and again at Confirm.

use std::time::Duration;

use tokio::time::Instant;

use super::AdmissionRefusal;
use crate::close::CloseCode;
use crate::limits::{DRAINING_MAX, PROBE_INTERVAL};

/// A connection of this process, as the record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The connection with this number, which this process gives once.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The order of the connections between one pair of boots: the higher one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a pair, compared field by field in this order"
)]
pub struct Rank {
    /// The dialer's count of dials.
    pub generation: u64,
    /// Breaks the tie of two dials that crossed.
    pub dialer_is_smaller: bool,
}

/// A connection that asks to become the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by tests and by the link, field by field"
)]
pub struct Candidate {
    /// Which connection.
    pub connection: ConnectionId,
    /// The peer's boot.
    pub boot: u128,
    /// The peer's epoch.
    pub epoch: u64,
    /// Its place among the connections of the same boots.
    pub rank: Rank,
}

/// What is to be done with a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the link has to act on every verdict"
)]
pub enum Verdict {
    /// It may become the link.
    Admit,
    /// It is refused.
    Refuse(AdmissionRefusal),
    /// Ask the incumbent whether it lives, tell the record, and judge again.
    Probe {
        /// The connections of the recorded boot; an answer on any of them counts.
        incumbents: Vec<ConnectionId>,
    },
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a probe ends in one of these ways")]
pub enum ProbeOutcome {
    /// The incumbent answered the ping.
    Answered,
    /// It was silent to the end of the window, or its connections were lost.
    Silent,
}

/// What one node remembers of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerRecord {
    /// The highest epoch that was ever admitted.
    epoch_max: u64,
    /// The boot that the fields below belong to.
    boot: Option<u128>,
    /// The rank of the connection that was adopted last, alive or not.
    floor: Option<Rank>,
    /// The highest generation seen of that boot, on any connection.
    generation_max: u64,
    link: Option<ConnectionId>,
    draining: Vec<ConnectionId>,
    /// The connections that the probe under way asks.
    probing: Option<Vec<ConnectionId>>,
    answered_at: Option<Instant>,
}

impl PeerRecord {
    /// A record of a peer that was never seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The generation of this end's next dial: one more than the highest seen.
    #[must_use]
    pub const fn next_generation(&mut self) -> u64 {
        self.generation_max += 1;
        self.generation_max
    }

    /// Remembers the generation of a connection, whatever becomes of it.
    pub fn observe(&mut self, boot: u128, generation: u64) {
        if self.boot.is_none_or(|known| known == boot) {
            self.generation_max = self.generation_max.max(generation);
        }
    }

    /// The connection that new calls go to.
    #[must_use]
    pub const fn link(&self) -> Option<ConnectionId> {
        self.link
    }

    /// Connections that finish their calls, oldest first.
    pub fn draining(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.draining.iter().copied()
    }

    /// The highest epoch that was admitted.
    #[must_use]
    pub const fn epoch_max(&self) -> u64 {
        self.epoch_max
    }

    /// Judges a candidate. Nothing changes but the note that a probe has begun.
    pub fn judge(&mut self, candidate: &Candidate, now: Instant) -> Verdict {
        if candidate.epoch < self.epoch_max {
            return refuse(
                CloseCode::StaleIncarnation,
                format!("epoch {} after epoch {}", candidate.epoch, self.epoch_max),
            );
        }
        if self.boot == Some(candidate.boot) {
            return self.judge_same_boot(candidate);
        }
        self.judge_other_boot(candidate, now)
    }

    /// Rule 6: the order alone decides, so a half-open connection never beats a new dial.
    fn judge_same_boot(&self, candidate: &Candidate) -> Verdict {
        match self.floor {
            Some(floor) if candidate.rank <= floor => refuse(
                CloseCode::Superseded,
                format!(
                    "generation {} after {}",
                    candidate.rank.generation, floor.generation
                ),
            ),
            Some(_) | None => Verdict::Admit,
        }
    }

    /// Rules 5 and 7: a newcomer of another boot enters where nobody is, or after a probe.
    fn judge_other_boot(&mut self, candidate: &Candidate, now: Instant) -> Verdict {
        let incumbents: Vec<_> = self.link().into_iter().chain(self.draining()).collect();
        if incumbents.is_empty() {
            return Verdict::Admit;
        }
        if candidate.epoch != 0 && candidate.epoch == self.epoch_max {
            let detail = format!("two boots of epoch {}", candidate.epoch);
            return refuse(CloseCode::DuplicateNode, detail);
        }
        if self.probing.is_some() {
            return refuse(CloseCode::Busy, "another newcomer is being judged");
        }
        if let Some(wait) = self.probe_wait(now) {
            let mut refusal = AdmissionRefusal::new(
                CloseCode::DuplicateNode,
                "the incumbent has just answered a probe",
            );
            refusal.retry_after = wait;
            return Verdict::Refuse(refusal);
        }
        self.probing = Some(incumbents.clone());
        Verdict::Probe { incumbents }
    }

    /// How long an incumbent that has just answered is left alone.
    fn probe_wait(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.answered_at?);
        PROBE_INTERVAL
            .checked_sub(since)
            .filter(|wait| !wait.is_zero())
    }

    /// Ends the probe. Returns the incumbents that must be closed with `REPLACED` now.
    pub fn probe_ended(&mut self, outcome: ProbeOutcome, now: Instant) -> Vec<ConnectionId> {
        let asked = self.probing.take().unwrap_or_default();
        match outcome {
            ProbeOutcome::Answered => {
                self.answered_at = Some(now);
                Vec::new()
            }
            ProbeOutcome::Silent => {
                // What was adopted meanwhile was not asked; it may be the incumbent's redial.
                let known = self.link().into_iter().chain(self.draining());
                let closed = known.filter(|known| asked.contains(known)).collect();
                self.link = self.link.filter(|link| !asked.contains(link));
                self.draining.retain(|draining| !asked.contains(draining));
                closed
            }
        }
    }

    /// Forgets all connections of the peer and returns them: they must be closed now.
    #[must_use = "the connections must be closed"]
    pub fn clear(&mut self) -> Vec<ConnectionId> {
        let link = self.link.take();
        let mut connections: Vec<_> = link.into_iter().collect();
        connections.append(&mut self.draining);
        connections
    }

    /// Makes an admitted candidate the link. Returns the connection that drains from now on.
    ///
    /// Call it only when [`PeerRecord::judge`] has said [`Verdict::Admit`] under the same lock.
    pub fn adopt(&mut self, candidate: &Candidate) -> Option<ConnectionId> {
        if self.boot != Some(candidate.boot) {
            self.boot = Some(candidate.boot);
            // Our own dials of the old boot keep counting, so that no generation is used twice.
            self.floor = None;
        }
        self.epoch_max = self.epoch_max.max(candidate.epoch);
        self.generation_max = self.generation_max.max(candidate.rank.generation);
        self.floor = Some(candidate.rank);
        let previous = self.link.replace(candidate.connection);
        self.draining.extend(previous);
        previous
    }

    /// Counts a candidate as draining that lost to another one of its boot after it could be used.
    pub fn adopt_draining(&mut self, candidate: &Candidate) {
        self.generation_max = self.generation_max.max(candidate.rank.generation);
        self.draining.push(candidate.connection);
    }

    /// Puts the link into draining without another one in its place.
    #[must_use = "the connection has to drain"]
    pub fn retire(&mut self) -> Option<ConnectionId> {
        let link = self.link.take();
        self.draining.extend(link);
        link
    }

    /// The oldest draining connection, when more drain than the limit allows; it is to be closed.
    pub fn overflow(&mut self) -> Option<ConnectionId> {
        (self.draining.len() > DRAINING_MAX).then(|| self.draining.remove(0))
    }

    /// Forgets a connection that is gone. Returns whether it was the link.
    pub fn lost(&mut self, connection: ConnectionId) -> bool {
        self.draining.retain(|draining| *draining != connection);
        let was_link = self.link == Some(connection);
        if was_link {
            self.link = None;
        }
        was_link
    }

    /// Forgets the epochs of the peer, so that a restored backup may enter: the operator's way out.
    pub const fn forget(&mut self) {
        self.epoch_max = 0;
        self.answered_at = None;
    }
}

fn refuse(code: CloseCode, detail: impl Into<String>) -> Verdict {
    Verdict::Refuse(AdmissionRefusal::new(code, detail))
}

#[cfg(test)]
mod tests;
