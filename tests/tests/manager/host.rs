//! The simulated host itself: a crash keeps what was on the disks and nothing later, a lost disk is
//! empty, and the load notices what goes wrong.

use std::collections::BTreeMap;

use openraft::BasicNode;
use quicraft_manager::RequestOptions;
use quicraft_tests::managed::{ManagedCluster, ManagedSpec, MetaEntry, meta_name, orders};
use quicraft_tests::raft::Command;
use quicraft_tests::sim::LIMIT;
use quicraft_transport::GroupId;
use tokio::time::Instant;

const ORDERS: GroupId = GroupId::new(2);

/// Nodes that open `orders/0` by hand.
async fn opened(nodes: u64) -> ManagedCluster {
    let mut cluster = ManagedCluster::new(ManagedSpec::new(1..=nodes, 1));
    for id in 1..=nodes {
        open(&mut cluster, id).await;
    }
    let members: BTreeMap<_, _> = (1..=nodes).map(|id| (id, BasicNode::default())).collect();
    let first = cluster.node(1).opened.get(&orders(0)).expect("opened");
    let founded = first.group.raft().initialize(members).await;
    founded.expect("founded");
    cluster
}

async fn open(cluster: &mut ManagedCluster, id: u64) {
    cluster.start(id);
    let node = cluster.node(id);
    let opening = node.opener.open(&node.manager, orders(0), ORDERS);
    opening.await.expect("opened");
}

async fn led(cluster: &ManagedCluster) -> u64 {
    let group = orders(0);
    let agreed = |cluster: &ManagedCluster| {
        let mut leaders = cluster.nodes().map(|node| node.leader(&group));
        let first = leaders.next().flatten();
        let leader = first.filter(|_| leaders.all(|other| other == first));
        leader.filter(|&leader| cluster.nodes().any(|node| node.id == leader))
    };
    cluster
        .until(LIMIT, "a leader", |cluster| agreed(cluster).is_some())
        .await;
    agreed(cluster).expect("it was there")
}

/// The leader dies under load twice and comes back: what was acknowledged is everywhere.
#[tokio::test(start_paused = true)]
async fn a_load_over_crashes_loses_nothing() {
    let mut cluster = opened(3).await;
    let load = cluster.load(LIMIT);
    load.more(20, LIMIT).await;
    for _ in 0..2 {
        let leader = led(&cluster).await;
        cluster.crash(leader);
        load.more(20, LIMIT).await;
        open(&mut cluster, leader).await;
    }
    load.more(20, LIMIT).await;
    let requests = load.finish().await;
    assert!(requests.reads > 20, "{requests:?}");
    assert_eq!(requests.failed_reads, Vec::<String>::new());
    let group = orders(0);
    let (acknowledged, members) = (&requests.acknowledged[&group], cluster.members(&group));
    assert_eq!(members.len(), 3);
    ManagedCluster::assert_applied(&group, &members, acknowledged).await;
}

/// What is left of a crashed node goes on by itself for a moment; its next run knows nothing of that.
#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_on_the_disks_and_nothing_later() {
    let mut cluster = opened(1).await;
    led(&cluster).await;
    let hosted = cluster.node(1).opened.get(&orders(0)).expect("opened");
    let until = || RequestOptions::until(Instant::now() + LIMIT);
    let before = hosted
        .group
        .raft()
        .client_write(Command::new("before"))
        .await;
    before.expect("written");
    // A reader of the meta machine of this run, to see that the next one has its own.
    let former = cluster.node(1).meta.clone();
    cluster.crash(1);
    let after = hosted
        .group
        .raft()
        .client_write(Command::new("after"))
        .await;
    after.expect("what is left of a node alone can still write to where its disk was");
    open(&mut cluster, 1).await;
    led(&cluster).await;
    let hosted = cluster.node(1).opened.get(&orders(0)).expect("opened");
    let last = hosted.group.propose(Command::new("last"), until()).await;
    last.expect("written");
    assert_eq!(hosted.bodies(), ["before", "last"]);
    assert_eq!(cluster.node(1).transport.epoch(), 2);
    assert_eq!(former.notes(), cluster.node(1).meta.notes());
    cluster.crash(1);
    cluster.start_empty(1);
    assert_eq!(cluster.node(1).transport.epoch(), 1);
    let node = cluster.node(1);
    let opening = node.opener.open(&node.manager, orders(0), ORDERS);
    opening.await.expect("opened");
    let hosted = node.opened.get(&orders(0)).expect("opened");
    assert_eq!(hosted.bodies(), Vec::<String>::new());
}

/// The host's notes and the cluster's state go through snapshots of the meta group together.
#[tokio::test(start_paused = true)]
async fn notes_of_the_host_survive_crashes() {
    let mut cluster = ManagedCluster::new(ManagedSpec::new([1], 0));
    for run in 0..3 {
        cluster.start(1);
        let node = cluster.node(1);
        let opening = node.opener.open_meta(&node.manager);
        let meta = opening.await.expect("opened");
        if run == 0 {
            let alone = BTreeMap::from([(1, BasicNode::default())]);
            meta.raft().initialize(alone).await.expect("founded");
        }
        let options = RequestOptions::until(Instant::now() + LIMIT);
        let noted = meta.propose(MetaEntry::Note(format!("run {run}")), options);
        noted.await.expect("noted");
        if run == 1 {
            meta.raft().trigger().snapshot().await.expect("a snapshot");
        }
        assert_eq!(node.manager.group_names(), [meta_name()]);
        assert_eq!(node.meta.notes().len(), run + 1);
        cluster.crash(1);
    }
}
