//! New nodes: started, added through any node, and given leaders.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::Site;
use super::operator::Request;
use crate::cluster::error::ClusterError;
use crate::cluster::limits::CHANGE;
use crate::cluster::status::{Status, missing};
use crate::cluster::wait::{Look, until};

impl Site<'_> {
    /// Adds so many nodes. Returns how long it took.
    pub(super) async fn grow(&mut self, number: u64) -> Result<Duration, ClusterError> {
        let started = Instant::now();
        for _ in 0..number {
            let place = self.nodes.add()?;
            self.nodes.start(place)?;
            let id = self.nodes.id(place);
            let request = Request::to_add(self.nodes, id);
            request.ask(self.clients).await?;
            // Whoever did not hear the answer asks again, and finds it done.
            request.ask(self.clients).await?;
            self.clients.add(self.nodes.url(place).unwrap_or_default());
        }
        self.balance().await?;
        Ok(started.elapsed())
    }

    /// Spreads the leaders until every node has its own.
    pub(super) async fn balance(&mut self) -> Result<(), ClusterError> {
        let request = Request::post("/admin/balance", json!({}));
        until("leaders on all nodes", CHANGE, async || {
            self.nodes.check()?;
            request.ask(self.clients).await?;
            let answers = self.observed.ask_all(self.clients, self.nodes.len()).await;
            Ok(match answers {
                Err(missing) => Look::Missing(missing),
                Ok(all) => missing(&all)
                    .or_else(|| without_a_leader(&all))
                    .map_or(Look::There(()), Look::Missing),
            })
        })
        .await
    }
}

/// A node that leads nothing, if there are groups enough for all.
fn without_a_leader(all: &[Status]) -> Option<String> {
    let groups = all.first().map_or(0, |status| status.groups.len());
    let idle = all.iter().find(|status| status.led().is_empty());
    let idle = idle.filter(|_| groups >= all.len());
    idle.map(|status| format!("a group that node {} leads", status.node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_leads_something_if_there_is_enough() {
        let status = |node: u64, leads: u64, groups: u64| {
            let groups = (0..groups).map(|group| {
                let state = if group == leads { "leader" } else { "follower" };
                json!({ "group": group, "state": state, "term": 1, "digest": "" })
            });
            let groups: Vec<_> = groups.collect();
            let json = json!({ "node": node, "groups": groups, "links": [] });
            serde_json::from_value::<Status>(json).unwrap()
        };
        assert_eq!(without_a_leader(&[status(1, 0, 2), status(2, 1, 2)]), None);
        let idle = without_a_leader(&[status(1, 0, 2), status(2, 9, 2)]).unwrap();
        assert!(idle.contains("node 2"), "{idle}");
        assert_eq!(without_a_leader(&[status(1, 0, 1), status(2, 9, 1)]), None);
    }
}
