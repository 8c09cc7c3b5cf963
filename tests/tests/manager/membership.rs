//! Members come and go at the leader of their group, wherever it is asked for, and whoever dies.

use openraft::async_runtime::WatchReceiver as _;
use quicraft_manager::{
    GroupGoal, GroupOperations as _, GroupRefusal, GroupRole, GroupStep, NodeRecord,
    OperationError, RaftManagerConfig,
};
use quicraft_tests::sim::{LIMIT, MS};
use tokio::time::{Instant, sleep};

use super::cluster::Managed;
use super::load::Load;

const VOTER: Option<GroupRole> = Some(GroupRole::Voter);
const LEARNER: Option<GroupRole> = Some(GroupRole::Learner);

/// Through a follower, under writes on another one: a learner first, a voter when it has caught up.
#[tokio::test(start_paused = true)]
async fn a_node_is_added_under_load_through_a_follower() {
    let mut config = RaftManagerConfig::default();
    config.promote_lag_max = 5;
    let mut managed = Managed::start_of(4, &[1, 2, 3], config).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let load = Load::start(&managed, follower);
    // It has something to catch up with.
    sleep(1_000 * MS).await;
    managed.open(4).await;
    let steps = managed.drive(follower, &managed.goal(4, VOTER)).await;
    let [
        GroupStep::AddLearner,
        waits @ ..,
        GroupStep::Promote,
        GroupStep::Done,
    ] = &steps[..]
    else {
        panic!("{steps:?}");
    };
    assert!(!waits.is_empty(), "it was promoted before it was heard of");
    for wait in waits {
        let GroupStep::AwaitLag { entries } = wait else {
            panic!("{steps:?}");
        };
        assert!(entries.is_none_or(|entries| entries > 5), "{steps:?}");
    }
    managed.settled(&[1, 2, 3, 4], &[]).await;
    let acked = load.stop().await;
    for (&node, member) in &managed.members {
        acked.are_on(node, member).await;
    }
    // The leader was never in doubt.
    assert_eq!(managed.led().await, leader);
    assert_eq!(
        managed.drive(follower, &managed.goal(4, VOTER)).await,
        [GroupStep::Done]
    );
}

#[tokio::test(start_paused = true)]
async fn each_role_leads_to_each_other() {
    let mut managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    managed.open(4).await;
    let to = async |role| managed.drive(1, &managed.goal(4, role)).await;
    let steps = to(LEARNER).await;
    assert_eq!(steps, [GroupStep::AddLearner, GroupStep::Done]);
    managed.settled(&[1, 2, 3], &[4]).await;
    let steps = to(VOTER).await;
    assert!(steps.ends_with(&[GroupStep::Promote, GroupStep::Done]));
    managed.settled(&[1, 2, 3, 4], &[]).await;
    assert_eq!(to(LEARNER).await, [GroupStep::Demote, GroupStep::Done]);
    managed.settled(&[1, 2, 3], &[4]).await;
    assert_eq!(to(None).await, [GroupStep::Remove, GroupStep::Done]);
    managed.settled(&[1, 2, 3], &[]).await;
    let steps = to(VOTER).await;
    assert!(steps.ends_with(&[GroupStep::Promote, GroupStep::Done]));
    assert_eq!(to(None).await, [GroupStep::Remove, GroupStep::Done]);
    managed.settled(&[1, 2, 3], &[]).await;
}

/// The leader that has begun to promote a node is cut off when the others have the joint config.
#[tokio::test(start_paused = true)]
async fn a_promotion_goes_on_where_the_leader_left_it() {
    let mut managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    managed.open(4).await;
    managed.drive(follower, &managed.goal(4, LEARNER)).await;
    let goal = managed.goal(4, VOTER);
    let cut = async {
        let raft = managed.group(follower).raft();
        let wait = raft.wait(Some(LIMIT));
        let joint = wait.metrics(
            |metrics| metrics.membership_config.get_joint_config().len() == 2,
            "a joint config",
        );
        joint.await.expect("the promotion begins");
        for node in 1..=4 {
            if node != leader {
                managed.cluster.cut(leader, node);
            }
        }
    };
    let (steps, ()) = tokio::join!(managed.drive(follower, &goal), cut);
    assert!(
        steps.ends_with(&[GroupStep::Settle, GroupStep::Done]),
        "{steps:?}"
    );
    managed.cluster.switch.heal();
    managed.settled(&[1, 2, 3, 4], &[]).await;
    managed.led().await;
}

/// Under writes, asked on the leader itself: another one takes over before it goes.
#[tokio::test(start_paused = true)]
async fn the_leader_is_removed_under_load() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let load = Load::start(&managed, follower);
    sleep(200 * MS).await;
    let steps = managed.drive(leader, &managed.goal(leader, None)).await;
    let [
        GroupStep::MoveLeader { to },
        GroupStep::Remove,
        GroupStep::Done,
    ] = steps[..]
    else {
        panic!("{steps:?}");
    };
    let left: Vec<_> = [1, 2, 3].into_iter().filter(|&n| n != leader).collect();
    assert!(left.contains(&to));
    managed.settled(&left, &[]).await;
    sleep(200 * MS).await;
    let acked = load.stop().await;
    for node in left {
        acked.are_on(node, &managed.members[&node]).await;
    }
    // Nobody had to notice that a leader is gone.
    assert!(acked.longest < 500 * MS, "{:?}", acked.longest);
}

#[tokio::test(start_paused = true)]
async fn the_last_voter_stays() {
    let managed = Managed::start(&[2], RaftManagerConfig::default()).await;
    for role in [None, LEARNER] {
        let goal = managed.goal(2, role);
        let error = managed.group(2).change(goal, Instant::now() + LIMIT).await;
        let error = error.expect_err("nobody would be left");
        assert!(
            matches!(
                &error,
                OperationError::Refused { refusal: GroupRefusal::LastVoter { node: 2 }, leader, .. }
                    if leader.node == 2
            ),
            "{error}"
        );
        assert!(!error.is_retryable());
    }
    managed.settled(&[2], &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_is_refused_before_anybody_is_asked() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let start = Instant::now();
    for record in [NodeRecord::new(0, ["a:1"]), NodeRecord::new(4, [""; 0])] {
        let goal = GroupGoal::new(record.clone(), VOTER);
        let error = managed.group(1).change(goal, start + LIMIT).await;
        let error = error.expect_err("it cannot be");
        assert!(
            matches!(error, OperationError::InvalidNode { .. }),
            "{error}"
        );
        assert!(!error.is_retryable());
        let founded = managed.group(1).found(vec![record]).await;
        assert!(
            matches!(founded, Err(OperationError::InvalidNode { .. })),
            "{founded:?}"
        );
    }
    assert_eq!(start.elapsed(), std::time::Duration::ZERO);
}

/// A second founding changes nothing, whatever it says.
#[tokio::test(start_paused = true)]
async fn a_group_is_founded_once() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let again = managed.group(1).found(vec![managed.record(1)]).await;
    again.expect("it is founded");
    managed.settled(&[1, 2, 3], &[]).await;
}

/// A leader that was cut off does not know what was changed since, and does not claim to.
#[tokio::test(start_paused = true)]
async fn a_former_leader_does_not_call_done_what_the_group_has_changed() {
    let mut managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    managed.open(4).await;
    // It leads without a doubt.
    managed.drive(leader, &managed.goal(4, None)).await;
    for node in 1..=4 {
        if node != leader {
            managed.cluster.cut(leader, node);
        }
    }
    managed.drive(follower, &managed.goal(4, VOTER)).await;
    let metrics = managed.group(leader).raft().metrics();
    let seen = metrics.borrow_watched().membership_config.clone();
    assert!(seen.get_node(&4).is_none(), "it knows already");
    // In what it sees, node 4 is gone as it should be.
    let goal = managed.goal(4, None);
    let error = managed
        .group(leader)
        .change(goal.clone(), Instant::now() + LIMIT)
        .await;
    let error = error.expect_err("it does not lead");
    assert!(
        matches!(error, OperationError::NoLeader { .. }),
        "{error:?}"
    );
    assert!(error.is_retryable());
    managed.cluster.switch.heal();
    let steps = managed.drive(leader, &goal).await;
    assert_eq!(steps.last(), Some(&GroupStep::Done));
    assert!(steps.contains(&GroupStep::Remove), "{steps:?}");
    managed.settled(&[1, 2, 3], &[]).await;
}

/// How the group stands is known on every node, as the leader sees it.
#[tokio::test(start_paused = true)]
async fn progress_is_the_leaders() {
    let mut managed = Managed::start_of(4, &[1, 2, 3], RaftManagerConfig::default()).await;
    let leader = managed.led().await;
    // Nobody opens the group on node 4.
    let goal = managed.goal(4, LEARNER);
    let added = managed.group(1).change(goal, Instant::now() + LIMIT).await;
    assert_eq!(added.expect("added").step, GroupStep::AddLearner);
    sleep(1_000 * MS).await;
    for node in 1..=3 {
        let progress = managed.group(node).progress(Instant::now() + LIMIT).await;
        let progress = progress.unwrap_or_else(|error| panic!("{node}: {error}"));
        assert_eq!(progress.leader, leader);
        assert_eq!(
            (&progress.voters[..], &progress.learners[..]),
            (&[1, 2, 3][..], &[4][..])
        );
        assert!(!progress.joint);
        for voter in 1..=3 {
            assert_eq!(progress.lag[&voter], Some(0), "{voter}: {progress:?}");
            let acked = progress.since_acked[&voter];
            assert!(acked.is_some_and(|acked| acked < 500 * MS), "{progress:?}");
        }
        assert_eq!(progress.lag[&4], None, "{progress:?}");
        assert_eq!(progress.since_acked[&4], None, "{progress:?}");
    }
    managed.open(4).await;
    sleep(1_000 * MS).await;
    let progress = managed.group(1).progress(Instant::now() + LIMIT).await;
    assert_eq!(progress.expect("led").lag[&4], Some(0));
}

/// A step holds only against the membership that it was planned on. The Raft stands still while a
/// node is removed, and what it shows meanwhile is older than what it knows: the new address of that
/// node, planned on it, would bring the node back.
#[tokio::test(start_paused = true)]
async fn a_step_planned_on_a_former_membership_is_planned_again() {
    let managed = Managed::start_of(4, &[1], RaftManagerConfig::default()).await;
    managed.drive(1, &managed.goal(4, LEARNER)).await;
    let disk = &managed.members[&1].log;
    disk.set_stall(50 * MS);
    let (group, deadline) = (managed.group(1), Instant::now() + LIMIT);
    let removing = group.change(managed.goal(4, None), deadline);
    let moving = async {
        // The removal is appended at 0 ms, and committed at 50 ms.
        sleep(75 * MS).await;
        let moved = GroupGoal::new(NodeRecord::new(4, ["elsewhere:4000"]), LEARNER);
        group.change(moved, deadline).await
    };
    let (removed, moved) = tokio::join!(removing, moving);
    assert_eq!(removed.expect("removed").step, GroupStep::Remove);
    // It is not in the group any more, so it would have to be added.
    assert_eq!(moved.expect("changed").step, GroupStep::AddLearner);
}
