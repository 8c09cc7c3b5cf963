//! Who may go on with a snapshot whose transfer broke: decisions only, without bytes or tasks.
//!
//! This room must not know where the bytes are kept or how a question came.

use openraft::RaftTypeConfig;
use openraft::type_config::alias::{CommittedLeaderIdOf, LogIdOf};
use tokio::time::Instant;

use super::super::limits::PARTIAL_SNAPSHOT_AGE_MAX;

/// What tells two snapshots of one group apart, as far as a receiver can know it. Snapshots with
/// the same key may still differ, so their bytes are compared by a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartialKey<C: RaftTypeConfig> {
    /// The last log id in it.
    pub(crate) last_log_id: Option<LogIdOf<C>>,
    /// Its bytes.
    pub(crate) length: u64,
}

/// A snapshot that a leader wants to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim<C: RaftTypeConfig> {
    /// Whose it is. A later leader outranks an earlier one.
    pub(crate) leader: CommittedLeaderIdOf<C>,
    /// Which one it is.
    pub(crate) key: PartialKey<C>,
}

/// The first bytes of a snapshot, as the receiver has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// How many.
    pub(crate) offset: u64,
    /// Their blake3 hash.
    pub(crate) hash: blake3::Hash,
}

/// What is known about bytes that were kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept<C: RaftTypeConfig> {
    /// Which snapshot, and the highest leader that sent or asked for it.
    pub(crate) claim: Claim<C>,
    /// How many bytes of it are stored.
    pub(crate) stored: u64,
    /// When the last of them came, or their transfer ended.
    pub(crate) touched: Instant,
}

impl<C: RaftTypeConfig> Kept<C> {
    /// Whether they are too old to go on with.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.touched) > PARTIAL_SNAPSHOT_AGE_MAX
    }
}

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is of an earlier leader than what is kept: refused, and nothing changes.
    Outranked,
    /// What is kept is of no use to it and is thrown away; it begins at 0.
    Anew,
    /// It goes on behind what is kept.
    Continue,
    /// It wants to go on behind bytes that are not there: refused, and nothing changes.
    Missing,
}

/// What becomes of a leader's question for an offer.
pub(crate) fn judge_offer<C: RaftTypeConfig>(
    kept: Option<&Kept<C>>,
    claim: &Claim<C>,
    now: Instant,
) -> Judgement {
    match fresh(kept, now) {
        Some(kept) if claim.leader < kept.claim.leader => Judgement::Outranked,
        Some(kept) if claim.key == kept.claim.key && kept.stored > 0 => Judgement::Continue,
        _ => Judgement::Anew,
    }
}

/// What becomes of a snapshot whose head says that its bytes begin at `offset`.
pub(crate) fn judge_head<C: RaftTypeConfig>(
    kept: Option<&Kept<C>>,
    claim: &Claim<C>,
    offset: u64,
    now: Instant,
) -> Judgement {
    match fresh(kept, now) {
        Some(kept) if claim.leader < kept.claim.leader => Judgement::Outranked,
        _ if offset == 0 => Judgement::Anew,
        Some(kept) if claim.key == kept.claim.key && kept.stored == offset => Judgement::Continue,
        _ => Judgement::Missing,
    }
}

fn fresh<C: RaftTypeConfig>(kept: Option<&Kept<C>>, now: Instant) -> Option<&Kept<C>> {
    kept.filter(|kept| !kept.is_stale(now))
}
