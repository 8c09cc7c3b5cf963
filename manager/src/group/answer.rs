//! What the Raft of this node makes of a request: the one table from openraft's results to ours.
//! It must not know whether the request came from here or from a peer.

use openraft::errors::ForwardReason;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::ReadLogId;
use openraft::storage::RaftStateMachine;
use openraft::type_config::alias::LogIdOf;
use openraft::{Raft, RaftTypeConfig, ReadPolicy};

use crate::forward::Answer;

/// Proposes a command to the Raft of this node.
pub(crate) async fn propose<C, SM>(raft: &Raft<C, SM>, command: C::D) -> Answer<(LogIdOf<C>, C::R)>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    match raft.client_write(command).await {
        Ok(written) => Answer::Done((written.log_id, written.data)),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => elsewhere(&to),
        Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(to))) => {
            Answer::Unknown(format!("its entry was discarded with its leadership; {to}"))
        }
        // Neither belongs to a command; it was not appended.
        Err(RaftError::APIError(
            error @ (ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_)),
        )) => Answer::Failed(error.to_string()),
        Err(RaftError::Fatal(error)) => Answer::Failed(error.to_string()),
    }
}

/// Asks the Raft of this node, as the leader, up to where a state machine must have applied.
pub(crate) async fn read_point<C, SM>(
    raft: &Raft<C, SM>,
    policy: ReadPolicy,
) -> Answer<ReadLogId<C>>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    match raft.get_read_linearizer(policy).await {
        Ok(linearizer) => Answer::Done(linearizer.read_log_id().clone()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => elsewhere(&to),
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(error))) => {
            Answer::NotNow(error.to_string())
        }
        Err(RaftError::Fatal(error)) => Answer::Failed(error.to_string()),
    }
}

/// Nothing was done. Whether somebody else may do it now depends on why.
pub(super) fn elsewhere<C, T>(to: &ForwardToLeader<C>) -> Answer<T>
where
    C: RaftTypeConfig<NodeId = u64>,
{
    match to.reason {
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
            Answer::NotLeader(to.leader_id)
        }
        // It still leads: nobody else does, so hunting for another would only cost.
        ForwardReason::LeaseExpired => Answer::NotNow("its lease has run out".to_owned()),
    }
}
