//! A group whose leader can be seen and moved, hosted here or not, and what is seen of it. It must
//! not know why it is moved.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::plan::LedGroup;
use crate::config::RaftManagerConfig;
use crate::{FarGroup, GroupName, GroupOperations, GroupProgress, OperationError, Transferred};

/// A group whose leader can be seen and moved from this node.
pub(crate) trait InSight: Send + Sync {
    /// Its name.
    fn name(&self) -> &GroupName;
    /// Whom this node takes for the leader, without asking anybody.
    fn leader_here(&self) -> Option<u64>;
    /// How it stands, as its leader sees it.
    fn progress(&self, deadline: Instant) -> BoxFuture<'_, Result<GroupProgress, OperationError>>;
    /// Hands leadership to a voter.
    fn transfer(
        &self,
        to: u64,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Transferred, OperationError>>;
}

/// One that is hosted here.
impl InSight for Arc<dyn GroupOperations> {
    fn name(&self) -> &GroupName {
        (**self).name()
    }

    fn leader_here(&self) -> Option<u64> {
        self.status().leader
    }

    fn progress(&self, deadline: Instant) -> BoxFuture<'_, Result<GroupProgress, OperationError>> {
        (**self).progress(deadline)
    }

    fn transfer(
        &self,
        to: u64,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Transferred, OperationError>> {
        (**self).transfer(to, deadline)
    }
}

impl InSight for FarGroup {
    fn name(&self) -> &GroupName {
        Self::name(self)
    }

    fn leader_here(&self) -> Option<u64> {
        None
    }

    fn progress(&self, deadline: Instant) -> BoxFuture<'_, Result<GroupProgress, OperationError>> {
        Self::progress(self, deadline).boxed()
    }

    fn transfer(
        &self,
        to: u64,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Transferred, OperationError>> {
        Self::transfer(self, to, deadline).boxed()
    }
}

/// Whether a member could take over now, as far as the leader knows: it was heard of lately, and
/// lacks little of the log. The leader itself can.
pub(super) fn could_lead(progress: &GroupProgress, node: u64, config: &RaftManagerConfig) -> bool {
    let lag = progress.lag.get(&node).copied().flatten();
    let silent = progress.since_acked.get(&node).copied().flatten();
    node == progress.leader
        || (lag.is_some_and(|lag| lag <= config.promote_lag_max)
            && silent.is_some_and(|silent: Duration| silent <= config.candidate_silence_max))
}

/// The group as a plan sees it.
pub(super) fn led_group(
    name: &GroupName,
    progress: &GroupProgress,
    config: &RaftManagerConfig,
) -> LedGroup {
    let voters = progress.voters.iter().copied();
    LedGroup {
        name: name.clone(),
        leader: progress.leader,
        candidates: voters
            .filter(|&node| could_lead(progress, node, config))
            .collect::<BTreeSet<_>>(),
    }
}
