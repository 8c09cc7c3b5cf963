//! What an operator asks of a group on one node: the outcome says what happened, not what was queued.

use openraft::Config;
use quicraft_manager::{
    ActionOutcome, GroupAction, GroupOperations as _, OperationError, RaftManagerConfig,
    RequestOptions,
};
use quicraft_tests::raft::Command;
use quicraft_tests::sim::{LIMIT, MS};
use tokio::time::{Instant, sleep};

use super::cluster::{Managed, TestGroup, start_group};

async fn act(managed: &Managed, node: u64, action: GroupAction) -> ActionOutcome {
    act_on(managed.group(node), action).await
}

async fn act_on(group: &TestGroup, action: GroupAction) -> ActionOutcome {
    let acted = group.act(action, Instant::now() + LIMIT).await;
    acted.unwrap_or_else(|error| panic!("{action:?}: {error}"))
}

async fn write(group: &TestGroup, count: u64) -> u64 {
    let mut last = 0;
    for number in 0..count {
        let options = RequestOptions::until(Instant::now() + LIMIT);
        let command = Command::new(number.to_string());
        let written = group.propose(command, options).await;
        last = written.expect("written").log_id.index;
    }
    last
}

fn is_nothing(outcome: &ActionOutcome, why: &str) {
    let ActionOutcome::Nothing { reason } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.contains(why), "{reason}");
}

/// A snapshot holds all that was applied when it was asked for; the log is forgotten up to there.
#[tokio::test(start_paused = true)]
async fn a_snapshot_and_a_purge_report_what_they_did() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    // A snapshot takes no log with it here.
    let raft = Config {
        max_in_snapshot_log_to_keep: 1_000,
        ..managed.cluster.spec().raft.clone()
    };
    let kept = start_group(&managed.managers[&1], "kept", 2, &raft).await;
    let group = &kept.expect("it starts").group;
    group.found(vec![managed.record(1)]).await.expect("founded");
    let purge = |upto| GroupAction::Purge { upto };
    is_nothing(&act_on(group, purge(1)).await, "no snapshot");
    let last = write(group, 20).await;
    let outcome = act_on(group, GroupAction::Snapshot).await;
    let ActionOutcome::Snapshot { index } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(index >= last, "{index} of {last}");
    assert_eq!(group.status().snapshot_index, Some(index));
    // Once more finds it.
    let again = act_on(group, GroupAction::Snapshot).await;
    assert_eq!(again, ActionOutcome::Snapshot { index });
    // Only as much as was asked for, and no more than the snapshot holds.
    let purged = act_on(group, purge(5)).await;
    assert_eq!(purged, ActionOutcome::Purged { upto: 5 });
    write(group, 5).await;
    let purged = act_on(group, purge(u64::MAX)).await;
    assert_eq!(purged, ActionOutcome::Purged { upto: index });
    let fewer = act_on(group, purge(3)).await;
    assert_eq!(fewer, ActionOutcome::Purged { upto: index });
}

/// Snapshots that are asked for one after the other, while one is being built: each holds what was
/// applied before it.
#[tokio::test(start_paused = true)]
async fn a_snapshot_never_holds_less_than_was_applied() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    for _ in 0..5 {
        let last = write(managed.group(1), 3).await;
        let snapshot = || act(&managed, 1, GroupAction::Snapshot);
        let (one, two) = tokio::join!(snapshot(), snapshot());
        for outcome in [one, two] {
            let ActionOutcome::Snapshot { index } = outcome else {
                panic!("{outcome:?}");
            };
            assert!(index >= last, "{index} of {last}");
        }
    }
}

/// A node campaigns only if it could win.
#[tokio::test(start_paused = true)]
async fn an_election_takes_nothing_from_a_leader_that_is_followed() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let term = managed.group(leader).status().term;
    let leads = act(&managed, leader, GroupAction::Elect).await;
    assert_eq!(leads, ActionOutcome::Leads { term: term.clone() });
    let outcome = act(&managed, follower, GroupAction::Elect).await;
    is_nothing(&outcome, &format!("node {leader} leads"));
    assert_eq!(managed.group(leader).status().term, term);
    assert_eq!(managed.led().await, leader);
    // Its leader is gone, and it does not wait until its own timeout.
    let other = 6 - follower - leader;
    managed.cluster.cut(leader, follower);
    managed.cluster.cut(leader, other);
    let lease = managed.lease();
    sleep(std::time::Duration::from_millis(lease)).await;
    let outcome = act(&managed, follower, GroupAction::Elect).await;
    let ActionOutcome::Leads { term: next } = outcome else {
        panic!("{outcome:?}");
    };
    assert_ne!(next, term);
}

#[tokio::test(start_paused = true)]
async fn only_a_leader_with_a_follower_steps_down() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let outcome = act(&managed, follower, GroupAction::StepDown).await;
    is_nothing(&outcome, &format!("node {leader} does"));
    let outcome = act(&managed, leader, GroupAction::StepDown).await;
    let ActionOutcome::SteppedDown { leader: next } = outcome else {
        panic!("{outcome:?}");
    };
    assert_ne!(next, leader);
    assert_eq!(managed.led().await, next);
    let alone = Managed::start(&[1], RaftManagerConfig::default()).await;
    let outcome = act(&alone, 1, GroupAction::StepDown).await;
    is_nothing(&outcome, "its last voter");
}

/// What does not come to an end in time is late, and is not called done.
#[tokio::test(start_paused = true)]
async fn an_action_ends_at_its_deadline() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    // The leader has heard of both.
    sleep(300 * MS).await;
    managed.cluster.cut(leader, follower);
    managed.cluster.cut(leader, 6 - follower - leader);
    let start = Instant::now();
    let acted = managed
        .group(leader)
        .act(GroupAction::StepDown, start + 400 * MS)
        .await;
    assert!(
        matches!(acted, Err(OperationError::Timeout { .. })),
        "{acted:?}"
    );
    assert!(start.elapsed() <= 400 * MS);
}
