//! A heartbeat and its answer, as the Raft of one group has them.
//!
//! The usual one, of a leader whose log has an entry of its own term, is a handful of bytes: the
//! leader is whoever sends it, and the log ids are of its own leadership. Any other travels whole.

use bytes::{BufMut, Bytes, BytesMut};
use openraft::RaftTypeConfig;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use openraft::type_config::alias::{CommittedLeaderIdOf, LeaderIdOf, LogIdOf, VoteOf};
use openraft::vote::{RaftLeaderId, RaftVote};

use super::super::codec::{Codec, CodecError, RaftCodec};
use super::append::AppendHead;
use super::{WireError, check_leader_vote, decode, split_tag, varint};

/// Everything is said.
const WHOLE: u8 = 0;
/// The vote is a committed one of the sender; only its term is said. Log ids are of that leader;
/// only their indexes are said.
const SHORT: u8 = 1;

/// In the short form, where the log id before the heartbeat stands: none, or its index and this.
const PREV_SOME: u64 = 1;
/// In the short form, where the committed log id stands: it is the one before the heartbeat.
const COMMIT_IS_PREV: u64 = 1;
/// Or it is another one, and this is its index and this.
const COMMIT_SOME: u64 = 2;

/// Appends the bytes of a heartbeat of `own`. `request` has no entries.
pub(crate) fn encode_heartbeat<C: RaftTypeConfig<NodeId = u64>>(
    request: AppendEntriesRequest<C>,
    own: u64,
    into: &mut BytesMut,
) -> Result<(), CodecError> {
    if let Some((prev, commit)) = short_form(&request, own) {
        into.put_u8(SHORT);
        varint::put(into, prev);
        varint::put(into, commit);
        return RaftCodec::encode(&request.vote.leader_id().term(), into);
    }
    let AppendEntriesRequest {
        vote,
        prev_log_id,
        entries: _,
        leader_commit,
    } = request;
    into.put_u8(WHOLE);
    RaftCodec::encode(
        &AppendHead::<C> {
            vote,
            prev_log_id,
            leader_commit,
        },
        into,
    )
}

/// The two numbers of the short form, if the heartbeat has one.
fn short_form<C: RaftTypeConfig<NodeId = u64>>(
    request: &AppendEntriesRequest<C>,
    own: u64,
) -> Option<(u64, u64)> {
    let (vote, leader) = vote_of::<C>(request.vote.leader_id().term(), own);
    if request.vote != vote {
        return None;
    }
    let (prev, commit) = (&request.prev_log_id, &request.leader_commit);
    let ids = prev.iter().chain(commit);
    if ids.clone().any(|id| *id.committed_leader_id() != leader) {
        return None;
    }
    let number = |id: &LogIdOf<C>, behind: u64| id.index().checked_add(behind);
    let before = match prev {
        Some(prev) => number(prev, PREV_SOME)?,
        None => 0,
    };
    let committed = match commit {
        Some(_) if commit == prev => COMMIT_IS_PREV,
        Some(commit) => number(commit, COMMIT_SOME)?,
        None => 0,
    };
    Some((before, committed))
}

/// The vote of a leader, and the name that its log ids have.
fn vote_of<C: RaftTypeConfig<NodeId = u64>>(
    term: C::Term,
    node: u64,
) -> (VoteOf<C>, CommittedLeaderIdOf<C>) {
    let leader = LeaderIdOf::<C>::new(term, node);
    let committed = leader.to_committed();
    (VoteOf::<C>::from_leader_id(leader, true), committed)
}

/// The heartbeat that node `from` sent, if a leader may send it.
pub(crate) fn decode_heartbeat<C: RaftTypeConfig<NodeId = u64>>(
    bytes: &[u8],
    from: u64,
) -> Result<AppendEntriesRequest<C>, WireError> {
    let (vote, prev_log_id, leader_commit) = match split_tag(bytes)? {
        (WHOLE, rest) => {
            let head: AppendHead<C> = decode(rest)?;
            check_leader_vote::<C>(&head.vote)?;
            (head.vote, head.prev_log_id, head.leader_commit)
        }
        (SHORT, mut rest) => {
            let before = varint::take(&mut rest)?;
            let committed = varint::take(&mut rest)?;
            let (vote, leader) = vote_of::<C>(decode(rest)?, from);
            let id = |index| LogIdOf::<C>::new(leader.clone(), index);
            let prev = before.checked_sub(PREV_SOME).map(id);
            let commit = match committed {
                0 => None,
                COMMIT_IS_PREV if prev.is_none() => {
                    return Err(WireError::Malformed("a commit at no log id"));
                }
                COMMIT_IS_PREV => prev.clone(),
                number => Some(id(number - COMMIT_SOME)),
            };
            (vote, prev, commit)
        }
        _ => return Err(WireError::Malformed("unknown tag of a heartbeat")),
    };
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries: Vec::new(),
        leader_commit,
    })
}

/// The answer to a heartbeat.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeartbeatReply<C: RaftTypeConfig> {
    /// The log id before it is in the log.
    Matched,
    /// It is not.
    Conflict,
    /// A higher vote is known.
    HigherVote(VoteOf<C>),
}

impl<C: RaftTypeConfig> HeartbeatReply<C> {
    const CONFLICT: u8 = 2;
    const HIGHER_VOTE: u8 = 3;

    /// The bytes of this reply. The first two cost no memory.
    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        match self {
            Self::Matched => Ok(Bytes::from_static(&[HEARTBEAT_MATCHED])),
            Self::Conflict => Ok(Bytes::from_static(&[Self::CONFLICT])),
            Self::HigherVote(vote) => super::encode_tagged(Self::HIGHER_VOTE, vote),
        }
    }

    /// The reply in `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match split_tag(bytes)? {
            (HEARTBEAT_MATCHED, []) => Ok(Self::Matched),
            (Self::CONFLICT, []) => Ok(Self::Conflict),
            (Self::HIGHER_VOTE, rest) => Ok(Self::HigherVote(decode(rest)?)),
            _ => Err(WireError::Malformed("no reply to a heartbeat")),
        }
    }

    /// What it says to openraft, if it can be an answer to a heartbeat behind `prev`.
    pub(crate) fn judge(
        self,
        prev: Option<LogIdOf<C>>,
    ) -> Result<StreamAppendResult<C>, WireError> {
        match (self, prev) {
            (Self::Matched, prev) => Ok(Ok(prev)),
            (Self::Conflict, Some(prev)) => Ok(Err(StreamAppendError::Conflict(prev))),
            (Self::Conflict, None) => Err(WireError::Implausible(
                "it conflicts with the beginning of the log",
            )),
            (Self::HigherVote(vote), _) => Ok(Err(StreamAppendError::HigherVote(vote))),
        }
    }
}

/// The whole of the usual reply to a heartbeat, which a frame of answers says in two bits.
pub(crate) const HEARTBEAT_MATCHED: u8 = 1;
