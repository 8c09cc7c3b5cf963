//! Groups are created and deleted while the cluster runs, on the nodes that are chosen.

use quicraft_manager::{
    ClusterError, GroupName, MetaRefusal, NewGroup, RaftManager, RequestOptions,
};
use quicraft_tests::managed::{ManagedCluster, ManagedSpec, meta_name, orders};
use quicraft_tests::raft::{Command, TypeConfig};
use quicraft_tests::sim::LIMIT;
use quicraft_transport::GroupId;
use tokio::time::Instant;

fn queue() -> GroupName {
    GroupName::parse("queue/7").expect("a name")
}

fn deadline() -> Instant {
    Instant::now() + LIMIT
}

/// The nodes on which a group is open.
fn hosts(cluster: &ManagedCluster, group: &GroupName) -> Vec<u64> {
    cluster.members(group).into_keys().collect()
}

async fn create(manager: &RaftManager, group: NewGroup) -> Result<(), ClusterError> {
    manager.create_group(group, deadline()).await
}

/// The number that the cluster gave a group.
fn number(cluster: &ManagedCluster, group: &GroupName) -> u64 {
    cluster.node(1).state().groups[group].id
}

async fn write(cluster: &ManagedCluster, node: u64, body: &str) {
    let hosted = cluster.members(&queue()).remove(&node).expect("it is open");
    let options = RequestOptions::until(deadline());
    let written = hosted.group.propose(Command::new(body.to_owned()), options);
    written.await.expect("it is led");
}

/// Created on two of three nodes by the one that is left out, used from all of them, and deleted.
#[tokio::test(start_paused = true)]
async fn a_group_comes_and_goes_on_the_nodes_that_are_chosen() {
    let cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 1)).await;
    let manager = &cluster.node(1).manager;
    let group = NewGroup::new(queue(), [2, 3]);
    create(manager, group.clone()).await.expect("created");
    create(manager, group.clone()).await.expect("it is there");
    let both = |cluster: &ManagedCluster| hosts(cluster, &queue()) == [2, 3];
    cluster.until(LIMIT, "it is open on both", both).await;
    write(&cluster, 3, "a").await;
    let id = number(&cluster, &queue());
    let far = manager.remote_group::<TypeConfig>(queue(), GroupId::new(id), || vec![2, 3]);
    let written = far.propose(Command::new("b"), RequestOptions::until(deadline()));
    written.await.expect("it is found elsewhere");

    let deleted = manager.delete_group(&queue(), deadline()).await;
    deleted.expect("deleted");
    let again = manager.delete_group(&queue(), deadline()).await;
    again.expect("it is gone");
    let nowhere = |cluster: &ManagedCluster| hosts(cluster, &queue()).is_empty();
    cluster.until(LIMIT, "it is closed", nowhere).await;
    assert_eq!(hosts(&cluster, &orders(0)), [1, 2, 3]);

    // Its name may be given again, with nothing in it, its number may not.
    create(manager, group.clone()).await.expect("created anew");
    assert!(number(&cluster, &queue()) > id);
    write(&cluster, 2, "c").await;
    let machine = cluster.members(&queue())[&2].machine.clone();
    let applied: Vec<_> = machine.applied();
    assert_eq!(applied.len(), 1, "what was deleted is not there");
    let taken = NewGroup::new(orders(9), [1]).numbered(id);
    let error = create(manager, taken).await.expect_err("it was given");
    let ClusterError::Refused(MetaRefusal::NumberTaken { id: refused, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(refused, id);
}

/// What cannot be is refused by name.
#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_be_is_refused() {
    let cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 1)).await;
    let manager = &cluster.node(2).manager;
    let nowhere = NewGroup::new(queue(), []);
    let stranger = NewGroup::new(queue(), [1, 4]);
    let other = NewGroup::new(orders(0), [1]);
    for (group, why) in [
        (nowhere, "no voter"),
        (stranger, "node 4"),
        (other, "orders/0"),
    ] {
        let error = create(manager, group).await.expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = manager.delete_group(&meta_name(), deadline()).await;
    let error = error.expect_err("it holds the cluster");
    assert!(error.to_string().contains("meta"), "{error}");
    assert_eq!(hosts(&cluster, &queue()), Vec::<u64>::new());
}

/// A node cannot delete what it stored. It tries again, says why meanwhile, and does not open another
/// group of that name on the old log.
#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_be_destroyed_is_not_forgotten() {
    let cluster = ManagedCluster::formed(ManagedSpec::new([1, 2, 3], 1)).await;
    let manager = &cluster.node(1).manager;
    let group = NewGroup::new(queue(), [1, 2]);
    create(manager, group.clone()).await.expect("created");
    let both = |cluster: &ManagedCluster| hosts(cluster, &queue()) == [1, 2];
    cluster.until(LIMIT, "it is open on both", both).await;
    write(&cluster, 1, "old").await;
    cluster.node(2).opened.refuse(&queue());
    let deleted = manager.delete_group(&queue(), deadline()).await;
    deleted.expect("deleted");
    // At once, so that the node may see only the new one.
    create(manager, group).await.expect("founded by the other");
    let first = |cluster: &ManagedCluster| hosts(cluster, &queue()) == [1];
    cluster.until(LIMIT, "the old one is closed", first).await;
    let node = &cluster.node(2).manager;
    let waited = node.wait_for_cluster_formation(LIMIT).await;
    let Err(ClusterError::NotFormed { pending, .. }) = waited else {
        panic!("{waited:?}");
    };
    let problem = &pending["group queue/7"];
    assert!(problem.contains("on purpose"), "{problem}");
    assert_eq!(hosts(&cluster, &queue()), [1]);
    cluster.node(2).opened.allow(&queue());
    cluster.until(LIMIT, "it is open on both", both).await;
    write(&cluster, 2, "new").await;
    let machine = cluster.members(&queue())[&2].machine.clone();
    assert_eq!(machine.applied().len(), 1, "nothing of the old one");
}
