//! A cluster of node processes that is looked at from outside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quicraft_examples::cluster::client::Clients;
use quicraft_examples::cluster::layout::Layout;
use quicraft_examples::cluster::nodes::Nodes;
use quicraft_examples::cluster::observed::Observed;
use quicraft_examples::cluster::readback::settle;
use quicraft_examples::cluster::start::start;
use quicraft_examples::cluster::status::{Status, not_one_link};
use quicraft_examples::cluster::wait::{Look, until};
use quicraft_examples::cluster::workload::Workload;

pub(crate) const GROUPS: u64 = 2;

/// For everything that only has to happen at all.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The node with the id in the middle: it has a peer that would dial first and one that would not.
pub(crate) const MIDDLE: usize = 1;

/// Real nodes, and what was seen of them.
pub(crate) struct Cluster {
    pub(crate) nodes: Nodes,
    pub(crate) clients: Arc<Clients>,
    pub(crate) observed: Observed,
    pub(crate) written: u64,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("{}", self.nodes.logs());
        }
    }
}

impl Cluster {
    pub(crate) async fn start(layout: Layout) -> Self {
        let layout = layout.run_by(env!("CARGO_BIN_EXE_kv-cluster"));
        let mut nodes = Nodes::laid_out(layout).unwrap();
        let mut observed = Observed::default();
        let workload = Workload::new(1, GROUPS, 16);
        let started = start(&mut nodes, workload, 1, &mut observed).await;
        let clients = started.unwrap_or_else(|error| panic!("{error}\n{}", nodes.logs()));
        Self {
            nodes,
            clients,
            observed,
            written: 0,
        }
    }

    /// Waits until every two nodes have one link whose ends agree.
    pub(crate) async fn whole(&mut self) -> Vec<Status> {
        self.until("a link between every two nodes", |_| None).await
    }

    /// Waits until that, and until nothing is `lacking`.
    pub(crate) async fn until(
        &mut self,
        what: &'static str,
        mut lacking: impl FnMut(&[Status]) -> Option<String>,
    ) -> Vec<Status> {
        let (nodes, clients, observed) = (&mut self.nodes, &self.clients, &mut self.observed);
        until(what, LONG, async || {
            nodes.check()?;
            Ok(match observed.ask_all(clients, nodes.len()).await {
                Err(missing) => Look::Missing(missing),
                Ok(all) => {
                    let missing = not_one_link(&all).or_else(|| lacking(&all));
                    missing.map_or(Look::There(all), Look::Missing)
                }
            })
        })
        .await
        .unwrap()
    }

    /// Writes to every group, and waits until every node has applied it.
    pub(crate) async fn works(&mut self) {
        let workload = *self.clients.workload();
        let mut left: BTreeSet<u64> = (0..GROUPS).collect();
        while !left.is_empty() {
            self.clients.write(self.written).await.unwrap();
            left.remove(&workload.group(&workload.key(self.written)));
            self.written += 1;
        }
        let differ = settle(&mut self.nodes, &self.clients, &mut self.observed).await;
        assert_eq!(differ.unwrap(), Vec::<u64>::new());
    }

    pub(crate) async fn stop(mut self) {
        assert_eq!(self.observed.links_max(), 1, "links of a pair at once");
        assert_eq!(self.nodes.stop().await, Vec::<String>::new());
    }
}

/// Each end of each link: who, to whom, and which.
pub(crate) fn ends(all: &[Status]) -> BTreeSet<(u64, u64, Option<String>)> {
    let of = |status: &Status| {
        let node = status.node;
        let ends = status.links.iter();
        ends.map(|link| (node, link.peer, link.link_id.clone()))
            .collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect()
}

pub(crate) fn links_total(all: &[Status]) -> u64 {
    let links = all.iter().flat_map(|status| &status.links);
    links.map(|link| link.links_total).sum()
}
