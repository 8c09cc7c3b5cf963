//! The head of a snapshot, and the answer to one.
//!
//! On the lane, `length` raw bytes follow the head, and then their blake3 hash. The hash stands at
//! the end so that a file is read once.

use openraft::RaftTypeConfig;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::vote::{RaftLeaderId, RaftVote};
use serde::{Deserialize, Serialize};

use super::{WireError, check_leader_vote, decode};

/// What a receiver must know before the bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct SnapshotHead<C: RaftTypeConfig> {
    pub(crate) vote: VoteOf<C>,
    last_log_id: Option<LogIdOf<C>>,
    last_membership: StoredMembershipOf<C>,
    /// Bytes of the snapshot, without the hash.
    pub(crate) length: u64,
}

impl<C: RaftTypeConfig> SnapshotHead<C> {
    /// The head of a snapshot of `length` bytes.
    pub(crate) fn new(vote: VoteOf<C>, meta: SnapshotMetaOf<C>, length: u64) -> Self {
        let SnapshotMetaOf::<C> {
            last_log_id,
            last_membership,
        } = meta;
        Self {
            vote,
            last_log_id,
            last_membership,
            length,
        }
    }

    /// The head in `bytes`, if a leader may send it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let head: Self = decode(bytes)?;
        check_leader_vote::<C>(&head.vote)?;
        if let Some(last) = &head.last_log_id
            && *last.committed_leader_id() > head.vote.leader_id().to_committed()
        {
            // openraft asserts this when it installs, which would end the group's core.
            return Err(WireError::Implausible(
                "a snapshot from beyond its leader's term",
            ));
        }
        Ok(head)
    }

    /// The parts that openraft knows.
    pub(crate) fn into_parts(self) -> (VoteOf<C>, SnapshotMetaOf<C>) {
        let Self {
            vote,
            last_log_id,
            last_membership,
            length: _,
        } = self;
        (
            vote,
            SnapshotMetaOf::<C> {
                last_log_id,
                last_membership,
            },
        )
    }
}

/// The receiver's vote, after it has installed the snapshot or knows a higher one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct SnapshotReply<C: RaftTypeConfig> {
    vote: VoteOf<C>,
}

impl<C: RaftTypeConfig> From<SnapshotResponse<C>> for SnapshotReply<C> {
    fn from(response: SnapshotResponse<C>) -> Self {
        let SnapshotResponse { vote } = response;
        Self { vote }
    }
}

impl<C: RaftTypeConfig> SnapshotReply<C> {
    /// The reply in `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SnapshotResponse<C>, WireError> {
        let Self { vote } = decode(bytes)?;
        Ok(SnapshotResponse::new(vote))
    }
}
