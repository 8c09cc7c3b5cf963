//! A whole cluster as it is seen from outside, on any of its nodes: true while nodes come, die and
//! leave.

use std::time::Duration;

use quicraft_manager::{
    ChangeOptions, ClusterStatus, Event, FormationStage, GroupHealth, Liveness, NodeStanding, Reach,
};
use quicraft_tests::managed::{ManagedCluster, ManagedSpec, orders};
use quicraft_tests::sim::LIMIT;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// The longest election timeout, one look of the watcher, and two heartbeats.
const SEEN_AFTER: Duration = Duration::from_millis(3_400);

async fn status(cluster: &ManagedCluster, by: u64) -> ClusterStatus {
    let asked = cluster.node(by).manager.status(Instant::now() + SECOND);
    asked.await.expect("it is in a cluster")
}

fn told(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

/// A follower dies and then a leader: whoever is asked says so, although nothing is written.
#[tokio::test(start_paused = true)]
async fn w23_the_status_of_a_cluster_is_true_when_nodes_die() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 2)).await;
    let led = |cluster: &ManagedCluster| {
        let mut leaders = cluster.nodes().map(|node| node.leader(&orders(0)));
        let first = leaders.next().flatten();
        first.is_some() && leaders.all(|leader| leader == first)
    };
    cluster.until(LIMIT, "all know a leader", led).await;
    sleep(SECOND).await;
    let before = status(&cluster, 1).await;
    assert_eq!((before.nodes.len(), before.groups.len()), (3, 3));
    assert_eq!(before.problems, []);
    assert!(before.groups.iter().all(|group| group.settled));
    for node in &before.nodes {
        assert_eq!(node.standing, Some(NodeStanding::Member));
        let report = node.reach.report().expect("it runs");
        assert_eq!((report.uid, report.groups.len()), (before.uid, 3));
        assert_eq!(report.formation, FormationStage::Formed);
        assert!(report.host.memory_total > 0, "{:?}", report.host);
    }
    let led: usize = before.nodes.iter().map(|node| node.leads).sum();
    assert_eq!(led, 3);
    let orders_0 = before.groups.iter().find(|group| group.name == orders(0));
    let leader = orders_0.and_then(|group| group.leader).expect("it is led");

    // The leader dies. Nobody takes it for one any more, also before another is elected.
    cluster.crash(leader);
    let witness = if leader == 1 { 2 } else { 1 };
    sleep(SECOND / 2).await;
    let between = status(&cluster, witness).await;
    let view = between.groups.iter().find(|group| group.name == orders(0));
    assert_eq!(view.expect("it is there").leader, None);
    let another = |cluster: &ManagedCluster| {
        let leaders = cluster.nodes().map(|node| node.leader(&orders(0)));
        let mut others = leaders.map(|known| known.is_some_and(|known| known != leader));
        others.all(|is| is)
    };
    cluster.until(LIMIT, "another leads", another).await;
    sleep(LIMIT / 3).await;
    for by in [1, 2, 3].into_iter().filter(|&by| by != leader) {
        let after = status(&cluster, by).await;
        for group in &after.groups {
            assert_ne!(group.leader, Some(leader), "{group:?}");
            assert!(group.leader.is_some(), "{group:?}");
            assert_eq!(group.health, GroupHealth::Degraded([leader].into()));
            let dead = group.members.iter().find(|member| member.node == leader);
            assert_eq!(dead.expect("a member").liveness, Liveness::Dead);
        }
        let dead = after.nodes.iter().find(|node| node.node == leader);
        assert!(matches!(dead.expect("a node").reach, Reach::Unreachable(_)));
    }
}

/// A node is taken in and taken out again: each step, each standing and the end of both are events of
/// the node that did it, once.
#[tokio::test(start_paused = true)]
async fn a_node_that_comes_and_goes_is_seen() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 1)).await;
    cluster.begin(4).await;
    let mut events = cluster.node(1).manager.events();
    let until = || ChangeOptions::until(Instant::now() + LIMIT);
    cluster.add(1, 4).await;
    // Made again, it adds nothing.
    cluster.add(1, 4).await;
    let manager = &cluster.node(1).manager;
    let (first, again) = (until(), until());
    let removed = manager.remove_node(4, &first).await;
    removed.expect("removed");
    let removed = manager.remove_node(4, &again).await;
    removed.expect("removed before");
    sleep(SEEN_AFTER).await;
    let told = told(&mut events);
    let standings = told.iter().filter_map(|event| match event {
        Event::StandingChanged { node, from, to } => Some((*node, *from, *to)),
        _ => None,
    });
    let (joining, member) = (NodeStanding::Joining, NodeStanding::Member);
    let (leaving, gone) = (NodeStanding::Leaving, NodeStanding::Removed);
    let standings: Vec<_> = standings.collect();
    assert_eq!(
        standings,
        [
            (4, None, joining),
            (4, Some(joining), member),
            (4, Some(member), leaving),
            (4, Some(leaving), gone),
        ]
    );
    let count = |name: &str| told.iter().filter(|event| event.name() == name).count();
    assert_eq!((count("node_added"), count("node_removed")), (1, 1));
    assert!(count("step_taken") > 6, "{told:?}");
    assert_eq!(count("peer_dead"), 0, "who left in order has not died");
    let stages = told.iter().filter_map(|event| match event {
        Event::FormationProgress { stage, .. } => Some(*stage),
        _ => None,
    });
    let stages: Vec<_> = stages.collect();
    assert_eq!(stages.last(), Some(&FormationStage::Formed));
}
