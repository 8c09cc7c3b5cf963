//! Every node in turn: drained, stopped, started, and waited for until it has caught up.

use serde_json::json;
use tokio::time::Instant;

use super::Site;
use super::operator::Request;
use crate::cluster::drill::{committed, look_at_restarted};
use crate::cluster::error::ClusterError;
use crate::cluster::limits::{CATCH_UP, STOP};
use crate::cluster::wait::until;

impl Site<'_> {
    /// Restarts all nodes, and spreads the leaders again.
    pub(super) async fn restart_all(&mut self) -> Result<(), ClusterError> {
        for place in 0..self.nodes.len() {
            self.restart(place).await?;
        }
        self.balance().await
    }

    async fn restart(&mut self, place: usize) -> Result<(), ClusterError> {
        let id = self.nodes.id(place);
        let request = Request::post("/admin/drain", json!({ "node": id }));
        let request = request.except([place]);
        request.ask(self.clients).await?;
        self.nodes.terminate(place).await?;
        let ended = self.nodes.ended(place, STOP).await?;
        if let Some(status) = ended.filter(|status| !status.success()) {
            self.faults
                .push(format!("node {id} stopped badly ({status})"));
        }
        self.bring_back(place).await
    }

    /// Starts the node at place `place` again, and waits until it has its links and all its groups.
    pub(in crate::cluster) async fn bring_back(
        &mut self,
        place: usize,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        let committed = committed(self.nodes, self.clients, self.observed, place).await?;
        self.nodes.start(place)?;
        until(
            "a restarted node with all its groups",
            CATCH_UP,
            async || {
                look_at_restarted(
                    self.nodes,
                    self.clients,
                    self.observed,
                    place,
                    started,
                    &committed,
                )
                .await
            },
        )
        .await
        .map(drop)
    }
}
