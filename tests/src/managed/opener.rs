//! Opens groups of the host on a node, as the manager or a test asks for them.

use std::sync::Arc;

use openraft::Config;
use quicraft_manager::{GroupName, GroupSpec, RaftManager, StartGroupError};
use quicraft_transport::GroupId;
use quicraft_transport::raft::MemorySnapshots;

use super::home::Disks;
use super::node::{Hosted, MetaGroup, Opened};
use super::spec::meta_name;

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

    /// Starts the meta group on what its disk holds.
    ///
    /// # Errors
    ///
    /// As [`RaftManager::start_group`].
    pub async fn open_meta(
        &self,
        manager: &RaftManager,
        id: GroupId,
    ) -> Result<MetaGroup, StartGroupError> {
        let disk = self.disks.meta.clone();
        let spec = GroupSpec::new(
            meta_name(),
            id,
            Arc::clone(&self.raft),
            disk.log,
            disk.machine,
            MemorySnapshots::new(),
        );
        manager.start_group(spec).await
    }
}
