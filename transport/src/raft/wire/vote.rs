//! Vote and pre-vote: the same bytes under two methods.

use openraft::RaftTypeConfig;
use openraft::raft::{VoteRequest, VoteResponse};
use openraft::type_config::alias::{LogIdOf, VoteOf};
use openraft::vote::RaftVote;
use serde::{Deserialize, Serialize};

use super::{WireError, decode};

/// Asks for a vote.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct VoteRequestBody<C: RaftTypeConfig> {
    vote: VoteOf<C>,
    last_log_id: Option<LogIdOf<C>>,
    leadership_transfer: bool,
}

impl<C: RaftTypeConfig> From<VoteRequest<C>> for VoteRequestBody<C> {
    fn from(request: VoteRequest<C>) -> Self {
        let VoteRequest {
            vote,
            last_log_id,
            leadership_transfer,
        } = request;
        Self {
            vote,
            last_log_id,
            leadership_transfer,
        }
    }
}

impl<C: RaftTypeConfig> VoteRequestBody<C> {
    /// The request in `bytes`, if a candidate may send it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<VoteRequest<C>, WireError> {
        let Self {
            vote,
            last_log_id,
            leadership_transfer,
        } = decode(bytes)?;
        if vote.is_committed() {
            // openraft would store it and follow that "leader" without an election.
            return Err(WireError::Implausible(
                "a candidate's message with a leader's vote",
            ));
        }
        Ok(VoteRequest {
            vote,
            last_log_id,
            leadership_transfer,
        })
    }
}

/// Answers it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct VoteReply<C: RaftTypeConfig> {
    vote: VoteOf<C>,
    vote_granted: bool,
    last_log_id: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> From<VoteResponse<C>> for VoteReply<C> {
    fn from(response: VoteResponse<C>) -> Self {
        let VoteResponse {
            vote,
            vote_granted,
            last_log_id,
        } = response;
        Self {
            vote,
            vote_granted,
            last_log_id,
        }
    }
}

impl<C: RaftTypeConfig> VoteReply<C> {
    /// The reply in `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<VoteResponse<C>, WireError> {
        let Self {
            vote,
            vote_granted,
            last_log_id,
        } = decode(bytes)?;
        Ok(VoteResponse {
            vote,
            vote_granted,
            last_log_id,
        })
    }
}
