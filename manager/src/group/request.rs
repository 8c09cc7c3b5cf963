//! Proposals and read points, as questions to whoever leads.

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use openraft::raft::linearizable_read::ReadLogId;
use openraft::storage::RaftStateMachine;
use openraft::type_config::alias::LogIdOf;
use openraft::{RaftTypeConfig, ReadPolicy};
use quicraft_transport::raft::{Codec as _, RaftCodec};
use tokio::time::Instant;

use super::{GroupInner, answer, service};
use crate::RequestError;
use crate::forward::{Question, ask, method};

/// How a proposal is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOptions {
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The command may be run twice without harm, because the state machine notices the second one:
    /// then a proposal of unknown fate is made again, and reported as unknown only if no attempt
    /// before the deadline is answered. Default `false`.
    pub idempotent: bool,
}

impl RequestOptions {
    /// A proposal that is made once, until `deadline`.
    #[must_use]
    pub const fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            idempotent: false,
        }
    }

    /// The same for a command that may be run twice without harm.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }
}

/// A command that was applied.
#[derive(Debug)]
#[non_exhaustive]
pub struct Proposed<C: RaftTypeConfig> {
    /// Its place in the log.
    pub log_id: LogIdOf<C>,
    /// What applying it gave.
    pub response: C::R,
    /// The leader that applied it.
    pub leader: u64,
}

/// Proposes a command at whoever leads.
pub(super) async fn propose<C, SM>(
    inner: &GroupInner<C, SM>,
    command: C::D,
    options: RequestOptions,
) -> Result<Proposed<C>, RequestError>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::D: Clone,
    SM: RaftStateMachine<C>,
{
    let question = Question {
        method: method::PROPOSE,
        repeatable: options.idempotent,
        has_fate: true,
        follows_leader: true,
        deadline: options.deadline,
        here: Some(&|| answer::propose(&inner.raft, command.clone()).boxed()),
        body: &|| {
            let mut body = BytesMut::new();
            RaftCodec::encode(&command, &mut body)?;
            Ok(body.freeze())
        },
    };
    let (leader, (log_id, response)) = ask(&inner.origin, inner, &question).await?;
    Ok(Proposed {
        log_id,
        response,
        leader,
    })
}

/// The node that answered, and up to where the state machine of this one must have applied.
pub(super) async fn read_point<C, SM>(
    inner: &GroupInner<C, SM>,
    policy: ReadPolicy,
    deadline: Instant,
) -> Result<(u64, ReadLogId<C>), RequestError>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let byte = service::policy_byte(&policy);
    let question = Question {
        method: method::READ_POINT,
        repeatable: true,
        has_fate: false,
        follows_leader: true,
        deadline,
        here: Some(&|| answer::read_point(&inner.raft, policy.clone()).boxed()),
        body: &|| Ok(Bytes::copy_from_slice(&[byte])),
    };
    ask(&inner.origin, inner, &question).await
}
