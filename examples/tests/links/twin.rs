//! A second process with the id of a node that is there already.

use quicraft_examples::cluster::ClusterError;
use quicraft_examples::cluster::client::Clients;
use quicraft_examples::cluster::nodes::{Nodes, TwinData};
use quicraft_examples::cluster::status::Status;
use quicraft_examples::cluster::wait::{Look, until};
use quicraft_examples::cluster::workload::Workload;

use crate::cluster::{Cluster, GROUPS, LONG};

pub(crate) struct Twin {
    pub(crate) nodes: Nodes,
    clients: Clients,
}

impl Drop for Twin {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("the second process: {}", self.nodes.logs());
        }
    }
}

impl Twin {
    /// Prepares it; it does not run yet.
    pub(crate) fn of(cluster: &Cluster, node: usize, data: TwinData) -> Self {
        let nodes = cluster.nodes.twin(node, data).unwrap();
        let clients = asking(nodes.url(0).unwrap());
        Self { nodes, clients }
    }

    pub(crate) fn start(&mut self) {
        self.nodes.start(0).unwrap();
    }

    /// Waits until it ends by itself, and returns what it said.
    pub(crate) async fn refuses(&mut self) -> String {
        let ended = until::<()>("the end of the second process", LONG, async || {
            self.nodes.check()?;
            Ok(Look::Missing("its end".to_owned()))
        });
        match ended.await {
            Err(ClusterError::NodeEnded { status, .. }) => assert_eq!(status.code(), Some(1)),
            other => panic!("{other:?}"),
        }
        self.nodes.log(0)
    }

    /// Waits until it answers and nothing is `lacking` in what it says.
    pub(crate) async fn until(
        &mut self,
        what: &'static str,
        mut lacking: impl FnMut(&Status) -> Option<String>,
    ) -> Status {
        until(what, LONG, async || {
            self.nodes.check()?;
            Ok(match self.clients.status(0).await {
                Err(missing) => Look::Missing(missing),
                Ok(status) => lacking(&status).map_or(Look::There(status), Look::Missing),
            })
        })
        .await
        .unwrap()
    }
}

/// A client that asks one node.
fn asking(url: String) -> Clients {
    Clients::new(vec![url], GROUPS, 1, Workload::new(0, GROUPS, 0)).unwrap()
}

/// Waits until all links of a node are parked because of one of these codes.
pub(crate) async fn parked(cluster: &mut Cluster, node: usize, codes: &[&str]) -> Status {
    until("a refusal for good", LONG, async || {
        cluster.nodes.check()?;
        Ok(match cluster.clients.status(node).await {
            Err(missing) => Look::Missing(missing),
            Ok(status) => not_parked(&status, codes).map_or(Look::There(status), Look::Missing),
        })
    })
    .await
    .unwrap()
}

/// The first link of a node that is not parked, or not because of one of these codes.
fn not_parked(status: &Status, codes: &[&str]) -> Option<String> {
    assert_eq!(status.links.len(), 2, "{status:?}");
    let other = status.links.iter().find(|link| {
        let told = link.last_problem.iter().chain(&link.last_code);
        let mut told = told.filter(|told| codes.iter().any(|code| told.contains(code)));
        link.state != "parked" || told.next().is_none()
    })?;
    Some(format!("a parked link with one of {codes:?}: {other:?}"))
}
