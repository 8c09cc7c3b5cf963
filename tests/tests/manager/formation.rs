//! A cluster is founded once, by all its members together, whatever happens to them meanwhile; and
//! whoever waits for it is told the truth.

use std::time::Duration;

use futures_util::future::join_all;
use quicraft_manager::{ClusterError, GroupName, NodeStanding};
use quicraft_tests::managed::{ManagedCluster, ManagedSpec, meta_name, orders};
use quicraft_tests::sim::{LIMIT, MS};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// What every node says of a group: who votes in it and who learns.
fn assert_members(cluster: &ManagedCluster, group: &GroupName, voters: &[u64]) {
    for node in cluster.nodes() {
        let known = node.manager.operations(group);
        let status = known.unwrap_or_else(|error| panic!("{}: {error}", node.id));
        let status = status.status();
        let members = (&status.voters[..], &status.learners[..]);
        assert_eq!(members, (voters, &[][..]), "{group} on node {}", node.id);
    }
}

/// One cluster, of which all running nodes are members, and all groups on all of them.
async fn assert_formed(cluster: &ManagedCluster, nodes: &[u64]) {
    cluster.all_formed(LIMIT).await;
    let uid = cluster.node(nodes[0]).transport.cluster_uid();
    assert_ne!(uid, 0);
    for node in cluster.nodes() {
        assert_eq!(node.state().uid, uid);
        assert_eq!(node.transport.cluster_uid(), uid);
        let standings = nodes.iter().map(|&other| node.state().standing(other));
        assert!(
            standings
                .into_iter()
                .all(|it| it == Some(NodeStanding::Member)),
            "{:?}",
            node.state()
        );
    }
    let groups = cluster.spec().groups.iter().cloned();
    for group in groups.chain([meta_name()]) {
        assert_members(cluster, &group, nodes);
    }
}

#[tokio::test(start_paused = true)]
async fn three_nodes_form_in_any_order() {
    let orders = [
        [1, 2, 3],
        [1, 3, 2],
        [2, 1, 3],
        [2, 3, 1],
        [3, 1, 2],
        [3, 2, 1],
    ];
    for (round, order) in (0..).zip(orders) {
        let mut cluster = ManagedCluster::new(ManagedSpec::new([1, 2, 3], 2));
        for id in order {
            cluster.begin(id).await;
            sleep(round * 700 * MS).await;
        }
        assert_formed(&cluster, &[1, 2, 3]).await;
    }
}

/// Asking again changes nothing, on whatever node, and after a restart of all.
#[tokio::test(start_paused = true)]
async fn a_formed_cluster_comes_back_as_it_was() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 2)).await;
    let uid = cluster.node(1).state().uid;
    let load = cluster.load(LIMIT);
    load.more(20, LIMIT).await;
    for id in [1, 2, 3] {
        cluster.crash(id);
    }
    for id in [3, 2, 1] {
        cluster.begin(id).await;
    }
    assert_formed(&cluster, &[1, 2, 3]).await;
    assert_eq!(cluster.node(1).state().uid, uid);
    load.more(20, LIMIT).await;
    let requests = load.finish().await;
    cluster.assert_kept(&requests).await;
}

/// The founder waits for all the members that it is configured with. One that comes minutes later is
/// a member like the others.
#[tokio::test(start_paused = true)]
async fn nobody_founds_before_all_members_have_answered() {
    let mut cluster = ManagedCluster::new(ManagedSpec::new([1, 2, 3], 2));
    cluster.begin(1).await;
    cluster.begin(2).await;
    sleep(180 * SECOND).await;
    for node in cluster.nodes() {
        assert_eq!((node.state().uid, node.transport.cluster_uid()), (0, 0));
    }
    cluster.begin(3).await;
    assert_formed(&cluster, &[1, 2, 3]).await;
}

/// With the operator's word the founder does not wait. Nor is anybody forgotten: the late node is
/// taken into every group when it comes, whoever leads then.
#[tokio::test(start_paused = true)]
async fn w06_a_late_node_is_taken_in_when_it_comes() {
    let mut spec = ManagedSpec::new([1, 2, 3], 2);
    spec.forced = vec![1];
    let mut cluster = ManagedCluster::new(spec);
    cluster.begin(1).await;
    cluster.begin(2).await;
    let uid = async |cluster: &ManagedCluster| {
        let founded = |cluster: &ManagedCluster| {
            let mut nodes = cluster.nodes();
            nodes.all(|it| it.state().standing(2) == Some(NodeStanding::Member))
        };
        cluster.until(LIMIT, "1 and 2 found", founded).await;
        cluster.node(1).state().uid
    };
    let uid = uid(&cluster).await;
    sleep(180 * SECOND).await;
    let load = cluster.load(LIMIT);
    load.more(20, LIMIT).await;
    // The founder is not the one who takes it in.
    cluster.crash(1);
    cluster.begin(1).await;
    cluster.begin(3).await;
    assert_formed(&cluster, &[1, 2, 3]).await;
    assert_eq!(cluster.node(3).state().uid, uid);
    let requests = load.finish().await;
    cluster.assert_kept(&requests).await;
}

/// The operator has forced the founding in the one configuration that all nodes have.
#[tokio::test(start_paused = true)]
async fn w07_nodes_that_are_all_forced_found_one_cluster() {
    let mut spec = ManagedSpec::new([1, 2, 3], 2);
    spec.forced = vec![1, 2, 3];
    let mut cluster = ManagedCluster::new(spec);
    for id in [3, 2, 1] {
        cluster.begin(id).await;
    }
    assert_formed(&cluster, &[1, 2, 3]).await;
}

/// The founder dies at many moments of the forming and comes back: there is one cluster at the end.
#[tokio::test(start_paused = true)]
async fn w06_a_crash_of_the_founder_is_survived_at_any_moment() {
    let mut founded_before = 0;
    for moment in 0..12 {
        let mut cluster = ManagedCluster::new(ManagedSpec::new([1, 2, 3], 2));
        for id in [1, 2, 3] {
            cluster.begin(id).await;
        }
        // The forming takes about a second and a half.
        sleep(moment * 150 * MS).await;
        cluster.crash(1);
        sleep(SECOND).await;
        cluster.begin(1).await;
        founded_before += u32::from(cluster.node(1).transport.cluster_uid() != 0);
        assert_formed(&cluster, &[1, 2, 3]).await;
    }
    assert!((1..12).contains(&founded_before), "{founded_before}");
}

/// Another node dies while the cluster forms.
#[tokio::test(start_paused = true)]
async fn a_crash_of_a_joiner_is_survived_at_any_moment() {
    for moment in 0..6 {
        let mut cluster = ManagedCluster::new(ManagedSpec::new([1, 2, 3], 2));
        for id in [1, 2, 3] {
            cluster.begin(id).await;
        }
        sleep(moment * 300 * MS).await;
        cluster.crash(3);
        sleep(SECOND).await;
        cluster.begin(3).await;
        assert_formed(&cluster, &[1, 2, 3]).await;
    }
}

/// Two nodes are configured to found a cluster with a node that belongs to one already. They found
/// nothing, and say why; added there, they come in.
#[tokio::test(start_paused = true)]
async fn w07_no_second_cluster_is_founded_beside_the_first() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 6], 1)).await;
    for id in [4, 5] {
        cluster.configure(id, [4, 5, 6]);
        cluster.begin(id).await;
    }
    sleep(120 * SECOND).await;
    for id in [4, 5] {
        let node = cluster.node(id);
        assert_eq!((node.state().uid, node.transport.cluster_uid()), (0, 0));
        let waited = node.manager.wait_for_cluster_formation(SECOND).await;
        let Err(ClusterError::NotFormed { pending, .. }) = waited else {
            panic!("{waited:?}");
        };
        assert!(pending["node 6"].contains("NOT_MEMBER"), "{pending:?}");
    }
    for id in [4, 5] {
        cluster.add(2, id).await;
    }
    assert_formed(&cluster, &[1, 2, 4, 5, 6]).await;
}

/// Any number of callers wait any number of times; each is told what is missing and why.
#[tokio::test(start_paused = true)]
async fn formation_is_awaited_by_all_and_tells_the_truth() {
    let mut cluster = ManagedCluster::new(ManagedSpec::new([1, 2, 3], 2));
    cluster.begin(1).await;
    cluster.begin(2).await;
    for _ in 0..3 {
        let callers = cluster.nodes().cycle().take(10);
        let start = Instant::now();
        let waits = callers.map(|node| node.manager.wait_for_cluster_formation(2 * SECOND));
        for told in join_all(waits).await {
            let Err(ClusterError::NotFormed { waited, pending }) = told else {
                panic!("{told:?}");
            };
            assert_eq!((waited, start.elapsed()), (2 * SECOND, 2 * SECOND));
            let missing = &pending["node 3"];
            assert!(
                missing.contains("pending") && missing.len() > 20,
                "{pending:?}"
            );
        }
    }
    let waiting = join_all(cluster.nodes().map(|node| {
        node.run(|manager| async move { manager.wait_for_cluster_formation(LIMIT).await })
            .ended()
    }));
    let waiting = tokio::spawn(waiting);
    cluster.begin(3).await;
    for formed in waiting.await.expect("waits") {
        let report = formed.expect("alive").expect("formed");
        assert!(report.is_done(), "{report:?}");
        assert_eq!(report.nodes.len(), 3);
        assert_eq!(report.groups.len(), 3);
    }
    // And again, at once.
    let start = Instant::now();
    assert_formed(&cluster, &[1, 2, 3]).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// A group that a node cannot open is named with the reason, as long as it is so.
#[tokio::test(start_paused = true)]
async fn a_group_that_does_not_open_is_named() {
    let mut cluster = ManagedCluster::new(ManagedSpec::new([1, 2, 3], 2));
    for id in [1, 2, 3] {
        cluster.start(id);
        if id == 2 {
            cluster.node(2).opened.refuse(&orders(1));
        }
        cluster.initialize(id).await;
    }
    let waited = cluster
        .node(2)
        .manager
        .wait_for_cluster_formation(LIMIT)
        .await;
    let Err(ClusterError::NotFormed { pending, .. }) = waited else {
        panic!("{waited:?}");
    };
    let why = &pending["group orders/1"];
    assert!(
        why.contains("node 2") && why.contains("on purpose"),
        "{pending:?}"
    );
    assert!(!pending.contains_key("group orders/0"), "{pending:?}");
    cluster.node(2).opened.allow(&orders(1));
    assert_formed(&cluster, &[1, 2, 3]).await;
}

/// A single node is the same path. It grows to three, and then does not need the first one.
#[tokio::test(start_paused = true)]
async fn w08_a_single_node_forms_alone_and_grows() {
    let mut cluster = ManagedCluster::formed(ManagedSpec::new([1], 2)).await;
    assert_formed(&cluster, &[1]).await;
    let load = cluster.load(LIMIT);
    load.more(20, LIMIT).await;
    for id in [2, 3] {
        cluster.begin(id).await;
        cluster.add(1, id).await;
    }
    assert_formed(&cluster, &[1, 2, 3]).await;
    load.more(20, LIMIT).await;
    cluster.crash(1);
    load.more(20, LIMIT).await;
    cluster.begin(1).await;
    let requests = load.finish().await;
    assert_eq!(requests.failed_reads, Vec::<String>::new());
    cluster.assert_kept(&requests).await;
}
