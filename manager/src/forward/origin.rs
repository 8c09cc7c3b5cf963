//! Where the requests for a group begin on this node, whether it hosts the group or not. It must not
//! know what a request is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quicraft_transport::{GroupId, NodeId, TransportHandle};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, timeout_at};

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
    /// Whether proposals and reads of the host are refused; what moves the group goes on.
    refusing: AtomicBool,
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
            refusing: AtomicBool::new(false),
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

    /// Lets no proposal and no read of the host begin any more.
    pub(crate) fn refuse(&self) {
        self.refusing.store(true, Ordering::Relaxed);
    }

    /// Whether the host may begin a proposal or a read.
    pub(crate) fn accepts(&self) -> Result<(), RequestError> {
        if self.refusing.load(Ordering::Relaxed) {
            return Err(RequestError::Stopped {
                group: self.name.clone(),
            });
        }
        Ok(())
    }

    /// Waits until nothing is under way, and returns how many requests are when the time is up.
    pub(crate) async fn settle(&self, deadline: Instant) -> usize {
        let all = self.config.requests_max;
        let idle = self
            .requests
            .acquire_many(u32::try_from(all).unwrap_or(u32::MAX));
        match timeout_at(deadline, idle).await {
            Ok(_) => 0,
            Err(_) => all.saturating_sub(self.requests.available_permits()),
        }
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
