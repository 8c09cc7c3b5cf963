//! Nodes come, move and go, wherever the groups are led and whoever is asked.

use std::collections::BTreeSet;
use std::time::Duration;

use quicraft_manager::{
    ChangeOptions, ClusterError, GroupSelection, MetaRefusal, NodeRecord, NodeStanding,
    RequestOptions,
};
use quicraft_tests::managed::{ManagedCluster, ManagedSpec, meta_name};
use quicraft_tests::raft::Command;
use quicraft_tests::sim::LIMIT;
use quicraft_transport::LinkState;
use quicraft_transport::close::CloseCode;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn until() -> ChangeOptions {
    ChangeOptions::until(Instant::now() + LIMIT)
}

/// Who leads the groups, as each of them says itself.
fn leaders(cluster: &ManagedCluster) -> BTreeSet<u64> {
    let groups = cluster.spec().groups.iter();
    let led = groups.filter_map(|group| cluster.nodes().find_map(|node| node.leader(group)));
    led.collect()
}

/// All voters of every group, as each running node knows them.
fn assert_voters(cluster: &ManagedCluster, voters: &[u64]) {
    for group in cluster.spec().groups.iter().chain([&meta_name()]) {
        for node in cluster.nodes().filter(|node| voters.contains(&node.id)) {
            let known = node.manager.operations(group);
            let status = known.unwrap_or_else(|error| panic!("{}: {error}", node.id));
            assert_eq!(status.status().voters, voters, "{group} on {}", node.id);
        }
    }
}

/// Waits until every running voter knows that these are the voters of all groups.
async fn voters(cluster: &ManagedCluster, voters: &[u64]) {
    let settled = |cluster: &ManagedCluster| {
        let groups = cluster.spec().groups.iter().cloned().chain([meta_name()]);
        groups.into_iter().all(|group| {
            let mut nodes = cluster.nodes().filter(|node| voters.contains(&node.id));
            nodes.all(|node| {
                let known = node.manager.operations(&group);
                known.is_ok_and(|group| group.status().voters == voters)
            })
        })
    };
    cluster.until(LIMIT, "all know the voters", settled).await;
    assert_voters(cluster, voters);
}

/// The groups are led by three nodes, and the one that is asked leads only some of them: all the
/// others are changed as well, without a failed request.
#[tokio::test(start_paused = true)]
async fn w01_a_node_is_added_while_leaders_are_spread() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 6)).await;
    let spread = |cluster: &ManagedCluster| leaders(cluster).len() == 3;
    cluster.until(LIMIT, "three leaders", spread).await;
    let load = cluster.load(LIMIT);
    load.more(30, LIMIT).await;
    cluster.begin(4).await;
    let report = cluster.add(2, 4).await;
    assert_eq!(report.groups.len(), 7);
    voters(&cluster, &[1, 2, 3, 4]).await;
    load.more(30, LIMIT).await;
    let requests = load.finish().await;
    assert_eq!(requests.failed_writes, Vec::<String>::new());
    assert_eq!(requests.failed_reads, Vec::<String>::new());
    cluster.assert_kept(&requests).await;
}

/// Made again, on any node, a change finds everything done.
#[tokio::test(start_paused = true)]
async fn w03_a_change_that_is_made_again_finds_it_made() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 2)).await;
    cluster.begin(4).await;
    let first = cluster.add(1, 4).await;
    assert!(
        first.groups.values().all(|group| !group.steps.is_empty()),
        "{first:?}"
    );
    for by in [2, 3, 4, 1] {
        let again = cluster.add(by, 4).await;
        assert!(
            again.groups.values().all(|group| group.steps.is_empty()),
            "{again:?}"
        );
        assert_eq!(again.groups.len(), 3);
    }
    for by in [1, 2, 3] {
        let manager = &cluster.node(by).manager;
        manager.remove_node(4, &until()).await.expect("removed");
    }
    voters(&cluster, &[1, 2, 3]).await;
}

/// What was added together is a voter together: no change takes another's voter away.
#[tokio::test(start_paused = true)]
async fn w04_nodes_that_are_added_at_once_all_vote() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 3)).await;
    cluster.begin(4).await;
    cluster.begin(5).await;
    let (four, five) = tokio::join!(cluster.add(1, 4), cluster.add(2, 5));
    assert_eq!((four.node, five.node), (4, 5));
    voters(&cluster, &[1, 2, 3, 4, 5]).await;
}

/// A removed node is in no group, is told so by all, and does not come back under its id, with its
/// disk or without.
#[tokio::test(start_paused = true)]
async fn w05_a_removed_node_is_told_and_stays_out() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3, 4], 3)).await;
    let load = cluster.load(LIMIT);
    load.more(20, LIMIT).await;
    let manager = &cluster.node(1).manager;
    manager.remove_node(4, &until()).await.expect("removed");
    voters(&cluster, &[1, 2, 3]).await;
    let refused = |cluster: &ManagedCluster| {
        [1, 2, 3].iter().all(|&other| {
            let link = cluster.node(4).link(other);
            let closed = link.last_close.and_then(|close| close.code);
            let refusal = link
                .last_refusal
                .map(|refusal| (refusal.by_peer, refusal.reason));
            let removed = CloseCode::Removed;
            link.state != LinkState::Up
                && (closed == Some(removed) || refusal == Some((true, "REMOVED")))
        })
    };
    cluster.until(LIMIT, "4 is told by all", refused).await;
    assert_eq!(cluster.node(4).opened.names(), []);
    for empty in [false, true] {
        cluster.crash(4);
        if empty {
            cluster.start_empty(4);
            cluster.initialize(4).await;
        } else {
            cluster.begin(4).await;
        }
        cluster.until(LIMIT, "4 is told again", refused).await;
        let waited = cluster
            .node(4)
            .manager
            .wait_for_cluster_formation(LIMIT)
            .await;
        waited.expect_err("it is in no cluster");
        assert_eq!(cluster.node(4).opened.names(), []);
    }
    let manager = &cluster.node(1).manager;
    let options = until();
    let back = manager.add_node(cluster.record(4), GroupSelection::All, &options);
    let back = back.await.expect_err("ids are not reused");
    let gone = MetaRefusal::Standing {
        node: 4,
        standing: NodeStanding::Removed,
    };
    assert!(
        matches!(&back, ClusterError::Refused(it) if *it == gone),
        "{back}"
    );
    let requests = load.finish().await;
    cluster.assert_kept(&requests).await;
}

/// A new node is let in by those that nobody told, finds every leader, and is found by all.
#[tokio::test(start_paused = true)]
async fn w09_a_new_node_is_met_by_those_that_nobody_told() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 3)).await;
    // It is configured with the node that adds it, and with nobody else.
    cluster.configure(4, [1, 4]);
    cluster.begin(4).await;
    cluster.add(1, 4).await;
    let met = |cluster: &ManagedCluster| {
        let all = [1, 2, 3].iter();
        all.copied()
            .all(|other| cluster.node(other).link(4).state == LinkState::Up)
    };
    cluster.until(LIMIT, "links of all with 4", met).await;
    for group in cluster.spec().groups.clone() {
        for node in cluster.nodes() {
            let hosted = node.opened.get(&group).expect("open");
            let options = RequestOptions::until(Instant::now() + LIMIT);
            let proposed = hosted
                .group
                .propose(Command::new(format!("{}", node.id)), options);
            proposed
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", node.id));
        }
    }
}

/// M6: a node was away while all that it knew were replaced but one. The leader is a stranger to it,
/// and it comes back all the same.
#[tokio::test(start_paused = true)]
async fn w09_a_node_that_was_away_meets_a_leader_that_it_does_not_know() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 2)).await;
    cluster.crash(3);
    for id in [4, 5] {
        cluster.begin(id).await;
        cluster.add(1, id).await;
    }
    let manager = &cluster.node(2).manager;
    manager.remove_node(1, &until()).await.expect("removed");
    cluster.crash(1);
    let moved = async {
        let meta = cluster
            .node(2)
            .manager
            .operations(&meta_name())
            .expect("here");
        meta.transfer(5, Instant::now() + LIMIT)
            .await
            .expect("moved");
    };
    moved.await;
    let load = cluster.load(LIMIT);
    load.more(20, LIMIT).await;
    cluster.begin(3).await;
    let back = |cluster: &ManagedCluster| {
        let node = cluster.node(3);
        node.state().standing(1) == Some(NodeStanding::Removed)
            && [4, 5]
                .iter()
                .all(|&other| node.link(other).state == LinkState::Up)
    };
    cluster.until(LIMIT, "3 is back", back).await;
    let requests = load.finish().await;
    cluster.assert_kept(&requests).await;
}

/// A node moves. Told once, all reach it where it is now, in every group.
#[tokio::test(start_paused = true)]
async fn w10_a_node_that_moved_is_reached_where_it_is() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 2)).await;
    cluster.crash(3);
    cluster.move_to(3, 33);
    let moved = cluster.record(3).addresses;
    let manager = &cluster.node(1).manager;
    let changed = manager.change_address(3, moved.clone(), &until()).await;
    assert_eq!(changed.expect("noted").groups.len(), 3);
    cluster.begin(3).await;
    let met = |cluster: &ManagedCluster| {
        let linked = |node: u64| {
            let link = cluster.node(node).link(3);
            link.state == LinkState::Up && link.address == Some(cluster.address(3))
        };
        linked(1) && linked(2)
    };
    cluster.until(LIMIT, "links with 3", met).await;
    let told = |cluster: &ManagedCluster| {
        let mut nodes = cluster.nodes();
        nodes.all(|node| node.state().nodes[&3].record.addresses == moved)
    };
    cluster.until(LIMIT, "all know where it is", told).await;
    let again = cluster
        .node(2)
        .manager
        .change_address(3, moved, &until())
        .await;
    let again = again.expect("noted before");
    assert!(
        again.groups.values().all(|group| group.steps.is_empty()),
        "{again:?}"
    );
}

/// What cannot be is refused at the door, and nothing of it is noted.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_by_name() {
    let cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 1)).await;
    let before = cluster.node(1).state();
    let manager = &cluster.node(1).manager;
    let add = async |record: NodeRecord| {
        let added = manager
            .add_node(record, GroupSelection::All, &until())
            .await;
        added.expect_err("refused").to_string()
    };
    let taken = cluster.record(2).addresses;
    let told = add(NodeRecord::new(4, taken.clone())).await;
    assert!(told.contains("node 4") && told.contains("node 2"), "{told}");
    let told = add(NodeRecord::new(0, ["10.0.0.9:7000"])).await;
    assert!(told.contains('0'), "{told}");
    let told = add(NodeRecord::new(4, Vec::<String>::new())).await;
    assert!(told.contains("no address"), "{told}");
    let told = add(NodeRecord::new(4, ["nowhere"])).await;
    assert!(told.contains("node 4"), "{told}");
    let told = add(NodeRecord::new(2, ["10.0.0.9:7000"])).await;
    assert!(told.contains("change_address"), "{told}");
    let moved = manager.change_address(3, taken, &until()).await;
    let told = moved.expect_err("refused").to_string();
    assert!(told.contains("node 3") && told.contains("node 2"), "{told}");
    let unknown = manager.remove_node(9, &until()).await;
    let told = unknown.expect_err("refused").to_string();
    assert!(told.contains("node 9"), "{told}");
    assert_eq!(cluster.node(1).state(), before);
}

/// A node that does not run is waited for until the deadline, and no longer; a dead voter is removed.
#[tokio::test(start_paused = true)]
async fn w02_a_dead_node_hangs_no_change() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 2)).await;
    let options = ChangeOptions::until(Instant::now() + 5 * SECOND);
    let start = Instant::now();
    let manager = &cluster.node(1).manager;
    let added = manager
        .add_node(cluster.record(4), GroupSelection::All, &options)
        .await;
    let error = added.expect_err("it does not run");
    assert!(
        matches!(error, ClusterError::NotSeated { node: 4, .. }),
        "{error}"
    );
    assert!(error.is_retryable());
    assert_eq!(start.elapsed(), 5 * SECOND);
    // It comes later, and the same call ends what was begun.
    cluster.begin(4).await;
    sleep(SECOND).await;
    cluster.add(2, 4).await;
    voters(&cluster, &[1, 2, 3, 4]).await;
    cluster.crash(4);
    let manager = &cluster.node(3).manager;
    manager.remove_node(4, &until()).await.expect("removed");
    voters(&cluster, &[1, 2, 3]).await;
}
