//! The transfer of leadership.

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::raft::{TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse};
use openraft::type_config::alias::{LogIdOf, VoteOf};
use serde::{Deserialize, Serialize};

use super::super::codec::CodecError;
use super::{WireError, check_leader_vote, decode, encode_tagged, split_tag};

/// Tells every node that the leader hands over to one of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct TransferRequest<C: RaftTypeConfig<NodeId = u64>> {
    from_leader: VoteOf<C>,
    to: u64,
    last_log_id: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig<NodeId = u64>> From<TransferLeaderRequest<C>> for TransferRequest<C> {
    fn from(request: TransferLeaderRequest<C>) -> Self {
        Self {
            from_leader: request.from_leader().clone(),
            to: *request.to_node_id(),
            last_log_id: request.last_log_id().cloned(),
        }
    }
}

impl<C: RaftTypeConfig<NodeId = u64>> TransferRequest<C> {
    /// The request in `bytes`, if a leader may send it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<TransferLeaderRequest<C>, WireError> {
        let Self {
            from_leader,
            to,
            last_log_id,
        } = decode(bytes)?;
        check_leader_vote::<C>(&from_leader)?;
        Ok(TransferLeaderRequest::new(from_leader, to, last_log_id))
    }
}

/// What a node says to a transfer of leadership: tag, then the reason if it is a no.
pub(crate) struct TransferReply;

impl TransferReply {
    const ACCEPTED: u8 = 1;
    const VOTE_CHANGED: u8 = 2;
    const LOG_NOT_FLUSHED: u8 = 3;

    /// The bytes of a response.
    pub(crate) fn encode<C: RaftTypeConfig>(
        response: &TransferLeaderResponse<C>,
    ) -> Result<Bytes, CodecError> {
        match response {
            Ok(()) => encode_tagged(Self::ACCEPTED, &()),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                encode_tagged(Self::VOTE_CHANGED, &(expected, actual))
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                encode_tagged(Self::LOG_NOT_FLUSHED, &(expected, actual))
            }
        }
    }

    /// The response in `bytes`.
    pub(crate) fn decode<C: RaftTypeConfig>(
        bytes: &[u8],
    ) -> Result<TransferLeaderResponse<C>, WireError> {
        match split_tag(bytes)? {
            (Self::ACCEPTED, rest) => {
                decode::<()>(rest)?;
                Ok(Ok(()))
            }
            (Self::VOTE_CHANGED, rest) => {
                let (expected, actual): (VoteOf<C>, VoteOf<C>) = decode(rest)?;
                Ok(Err(TransferLeaderError::VoteChanged { expected, actual }))
            }
            (Self::LOG_NOT_FLUSHED, rest) => {
                let (expected, actual): (Option<LogIdOf<C>>, Option<LogIdOf<C>>) = decode(rest)?;
                Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual }))
            }
            _ => Err(WireError::Malformed("unknown tag of a transfer reply")),
        }
    }
}
