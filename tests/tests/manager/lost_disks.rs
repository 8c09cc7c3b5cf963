//! A node whose disk was lost is another node: it founds nothing, votes for nothing, and is replaced.

use std::time::Duration;

use quicraft_manager::{ChangeOptions, ClusterError, NodeStanding};
use quicraft_tests::managed::{ManagedCluster, ManagedSpec};
use quicraft_tests::sim::LIMIT;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn until() -> ChangeOptions {
    ChangeOptions::until(Instant::now() + LIMIT)
}

async fn assert_lost(cluster: &ManagedCluster, lost: u64) {
    let node = cluster.node(lost);
    let waited = node.manager.wait_for_cluster_formation(LIMIT).await;
    let error = waited.expect_err("its disk is lost");
    let uid = cluster.nodes().map(|node| node.state().uid).max();
    assert!(
        matches!(error, ClusterError::LostIdentity { node, uid: told } if node == lost && Some(told) == uid),
        "{error}"
    );
    let told = error.to_string();
    assert!(told.contains(&format!("replace_node({lost}")), "{told}");
    assert!(!error.is_retryable());
}

/// It is empty in every way: no group runs, so nobody can have its vote.
fn assert_out(cluster: &ManagedCluster, lost: u64) {
    let node = cluster.node(lost);
    assert_eq!(node.manager.group_names(), []);
    assert_eq!((node.state().uid, node.transport.cluster_uid()), (0, 0));
}

/// One of three loses its disk, the founder among them. The rest goes on, and another node takes its
/// place with all its groups.
#[tokio::test(start_paused = true)]
async fn w07_a_node_that_lost_its_disk_is_replaced() {
    for lost in [1, 3] {
        let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 2)).await;
        let load = cluster.load(LIMIT);
        load.more(20, LIMIT).await;
        cluster.crash(lost);
        cluster.start_empty(lost);
        cluster.initialize(lost).await;
        assert_lost(&cluster, lost).await;
        sleep(30 * SECOND).await;
        assert_out(&cluster, lost);
        cluster.begin(4).await;
        let manager = &cluster.node(2).manager;
        let replaced = manager
            .replace_node(lost, cluster.record(4), &until())
            .await;
        let (new, old) = replaced.expect("replaced");
        assert_eq!((new.node, new.groups.len(), old.node), (4, 3, lost));
        let state = cluster.node(4).state();
        assert_eq!(state.standing(4), Some(NodeStanding::Member));
        let left = |cluster: &ManagedCluster| {
            let state = cluster.node(4).state();
            state.standing(lost) == Some(NodeStanding::Removed)
        };
        cluster.until(LIMIT, "the lost one is removed", left).await;
        load.more(20, LIMIT).await;
        let requests = load.finish().await;
        cluster.assert_kept(&requests).await;
        assert_out(&cluster, lost);
    }
}

/// Two of three have lost their disks. What one still holds is not outvoted by the two that know
/// nothing: they wait, whoever of them is configured to found.
#[tokio::test(start_paused = true)]
async fn w07_two_empty_disks_do_not_outvote_the_one_that_remembers() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 2)).await;
    let load = cluster.load(LIMIT);
    load.more(20, LIMIT).await;
    let requests = load.finish().await;
    for lost in [1, 2] {
        cluster.crash(lost);
    }
    for lost in [1, 2] {
        cluster.start_empty(lost);
        cluster.initialize(lost).await;
    }
    for lost in [1, 2] {
        assert_lost(&cluster, lost).await;
        assert_out(&cluster, lost);
    }
    for (group, acknowledged) in &requests.acknowledged {
        let kept = cluster.node(3).opened.get(group).expect("open").bodies();
        assert!(
            acknowledged.iter().all(|body| kept.contains(body)),
            "{group}"
        );
    }
}

/// A node that lost its disk while nobody of the cluster can be asked founds nothing; as soon as one
/// answers, it knows what it is.
#[tokio::test(start_paused = true)]
async fn w07_an_empty_founder_alone_founds_nothing() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 1)).await;
    for id in [1, 2, 3] {
        cluster.crash(id);
    }
    cluster.start_empty(1);
    cluster.initialize(1).await;
    sleep(120 * SECOND).await;
    assert_out(&cluster, 1);
    cluster.begin(2).await;
    assert_lost(&cluster, 1).await;
    cluster.begin(3).await;
    let load = cluster.load(LIMIT);
    load.more(10, LIMIT).await;
    let requests = load.finish().await;
    cluster.assert_kept(&requests).await;
}

/// A node that is being added loses its disk before it is a member: it is not let in again either.
#[tokio::test(start_paused = true)]
async fn w07_a_disk_that_is_lost_while_joining_is_noticed() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 1)).await;
    cluster.begin(4).await;
    cluster.add(1, 4).await;
    cluster.crash(4);
    cluster.start_empty(4);
    cluster.initialize(4).await;
    assert_lost(&cluster, 4).await;
    assert_out(&cluster, 4);
    let manager = &cluster.node(1).manager;
    manager.remove_node(4, &until()).await.expect("removed");
}
