//! Who is in the cluster and in every group, as each node reports it at `GET /admin/status`.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde::Deserialize;

use super::super::client::{Clients, in_words};
use super::super::error::ClusterError;
use super::super::limits::SETTLE;
use super::super::wait::{Look, until};

/// The cluster as a node sees it.
#[derive(Debug, Deserialize)]
struct Seen {
    nodes: Vec<NodeSeen>,
    groups: Vec<GroupSeen>,
}

#[derive(Debug, Deserialize)]
struct NodeSeen {
    node: u64,
    standing: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GroupSeen {
    name: String,
    settled: bool,
    members: Vec<MemberSeen>,
}

#[derive(Debug, Deserialize)]
struct MemberSeen {
    node: u64,
    role: Option<String>,
}

/// Waits until every node sees these members, and no others, in the cluster and as voters of every
/// group. Returns what is wrong, in words, if they do not in time.
///
/// # Errors
///
/// None so far: a node that does not answer is wrong as well.
pub(super) async fn wrong(
    clients: &Clients,
    members: &[u64],
    groups: u64,
) -> Result<Option<String>, ClusterError> {
    let members: BTreeSet<_> = members.iter().copied().collect();
    let waited = until("the members of all groups", SETTLE, async || {
        for place in 0..clients.nodes() {
            let missing = match seen_by(clients, place).await {
                Ok(seen) => differs(&seen, &members, groups),
                Err(why) => Some(why),
            };
            if let Some(missing) = missing {
                let url = clients.url(place);
                return Ok(Look::Missing(format!("{missing}, as {url} sees it")));
            }
        }
        Ok(Look::There(()))
    });
    match waited.await {
        Ok(()) => Ok(None),
        Err(ClusterError::NotInTime { missing, .. }) => Ok(Some(missing)),
        Err(error) => Err(error),
    }
}

async fn seen_by(clients: &Clients, place: usize) -> Result<Seen, String> {
    let url = format!("{}/admin/status", clients.url(place));
    let answer = clients.http.get(url).send().await.map_err(in_words)?;
    if answer.status() != StatusCode::OK {
        return Err(format!("HTTP {}", answer.status()));
    }
    answer.json().await.map_err(in_words)
}

fn differs(seen: &Seen, members: &BTreeSet<u64>, groups: u64) -> Option<String> {
    let stand = |standing: &str| -> BTreeSet<u64> {
        let all = seen.nodes.iter();
        let standing = all.filter(|it| it.standing.as_deref() == Some(standing));
        standing.map(|it| it.node).collect()
    };
    let in_cluster = stand("Member");
    if in_cluster != *members {
        return Some(format!("members {members:?} instead of {in_cluster:?}"));
    }
    let between: BTreeSet<_> = &stand("Joining") | &stand("Leaving");
    if !between.is_empty() {
        return Some(format!("the end of a change of {between:?}"));
    }
    // One more holds the cluster.
    if seen.groups.len() as u64 != groups + 1 {
        return Some(format!(
            "{} groups instead of {}",
            groups + 1,
            seen.groups.len()
        ));
    }
    seen.groups.iter().find_map(|group| {
        let others = group.members.iter();
        let others = others.filter(|it| it.role.is_some() && it.role.as_deref() != Some("Voter"));
        let voters = group.members.iter();
        let voters = voters.filter(|it| it.role.as_deref() == Some("Voter"));
        let voters: BTreeSet<_> = voters.map(|it| it.node).collect();
        let whole = voters == *members && others.count() == 0 && group.settled;
        let name = &group.name;
        (!whole).then(|| {
            format!(
                "voters {members:?} of {name} instead of {:?}",
                group.members
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(standing: &str, role: &str, settled: bool) -> Seen {
        let groups = ["kv/0", "meta"].map(|name| {
            let members = json!([{ "node": 1, "role": "Voter" }, { "node": 2, "role": role }]);
            json!({ "name": name, "settled": settled, "members": members })
        });
        let nodes = json!([
            { "node": 1, "standing": "Member" },
            { "node": 2, "standing": standing },
            { "node": 3, "standing": "Removed" },
            { "node": 4, "standing": null },
        ]);
        serde_json::from_value(json!({ "nodes": nodes, "groups": groups })).unwrap()
    }

    #[test]
    fn members_are_members_everywhere() {
        let wrong = |seen: &Seen| differs(seen, &BTreeSet::from([1, 2]), 1);
        assert_eq!(wrong(&seen("Member", "Voter", true)), None);
        for bad in [
            seen("Joining", "Voter", true),
            seen("Member", "Learner", true),
            seen("Member", "Voter", false),
        ] {
            assert!(wrong(&bad).is_some(), "{bad:?}");
        }
        let fine = seen("Member", "Voter", true);
        assert!(differs(&fine, &BTreeSet::from([1, 2, 3]), 1).is_some());
        assert!(differs(&fine, &BTreeSet::from([1]), 1).is_some());
        assert!(differs(&fine, &BTreeSet::from([1, 2]), 2).is_some());
    }
}
