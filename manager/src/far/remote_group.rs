//! A group of a known type that this node does not host: proposals to it.

use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use openraft::raft::linearizable_read::ReadLogId;
use openraft::type_config::alias::LogIdOf;
use openraft::{RaftTypeConfig, ReadPolicy};
use quicraft_transport::raft::{Codec as _, RaftCodec};
use tokio::time::Instant;

use super::FarGroup;
use super::far_group::Far;
use crate::forward::{Question, ask, method};
use crate::group::policy_byte;
use crate::{Proposed, RequestError, RequestOptions};

/// A group that this node does not host, with its types. Cloning gives another handle on the same
/// one.
///
/// Dropping it stops nothing.
pub struct RemoteGroup<C> {
    far: FarGroup,
    types: PhantomData<fn() -> C>,
}

impl<C> Clone for RemoteGroup<C> {
    fn clone(&self) -> Self {
        Self::new(self.far.clone())
    }
}

impl<C> fmt::Debug for RemoteGroup<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteGroup").field(&self.far).finish()
    }
}

impl<C> RemoteGroup<C> {
    pub(crate) const fn new(far: FarGroup) -> Self {
        Self {
            far,
            types: PhantomData,
        }
    }

    /// The same group without its types.
    #[must_use]
    pub const fn far(&self) -> &FarGroup {
        &self.far
    }
}

impl<C: RaftTypeConfig<NodeId = u64>> RemoteGroup<C> {
    /// Proposes a command, and returns what applying it on the leader gave; as
    /// [`Group::propose`](crate::Group::propose).
    ///
    /// # Errors
    ///
    /// [`RequestError`]; [`RequestError::Unknown`] is the only one after which the command may have
    /// been run, beside [`RequestError::Failed`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the command may have been run or not, and may still be.
    pub async fn propose(
        &self,
        command: C::D,
        options: RequestOptions,
    ) -> Result<Proposed<C>, RequestError> {
        let Far { origin, guide } = self.far.inner();
        let body = || {
            let mut body = BytesMut::new();
            RaftCodec::encode(&command, &mut body)?;
            Ok(body.freeze())
        };
        let question: Question<'_, '_, (LogIdOf<C>, C::R)> = Question {
            method: method::PROPOSE,
            repeatable: options.idempotent,
            has_fate: true,
            follows_leader: true,
            deadline: options.deadline,
            here: None,
            body: &body,
        };
        let (leader, (log_id, response)) = ask(origin, guide, &question).await?;
        Ok(Proposed {
            log_id,
            response,
            leader,
        })
    }

    /// A log index up to which the group has committed.
    pub(crate) async fn committed(&self, deadline: Instant) -> Result<u64, RequestError> {
        let Far { origin, guide } = self.far.inner();
        let byte = policy_byte(&ReadPolicy::ReadIndex);
        let question: Question<'_, '_, ReadLogId<C>> = Question {
            method: method::READ_POINT,
            repeatable: true,
            has_fate: false,
            follows_leader: true,
            deadline,
            here: None,
            body: &|| Ok(Bytes::copy_from_slice(&[byte])),
        };
        let (_, point) = ask(origin, guide, &question).await?;
        Ok(point.index())
    }
}
