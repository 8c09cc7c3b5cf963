//! A node that hosts nothing reaches every group.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use quicraft_manager::{
    FarGroup, GroupRole, GroupStep, OperationError, RaftManagerConfig, RemoteGroup, RequestError,
    RequestOptions,
};
use quicraft_tests::raft::{Command, TypeConfig};
use quicraft_tests::sim::{LIMIT, MS};
use quicraft_transport::GroupId;
use tokio::time::Instant;

use super::cluster::{Managed, ROUND_TRIP, name};

fn until() -> RequestOptions {
    RequestOptions::until(Instant::now() + LIMIT)
}

fn remote(managed: &Managed, node: u64, members: &[u64]) -> RemoteGroup<TypeConfig> {
    let members = members.to_vec();
    let manager = &managed.managers[&node];
    manager.remote_group(name("orders/0"), GroupId::new(1), move || members.clone())
}

/// The first request may have to look for the leader; the next ones know it.
#[tokio::test(start_paused = true)]
async fn a_node_that_hosts_nothing_proposes() {
    let managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    let leader = managed.led().await;
    let remote = remote(&managed, 4, &[1, 2, 3]);
    for number in 0..5 {
        let start = Instant::now();
        let command = Command::new(number.to_string());
        let proposed = remote.propose(command, until()).await.expect("proposed");
        assert_eq!(proposed.leader, leader);
        assert_eq!(proposed.response.index, proposed.log_id.index);
        let took = start.elapsed();
        assert!(number == 0 || took < ROUND_TRIP * 2 + 15 * MS, "{took:?}");
    }
    let applied = managed.members[&leader].applied();
    assert_eq!(applied, ["0", "1", "2", "3", "4"].map(Vec::from));
}

/// A leader that is gone is forgotten, and the next one found.
#[tokio::test(start_paused = true)]
async fn it_finds_the_next_leader() {
    let managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    let leader = managed.led().await;
    let remote = remote(&managed, 4, &[1, 2, 3]);
    let first = remote.propose(Command::new("first"), until()).await;
    assert_eq!(first.expect("proposed").leader, leader);
    for node in 1..=4 {
        if node != leader {
            managed.cluster.cut(leader, node);
        }
    }
    let four = managed.cluster.node(4);
    four.link_until(leader, |link| link.links == 0).await;
    let next = remote.propose(Command::new("next"), until()).await;
    assert_ne!(next.expect("another one leads").leader, leader);
}

/// An operator on it sees the group, moves its leadership and changes its members, and its members
/// may change while it is asked.
#[tokio::test(start_paused = true)]
async fn a_node_that_hosts_nothing_operates() {
    let mut managed = Managed::start_of(5, &[1, 2, 3], RaftManagerConfig::default()).await;
    let leader = managed.led().await;
    let members = Arc::new(Mutex::new(vec![5, 1, 2, 3]));
    let named = Arc::clone(&members);
    let far: FarGroup =
        managed.managers[&5].far_group(name("orders/0"), GroupId::new(1), move || {
            named.lock().expect("whole").clone()
        });
    let deadline = || Instant::now() + LIMIT;
    let progress = far.progress(deadline()).await.expect("it is led");
    assert_eq!(
        (progress.leader, &progress.voters[..]),
        (leader, &[1, 2, 3][..])
    );
    let to = leader % 3 + 1;
    let moved = far.transfer(to, deadline()).await.expect("it moves");
    assert_eq!((moved.from, moved.to), (leader, to));
    managed.open(4).await;
    let goal = managed.goal(4, Some(GroupRole::Voter));
    let mut steps = BTreeSet::new();
    loop {
        let changed = far.change(goal.clone(), deadline()).await.expect("changed");
        steps.insert(changed.step.to_string());
        if changed.step == GroupStep::Done {
            break;
        }
    }
    assert!(steps.contains("promote"), "{steps:?}");
    managed.settled(&[1, 2, 3, 4], &[]).await;
    // All it knew are gone but one.
    far.transfer(4, deadline()).await.expect("it moves");
    *members.lock().expect("whole") = vec![4];
    let progress = far.progress(deadline()).await.expect("it is led");
    assert_eq!(progress.leader, 4);
}

/// Nobody has the group: that is said at the deadline, by name, with what was met last.
#[tokio::test(start_paused = true)]
async fn a_group_that_nobody_has_is_not_there() {
    let managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    let manager = &managed.managers[&4];
    for members in [vec![], vec![1, 2, 3], vec![4]] {
        let far = manager.far_group(name("no"), GroupId::new(9), move || members.clone());
        let start = Instant::now();
        let error = far
            .progress(start + LIMIT)
            .await
            .expect_err("nobody has it");
        assert_eq!(start.elapsed(), LIMIT);
        assert!(
            matches!(&error, OperationError::NoLeader { leader: None, .. }),
            "{error:?}"
        );
        assert!(error.is_retryable() && error.to_string().contains("group no"));
    }
}

/// One request more than the bound is refused at once.
#[tokio::test(start_paused = true)]
async fn requests_are_bounded() {
    let mut config = RaftManagerConfig::default();
    config.requests_max = 2;
    let managed = Managed::start_of(4, &[1, 2, 3], config).await;
    let remote = remote(&managed, 4, &[1, 2, 3]);
    let propose = |text: &'static str| remote.propose(Command::new(text), until());
    let (one, two, three) = tokio::join!(propose("1"), propose("2"), propose("3"));
    one.expect("the first");
    two.expect("the second");
    let error = three.expect_err("one too many");
    assert!(
        matches!(error, RequestError::Overloaded { limit: 2, .. }),
        "{error}"
    );
    propose("4").await.expect("there is room again");
}
