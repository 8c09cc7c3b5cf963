//! From processes to a cluster: every group has a leader, every two nodes a link.

use std::sync::Arc;

use super::client::Clients;
use super::error::ClusterError;
use super::limits::{START, START_ATTEMPTS};
use super::nodes::{Nodes, lost_its_port};
use super::observed::Observed;
use super::status::{Status, missing};
use super::wait::{Look, until};
use super::workload::Workload;

/// Starts the nodes and waits until they are a cluster; with other ports when somebody takes one
/// in between. The clients keep at most `connections` open to each node, and know the leaders.
///
/// # Errors
///
/// [`ClusterError`], when the nodes do not become a cluster in time or one ends by itself.
pub async fn start(
    nodes: &mut Nodes,
    workload: Workload,
    connections: usize,
    observed: &mut Observed,
) -> Result<Arc<Clients>, ClusterError> {
    for _ in 0..START_ATTEMPTS {
        let groups = nodes.layout().groups();
        let clients = Clients::new(nodes.urls(), groups, connections, workload)?;
        nodes.start_all()?;
        match formed(nodes, &clients, observed).await {
            Ok(all) => {
                for (node, status) in all.iter().enumerate() {
                    for group in status.led() {
                        clients.remember(group, node);
                    }
                }
                return Ok(Arc::new(clients));
            }
            Err(ClusterError::NodeEnded { status, .. }) if lost_its_port(status) => {
                nodes.redraw().await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(ClusterError::Ports {
        attempts: START_ATTEMPTS,
    })
}

/// Waits until every group has a leader and every two nodes a link.
async fn formed(
    nodes: &mut Nodes,
    clients: &Clients,
    observed: &mut Observed,
) -> Result<Vec<Status>, ClusterError> {
    until("a leader in every group", START, async || {
        nodes.check()?;
        Ok(match observed.ask_all(clients, nodes.len()).await {
            Err(missing) => Look::Missing(missing),
            Ok(all) => missing(&all).map_or(Look::There(all), Look::Missing),
        })
    })
    .await
}
