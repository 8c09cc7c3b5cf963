//! Proposals and reads from every node: they find the leader, wait for it, and never run twice.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::{Config, ReadPolicy};
use quicraft_manager::{GroupOperations as _, RaftManagerConfig, RequestError, RequestOptions};
use quicraft_tests::raft::Command;
use quicraft_tests::sim::{LIMIT, MS};
use quicraft_tests::switch::host;
use tokio::time::{Instant, sleep};

use super::cluster::{Managed, ROUND_TRIP, start_group};

fn until(limit: Duration) -> RequestOptions {
    RequestOptions::until(Instant::now() + limit)
}

fn side(node: u64) -> std::net::IpAddr {
    host(u8::try_from(node).expect("small"))
}

/// A proposal is applied once whichever node it is made on, and costs a follower one more round
/// trip than the leader.
#[tokio::test(start_paused = true)]
async fn any_node_proposes() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let leader = managed.led().await;
    // The first one waits until the leader knows that it leads.
    let first = managed
        .group(leader)
        .propose(Command::new("first"), until(LIMIT))
        .await;
    let mut last = first.expect("proposed").log_id.index;
    for node in [1, 2, 3] {
        let start = Instant::now();
        let command = Command::new(format!("from {node}"));
        let proposed = managed.group(node).propose(command, until(LIMIT)).await;
        let proposed = proposed.unwrap_or_else(|error| panic!("{node}: {error}"));
        let round_trips = if node == leader { 1 } else { 2 };
        let took = start.elapsed();
        assert!(
            took < ROUND_TRIP * round_trips + 15 * MS,
            "{node}: {took:?}"
        );
        assert_eq!(proposed.leader, leader);
        assert_eq!(proposed.response.index, proposed.log_id.index);
        assert!(proposed.log_id.index > last);
        last = proposed.log_id.index;
    }
    let applied = managed.members[&leader].applied();
    let bodies = ["first", "from 1", "from 2", "from 3"];
    assert_eq!(applied, bodies.map(|body| body.as_bytes().to_vec()));
}

/// What was acknowledged on one node is seen by a read on every other one that begins afterwards.
#[tokio::test(start_paused = true)]
async fn any_node_reads_what_was_acknowledged_before() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    for (number, policy) in [ReadPolicy::ReadIndex, ReadPolicy::LeaseRead]
        .into_iter()
        .enumerate()
    {
        for (place, writer) in [1, 2, 3].into_iter().enumerate() {
            let body = format!("{number} {writer}");
            let written = managed
                .group(writer)
                .propose(Command::new(body.clone()), until(LIMIT));
            let index = written.await.expect("written").log_id.index;
            let reader = [2, 3, 1][place];
            let deadline = Instant::now() + LIMIT;
            let read = managed.group(reader).read(policy.clone(), deadline).await;
            assert!(read.expect("read") >= index);
            let seen = managed.members[&reader].applied();
            assert_eq!(
                seen.last(),
                Some(&body.into_bytes()),
                "{reader} after {writer}"
            );
        }
    }
}

/// The leader dies. A proposal made meanwhile waits for the next one and is applied once.
#[tokio::test(start_paused = true)]
async fn a_proposal_waits_out_an_election() {
    let mut managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (follower, leader) = managed.follower_and_leader().await;
    let gone = managed.members.remove(&leader).expect("it leads");
    let others: Vec<_> = [1, 2, 3]
        .into_iter()
        .filter(|&n| n != leader)
        .map(side)
        .collect();
    managed.cluster.switch.partition(&[side(leader)], &others);
    // The follower has noticed: nothing is sent to a leader that is not there.
    let down = managed.cluster.node(follower);
    down.link_until(leader, |link| link.links == 0).await;
    let proposed = managed
        .group(follower)
        .propose(Command::new("late"), until(LIMIT))
        .await;
    let proposed = proposed.expect("the next leader takes it");
    assert_ne!(proposed.leader, leader);
    let applied = managed.members[&proposed.leader].applied();
    assert_eq!(applied, [b"late".to_vec()]);
    // Alone, the former leader says that nothing was done, at the deadline and not before it.
    let start = Instant::now();
    let alone = gone.group.propose(Command::new("lost"), until(LIMIT)).await;
    let alone = alone.expect_err("no majority");
    assert_eq!(start.elapsed(), LIMIT);
    assert!(alone.is_retryable() && !alone.is_unknown(), "{alone}");
}

/// The leader dies, and another is elected long before the link to the dead one is lost. What may be
/// asked twice is asked of the new one as soon as it is known.
#[tokio::test(start_paused = true)]
async fn nothing_that_may_be_asked_twice_waits_for_a_leader_that_was_replaced() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let hasty = Config {
        heartbeat_interval: 50,
        election_timeout_min: 200,
        election_timeout_max: 400,
        ..managed.cluster.spec().raft.clone()
    };
    let mut members = BTreeMap::new();
    for (node, manager) in &managed.managers {
        let member = start_group(manager, "hasty/0", 2, &hasty).await;
        members.insert(*node, member.expect("it starts"));
    }
    let voters = [1, 2, 3].map(|node| managed.record(node));
    let founded = members[&1].group.found(voters.into()).await;
    founded.expect("founded");
    let first = members[&1].group.propose(Command::new("a"), until(LIMIT));
    let leader = first.await.expect("it is led").leader;
    let follower = leader % 3 + 1;
    let group = &members[&follower].group;
    // It knows whom to ask.
    let known = group.propose(Command::new("b"), until(LIMIT)).await;
    assert_eq!(known.expect("it is led").leader, leader);

    let others = [1, 2, 3].into_iter().filter(|&node| node != leader);
    let others: Vec<_> = others.map(side).collect();
    managed.cluster.switch.partition(&[side(leader)], &others);
    let proposed = group.propose(Command::new("c"), until(LIMIT).idempotent());
    assert_ne!(proposed.await.expect("two are left").leader, leader);
    let link = managed.cluster.node(follower).link(leader);
    assert_eq!(link.links, 1, "nobody waited for the link to be lost");
}

/// The answer is lost. The caller is told so, unless it said that twice is once.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_unknown_and_never_asked_for_again() {
    for idempotent in [false, true] {
        let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
        let (follower, leader) = managed.follower_and_leader().await;
        let mut options = until(LIMIT);
        if idempotent {
            options = options.idempotent();
        }
        let proposing = managed
            .group(follower)
            .propose(Command::new("once"), options);
        let cut = async {
            // The command is on its way; the answer never comes back.
            sleep(ROUND_TRIP / 4).await;
            managed.cluster.cut_one_way(leader, follower);
            let peer = managed.cluster.node(follower);
            peer.link_until(leader, |link| link.links == 0).await;
            managed.cluster.switch.heal();
        };
        let (proposed, ()) = tokio::join!(proposing, cut);
        let count = managed.members[&leader].applied().len();
        if idempotent {
            proposed.expect("asked again");
            assert_eq!(count, 2);
        } else {
            let error = proposed.expect_err("its answer was lost");
            assert!(matches!(error, RequestError::Unknown { .. }), "{error}");
            assert!(
                error
                    .to_string()
                    .contains(&format!("node {leader} at 10.0.0.")),
                "{error}"
            );
            assert_eq!(count, 1);
        }
    }
}

/// One request more than the bound is refused at once, and has no effect.
#[tokio::test(start_paused = true)]
async fn requests_are_bounded() {
    let mut config = RaftManagerConfig::default();
    config.requests_max = 2;
    let managed = Managed::start(&[1, 2, 3], config).await;
    let leader = managed.led().await;
    let group = managed.group(leader);
    let propose = |text: &'static str| group.propose(Command::new(text), until(LIMIT));
    let (one, two, three) = tokio::join!(propose("1"), propose("2"), propose("3"));
    one.expect("the first");
    two.expect("the second");
    let error = three.expect_err("one too many");
    assert!(
        matches!(error, RequestError::Overloaded { limit: 2, .. }),
        "{error}"
    );
    propose("4").await.expect("there is room again");
    let applied = managed.members[&leader].applied();
    assert!(!applied.contains(&b"3".to_vec()));
}

/// A leader whose lease has run out still leads: its requests wait for it instead of hunting.
#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_is_waited_for() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let leader = managed.led().await;
    let others: Vec<_> = [1, 2, 3]
        .into_iter()
        .filter(|&n| n != leader)
        .map(side)
        .collect();
    managed.cluster.switch.partition(&[side(leader)], &others);
    // The lease is as long as the longest election timeout.
    let lease = managed.lease();
    sleep(Duration::from_millis(lease + 100)).await;
    let proposing = managed
        .group(leader)
        .propose(Command::new("kept"), until(LIMIT));
    let heal = async {
        sleep(200 * MS).await;
        managed.cluster.switch.heal();
    };
    let (proposed, ()) = tokio::join!(proposing, heal);
    proposed.expect("it goes on after the partition");
}
