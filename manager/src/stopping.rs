//! The end of all groups of a node, in an order that costs the others least. It must not know how a
//! group is taken down.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::many::each_group;
use crate::{GroupResult, LeaderMove, OperationError, RaftManager};

/// A group that was shut down, and what was cut by that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupStopped {
    /// What became of its leadership. After an error this node led it to the end, and the others have
    /// to elect.
    pub leadership: Result<LeaderMove, OperationError>,
    /// Proposals and reads of this node's host that had no answer yet. They end with an error.
    pub requests_cut: usize,
}

impl RaftManager {
    /// Ends all groups, and returns what came of each, in the order of the names. Call it before the
    /// transport's own shutdown, which tells the peers and closes the links.
    ///
    /// In this order: no group is started and no proposal or read of this node's host accepted any
    /// more, while those of peers are still served; what this node leads is handed to others
    /// ([`RaftManager::drain`]), and what is under way may end, for
    /// [`RaftManagerConfig::drain_timeout`](crate::RaftManagerConfig::drain_timeout) together; then
    /// each group is taken from the reach of peers and its Raft shut down, for
    /// [`RaftManagerConfig::shutdown_timeout`](crate::RaftManagerConfig::shutdown_timeout) each,
    /// [`RaftManagerConfig::parallelism`](crate::RaftManagerConfig::parallelism) at a time.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, call it again: it goes on.
    pub async fn shut_down(&self) -> Vec<GroupResult<GroupStopped>> {
        let groups = self.begin_stopping();
        for group in &groups {
            group.refuse_requests();
        }
        let me = self.transport().node_id().get();
        let deadline = Instant::now() + self.config().drain_timeout;
        let drained = self.drain(me, deadline).await.into_iter();
        let drained = drained.map(|drained| (drained.group, drained.result));
        let drained: BTreeMap<_, _> = drained.collect();
        self.end_cluster().await;
        let named = groups
            .into_iter()
            .map(|group| (group.name().clone(), group));
        let results = each_group(named.collect(), self.config().parallelism, |group| {
            let leadership = drained.get(group.name()).cloned();
            async move {
                let requests_cut = group.settle(deadline).await;
                group.shut_down().await?;
                Ok(GroupStopped {
                    leadership: leadership.unwrap_or(Ok(LeaderMove::Kept { leader: None })),
                    requests_cut,
                })
            }
        })
        .await;
        self.forget(results.iter().map(|result| &result.group));
        results
    }
}
