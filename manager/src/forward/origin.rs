//! Where the requests for a group begin on this node, whether it hosts the group or not. It must not
//! know what a request is.

use std::sync::Arc;

use quicraft_transport::{GroupId, NodeId, TransportHandle};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use super::pause::Pause;
use crate::config::RaftManagerConfig;
use crate::watch::CommandMeter;
use crate::{GroupName, NodeAt, RequestError};

/// A group as this node asks for it.
pub(crate) struct Origin {
    pub(crate) name: GroupName,
    pub(crate) id: GroupId,
    pub(crate) handle: TransportHandle,
    pub(crate) config: Arc<RaftManagerConfig>,
    pub(crate) meter: CommandMeter,
    requests: Semaphore,
}

impl Origin {
    pub(crate) fn new(
        name: GroupName,
        id: GroupId,
        handle: TransportHandle,
        config: Arc<RaftManagerConfig>,
    ) -> Self {
        Self {
            requests: Semaphore::new(config.requests_max),
            meter: CommandMeter::new(&name),
            name,
            id,
            handle,
            config,
        }
    }

    pub(crate) fn me(&self) -> u64 {
        self.handle.node_id().get()
    }

    /// A place among the requests that may be under way.
    pub(crate) fn admit(&self) -> Result<SemaphorePermit<'_>, RequestError> {
        self.requests.try_acquire().map_err(|error| match error {
            TryAcquireError::Closed => RequestError::Stopped {
                group: self.name.clone(),
            },
            TryAcquireError::NoPermits => RequestError::Overloaded {
                group: self.name.clone(),
                limit: self.config.requests_max,
            },
        })
    }

    /// Lets no request begin any more.
    pub(crate) fn close(&self) {
        self.requests.close();
    }

    /// Whether none may.
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub(crate) fn pause(&self) -> Pause {
        Pause::new(self.config.retry_min, self.config.retry_max)
    }

    /// A node as errors name it.
    pub(crate) fn node_at(&self, node: u64) -> NodeAt {
        let id = NodeId::new(node).ok().filter(|_| node != self.me());
        NodeAt {
            node,
            address: id.and_then(|id| self.handle.peer(id).status().address),
        }
    }
}
