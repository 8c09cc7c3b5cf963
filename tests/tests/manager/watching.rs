//! What is seen from outside: events, metrics and reports tell the truth, also when nodes die and
//! nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::BasicNode;
use quicraft_manager::{
    Event, FollowerReport, GroupReport, Liveness, RaftManager, RaftManagerConfig, RequestOptions,
};
use quicraft_tests::raft::Command;
use quicraft_tests::sim::{LIMIT, MS};
use quicraft_tests::switch::{Conditions, host};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Managed, ROUND_TRIP, name, start_group};
use super::recorded::Recorded;

/// The longest election timeout of the simulated hosts.
const DEAD_AFTER: Duration = Duration::from_secs(2);

const HEARTBEAT: Duration = Duration::from_millis(200);

fn side(node: u64) -> std::net::IpAddr {
    host(u8::try_from(node).expect("small"))
}

/// Waits for an event of which `pick` makes something.
async fn event<T>(events: &mut Receiver<Event>, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let wanted = async {
        loop {
            let event = events.recv().await.expect("none is lost");
            if let Some(picked) = pick(&event) {
                return picked;
            }
        }
    };
    timeout(LIMIT, wanted).await.expect("it happens")
}

fn seen(events: &mut Receiver<Event>) -> Vec<Event> {
    let mut seen = Vec::new();
    loop {
        match events.try_recv() {
            Ok(event) => seen.push(event),
            Err(TryRecvError::Empty) => return seen,
            Err(error) => panic!("{error}"),
        }
    }
}

fn orders(manager: &RaftManager) -> GroupReport {
    let report = manager.report();
    let mut groups = report.groups.into_iter();
    groups
        .find(|group| group.status.name == name("orders/0"))
        .expect("it is here")
}

fn follower(manager: &RaftManager, node: u64) -> FollowerReport {
    let followers = orders(manager).followers.expect("it leads");
    let mut followers = followers.into_iter();
    followers.find(|it| it.node == node).expect("a follower")
}

/// Nothing is written, a follower is cut off: within the election timeout and one look it is dead,
/// for events and for the report, and its lag in seconds grows. When it is back, it is alive.
#[tokio::test(start_paused = true)]
async fn w23_a_follower_that_is_cut_off_is_dead_on_an_idle_cluster() {
    let config = RaftManagerConfig::default();
    let look = config.watch_interval;
    let managed = Managed::start(&[1, 2, 3], config).await;
    let (cut, leader) = managed.follower_and_leader().await;
    let manager = &managed.managers[&leader];
    sleep(look).await;
    assert_eq!(follower(manager, cut).liveness, Liveness::Alive);
    let mut events = manager.events();
    let others: Vec<_> = [1, 2, 3].into_iter().filter(|&n| n != cut).collect();
    let others: Vec<_> = others.into_iter().map(side).collect();
    managed.cluster.switch.partition(&[side(cut)], &others);
    let start = Instant::now();
    let dead = event(&mut events, |event| match event {
        Event::PeerDead {
            peer,
            groups,
            silent,
        } => Some((*peer, groups.clone(), *silent)),
        _ => None,
    });
    let (peer, groups, silent) = dead.await;
    assert_eq!((peer, groups), (cut, vec![name("orders/0")]));
    assert!(silent > DEAD_AFTER, "{silent:?}");
    let took = start.elapsed();
    assert!(took > DEAD_AFTER - HEARTBEAT - ROUND_TRIP, "{took:?}");
    assert!(took < DEAD_AFTER + look + HEARTBEAT, "{took:?}");
    let report = follower(manager, cut);
    assert_eq!(report.liveness, Liveness::Dead);
    assert_eq!(report.lag_entries, Some(0), "nothing was written");
    assert!(report.lag >= silent, "{report:?}");
    // What is written now, it lacks.
    let options = RequestOptions::until(Instant::now() + LIMIT);
    let proposed = managed.group(leader).propose(Command::new("x"), options);
    proposed.await.expect("two of three are left");
    assert_eq!(follower(manager, cut).lag_entries, Some(1));
    managed.cluster.switch.heal();
    let back = event(&mut events, |event| match event {
        Event::PeerAlive { peer, .. } => Some(*peer),
        _ => None,
    });
    assert_eq!(back.await, cut);
    sleep(look).await;
    let report = follower(manager, cut);
    assert_eq!(report.liveness, Liveness::Alive);
    assert_eq!((report.lag_entries, report.lag), (Some(0), Duration::ZERO));
    let told = seen(&mut events);
    assert_eq!(told, [], "each is told once");
}

/// The change of a leader is seen when it happens, however seldom the watcher looks by itself.
#[tokio::test(start_paused = true)]
async fn a_change_of_leader_is_seen_at_once() {
    let mut config = RaftManagerConfig::default();
    config.watch_interval = Duration::from_secs(3_600);
    let managed = Managed::start(&[1, 2, 3], config).await;
    let (witness, former) = managed.follower_and_leader().await;
    let mut events = managed.managers[&witness].events();
    let others: Vec<_> = [1, 2, 3].into_iter().filter(|&n| n != former).collect();
    let others: Vec<_> = others.into_iter().map(side).collect();
    managed.cluster.switch.partition(&[side(former)], &others);
    let changed = event(&mut events, |event| match event {
        Event::LeaderChanged {
            group,
            to: Some(to),
            term,
            ..
        } if *to != former => Some((group.clone(), *to, term.clone())),
        _ => None,
    });
    let (group, to, term) = changed.await;
    assert_eq!(group, name("orders/0"));
    let status = orders(&managed.managers[&to]).status;
    assert_eq!((status.leader, status.term), (Some(to), term));
}

/// A report is the first to look at a new group; its moves are seen at once all the same.
#[tokio::test(start_paused = true)]
async fn a_group_that_a_report_saw_first_is_followed_as_well() {
    let mut config = RaftManagerConfig::default();
    config.watch_interval = Duration::from_secs(3_600);
    let managed = Managed::start(&[1, 2, 3], config).await;
    let manager = &managed.managers[&1];
    let raft = &managed.cluster.spec().raft;
    let late = start_group(manager, "late", 9, raft).await.expect("opened");
    let mut events = manager.events();
    assert_eq!(manager.report().groups.len(), 2);
    let alone = BTreeMap::from([(1, BasicNode::default())]);
    late.group.raft().initialize(alone).await.expect("founded");
    let led = event(&mut events, |event| match event {
        Event::LeaderChanged { group, to, .. } if *group == name("late") => Some(*to),
        _ => None,
    });
    assert_eq!(led.await, Some(1));
}

/// Groups come and go, and each event is raised by the node where it happened.
#[tokio::test(start_paused = true)]
async fn groups_that_come_and_go_are_seen() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let manager = &managed.managers[&1];
    let mut events = manager.events();
    let raft = &managed.cluster.spec().raft;
    start_group(manager, "late", 9, raft).await.expect("opened");
    assert_eq!(manager.report().groups.len(), 2);
    manager.remove_group(&name("late")).await.expect("removed");
    assert_eq!(manager.report().groups.len(), 1);
    drop(manager.shut_down().await);
    let mut told = seen(&mut events);
    told.retain(|event| event.name().starts_with("group_"));
    let names: Vec<_> = told.iter().map(Event::name).collect();
    assert_eq!(names, ["group_opened", "group_closed", "group_closed"]);
    let groups: Vec<_> = told.iter().filter_map(Event::group).collect();
    assert_eq!(groups, [&name("late"), &name("late"), &name("orders/0")]);
}

/// The last handle is dropped, and the task that watched is gone with all that it held.
#[tokio::test(start_paused = true)]
async fn the_watching_ends_with_the_last_handle() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let manager = managed.managers[&1].clone();
    let mut events = manager.events();
    let Managed {
        cluster: _cluster,
        managers,
        members: _members,
    } = managed;
    drop(managers);
    sleep(DEAD_AFTER).await;
    assert!(!matches!(events.try_recv(), Err(TryRecvError::Closed)));
    drop(manager);
    let closed = async { while !matches!(events.recv().await, Err(RecvError::Closed)) {} };
    timeout(LIMIT, closed).await.expect("nobody raises events");
}

/// A path becomes slow: one warning with the values to set, a line of the report for as long as it
/// is so, and the all-clear.
#[tokio::test(start_paused = true)]
async fn a_slow_path_makes_the_timing_unsafe() {
    let managed = Managed::start(&[1, 2, 3], RaftManagerConfig::default()).await;
    let (slow, leader) = managed.follower_and_leader().await;
    let manager = &managed.managers[&leader];
    let mut events = manager.events();
    // Twice this is more than the heartbeat interval of 200 ms.
    let far = Conditions::delayed(60 * MS);
    let switch = &managed.cluster.switch;
    switch.set_between(side(slow), side(leader), &far);
    let warned = event(&mut events, |event| match event {
        Event::TimingUnsafe { warning } => Some(*warning),
        _ => None,
    });
    let warning = warned.await;
    assert_eq!(warning.peer, slow);
    assert!(warning.round_trip > 100 * MS, "{warning:?}");
    assert!(warning.advice.heartbeat > HEARTBEAT, "{warning:?}");
    sleep(10 * Duration::from_secs(1)).await;
    let again = seen(&mut events);
    let again = again.iter().filter(|event| event.name() == "timing_unsafe");
    assert_eq!(again.count(), 0, "once, not each second");
    let lines = manager.report().timing;
    assert_eq!(
        lines.iter().map(|line| line.peer).collect::<Vec<_>>(),
        [slow]
    );
    let near = Conditions::delayed(ROUND_TRIP / 2);
    switch.set_between(side(slow), side(leader), &near);
    let safe = event(&mut events, |event| match event {
        Event::TimingSafe { peer, .. } => Some(*peer),
        _ => None,
    });
    assert_eq!(safe.await, slow);
    assert_eq!(manager.report().timing, []);
}

/// Each series has the labels that the table says.
fn assert_documented(recorded: &Recorded) {
    const TABLES: &str = include_str!("../../../manager/METRICS.md");
    let mut compared = 0;
    for (metric, labels) in recorded.labels() {
        let row = TABLES
            .lines()
            .find(|line| line.starts_with(&format!("| `{metric}` |")));
        let row = row.unwrap_or_else(|| panic!("METRICS.md lacks {metric}"));
        let told = row.split('|').nth(3).expect("a cell of labels");
        let told: BTreeSet<_> = told.split('`').skip(1).step_by(2).collect();
        let labels: BTreeSet<_> = labels.iter().map(String::as_str).collect();
        assert_eq!(labels, told, "{metric}");
        compared += 1;
    }
    assert!(compared > 15, "{compared}");
}

/// Commands are counted by what came of them and timed, a follower's lag and silence are shown by
/// its leader alone, and are unknown as soon as nobody can know.
#[tokio::test(start_paused = true)]
async fn metrics_have_their_names_and_say_what_happened() {
    let (recorded, _guard) = Recorded::here();
    let mut config = RaftManagerConfig::default();
    config.requests_max = 1;
    let look = config.watch_interval;
    let managed = Managed::start(&[1, 2, 3], config).await;
    let (cut, leader) = managed.follower_and_leader().await;
    let group = managed.group(leader);
    let until = |limit| RequestOptions::until(Instant::now() + limit);
    let first = group.propose(Command::new("a"), until(LIMIT));
    let second = group.propose(Command::new("b"), until(LIMIT));
    let (first, second) = tokio::join!(first, second);
    first.expect("there is room for one");
    second.expect_err("and for no other");
    let commands = |outcome: &str| {
        let labels = format!("group=orders/0,operation=propose,outcome={outcome}");
        recorded.last(&format!("quicraft_commands_total{{{labels}}}"))
    };
    let dropped = group.propose(Command::new("c"), until(LIMIT));
    timeout(MS, dropped)
        .await
        .expect_err("a round trip takes longer");
    assert_eq!((commands("done"), commands("overloaded")), (1.0, 1.0));
    assert_eq!(commands("dropped"), 1.0);
    let seconds = "quicraft_command_seconds{group=orders/0,operation=propose}";
    let took = recorded.values(seconds);
    assert_eq!(took.len(), 1, "of what was done");
    assert!(
        took[0] >= ROUND_TRIP.as_secs_f64() && took[0] < 0.1,
        "{took:?}"
    );
    assert!(recorded.last("quicraft_elections_total{group=orders/0}") >= 1.0);

    sleep(look).await;
    let of_peer = |metric: &str| format!("{metric}{{group=orders/0,peer={cut}}}");
    let entries = of_peer("quicraft_replication_lag_entries");
    let lag = of_peer("quicraft_replication_lag_seconds");
    let silent = of_peer("quicraft_heartbeat_ack_age_seconds");
    assert_eq!((recorded.last(&entries), recorded.last(&lag)), (0.0, 0.0));
    assert!(recorded.last(&silent) < 2.0 * HEARTBEAT.as_secs_f64());
    assert!(recorded.values("quicraft_groups_led").contains(&1.0));
    let up = format!("quicraft_link_up{{peer={cut}}}");
    assert_eq!(recorded.last(&up), 1.0);
    let round_trip = format!("quicraft_link_round_trip_seconds{{peer={cut}}}");
    assert!(recorded.last(&round_trip) >= ROUND_TRIP.as_secs_f64());
    // Another follower, which sends it nothing there, has this series as well.
    let sent = format!("quicraft_lane_sent_bytes_total{{peer={cut},lane=append}}");
    assert!(recorded.values(&sent).iter().any(|&bytes| bytes > 0.0));
    assert_eq!(recorded.last("quicraft_formation_state{state=idle}"), 1.0);

    let others: Vec<_> = [1, 2, 3]
        .into_iter()
        .filter(|&n| n != cut)
        .map(side)
        .collect();
    managed.cluster.switch.partition(&[side(cut)], &others);
    sleep(DEAD_AFTER + look).await;
    let last = recorded.last(&silent);
    assert!(
        last > DEAD_AFTER.as_secs_f64() - HEARTBEAT.as_secs_f64(),
        "{last}"
    );
    let alone = managed.group(cut).propose(Command::new("d"), until(LIMIT));
    // It does not know yet that it is alone: its command left, and no answer came.
    alone.await.expect_err("alone");
    assert_eq!(commands("unknown"), 1.0);
    assert_eq!(recorded.last("quicraft_events_total{event=peer_dead}"), 1.0);
    drop(managed.managers[&leader].shut_down().await);
    assert!(recorded.last(&silent).is_nan(), "nobody can know");
    assert_documented(&recorded);
}
