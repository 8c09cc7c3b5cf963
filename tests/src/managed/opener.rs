//! Opens groups of the host on a node, as the manager or a test asks for them.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::Config;
use quicraft_manager::{
    ClusterError, ClusterSpec, FactoryError, GroupFactory, GroupName, GroupSpec, RaftManager,
    StartGroupError,
};
use quicraft_transport::GroupId;
use quicraft_transport::raft::MemorySnapshots;

use super::home::Disks;
use super::machine::MetaMachine;
use super::node::{Hosted, MetaGroup, Opened};
use super::spec::meta_name;
use super::types::MetaTypes;
use crate::raft::MemLog;

/// The number of the meta group.
const META: GroupId = GroupId::new(1);

/// What a node opens its groups with. Clones are the same.
#[derive(Debug, Clone)]
pub struct Opener {
    pub(super) raft: Arc<Config>,
    pub(super) disks: Disks,
    pub(super) opened: Opened,
}

impl Opener {
    /// Starts a group of the host on what its disk holds.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::start_group`].
    pub async fn open(
        &self,
        manager: &RaftManager,
        group: GroupName,
        id: GroupId,
    ) -> Result<(), StartGroupError> {
        let disk = self.disks.of(&group);
        let machine = disk.machine.clone();
        let spec = GroupSpec::new(
            group,
            id,
            Arc::clone(&self.raft),
            disk.log,
            disk.machine,
            MemorySnapshots::new(),
        );
        let group = manager.start_group(spec).await?;
        self.opened.put(Hosted { group, machine });
        Ok(())
    }

    /// Starts the meta group on what its disk holds, without a cluster.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::start_group`].
    pub async fn open_meta(&self, manager: &RaftManager) -> Result<MetaGroup, StartGroupError> {
        manager.start_group(self.meta_group()).await
    }

    /// Takes part in the cluster with what the disks hold.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::initialize_cluster`].
    pub async fn begin(
        &self,
        manager: &RaftManager,
        cluster: ClusterSpec,
    ) -> Result<(), ClusterError> {
        let meta = self.disks.meta.machine.meta().clone();
        let factory = Arc::new(self.clone());
        let group = self.meta_group();
        manager
            .initialize_cluster(cluster, meta, group, factory)
            .await
    }

    fn meta_group(&self) -> GroupSpec<MemLog<MetaTypes>, MetaMachine, MemorySnapshots> {
        let disk = self.disks.meta.clone();
        GroupSpec::new(
            meta_name(),
            META,
            Arc::clone(&self.raft),
            disk.log,
            disk.machine,
            MemorySnapshots::new(),
        )
    }
}

impl GroupFactory for Opener {
    fn open(
        &self,
        manager: RaftManager,
        name: GroupName,
        id: GroupId,
    ) -> BoxFuture<'static, Result<(), FactoryError>> {
        let opener = self.clone();
        async move {
            if opener.opened.refuses(&name) {
                return Err(format!("{name} fails on purpose").into());
            }
            match Self::open(&opener, &manager, name, id).await {
                Ok(()) | Err(StartGroupError::NameTaken { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn destroy(&self, name: GroupName, _: GroupId) -> BoxFuture<'static, Result<(), FactoryError>> {
        self.opened.remove(&name);
        if self.opened.refuses(&name) {
            return async move { Err(format!("{name} fails on purpose").into()) }.boxed();
        }
        self.disks.delete(&name);
        async { Ok(()) }.boxed()
    }
}
