//! Nodes that go: removed through another one, and told so.

use std::time::Duration;

use tokio::time::Instant;

use super::Site;
use super::operator::Request;
use crate::cluster::error::ClusterError;
use crate::cluster::limits::TOLD;
use crate::cluster::status::Status;
use crate::cluster::wait::{Look, until};

/// What a peer tells a node that was removed.
const REMOVED: &str = "REMOVED";

impl Site<'_> {
    /// Removes so many nodes, the first ones: those have founded the cluster, and lead the most.
    /// Returns how long it took.
    pub(super) async fn shrink(&mut self, number: u64) -> Result<Duration, ClusterError> {
        let started = Instant::now();
        for _ in 0..number {
            self.remove_first().await?;
        }
        Ok(started.elapsed())
    }

    async fn remove_first(&mut self) -> Result<(), ClusterError> {
        let id = self.nodes.id(0);
        let request = Request::to_remove(id).except([0]);
        request.ask(self.clients).await?;
        // Whoever did not hear the answer asks again, and finds it done.
        request.ask(self.clients).await?;
        self.see_off(0).await
    }

    /// Waits until the node at place `place`, which was removed, knows it, and stops it for good.
    pub(in crate::cluster) async fn see_off(&mut self, place: usize) -> Result<(), ClusterError> {
        let id = self.nodes.id(place);
        until("the word that a node was removed", TOLD, async || {
            self.nodes.check()?;
            Ok(match self.clients.status(place).await {
                Err(why) => Look::Missing(format!("the status of node {id} ({why})")),
                Ok(status) => untold(&status).map_or(Look::There(()), Look::Missing),
            })
        })
        .await?;
        self.clients.remove(place);
        let ended = self.nodes.retire(place).await?;
        if let Some(status) = ended.filter(|status| !status.success()) {
            let fault = format!("node {id}, which was removed, stopped badly ({status})");
            self.faults.push(fault);
        }
        Ok(())
    }
}

/// What is missing until a removed node knows it.
fn untold(status: &Status) -> Option<String> {
    let mut codes = status
        .links
        .iter()
        .filter_map(|link| link.last_code.as_deref());
    let told = codes.any(|code| code == REMOVED);
    let codes = status.links.iter().map(|link| (link.peer, &link.last_code));
    (!told).then(|| format!("{REMOVED} among {:?}", codes.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_that_tells_it_is_enough() {
        let status = |code: Option<&str>| {
            let link = |peer: u64, code: Option<&str>| {
                serde_json::json!({ "peer": peer, "connected": false, "links_max": 1,
                                    "last_code": code })
            };
            let links = [link(2, None), link(3, code)];
            let json = serde_json::json!({ "node": 1, "groups": [], "links": links });
            untold(&serde_json::from_value(json).unwrap())
        };
        assert_eq!(status(Some("REMOVED")), None);
        assert!(status(Some("NOT_MEMBER")).is_some());
        assert!(status(None).is_some());
    }
}
