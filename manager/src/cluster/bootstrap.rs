//! The host's door to the cluster: how it is begun, and how its forming is waited for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use openraft::RaftTypeConfig;
use openraft::storage::{RaftLogReader as _, RaftLogStorage, RaftStateMachine};
use quicraft_transport::raft::SnapshotIo;
use tokio::time::Instant;

use super::enter::Entrance;
use super::error::ClusterError;
use super::report::FormationReport;
use super::spec::{ClusterSpec, GroupFactory};
use super::{Cluster, MetaGroup};
use crate::RaftManager;
use crate::group::GroupSpec;
use crate::meta::{ClusterNode, Meta, MetaCommand, MetaReply};

impl RaftManager {
    /// Takes part in the cluster: founds it, is let into it, or comes back to it. Returns as soon as
    /// that has begun; [`RaftManager::wait_for_cluster_formation`] waits for the end.
    ///
    /// It is safe on every node and after every restart. Exactly one of the configured members
    /// founds, the one with the lowest id, and only when all the others have answered that they
    /// belong to no cluster ([`ClusterSpec::force_found`] waives that). Everybody else is taken in as
    /// it comes, by the same path as with [`RaftManager::add_node`]. A single member is the same
    /// path, and can grow.
    ///
    /// `meta` is what the host's state machine of the meta group `group` feeds. Both hold what the
    /// disk holds; a node whose disk was lost is told so, and neither founds nor votes.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] for what is wrong at once: a configuration that cannot be, or a cluster that
    /// was begun already. What turns out later, formation reports: [`ClusterError::LostIdentity`],
    /// [`ClusterError::OtherCluster`] and so on.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the cluster was begun or not; call it again.
    pub async fn initialize_cluster<C, L, SM, S>(
        &self,
        spec: ClusterSpec,
        meta: Meta,
        group: GroupSpec<L, SM, S>,
        factory: Arc<dyn GroupFactory>,
    ) -> Result<(), ClusterError>
    where
        C: RaftTypeConfig<NodeId = u64>,
        C::Node: ClusterNode,
        C::D: Clone + From<MetaCommand>,
        C::R: TryInto<MetaReply>,
        L: RaftLogStorage<C>,
        SM: RaftStateMachine<C, SnapshotData = S::Data>,
        S: SnapshotIo + Clone,
    {
        spec.validate(self.transport().node_id().get())?;
        let mut group = group;
        let unreadable = |error: std::io::Error| ClusterError::MetaGroup(error.to_string());
        let log = group.log.get_log_state().await.map_err(unreadable)?;
        let mut reader = group.log.get_log_reader().await;
        let vote = reader.read_vote().await.map_err(unreadable)?;
        let last = log.last_log_id.as_ref().map(|id| id.index());
        let blank = last.is_none() && vote.is_none() && meta.state().uid == 0;
        let name = group.name.clone();
        let entrance = Entrance {
            blank,
            last_log_index: last,
            start: Box::new(|manager: Self| {
                async move {
                    let started = manager.start_group::<C, L, SM, S>(group).await?;
                    Ok(Arc::new(started) as Arc<dyn MetaGroup>)
                }
                .boxed()
            }),
        };
        self.begin_cluster(|| Cluster::start(self.clone(), spec, meta, name, factory, entrance))
    }

    /// How far the forming of the cluster is, per node and per group, as this node sees it.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotStarted`].
    pub fn formation(&self) -> Result<FormationReport, ClusterError> {
        Ok(self.cluster()?.report())
    }

    /// Waits until every configured member and every group is where it is to be. Anybody may wait,
    /// any number of times; each gets the same truth.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotFormed`] names what is missing and why; any other says why this node is
    /// not in the cluster.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the forming goes on.
    pub async fn wait_for_cluster_formation(
        &self,
        timeout: Duration,
    ) -> Result<FormationReport, ClusterError> {
        let deadline = Instant::now() + timeout;
        self.cluster()?.formed(deadline).await
    }
}
