//! Leaders are moved: to whom they should be, one at a time, away from who stops.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use openraft::{BasicNode, ServerState};
use quicraft_manager::{
    GroupRefusal, GroupResult, LeaderMove, OperationError, RaftManager, RaftManagerConfig,
    RequestError, RequestOptions,
};
use quicraft_tests::raft::Command;
use quicraft_tests::sim::{LIMIT, MS, SimCluster, SimSpec};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Member, ROUND_TRIP, name, start_group};

/// Three nodes, and groups `orders/0`, `orders/1` and so on, on all of them, all led by node 1.
struct Shards {
    cluster: SimCluster,
    managers: BTreeMap<u64, RaftManager>,
    /// Of each group, what each node has.
    groups: Vec<BTreeMap<u64, Member>>,
}

impl Shards {
    async fn start(count: u64, config: RaftManagerConfig) -> Self {
        let cluster = SimCluster::start_unlinked(SimSpec::new(3, 0, ROUND_TRIP)).await;
        cluster.linked().await;
        let managers: BTreeMap<_, _> = cluster
            .nodes()
            .map(|node| {
                let manager = RaftManager::new(node.transport.handle(), config.clone());
                (node.id, manager.expect("valid"))
            })
            .collect();
        let members: BTreeMap<_, _> = (1..=3).map(|id| (id, BasicNode::default())).collect();
        let mut groups = Vec::new();
        for shard in 0..count {
            let mut group = BTreeMap::new();
            for (&node, manager) in &managers {
                let text = format!("orders/{shard}");
                let member = start_group(manager, &text, shard + 1, &cluster.spec().raft).await;
                group.insert(node, member.expect("started"));
            }
            let founder = group[&1].group.raft();
            founder.initialize(members.clone()).await.expect("founded");
            groups.push(group);
        }
        let shards = Self {
            cluster,
            managers,
            groups,
        };
        shards
            .until("node 1 leads all", |s| {
                s.led() == [(1, s.groups.len())].into()
            })
            .await;
        // Each follower has acknowledged something.
        for group in &shards.groups {
            let proposed = group[&1].group.propose(Command::new("first"), options());
            proposed.await.expect("proposed");
        }
        sleep(ROUND_TRIP * 20).await;
        shards
    }

    /// How many groups each node leads, where all nodes agree who leads.
    fn led(&self) -> BTreeMap<u64, usize> {
        let mut led = BTreeMap::new();
        for group in &self.groups {
            let mut leaders = group.values().map(Member::leader);
            if let Some(Some(first)) = leaders.next()
                && leaders.all(|other| other == Some(first))
            {
                *led.entry(first).or_default() += 1;
            }
        }
        led
    }

    /// Groups in which nobody leads in the newest term.
    fn leaderless(&self) -> usize {
        let without = self.groups.iter().filter(|group| {
            let states = group.values().map(|member| {
                let metrics = member.group.raft().metrics();
                let metrics = metrics.borrow_watched();
                (metrics.current_term, metrics.state)
            });
            let states: Vec<_> = states.collect();
            let newest = states.iter().map(|(term, _)| *term).max();
            let mut leads = states
                .iter()
                .map(|(term, state)| Some(*term) == newest && *state == ServerState::Leader);
            !leads.any(|leads| leads)
        });
        without.count()
    }

    async fn until(&self, what: &str, seen: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !seen(self) {
                sleep(MS).await;
            }
        };
        let in_time = timeout(LIMIT, waiting).await;
        assert!(in_time.is_ok(), "{what}: {:?}", self.led());
    }

    /// The most groups that are without a leader at the same time while something goes on, looked at
    /// each millisecond.
    async fn most_leaderless<T>(&self, doing: impl Future<Output = T>) -> (usize, T) {
        let mut doing = std::pin::pin!(doing);
        let mut most = 0;
        loop {
            match timeout(MS, &mut doing).await {
                Ok(done) => return (most, done),
                Err(_) => most = most.max(self.leaderless()),
            }
        }
    }
}

fn options() -> RequestOptions {
    RequestOptions::until(Instant::now() + LIMIT)
}

fn moved(results: &[GroupResult<LeaderMove>]) -> usize {
    let moved = results.iter().filter(|one| match &one.result {
        Ok(LeaderMove::Moved(_)) => true,
        Ok(_) => false,
        Err(error) => panic!("{}: {error}", one.group),
    });
    moved.count()
}

/// Once, a balance left all groups without a leader together. Here each node leads its share, from
/// whichever node it is asked; no two groups are without a leader at the same time, no more move than
/// need to, and a second balance moves nothing.
#[tokio::test(start_paused = true)]
async fn w22_a_balance_moves_one_group_at_a_time() {
    let shards = Shards::start(13, RaftManagerConfig::default()).await;
    let balance = |node| shards.managers[&node].balance(Instant::now() + LIMIT);
    let (most, results) = shards.most_leaderless(balance(2)).await;
    assert_eq!((results.len(), moved(&results)), (13, 8));
    assert_eq!(most, 1, "groups without a leader at once");
    shards
        .until("balanced", |s| s.led() == [(1, 5), (2, 4), (3, 4)].into())
        .await;
    for node in [1, 2, 3] {
        sleep(ROUND_TRIP * 20).await;
        assert_eq!(moved(&balance(node).await), 0, "asked on node {node}");
    }
}

/// Who is not there is given nothing.
#[tokio::test(start_paused = true)]
async fn a_balance_gives_nothing_to_a_node_that_is_not_there() {
    let shards = Shards::start(4, RaftManagerConfig::default()).await;
    shards.cluster.pause(3);
    sleep(Duration::from_secs(4)).await;
    let results = shards.managers[&1].balance(Instant::now() + LIMIT).await;
    assert_eq!(moved(&results), 2);
    let led = |s: &Shards, node| {
        let leads = |group: &&BTreeMap<u64, Member>| group[&1].leader() == Some(node);
        s.groups.iter().filter(leads).count()
    };
    shards
        .until("balanced", |s| (led(s, 1), led(s, 2)) == (2, 2))
        .await;
}

/// Another node drains one: it leads nothing then, at most four groups were handed over at a time,
/// the others share what it had, and no proposal failed.
#[tokio::test(start_paused = true)]
async fn a_drained_node_leads_nothing() {
    let shards = Shards::start(12, RaftManagerConfig::default()).await;
    let writing = join_all(shards.groups.iter().map(|group| async {
        for number in 0..20 {
            let command = Command::new(format!("{number}"));
            let proposed = group[&2].group.propose(command, options()).await;
            proposed.expect("proposed");
        }
    }));
    let draining = shards.managers[&3].drain(1, Instant::now() + LIMIT);
    let ((most, results), _) = tokio::join!(shards.most_leaderless(draining), writing);
    assert_eq!((results.len(), moved(&results)), (12, 12));
    assert!(
        (1..=4).contains(&most),
        "{most} groups without a leader at once"
    );
    shards
        .until("drained", |s| s.led() == [(2, 6), (3, 6)].into())
        .await;
    let again = shards.managers[&1].drain(1, Instant::now() + LIMIT).await;
    assert_eq!(moved(&again), 0);
}

#[tokio::test(start_paused = true)]
async fn one_leader_is_moved_where_it_is_wanted() {
    let shards = Shards::start(1, RaftManagerConfig::default()).await;
    let manager = &shards.managers[&2];
    let group = name("orders/0");
    let until = || Instant::now() + LIMIT;
    let transferred = manager.transfer(&group, 3, until()).await.expect("moved");
    assert_eq!((transferred.from, transferred.to), (1, 3));
    shards.until("moved", |s| s.led() == [(3, 1)].into()).await;
    let transferred = manager.transfer(&group, 3, until()).await.expect("there");
    assert_eq!((transferred.from, transferred.to), (3, 3));
    sleep(ROUND_TRIP * 20).await;
    let stepped = manager.step_down(&group, until()).await.expect("moved");
    assert_eq!(stepped.from, 3);
    shards
        .until("stepped down", |s| s.led() == [(stepped.to, 1)].into())
        .await;

    let error = manager.transfer(&group, 0, until()).await.unwrap_err();
    assert!(
        matches!(error, OperationError::InvalidNode { .. }),
        "{error}"
    );
    let error = manager.transfer(&group, 9, until()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("orders/0") && text.contains('9'), "{text}");
    assert!(!error.is_retryable());
    let unknown = name("orders/7");
    let error = manager.transfer(&unknown, 1, until()).await.unwrap_err();
    assert!(
        matches!(error, OperationError::UnknownGroup { .. }),
        "{error}"
    );
    let error = manager.step_down(&unknown, until()).await.unwrap_err();
    assert!(
        matches!(error, OperationError::UnknownGroup { .. }),
        "{error}"
    );
}

/// A shutdown hands over what its node leads, while peers are still served; nothing is accepted from
/// its host any more.
#[tokio::test(start_paused = true)]
async fn a_shutdown_hands_its_groups_over_first() {
    let shards = Shards::start(6, RaftManagerConfig::default()).await;
    let group = &shards.groups[0];
    // Under way when the shutdown begins.
    let proposing = group[&1].group.propose(Command::new("last"), options());
    let stopping = async {
        sleep(MS).await;
        let stopping = shards.managers[&1].shut_down();
        shards.most_leaderless(stopping).await
    };
    let late = async {
        sleep(2 * MS).await;
        group[&1]
            .group
            .propose(Command::new("late"), options())
            .await
    };
    let (proposed, (most, results), late) = tokio::join!(proposing, stopping, late);
    proposed.expect("it ends before its group");
    assert!(
        matches!(late, Err(RequestError::Stopped { .. })),
        "{late:?}"
    );
    assert_eq!(results.len(), 6);
    for one in results {
        let stopped = one
            .result
            .unwrap_or_else(|error| panic!("{}: {error}", one.group));
        let moved = matches!(stopped.leadership, Ok(LeaderMove::Moved(_)));
        assert!(moved, "{}: {:?}", one.group, stopped.leadership);
        assert_eq!(stopped.requests_cut, 0);
    }
    assert!(
        (1..=4).contains(&most),
        "{most} groups without a leader at once"
    );
    // Nobody had to be elected: each group takes a proposal at once.
    for group in &shards.groups {
        let start = Instant::now();
        let proposed = group[&2].group.propose(Command::new("next"), options());
        proposed.await.expect("proposed");
        assert!(start.elapsed() < ROUND_TRIP * 4, "{:?}", start.elapsed());
    }
}

/// A shutdown that nobody can take over from says so, and is bounded: at once where a node is the only
/// voter, after the time for a drain where the others are silent.
#[tokio::test(start_paused = true)]
async fn a_shutdown_of_the_last_node_is_bounded() {
    let shards = Shards::start(2, RaftManagerConfig::default()).await;
    let manager = &shards.managers[&1];
    let alone = start_group(manager, "alone", 99, &shards.cluster.spec().raft).await;
    let alone = alone.expect("started");
    let only = BTreeMap::from([(1, BasicNode::default())]);
    alone.group.raft().initialize(only).await.expect("founded");
    shards.cluster.pause(2);
    shards.cluster.pause(3);
    sleep(Duration::from_secs(4)).await;
    let start = Instant::now();
    let results = manager.shut_down().await;
    let drain = manager.config().drain_timeout;
    assert!(start.elapsed() <= drain + 100 * MS, "{:?}", start.elapsed());
    let mut refusals = results.into_iter().map(|one| {
        let stopped = one
            .result
            .unwrap_or_else(|error| panic!("{}: {error}", one.group));
        match stopped.leadership {
            Err(OperationError::Refused { refusal, .. }) => refusal,
            other => panic!("{}: {other:?}", one.group),
        }
    });
    assert_eq!(refusals.next(), Some(GroupRefusal::LastVoter { node: 1 }));
    let rest: Vec<_> = refusals.collect();
    assert_eq!(rest.len(), 2);
    for refusal in rest {
        assert!(matches!(refusal, GroupRefusal::Lagging { .. }), "{refusal}");
    }
}

/// The nodes of a group have one lease, no two groups the same one, and of three groups in a row each
/// is first campaigned for by another node; unless the setting says otherwise.
#[tokio::test(start_paused = true)]
async fn elections_of_groups_are_staggered() {
    for stagger in [true, false] {
        let mut config = RaftManagerConfig::default();
        config.stagger_elections = stagger;
        let shards = Shards::start(4, config).await;
        let raft = &shards.cluster.spec().raft;
        let timeouts = |member: &Member| {
            let config = member.group.raft().config();
            (config.election_timeout_max, config.election_timeout_min)
        };
        let mut leases = BTreeMap::new();
        let mut first = BTreeMap::new();
        for group in &shards.groups {
            let all: Vec<_> = group.values().map(timeouts).collect();
            let lease = all[0].0;
            assert!(all.iter().all(|(other, _)| *other == lease), "{all:?}");
            *leases.entry(lease).or_insert(0) += 1;
            let soonest = group.iter().min_by_key(|(_, member)| timeouts(member));
            let (node, _) = soonest.expect("three nodes");
            *first.entry(*node).or_insert(0) += 1;
        }
        if stagger {
            assert_eq!(leases.len(), 4, "{leases:?}");
            assert_eq!(first.len(), 3, "{first:?}");
        } else {
            assert_eq!(leases, [(raft.election_timeout_max, 4)].into());
            assert_eq!(first, [(1, 4)].into());
        }
    }
}
