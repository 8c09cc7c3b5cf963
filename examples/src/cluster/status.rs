//! What the nodes say of themselves at `GET /status`, as far as the job looks at it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A node.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Its id.
    pub node: u64,
    /// Its groups.
    pub groups: Vec<Group>,
    /// Its links to the others.
    pub links: Vec<Link>,
    /// The QUIC handshakes that it has begun.
    #[serde(default)]
    pub handshakes: Handshakes,
    /// Its alive tasks.
    #[serde(default)]
    pub tasks: u64,
    /// What it shows to others.
    #[serde(default)]
    pub credentials: Credentials,
    /// Its calls beside Raft.
    #[serde(default)]
    pub calls: Calls,
}

/// What a node shows to others.
#[derive(Debug, Clone, Default, Deserialize)]
#[non_exhaustive]
pub struct Credentials {
    /// One more whenever it took its files.
    pub generation: u64,
    /// The serial number of its certificate.
    pub certificate: String,
}

/// The calls that a node makes beside Raft, since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Calls {
    /// Those that were answered rightly.
    pub answered: u64,
    /// All others.
    pub failed: u64,
    /// The slowest answer, in milliseconds.
    pub slowest_ms: u64,
    /// Why the last of those that failed did.
    pub last_failure: Option<String>,
}

/// The handshakes of a node since it started.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[non_exhaustive]
pub struct Handshakes {
    /// Those that it dialled.
    pub dialled: u64,
}

/// A group on a node.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// Its number.
    pub group: u64,
    /// What the node is in it.
    pub state: String,
    /// The Raft term.
    pub term: u64,
    /// The leader's id, as the node knows it.
    pub leader: Option<u64>,
    /// The index up to which the node knows entries to be committed.
    pub committed: Option<u64>,
    /// The last applied index.
    pub applied: Option<u64>,
    /// The digest over everything up to `applied`.
    pub digest: String,
    /// Why the group has stopped.
    pub stopped: Option<String>,
}

/// A link of a node.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Link {
    /// To whom.
    pub peer: u64,
    /// Whether it is there.
    pub connected: bool,
    /// The id of the node that dialled it.
    pub dialled_by: Option<u64>,
    /// The number of the link, the same at both of its ends.
    pub link_id: Option<String>,
    /// Milliseconds that the link has been there, or gone.
    #[serde(default)]
    pub since_ms: u64,
    /// Live connections with this peer now.
    #[serde(default)]
    pub links: u64,
    /// Connections that finish their calls because a newer one is the link.
    #[serde(default)]
    pub draining: u64,
    /// The most live connections with this peer at any time.
    pub links_max: u64,
    /// Links with this peer since the node started.
    #[serde(default)]
    pub links_total: u64,
    /// Calls, requests and transfers to this peer that are in flight.
    #[serde(default)]
    pub in_flight: u64,
    /// Streams of the peer that are open.
    #[serde(default)]
    pub peer_streams: u64,
    /// Those of them that carry the appends of a group.
    #[serde(default)]
    pub peer_sessions: u64,
    /// From the node's start, or the loss of the link before, to this link.
    pub established_in_ms: Option<u64>,
    /// From the first packet of the handshake to admission.
    pub handshake_ms: Option<u64>,
    /// How often the peer has asked whether the node is there.
    #[serde(default)]
    pub probes: u64,
    /// Why there is no link.
    pub last_problem: Option<String>,
    /// `up`, `dialling`, `down` or `parked`.
    #[serde(default)]
    pub state: String,
    /// The code with which the last connection was closed.
    pub last_code: Option<String>,
    /// The peer's boot.
    pub boot: Option<String>,
    /// The peer's count of starts.
    pub epoch: Option<u64>,
    /// The serial number of the certificate that the peer has shown.
    pub certificate: Option<String>,
}

impl Status {
    /// How many groups this node leads, by its own word.
    #[must_use]
    pub fn led(&self) -> Vec<u64> {
        let led = self.groups.iter().filter(|group| group.state == "leader");
        led.map(|group| group.group).collect()
    }
}

/// What of a working cluster is missing in these answers; nothing when every group of every node
/// knows its leader, that leader agrees, and every two nodes have a link.
#[must_use]
pub fn missing(all: &[Status]) -> Option<String> {
    let leaders: BTreeMap<u64, u64> = all
        .iter()
        .flat_map(|status| status.led().into_iter().map(|group| (group, status.node)))
        .collect();
    for status in all {
        if let Some(link) = status.links.iter().find(|link| !link.connected) {
            let why = link.last_problem.as_deref().unwrap_or("no problem known");
            return Some(format!(
                "a link between nodes {} and {} ({why})",
                status.node, link.peer
            ));
        }
        if status.links.len() + 1 < all.len() {
            return Some(format!("links of node {} to some nodes", status.node));
        }
        for group in &status.groups {
            if let Some(why) = &group.stopped {
                return Some(format!(
                    "group {} on node {}, which has stopped: {why}",
                    group.group, status.node
                ));
            }
            let led_by = leaders.get(&group.group);
            if led_by.is_none() || group.leader.as_ref() != led_by {
                return Some(format!(
                    "a leader of group {} that node {} knows (it is {} in term {})",
                    group.group, status.node, group.state, group.term
                ));
            }
        }
    }
    None
}

/// What is wrong with the links in these answers: each node has exactly one to each other, nothing
/// drains beside it, and both of its ends name the same one.
#[must_use]
pub fn not_one_link(all: &[Status]) -> Option<String> {
    for status in all {
        let node = status.node;
        for link in &status.links {
            let peer = link.peer;
            if (link.links, link.draining) != (1, 0) {
                return Some(format!(
                    "one link between nodes {node} and {peer}: {node} has {} and {} that drain",
                    link.links, link.draining
                ));
            }
            let other = all.iter().find(|other| other.node == peer);
            let back = other.and_then(|other| other.links.iter().find(|back| back.peer == node));
            if back.is_none_or(|back| back.link_id != link.link_id) {
                return Some(format!("the same link at both nodes {node} and {peer}"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: u64, leader: Option<u64>, connected: bool) -> Status {
        let state = if leader == Some(node) {
            "leader"
        } else {
            "follower"
        };
        let json = serde_json::json!({
            "node": node,
            "groups": [{ "group": 0, "state": state, "term": 1, "leader": leader, "committed": 1,
                         "applied": 1, "digest": "", "something": "new" }],
            "links": [{ "peer": 3 - node, "connected": connected, "dialled_by": 1, "links_max": 1,
                        "established_in_ms": 1, "handshake_ms": 1 }],
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_link_has_two_ends() {
        let ends = |links: u64, draining: u64, id: &str| {
            let end = |node: u64, id: &str, links: u64, draining: u64| {
                let json = serde_json::json!({
                    "node": node, "groups": [],
                    "links": [{ "peer": 3 - node, "connected": true, "links": links,
                                "draining": draining, "links_max": 1, "link_id": id }],
                });
                serde_json::from_value(json).unwrap()
            };
            not_one_link(&[end(1, "a", 1, 0), end(2, id, links, draining)])
        };
        assert_eq!(ends(1, 0, "a"), None);
        for wrong in [
            ends(1, 0, "b"),
            ends(2, 0, "a"),
            ends(0, 0, "a"),
            ends(1, 1, "a"),
        ] {
            assert!(wrong.is_some_and(|wrong| wrong.contains("nodes ")));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let (one, two) = (status(1, Some(1), true), status(2, Some(1), true));
        assert_eq!(missing(&[one.clone(), two.clone()]), None);
        let named = missing(&[one.clone(), status(2, Some(1), false)]).unwrap();
        assert!(named.contains("between nodes 2 and 1"), "{named}");
        let named = missing(&[one, status(2, None, true)]).unwrap();
        assert!(named.contains("group 0 that node 2"), "{named}");
        // A leader that does not know that it is one is none.
        assert!(missing(&[status(1, Some(2), true), two]).is_some());
    }
}
