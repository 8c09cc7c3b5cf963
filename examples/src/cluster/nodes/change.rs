//! Nodes that come to a running cluster, leave it and move, as processes.

use std::fs;
use std::process::ExitStatus;

use quicraft_certs::NodeId;

use super::{NodeProcess, Nodes};
use crate::cluster::error::{ClusterError, file};
use crate::cluster::limits::STOP;

impl Nodes {
    /// One more node with the next id, on ports that are free now. It knows the others and does not
    /// run yet. Returns its place, which is the last.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when there are no ports or its files cannot be written.
    pub fn add(&mut self) -> Result<usize, ClusterError> {
        let id = self.layout.add()?;
        let folder = self.folder.path().join(format!("node-{id}"));
        fs::create_dir(&folder).map_err(file("create", &folder))?;
        let certificates = self.authority.issue(NodeId::new(id)?)?.write(&folder)?;
        let data = folder.join("data");
        self.layout.write(id, &folder, &data, &certificates)?;
        self.nodes
            .push(NodeProcess::new(id, folder, data, certificates));
        Ok(self.nodes.len() - 1)
    }

    /// Stops the node at place `node` in order, for good: those behind it move up by one place.
    /// Returns how it ended, if it ran.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotInTime`], when it does not end.
    pub async fn retire(&mut self, node: usize) -> Result<Option<ExitStatus>, ClusterError> {
        self.terminate(node).await?;
        let ended = self.ended(node, STOP).await?;
        if node < self.nodes.len() {
            let gone = self.nodes.remove(node);
            self.layout.remove(gone.id);
        }
        Ok(ended)
    }

    /// Gives a node that does not run another address for the others, and tells nobody but itself.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when there is no port or its configuration cannot be written.
    pub fn relocate(&mut self, node: usize) -> Result<(), ClusterError> {
        let Some(node) = self.nodes.get(node) else {
            return Ok(());
        };
        self.layout.relocate(node.id)?;
        self.layout
            .write(node.id, &node.folder, &node.data, &node.certificates)
    }
}
