//! The head of a snapshot and the answer to one; and the question before it, for what the receiver
//! has kept of a broken transfer.
//!
//! On the lane, the raw bytes from `offset` to `length` follow the head, and then the blake3 hash of
//! all `length` bytes. The hash stands at the end so that a file is read once.

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::vote::{RaftLeaderId, RaftVote};
use serde::{Deserialize, Serialize};

use super::super::codec::CodecError;
use super::super::limits::SNAPSHOT_HASH_BYTES;
use super::super::snapshot::{Claim, Offer, PartialKey};
use super::{WireError, check_leader_vote, check_membership, decode, encode_tagged, split_tag};

/// What a receiver must know before the bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct SnapshotHead<C: RaftTypeConfig> {
    pub(crate) vote: VoteOf<C>,
    last_log_id: Option<LogIdOf<C>>,
    last_membership: StoredMembershipOf<C>,
    /// Bytes of the snapshot, without the hash.
    pub(crate) length: u64,
    /// Bytes of it that the receiver has kept and that do not follow.
    pub(crate) offset: u64,
}

impl<C: RaftTypeConfig> SnapshotHead<C> {
    /// The head of a snapshot of `length` bytes, of which those from `offset` on follow.
    pub(crate) fn new(vote: VoteOf<C>, meta: SnapshotMetaOf<C>, length: u64, offset: u64) -> Self {
        let SnapshotMetaOf::<C> {
            last_log_id,
            last_membership,
        } = meta;
        Self {
            vote,
            last_log_id,
            last_membership,
            length,
            offset,
        }
    }

    /// The head in `bytes`, if a leader may send it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let head: Self = decode(bytes)?;
        check_leader::<C>(&head.vote, head.last_log_id.as_ref())?;
        check_membership::<C>(head.last_membership.membership())?;
        if head.offset > head.length {
            return Err(WireError::Implausible("a snapshot from beyond its end"));
        }
        Ok(head)
    }

    /// Which snapshot it is, and whose.
    pub(crate) fn claim(&self) -> Claim<C> {
        claim(&self.vote, self.last_log_id.clone(), self.length)
    }

    /// Bytes that follow on the lane, the hash included; `None` if a transfer cannot count them.
    pub(crate) fn transfer_length(&self) -> Option<u64> {
        (self.length.checked_sub(self.offset)?).checked_add(SNAPSHOT_HASH_BYTES as u64)
    }

    /// The parts that openraft knows.
    pub(crate) fn into_parts(self) -> (VoteOf<C>, SnapshotMetaOf<C>) {
        let Self {
            vote,
            last_log_id,
            last_membership,
            length: _,
            offset: _,
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

/// A snapshot of a later term than its leader's: openraft asserts that there is none when it
/// installs, which would end the group's core.
fn check_leader<C: RaftTypeConfig>(
    vote: &VoteOf<C>,
    last_log_id: Option<&LogIdOf<C>>,
) -> Result<(), WireError> {
    check_leader_vote::<C>(vote)?;
    match last_log_id {
        Some(last) if *last.committed_leader_id() > vote.leader_id().to_committed() => Err(
            WireError::Implausible("a snapshot from beyond its leader's term"),
        ),
        _ => Ok(()),
    }
}

fn claim<C: RaftTypeConfig>(
    vote: &VoteOf<C>,
    last_log_id: Option<LogIdOf<C>>,
    length: u64,
) -> Claim<C> {
    Claim {
        leader: vote.leader_id().to_committed(),
        key: PartialKey {
            last_log_id,
            length,
        },
    }
}

/// Asks what the receiver has kept of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct SnapshotOfferRequest<C: RaftTypeConfig> {
    pub(crate) vote: VoteOf<C>,
    pub(crate) last_log_id: Option<LogIdOf<C>>,
    length: u64,
    /// Whether the receiver shall throw it away, because the sender's bytes are others.
    pub(crate) discard: bool,
}

impl<C: RaftTypeConfig> SnapshotOfferRequest<C> {
    /// The question for a snapshot of `length` bytes.
    pub(crate) const fn new(
        vote: VoteOf<C>,
        last_log_id: Option<LogIdOf<C>>,
        length: u64,
        discard: bool,
    ) -> Self {
        Self {
            vote,
            last_log_id,
            length,
            discard,
        }
    }

    /// The question in `bytes`, if a leader may ask it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let request: Self = decode(bytes)?;
        check_leader::<C>(&request.vote, request.last_log_id.as_ref())?;
        Ok(request)
    }

    /// Which snapshot it is, and whose.
    pub(crate) fn claim(&self) -> Claim<C> {
        claim(&self.vote, self.last_log_id.clone(), self.length)
    }
}

/// What the receiver has of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotOfferReply<C: RaftTypeConfig> {
    /// Nothing that can be continued.
    Nothing,
    /// Its first bytes.
    Kept(Offer),
    /// All that is in it, under this vote: it need not be sent.
    Applied(VoteOf<C>),
}

impl<C: RaftTypeConfig> SnapshotOfferReply<C> {
    /// The bytes of the answer.
    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        match self {
            Self::Nothing => encode_tagged(1, &()),
            Self::Kept(Offer { offset, hash }) => encode_tagged(2, &(offset, hash.as_bytes())),
            Self::Applied(vote) => encode_tagged(3, vote),
        }
    }

    /// The answer in `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (tag, rest) = split_tag(bytes)?;
        match tag {
            1 => decode::<()>(rest).map(|()| Self::Nothing),
            2 => {
                let (offset, hash) = decode::<(u64, [u8; SNAPSHOT_HASH_BYTES])>(rest)?;
                let hash = blake3::Hash::from_bytes(hash);
                Ok(Self::Kept(Offer { offset, hash }))
            }
            3 => decode(rest).map(Self::Applied),
            _ => Err(WireError::Malformed("an unknown tag")),
        }
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
