//! What users of an older manager of many Raft groups met, by its number there, and does not happen
//! here: what concerns members, requests and leadership.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver as _;
use quicraft_manager::{
    ActionOutcome, GroupAction, GroupGoal, GroupOperations as _, GroupRole, GroupStep, NodeRecord,
    RaftManagerConfig, RequestError, RequestOptions,
};
use quicraft_tests::raft::Command;
use quicraft_tests::sim::{LIMIT, MS};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Managed, ROUND_TRIP, name, start_group};
use super::load::Load;

const VOTER: Option<GroupRole> = Some(GroupRole::Voter);
const LEARNER: Option<GroupRole> = Some(GroupRole::Learner);

fn until(limit: Duration) -> RequestOptions {
    RequestOptions::until(Instant::now() + limit)
}

fn isolate(managed: &Managed, node: u64) {
    for other in managed.managers.keys().filter(|&&other| other != node) {
        managed.cluster.cut(node, *other);
    }
}

/// A node could only be added where one node leads every group.
#[tokio::test(start_paused = true)]
async fn w01_a_node_is_added_to_groups_that_others_lead() {
    let managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    let raft = managed.cluster.spec().raft.clone();
    let mut groups = Vec::new();
    for leader in 1..=3 {
        let text = format!("users/{leader}");
        for node in 1..=4 {
            let manager = &managed.managers[&node];
            let started = start_group(manager, &text, 1 + leader, &raft).await;
            started.expect("started");
        }
        let of = |node| managed.managers[&node].operations(&name(&text));
        let group = of(1).expect("it is here");
        let voters = (1..=3).map(|node| managed.record(node)).collect();
        group.found(voters).await.expect("founded");
        let deadline = Instant::now() + LIMIT;
        group.transfer(leader, deadline).await.expect("it moves");
        groups.push((leader, of(2).expect("it is here")));
    }
    for (leader, group) in groups {
        let goal = managed.goal(4, VOTER);
        loop {
            let changed = group.change(goal.clone(), Instant::now() + LIMIT).await;
            let changed = changed.expect("its leader does it");
            assert_eq!(changed.leader, leader);
            if changed.step == GroupStep::Done {
                assert_eq!(changed.voters, [1, 2, 3, 4]);
                break;
            }
        }
    }
}

/// Adding a node that is dead never ended, and held up everything behind it.
#[tokio::test(start_paused = true)]
async fn w02_a_dead_node_is_not_waited_for_and_not_promoted() {
    let mut managed = Managed::start_of(5, &[1, 2, 3], RaftManagerConfig::default()).await;
    // Node 4 hosts nothing yet; node 5 was there once and is gone.
    managed.open(5).await;
    managed.drive(1, &managed.goal(5, LEARNER)).await;
    sleep(1_000 * MS).await;
    isolate(&managed, 5);
    let silence = managed.lease();
    sleep(Duration::from_millis(silence) + 250 * MS).await;
    let group = managed.group(1);
    for node in [4, 5] {
        let goal = managed.goal(node, VOTER);
        for _ in 0..5 {
            let start = Instant::now();
            let changed = group.change(goal.clone(), start + LIMIT).await;
            let step = changed.expect("it is told").step;
            assert!(start.elapsed() < 5 * ROUND_TRIP, "{:?}", start.elapsed());
            let waits = GroupStep::AwaitLag { entries: None };
            assert!(step == waits || step == GroupStep::AddLearner, "{step}");
        }
    }
    let status = managed.group(1).status();
    assert_eq!(
        (status.voters, status.learners),
        (vec![1, 2, 3], vec![4, 5])
    );
    managed.open(4).await;
    managed.cluster.switch.heal();
    for node in [4, 5] {
        managed.drive(1, &managed.goal(node, VOTER)).await;
    }
    managed.settled(&[1, 2, 3, 4, 5], &[]).await;
}

/// Under steady writes a new node was never quite there.
#[tokio::test(start_paused = true)]
async fn w02_a_node_is_promoted_under_steady_writes() {
    let mut managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    let loads: Vec<_> = (1..=3)
        .flat_map(|node| [node; 20])
        .map(|node| Load::start(&managed, node))
        .collect();
    sleep(1_000 * MS).await;
    managed.open(4).await;
    let start = Instant::now();
    managed.drive(2, &managed.goal(4, VOTER)).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    for load in loads {
        load.stop().await;
    }
}

/// An addition that failed in the middle could neither be taken up again nor taken back.
#[tokio::test(start_paused = true)]
async fn w03_an_addition_that_was_cut_is_taken_up_elsewhere() {
    for steps in 0..4 {
        let mut managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
        managed.open(4).await;
        let goal = managed.goal(4, VOTER);
        for _ in 0..steps {
            let changed = managed
                .group(1)
                .change(goal.clone(), Instant::now() + LIMIT);
            changed.await.expect("a step");
        }
        // The next one is dropped while it is under way.
        let dropped = managed
            .group(1)
            .change(goal.clone(), Instant::now() + LIMIT);
        drop(timeout(ROUND_TRIP / 2, dropped).await);
        managed.drive(3, &goal).await;
        managed.settled(&[1, 2, 3, 4], &[]).await;
        assert_eq!(managed.drive(1, &goal).await, [GroupStep::Done]);
        managed.drive(2, &managed.goal(4, None)).await;
        managed.settled(&[1, 2, 3], &[]).await;
    }
}

/// Of two additions at once, one could take the vote that the other had just given.
#[tokio::test(start_paused = true)]
async fn w04_changes_at_once_lose_no_voter() {
    let mut managed = Managed::start_of(6, &[1, 2, 3], RaftManagerConfig::default()).await;
    for node in [4, 5, 6] {
        managed.open(node).await;
    }
    let mut metrics = managed.group(2).raft().metrics();
    let seen = async {
        loop {
            let now = metrics.borrow_watched().membership_config.clone();
            let voters: BTreeSet<_> = now.voter_ids().collect();
            assert!(voters.is_superset(&BTreeSet::from([1, 2, 3])), "{voters:?}");
            metrics.changed().await.expect("it runs");
        }
    };
    let goals = [4, 5, 6].map(|node| managed.goal(node, VOTER));
    let changing = async {
        tokio::join!(
            managed.drive(1, &goals[0]),
            managed.drive(2, &goals[1]),
            managed.drive(3, &goals[2]),
            // A second one that adds the same.
            managed.drive(2, &goals[0]),
        )
    };
    tokio::select! {
        () = seen => unreachable!("it watches until all is done"),
        _ = changing => {}
    }
    managed.settled(&[1, 2, 3, 4, 5, 6], &[]).await;
    // And away again, one of them adding what another removes.
    let goals = [4, 5].map(|node| managed.goal(node, None));
    let stays = managed.goal(6, VOTER);
    tokio::join!(
        managed.drive(1, &goals[0]),
        managed.drive(2, &goals[1]),
        managed.drive(3, &stays),
    );
    managed.settled(&[1, 2, 3, 6], &[]).await;
}

/// Adding a node again with the right address kept the wrong one.
#[tokio::test(start_paused = true)]
async fn w10_a_corrected_address_replaces_the_old_one() {
    let mut managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    managed.open(4).await;
    for role in [LEARNER, VOTER] {
        let address = |port: u16| format!("10.9.9.9:{port}");
        for port in [1, 2] {
            let goal = GroupGoal::new(NodeRecord::new(4, [address(port)]), role);
            let steps = managed.drive(1, &goal).await;
            assert_eq!(steps.contains(&GroupStep::SetNode), port == 2, "{steps:?}");
            let member = managed.group(1).raft();
            let wait = member.wait(Some(LIMIT));
            let seen = wait.metrics(
                |metrics| {
                    let node = metrics.membership_config.get_node(&4);
                    node.is_some_and(|node| node.addr == address(port))
                },
                "the address",
            );
            seen.await.expect("it is corrected");
            assert_eq!(managed.drive(3, &goal).await, [GroupStep::Done]);
        }
        managed.drive(1, &managed.goal(4, None)).await;
    }
    managed.settled(&[1, 2, 3], &[]).await;
}

/// A node that still believed that it led returned an error instead of forwarding.
#[tokio::test(start_paused = true)]
async fn w11_a_former_leader_forwards() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    // In the middle of a transfer.
    let moving = managed
        .group(leader)
        .transfer(follower, Instant::now() + LIMIT);
    let writing = async {
        sleep(ROUND_TRIP / 4).await;
        let written = managed
            .group(leader)
            .propose(Command::new("a"), until(LIMIT));
        written.await.expect("it is forwarded").leader
    };
    let (moved, by) = tokio::join!(moving, writing);
    moved.expect("it moves");
    assert_eq!(by, follower);
    // Cut off while another one was elected.
    isolate(&managed, follower);
    let other = 6 - follower - leader;
    // The first attempt may have been on its way to the one that is cut off.
    let options = until(LIMIT).idempotent();
    let written = managed.group(other).propose(Command::new("b"), options);
    assert_ne!(written.await.expect("two are left").leader, follower);
    assert_eq!(managed.members[&follower].leader(), Some(follower));
    managed.cluster.switch.heal();
    let written = managed
        .group(follower)
        .propose(Command::new("c"), until(LIMIT));
    assert_ne!(written.await.expect("it is forwarded").leader, follower);
}

/// Writes were given up sooner than a leader is elected, so every failover failed some.
#[tokio::test(start_paused = true)]
async fn w12_no_write_fails_in_a_failover() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let load = Load::start(&managed, follower);
    sleep(200 * MS).await;
    isolate(&managed, leader);
    sleep(Duration::from_secs(8)).await;
    let acked = load.stop().await;
    acked.are_on(follower, &managed.members[&follower]).await;
    let election = managed.lease();
    assert!(acked.longest > Duration::from_millis(election) / 2);
    assert!(
        acked.longest < Duration::from_secs(5),
        "{:?}",
        acked.longest
    );
}

/// Every failure was called "not the leader", and the command was sent again.
#[tokio::test(start_paused = true)]
async fn w13_a_command_of_unknown_fate_is_called_so_and_sent_once() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let writing = managed
        .group(follower)
        .propose(Command::new("once"), until(LIMIT));
    let cutting = async {
        sleep(ROUND_TRIP / 4).await;
        managed.cluster.cut_one_way(leader, follower);
        let peer = managed.cluster.node(follower);
        peer.link_until(leader, |link| link.links == 0).await;
        managed.cluster.switch.heal();
    };
    let (written, ()) = tokio::join!(writing, cutting);
    let error = written.expect_err("its answer was lost");
    let RequestError::Unknown { asked, reason, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(asked.node, leader);
    assert!(!reason.is_empty() && error.is_unknown() && !error.is_retryable());
    assert_eq!(managed.members[&leader].applied().len(), 1);
}

/// A leader that was cut off served reads of what others had long changed.
#[tokio::test(start_paused = true)]
async fn w14_a_leader_that_is_cut_off_serves_no_read() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let written = managed
        .group(leader)
        .propose(Command::new("old"), until(LIMIT));
    written.await.expect("it leads");
    isolate(&managed, leader);
    // The first attempt may have been on its way to the one that is cut off.
    let options = until(LIMIT).idempotent();
    let written = managed
        .group(follower)
        .propose(Command::new("new"), options);
    assert_ne!(written.await.expect("two are left").leader, leader);
    assert_eq!(managed.members[&leader].leader(), Some(leader));
    for policy in [ReadPolicy::ReadIndex, ReadPolicy::LeaseRead] {
        let read = managed
            .group(leader)
            .read(policy, Instant::now() + LIMIT)
            .await;
        let error = read.expect_err("it does not know what the others wrote");
        assert!(error.is_retryable(), "{error}");
    }
}

/// A leader did not step down under writes, and said that it had.
#[tokio::test(start_paused = true)]
async fn w22_a_leader_steps_down_under_writes() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let load = Load::start(&managed, 1);
    for _ in 0..5 {
        sleep(100 * MS).await;
        let leader = managed.led().await;
        let start = Instant::now();
        let acted = managed
            .group(leader)
            .act(GroupAction::StepDown, start + LIMIT)
            .await;
        let outcome = acted.expect("it steps down");
        let ActionOutcome::SteppedDown { leader: next } = outcome else {
            panic!("{outcome:?}");
        };
        assert_ne!(next, leader);
        assert!(start.elapsed() < 500 * MS, "{:?}", start.elapsed());
        assert_eq!(managed.led().await, next);
    }
    let acked = load.stop().await;
    acked.are_on(1, &managed.members[&1]).await;
    assert!(acked.longest < 500 * MS, "{:?}", acked.longest);
}
