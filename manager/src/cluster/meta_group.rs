//! The `meta` group without its types: what the cluster asks of it. It must not know what for.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::async_runtime::WatchReceiver as _;
use openraft::storage::RaftStateMachine;
use openraft::{RaftTypeConfig, ReadPolicy};
use tokio::time::Instant;

use crate::group::{Group, RequestOptions};
use crate::meta::{ClusterNode, MetaCommand, MetaReply};
use crate::{NodeAt, RequestError};

/// The `meta` group of this node.
pub(crate) trait MetaGroup: Send + Sync + 'static {
    /// Has a command applied, by whichever node leads, and returns its log index and the answer.
    /// Every command may be made twice.
    fn note(
        &self,
        command: MetaCommand,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<(u64, MetaReply), RequestError>>;
    /// Waits until what is applied here holds all that was acknowledged before the call.
    fn read(&self, deadline: Instant) -> BoxFuture<'_, Result<u64, RequestError>>;
    /// Waits until an index is applied here.
    fn applied(&self, index: u64) -> BoxFuture<'_, ()>;
    /// The last index that is applied here.
    fn applied_index(&self) -> u64;
    /// Who leads it, as this node knows it.
    fn leader(&self) -> Option<u64>;
    /// Waits until another one than `leader` is known to lead, or none.
    fn led_by_another(&self, leader: Option<u64>) -> BoxFuture<'_, ()>;
}

impl<C, SM> MetaGroup for Group<C, SM>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::Node: ClusterNode,
    C::D: Clone + From<MetaCommand>,
    C::R: TryInto<MetaReply>,
    SM: RaftStateMachine<C>,
{
    fn note(
        &self,
        command: MetaCommand,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<(u64, MetaReply), RequestError>> {
        async move {
            let options = RequestOptions::until(deadline).idempotent();
            let proposed = self.propose(command.into(), options).await?;
            let reply = proposed.response.try_into();
            let reply = reply.map_err(|_| RequestError::Failed {
                group: self.name().clone(),
                asked: NodeAt {
                    node: proposed.leader,
                    address: None,
                },
                reason: "the state machine's answer to a MetaCommand is no MetaReply".to_owned(),
            })?;
            Ok((proposed.log_id.index(), reply))
        }
        .boxed()
    }

    fn read(&self, deadline: Instant) -> BoxFuture<'_, Result<u64, RequestError>> {
        Self::read(self, ReadPolicy::ReadIndex, deadline).boxed()
    }

    fn applied(&self, index: u64) -> BoxFuture<'_, ()> {
        async move {
            let wait = self.raft().wait(None);
            // An error is the end of the Raft, which the tasks that wait here do not outlive.
            drop(wait.applied_index_at_least(Some(index), "meta").await);
        }
        .boxed()
    }

    fn applied_index(&self) -> u64 {
        let metrics = self.raft().metrics();
        let applied = metrics.borrow_watched().last_applied.clone();
        applied.map_or(0, |id| id.index())
    }

    fn leader(&self) -> Option<u64> {
        self.raft().metrics().borrow_watched().current_leader
    }

    fn led_by_another(&self, leader: Option<u64>) -> BoxFuture<'_, ()> {
        async move {
            let mut metrics = self.raft().server_metrics();
            loop {
                if metrics.borrow_watched().current_leader != leader {
                    return;
                }
                if metrics.changed().await.is_err() {
                    // The Raft has stopped; the tasks that wait here end with their cluster.
                    std::future::pending::<()>().await;
                }
            }
        }
        .boxed()
    }
}
