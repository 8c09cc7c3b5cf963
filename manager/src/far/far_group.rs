//! A group of any type that this node does not host, as an operator sees it.

use std::fmt;
use std::sync::Arc;

use quicraft_transport::{GroupId, TransportHandle};
use tokio::time::Instant;

use super::{FarGuide, Members};
use crate::config::RaftManagerConfig;
use crate::forward::Origin;
use crate::group::asked;
use crate::{Changed, GroupGoal, GroupName, GroupProgress, OperationError, Transferred};

/// A group that this node does not host. Cloning gives another handle on the same one; all of them
/// share one bound of [`RaftManagerConfig::requests_max`], and one memory of who leads.
///
/// Dropping it stops nothing.
#[derive(Clone)]
pub struct FarGroup {
    inner: Arc<Far>,
}

pub(super) struct Far {
    pub(super) origin: Origin,
    pub(super) guide: FarGuide,
}

impl fmt::Debug for FarGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FarGroup")
            .field("name", self.name())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl FarGroup {
    pub(crate) fn new(
        name: GroupName,
        id: GroupId,
        handle: TransportHandle,
        config: Arc<RaftManagerConfig>,
        members: Members,
    ) -> Self {
        let me = handle.node_id().get();
        Self {
            inner: Arc::new(Far {
                origin: Origin::new(name, id, handle, config),
                guide: FarGuide::new(me, members),
            }),
        }
    }

    pub(super) fn inner(&self) -> &Far {
        &self.inner
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &GroupName {
        &self.inner.origin.name
    }

    /// Its number on the wire.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.inner.origin.id
    }

    /// As [`GroupOperations::change`](crate::GroupOperations::change).
    ///
    /// # Errors
    ///
    /// [`OperationError`]; [`OperationError::is_retryable`] says whether to ask again.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the step may be taken or not; ask again.
    pub async fn change(
        &self,
        goal: GroupGoal,
        deadline: Instant,
    ) -> Result<Changed, OperationError> {
        let Far { origin, guide } = self.inner();
        asked::change(origin, guide, None, &goal, deadline).await
    }

    /// As [`GroupOperations::progress`](crate::GroupOperations::progress).
    ///
    /// # Errors
    ///
    /// [`OperationError`]; [`OperationError::is_retryable`] says whether to ask again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn progress(&self, deadline: Instant) -> Result<GroupProgress, OperationError> {
        let Far { origin, guide } = self.inner();
        asked::progress(origin, guide, None, deadline).await
    }

    /// As [`GroupOperations::transfer`](crate::GroupOperations::transfer).
    ///
    /// # Errors
    ///
    /// [`OperationError`]; [`OperationError::is_retryable`] says whether to ask again.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, leadership may move or not.
    pub async fn transfer(
        &self,
        to: u64,
        deadline: Instant,
    ) -> Result<Transferred, OperationError> {
        let Far { origin, guide } = self.inner();
        asked::transfer(origin, guide, None, to, deadline).await
    }
}
