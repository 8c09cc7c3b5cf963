//! The state of a cluster is true when nodes die, lie or say nothing.

use std::time::Duration;

use quicraft_transport::GroupId;

use super::*;
use crate::watch::formation::FormationStage;
use crate::watch::host::HostFacts;
use crate::{GroupStatus, Meta, MetaCommand, MetaReply, NewGroup, NodeRecord};

const LIMIT: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(100);

fn name(text: &str) -> GroupName {
    GroupName::parse(text).unwrap()
}

/// Nodes 1 to 3, members all, and the group `orders/0` of all of them.
fn meta() -> MetaState {
    let meta = Meta::new();
    let node = |id: u64| NodeRecord::new(id, [format!("10.0.0.{id}:4000")]);
    let found = MetaCommand::Found {
        uid: 7,
        founder: node(1),
        joining: vec![node(2), node(3)],
        meta: NewGroup::new(name("meta"), [1, 2, 3]),
        groups: vec![NewGroup::new(name("orders/0"), [1, 2, 3])],
    };
    assert_eq!(meta.apply(&found), MetaReply::Done);
    let mut state = MetaState::clone(&meta.state());
    for entry in state.nodes.values_mut() {
        entry.standing = NodeStanding::Member;
    }
    // The tests look at one group.
    state.groups.remove(&name("meta"));
    state
}

/// What a node says that takes `leader` for the leader.
fn said(node: u64, term: u64, leader: Option<u64>) -> NodeReport {
    let group = GroupReport {
        status: GroupStatus {
            name: name("orders/0"),
            id: GroupId::new(2),
            failure: None,
            term: term.to_string(),
            leader,
            voters: vec![1, 2, 3],
            learners: Vec::new(),
            last_log_index: Some(10),
            applied_index: Some(10),
            snapshot_index: None,
            since_quorum: (leader == Some(node)).then_some(SOON),
        },
        term: Some(term),
        dead_after: LIMIT,
        followers: (leader == Some(node)).then(|| {
            let others = (1..4).filter(|&other| other != node);
            others.map(|other| seen(other, Liveness::Alive)).collect()
        }),
    };
    NodeReport {
        node,
        uid: 7,
        boot: 1,
        standing: Some(NodeStanding::Member),
        formation: FormationStage::Formed,
        pending: BTreeMap::new(),
        host: HostFacts {
            name: format!("host-{node}"),
            os: "an os".to_owned(),
            os_version: "1".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 2,
            memory_total: 8 << 30,
            memory_used: 1 << 30,
            process_memory: 1 << 20,
            version: "0.1.0".to_owned(),
        },
        groups: vec![group],
        links: Vec::new(),
        timing: Vec::new(),
    }
}

fn seen(node: u64, liveness: Liveness) -> FollowerReport {
    FollowerReport {
        node,
        liveness,
        matched: Some(10),
        lag_entries: Some(0),
        lag: Duration::ZERO,
        since_acked: Some(SOON),
    }
}

fn silent() -> Result<NodeReport, String> {
    Err("node 1 is down".to_owned())
}

fn kill(report: &mut NodeReport, node: u64) {
    let followers = report.groups[0].followers.as_mut().unwrap();
    let dead = followers.iter_mut().find(|it| it.node == node).unwrap();
    dead.liveness = Liveness::Dead;
}

fn one(status: &ClusterStatus) -> &GroupView {
    assert_eq!(status.groups.len(), 1);
    &status.groups[0]
}

fn liveness(view: &GroupView) -> Vec<Liveness> {
    view.members.iter().map(|member| member.liveness).collect()
}

const ALIVE: Liveness = Liveness::Alive;
const DEAD: Liveness = Liveness::Dead;

#[test]
fn all_is_well() {
    let reports = (1..4).map(|node| (node, Ok(said(node, 5, Some(2)))));
    let status = assemble(reports.collect(), &meta());
    assert_eq!((status.uid, status.nodes.len()), (7, 3));
    let view = one(&status);
    assert_eq!(
        (view.leader, view.term.as_str(), view.id),
        (Some(2), "5", 2)
    );
    assert_eq!(liveness(view), [ALIVE; 3]);
    assert!(view.settled);
    assert_eq!(view.health, GroupHealth::Healthy);
    assert_eq!(status.problems, []);
    let led: Vec<_> = status.nodes.iter().map(|node| node.leads).collect();
    assert_eq!(led, [0, 1, 0]);
    assert_eq!(status.nodes[0].reach.report().unwrap().host.name, "host-1");
}

/// A follower that is dead is shown as dead, although nothing is written and the leader is well.
#[test]
fn w23_a_dead_follower_is_dead() {
    let mut leader = said(2, 5, Some(2));
    kill(&mut leader, 1);
    let reports = BTreeMap::from([(1, silent()), (2, Ok(leader)), (3, Ok(said(3, 5, Some(2))))]);
    let status = assemble(reports, &meta());
    let view = one(&status);
    assert_eq!(
        (view.leader, liveness(view)),
        (Some(2), vec![DEAD, ALIVE, ALIVE])
    );
    assert_eq!(view.health, GroupHealth::Degraded(BTreeSet::from([1])));
    assert_eq!(
        status.nodes[0].reach,
        Reach::Unreachable("node 1 is down".to_owned())
    );
    let about: Vec<_> = status
        .problems
        .iter()
        .map(|it| (it.node, it.group.is_some()))
        .collect();
    assert_eq!(about, [(Some(1), false), (None, true)]);
}

/// The others still believe in a leader that is dead. What they believe does not count.
#[test]
fn w23_a_dead_leader_is_no_leader() {
    let others = [2, 3].map(|node| (node, Ok(said(node, 5, Some(1)))));
    let mut reports = BTreeMap::from(others);
    reports.insert(1, silent());
    let status = assemble(reports, &meta());
    let view = one(&status);
    assert_eq!((view.leader, view.term.as_str()), (None, "5"));
    assert_eq!(liveness(view), [DEAD, ALIVE, ALIVE]);
    assert_eq!(view.health, GroupHealth::Leaderless);
}

#[test]
fn without_a_majority_a_group_is_lost() {
    let reports = BTreeMap::from([(1, silent()), (2, silent()), (3, Ok(said(3, 5, None)))]);
    let view = assemble(reports, &meta());
    assert_eq!(one(&view).health, GroupHealth::Lost(BTreeSet::from([1, 2])));
}

/// A leader that was cut off answers us, and does not know that there is another.
#[test]
fn of_two_leaders_the_one_with_a_majority_and_the_newer_term_counts() {
    let mut stale = said(1, 9, Some(1));
    stale.groups[0].status.since_quorum = Some(LIMIT + SOON);
    for term in [10, 8] {
        let reports = BTreeMap::from([
            (1, Ok(stale.clone())),
            (2, Ok(said(2, term, Some(2)))),
            (3, Ok(said(3, term, Some(2)))),
        ]);
        assert_eq!(one(&assemble(reports, &meta())).leader, Some(2), "{term}");
    }
    // At the limit it still counts, and the newer term decides.
    stale.groups[0].status.since_quorum = Some(LIMIT);
    for (term, leader) in [(10, 2), (8, 1)] {
        let reports = BTreeMap::from([(1, Ok(stale.clone())), (2, Ok(said(2, term, Some(2))))]);
        let status = assemble(reports, &meta());
        assert_eq!(one(&status).leader, Some(leader), "{term}");
    }
}

#[test]
fn a_group_that_has_failed_on_a_node_is_dead_there() {
    let mut failed = said(3, 5, Some(2));
    failed.groups[0].status.failure = Some("the disk is full".to_owned());
    let reports = BTreeMap::from([
        (1, Ok(said(1, 5, Some(2)))),
        (2, Ok(said(2, 5, Some(2)))),
        (3, Ok(failed)),
    ]);
    let status = assemble(reports, &meta());
    assert_eq!(liveness(one(&status)), [ALIVE, ALIVE, DEAD]);
    assert!(
        status.problems[0].what.contains("the disk is full"),
        "{status:?}"
    );
}

#[test]
fn who_is_not_in_its_groups_yet_and_who_is_no_node_are_told() {
    let mut state = meta();
    let record = NodeRecord::new(4, ["10.0.0.4:4000"]);
    let mut entry = state.nodes[&3].clone();
    entry.record = record;
    state.nodes.insert(4, entry);
    state
        .groups
        .get_mut(&name("orders/0"))
        .unwrap()
        .voters
        .insert(4);
    let mut reports: BTreeMap<_, _> = (1..4)
        .map(|node| (node, Ok(said(node, 5, Some(2)))))
        .collect();
    let mut stranger = said(9, 5, None);
    stranger.groups.clear();
    reports.insert(9, Ok(stranger));
    let status = assemble(reports, &state);
    let view = one(&status);
    assert!(!view.settled);
    let last = &view.members[3];
    assert_eq!(
        (last.node, last.role, last.goal),
        (4, None, Some(GroupRole::Voter))
    );
    assert_eq!(view.health, GroupHealth::Healthy);
    let told: Vec<_> = status
        .problems
        .iter()
        .map(|it| (it.node, it.what.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some(4), "it does not answer: it was not asked"),
            (Some(9), "it answers, and is no node of the cluster"),
        ]
    );
}

#[test]
fn a_group_that_nobody_has_is_not_founded() {
    let status = assemble(BTreeMap::new(), &meta());
    assert_eq!(one(&status).health, GroupHealth::NotFounded);
    assert_eq!(one(&status).members.len(), 3);
}

/// It travels, and it is shown.
#[test]
fn a_report_survives_its_encoding() {
    use quicraft_transport::raft::{Codec as _, RaftCodec};
    let report = said(2, 5, Some(2));
    let mut bytes = bytes::BytesMut::new();
    RaftCodec::encode(&report, &mut bytes).unwrap();
    let back: NodeReport = RaftCodec::decode(&bytes).unwrap();
    assert_eq!(back, report);
}
