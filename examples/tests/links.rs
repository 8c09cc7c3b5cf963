//! The one link of each pair of node processes when a node is paused, moves, or can be reached from
//! one side only. Real sockets, real signals.
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quicraft_examples::cluster::client::Clients;
use quicraft_examples::cluster::layout::Layout;
use quicraft_examples::cluster::nodes::Nodes;
use quicraft_examples::cluster::observed::Observed;
use quicraft_examples::cluster::readback::settle;
use quicraft_examples::cluster::start::start;
use quicraft_examples::cluster::status::{Status, missing, not_one_link};
use quicraft_examples::cluster::wait::{Look, until};
use quicraft_examples::cluster::workload::Workload;
use tokio::time::{Instant, sleep};

const GROUPS: u64 = 2;

/// For everything that only has to happen at all.
const LONG: Duration = Duration::from_secs(60);

/// A link is back this long after SIGCONT. The promise is one second; the rest is for a machine
/// that runs all other tests at the same time.
const BACK: Duration = Duration::from_secs(1 + 2);

/// A node that moved has its links this long after it started: the window of a probe, at most 3 s,
/// two round trips, and the same for a busy machine.
const MOVED: Duration = Duration::from_secs(3 + 2);

struct Cluster {
    nodes: Nodes,
    clients: Arc<Clients>,
    observed: Observed,
    written: u64,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("{}", self.nodes.logs());
        }
    }
}

impl Cluster {
    async fn start(layout: Layout) -> Self {
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
    async fn whole(&mut self) -> Vec<Status> {
        self.until("a link between every two nodes", |_| None).await
    }

    /// Waits until that, and until nothing is `lacking`.
    async fn until(
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
    async fn works(&mut self) {
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

    async fn stop(mut self) {
        assert_eq!(self.observed.links_max(), 1, "links of a pair at once");
        assert_eq!(self.nodes.stop().await, Vec::<String>::new());
    }
}

/// Each end of each link: who, to whom, and which.
fn ends(all: &[Status]) -> BTreeSet<(u64, u64, Option<String>)> {
    let of = |status: &Status| {
        let node = status.node;
        let ends = status.links.iter();
        ends.map(|link| (node, link.peer, link.link_id.clone()))
            .collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect()
}

fn links_total(all: &[Status]) -> u64 {
    let links = all.iter().flat_map(|status| &status.links);
    links.map(|link| link.links_total).sum()
}

/// The node with the id in the middle: it has a peer that would dial first and one that would not.
const MIDDLE: usize = 1;

#[tokio::test]
async fn a_node_that_is_paused_for_two_seconds_keeps_its_links() {
    let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
    let before = cluster.whole().await;
    cluster.nodes.pause(MIDDLE).await.unwrap();
    // Shorter than the idle timeout of 4 s.
    sleep(Duration::from_secs(2)).await;
    let resumed = cluster.nodes.go_on(MIDDLE).await.unwrap();

    let after = cluster.whole().await;
    assert!(resumed.elapsed() < BACK, "{:?}", resumed.elapsed());
    cluster.works().await;
    let later = cluster.whole().await;
    for all in [&after, &later] {
        assert_eq!(ends(all), ends(&before));
        assert_eq!(links_total(all), links_total(&before));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_is_paused_for_too_long_has_its_links_back_at_once() {
    let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
    let before = cluster.whole().await;
    cluster.nodes.pause(MIDDLE).await.unwrap();
    // The others give it up after 4 s of silence.
    sleep(Duration::from_secs(6)).await;
    let resumed = cluster.nodes.go_on(MIDDLE).await.unwrap();

    let old = ends(&before);
    let paused = cluster.nodes.id(MIDDLE);
    let after = cluster.until("new links of the paused node", |all| {
        let kept = ends(all)
            .into_iter()
            .find(|end| end.0 == paused && old.contains(end));
        kept.map(|(_, peer, _)| format!("a new link to {peer}"))
    });
    let after = after.await;
    eprintln!("back {:?} after SIGCONT", resumed.elapsed());
    assert!(resumed.elapsed() < BACK, "{:?}", resumed.elapsed());
    cluster.works().await;
    // Once they are back they stay: no dial of the pause's time takes their place.
    let later = cluster.whole().await;
    assert_eq!(ends(&later), ends(&after));
    cluster.stop().await;
}

/// Waits for writes that each of two nodes has led.
async fn both_lead(cluster: &mut Cluster) {
    let mut led = BTreeSet::new();
    let begun = Instant::now();
    loop {
        cluster.works().await;
        let all = cluster.until("leaders", missing).await;
        led.extend(
            all.iter()
                .filter(|one| !one.led().is_empty())
                .map(|one| one.node),
        );
        if led.len() == 2 {
            return;
        }
        assert!(begun.elapsed() < LONG, "only {led:?} ever led");
        // Whoever leads everything does not lead on after a restart.
        let node = all.iter().position(|one| !one.led().is_empty()).unwrap();
        cluster.nodes.kill(node).await.unwrap();
        cluster.nodes.start(node).unwrap();
    }
}

#[tokio::test]
async fn one_direction_of_reachability_is_enough() {
    for (blind, peer) in [(1, 2), (2, 1)] {
        // Packets arrive here, and nobody ever answers.
        let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nowhere = hole.local_addr().unwrap().port();
        let layout = Layout::new(2, GROUPS).unwrap();
        let mut cluster = Cluster::start(layout.telling(blind, peer, nowhere)).await;
        let all = cluster.whole().await;
        for link in all.iter().flat_map(|status| &status.links) {
            assert_eq!(link.dialled_by, Some(peer), "{blind} cannot dial");
        }
        both_lead(&mut cluster).await;
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_moves_dials_those_who_do_not_know_where_it_is() {
    for node in [0, 2] {
        let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
        for how in ["crash", "stop"] {
            if how == "crash" {
                cluster.nodes.kill(node).await.map(drop).unwrap();
            } else {
                cluster.nodes.terminate(node).await.unwrap();
                let status = cluster.nodes.ended(node, LONG).await.unwrap();
                assert!(status.is_some_and(|status| status.success()), "{status:?}");
            }
            cluster.nodes.relocate(node).unwrap();
            cluster.nodes.start(node).unwrap();
            let all = cluster.whole().await;
            let links = all[node].links.iter();
            let took = links.filter_map(|link| link.established_in_ms).max();
            let took = Duration::from_millis(took.unwrap());
            eprintln!("node {} back after a {how}, moved: {took:?}", node + 1);
            assert!(took < MOVED, "{how}: {took:?}");
            cluster.works().await;
        }
        cluster.stop().await;
    }
}
