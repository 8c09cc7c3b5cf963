//! Puts the reports of all nodes together. Pure: what they say comes in, with why the silent ones say
//! nothing.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::watch::cluster_status::{
    ClusterStatus, GroupHealth, GroupView, MemberView, NodeView, Problem, Reach,
};
use crate::watch::report::{FollowerReport, GroupReport, Liveness, NodeReport};
use crate::{GroupName, GroupRecord, GroupRole, MetaState, NodeStanding};

/// The cluster, from what every node has answered, or why it has not.
///
/// A node is never taken for alive because somebody remembers it: a leader counts if it has answered
/// itself and a majority has acknowledged it within the election timeout, and a follower by what that
/// leader sees of it.
#[must_use]
pub fn assemble(
    reports: BTreeMap<u64, Result<NodeReport, String>>,
    meta: &MetaState,
) -> ClusterStatus {
    let groups = groups(&reports, meta);
    let mut nodes = nodes(reports, meta);
    for node in &mut nodes {
        let led = groups
            .iter()
            .filter(|group| group.leader == Some(node.node));
        node.leads = led.count();
    }
    ClusterStatus {
        uid: meta.uid,
        problems: problems(&nodes, &groups),
        nodes,
        groups,
    }
}

fn nodes(
    mut reports: BTreeMap<u64, Result<NodeReport, String>>,
    meta: &MetaState,
) -> Vec<NodeView> {
    let known = meta.admitted().map(|entry| entry.record.node);
    let answered = reports.iter().filter(|(_, report)| report.is_ok());
    let ids: BTreeSet<_> = known.chain(answered.map(|(&node, _)| node)).collect();
    let view = |node| {
        let entry = meta.nodes.get(&node);
        let record = entry.map(|entry| &entry.record);
        let reach = match reports.remove(&node) {
            Some(Ok(report)) => Reach::Reached(Box::new(report)),
            Some(Err(why)) => Reach::Unreachable(why),
            None => Reach::Unreachable("it was not asked".to_owned()),
        };
        NodeView {
            node,
            standing: entry.map(|entry| entry.standing),
            addresses: record.map_or_else(Vec::new, |record| record.addresses.clone()),
            data: record.map_or_else(String::new, |record| record.data.clone()),
            leads: 0,
            reach,
        }
    };
    ids.into_iter().map(view).collect()
}

/// What each node says of a group, by node.
type Said<'a> = BTreeMap<u64, &'a GroupReport>;

fn groups(reports: &BTreeMap<u64, Result<NodeReport, String>>, meta: &MetaState) -> Vec<GroupView> {
    let mut said: BTreeMap<&GroupName, Said<'_>> = BTreeMap::new();
    for name in meta.groups.keys() {
        said.entry(name).or_default();
    }
    for (&node, report) in reports {
        for group in report.iter().flat_map(|report| &report.groups) {
            said.entry(&group.status.name)
                .or_default()
                .insert(node, group);
        }
    }
    let views = said
        .into_iter()
        .map(|(name, said)| group(name, &said, meta));
    views.collect()
}

fn group(name: &GroupName, said: &Said<'_>, meta: &MetaState) -> GroupView {
    let goal = meta.groups.get(name);
    // The newest term counts: a leader that was cut off may not know that there is another.
    let newest = said.values().max_by_key(|group| term(group)).copied();
    let leaders = said.iter().filter(|(_, group)| group.leads());
    let leader = leaders.max_by_key(|(_, group)| term(group));
    let leader = leader.map(|(&node, group)| (node, *group));
    let members = members(said, leader, newest, goal);
    let health = health(leader.is_some(), newest.is_some(), &members);
    let in_place = |member: &MemberView| member.role == member.goal;
    GroupView {
        name: name.clone(),
        id: goal.map_or_else(
            || newest.map_or(0, |group| group.status.id.get()),
            |goal| goal.id,
        ),
        leader: leader.map(|(node, _)| node),
        term: newest.map_or_else(String::new, |group| group.status.term.clone()),
        last_log_index: leader.and_then(|(_, group)| group.status.last_log_index),
        // What the cluster holds nothing about is where its host wants it.
        settled: goal.is_none() || members.iter().all(in_place),
        members,
        health,
    }
}

/// Terms compare as numbers where they are; as texts they do if longer ones are greater.
fn term(group: &GroupReport) -> (Option<u64>, usize, &str) {
    let text = group.status.term.as_str();
    (group.term, text.len(), text)
}

fn members(
    said: &Said<'_>,
    leader: Option<(u64, &GroupReport)>,
    newest: Option<&GroupReport>,
    goal: Option<&GroupRecord>,
) -> Vec<MemberView> {
    let membership = leader.map(|(_, group)| group).or(newest);
    let status = membership.map(|group| &group.status);
    let voters = status.map_or(&[][..], |status| &status.voters);
    let learners = status.map_or(&[][..], |status| &status.learners);
    let mut ids: BTreeSet<_> = voters.iter().chain(learners).copied().collect();
    if let Some(goal) = goal {
        ids.extend(goal.voters.iter().chain(&goal.learners));
    }
    let view = |node: u64| {
        let own = said.get(&node).copied();
        let failure = own.and_then(|own| own.status.failure.clone());
        let followers = leader.and_then(|(_, group)| group.followers.as_deref());
        let followers = followers.unwrap_or_default();
        let seen = followers.iter().find(|follower| follower.node == node);
        let leads = leader.is_some_and(|(leader, _)| leader == node);
        let role = if voters.contains(&node) {
            Some(GroupRole::Voter)
        } else {
            learners.contains(&node).then_some(GroupRole::Learner)
        };
        MemberView {
            node,
            role,
            goal: goal.and_then(|goal| goal.role(node)),
            liveness: liveness(leads, seen, own, leader.is_some()),
            lag_entries: if leads {
                Some(0)
            } else {
                seen.and_then(|it| it.lag_entries)
            },
            lag: seen.map(|seen| seen.lag),
            applied_index: own.and_then(|own| own.status.applied_index),
            failure,
        }
    };
    ids.into_iter().map(view).collect()
}

fn liveness(
    leads: bool,
    seen: Option<&FollowerReport>,
    own: Option<&GroupReport>,
    led: bool,
) -> Liveness {
    if own.is_some_and(|own| own.status.failure.is_some()) {
        return Liveness::Dead;
    }
    match (leads, seen, own) {
        (true, _, _) => Liveness::Alive,
        (_, Some(seen), _) => seen.liveness,
        // The leader has not heard of it, so nobody has seen it in the group.
        (_, None, _) if led => Liveness::Unknown,
        (_, None, Some(_)) => Liveness::Alive,
        (_, None, None) => Liveness::Dead,
    }
}

fn health(led: bool, founded: bool, members: &[MemberView]) -> GroupHealth {
    let votes = |member: &&MemberView| member.role == Some(GroupRole::Voter);
    let gone = |member: &&MemberView| member.role.is_some() && member.liveness == Liveness::Dead;
    let ids = |members: &mut dyn Iterator<Item = &MemberView>| -> BTreeSet<_> {
        members.map(|member| member.node).collect()
    };
    if led {
        let dead = ids(&mut members.iter().filter(gone));
        return if dead.is_empty() {
            GroupHealth::Healthy
        } else {
            GroupHealth::Degraded(dead)
        };
    }
    let voters = members.iter().filter(votes).count();
    if !founded || voters == 0 {
        return GroupHealth::NotFounded;
    }
    let dead = ids(&mut members.iter().filter(votes).filter(gone));
    if (voters - dead.len()) * 2 > voters {
        GroupHealth::Leaderless
    } else {
        GroupHealth::Lost(dead)
    }
}

fn problems(nodes: &[NodeView], groups: &[GroupView]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for view in nodes {
        let mut of_node = |what: String| {
            problems.push(Problem {
                node: Some(view.node),
                group: None,
                what,
            });
        };
        match &view.reach {
            Reach::Unreachable(why) => of_node(format!("it does not answer: {why}")),
            Reach::Reached(report) => {
                for warning in &report.timing {
                    of_node(warning.to_string());
                }
                if view.standing.is_none() || view.standing == Some(NodeStanding::Removed) {
                    of_node("it answers, and is no node of the cluster".to_owned());
                }
            }
        }
    }
    for view in groups {
        let mut of_group = |node, what: String| {
            problems.push(Problem {
                node,
                group: Some(view.name.clone()),
                what,
            });
        };
        for member in &view.members {
            if let Some(failure) = &member.failure {
                of_group(Some(member.node), format!("it has failed there: {failure}"));
            }
        }
        match &view.health {
            GroupHealth::Healthy => {}
            GroupHealth::Degraded(dead) => of_group(None, format!("dead: {dead:?}")),
            GroupHealth::Leaderless => of_group(None, "nobody leads it".to_owned()),
            GroupHealth::Lost(dead) => {
                of_group(
                    None,
                    format!("no majority of its voters is there; dead: {dead:?}"),
                );
            }
            GroupHealth::NotFounded => of_group(None, "it is not founded yet".to_owned()),
        }
    }
    problems
}
