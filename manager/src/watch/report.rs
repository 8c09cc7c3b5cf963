//! What one node says of itself: a report that travels to whoever asks for the state of the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use quicraft_transport::{LinkState, LinkStatus};
use serde::{Deserialize, Serialize};

use super::formation::FormationStage;
use super::host::HostFacts;
use crate::raft_config::TimingWarning;
use crate::{GroupStatus, NodeStanding};

/// Whether a node is there, as another one sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Liveness {
    /// It has acknowledged something within the election timeout.
    Alive,
    /// It has acknowledged nothing for longer than the election timeout.
    Dead,
    /// Nobody can tell: the group has no leader that was asked, or sends no heartbeats.
    Unknown,
}

/// A voter or learner, as the leader of its group sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FollowerReport {
    /// The node.
    pub node: u64,
    /// Whether it is there. True on an idle group as well, because heartbeats are acknowledged.
    pub liveness: Liveness,
    /// The last entry that it is known to have.
    pub matched: Option<u64>,
    /// Entries of the leader's log that it is not known to have; none while it has acknowledged
    /// nothing to this leader.
    pub lag_entries: Option<u64>,
    /// How long ago the oldest entry was written that it is not known to have, as exactly as
    /// [`RaftManagerConfig::watch_interval`](crate::RaftManagerConfig::watch_interval); of a dead one,
    /// at least the time since it was last heard of; else 0.
    pub lag: Duration,
    /// The time since the last message was sent that it has acknowledged; none if it has
    /// acknowledged none to this leader.
    pub since_acked: Option<Duration>,
}

/// A group on the node that reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupReport {
    /// How it stands there.
    pub status: GroupStatus,
    /// The term as a number, where the terms of the group's type config are numbers.
    pub term: Option<u64>,
    /// The silence after which a follower counts as dead, and a leader without a majority as none:
    /// the longest election timeout.
    pub dead_after: Duration,
    /// On the leader: all other voters and learners, in the order of their ids.
    pub followers: Option<Vec<FollowerReport>>,
}

impl GroupReport {
    /// Whether the node that reports leads the group, and a majority has said so lately.
    #[must_use]
    pub fn leads(&self) -> bool {
        let acked = self.status.since_quorum;
        self.status.failure.is_none()
            && self.followers.is_some()
            && acked.is_some_and(|since| since <= self.dead_after)
    }
}

/// How the node that reports stands to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LinkStanding {
    /// No link, and nobody needs one.
    Idle,
    /// There is a link.
    Up,
    /// The first dial since there was a link is on its way.
    Dialling,
    /// No link, and why.
    Down(String),
    /// The peer refused for good, and why.
    Parked(String),
    /// A state that this version does not know.
    Other,
}

impl From<&LinkState> for LinkStanding {
    fn from(state: &LinkState) -> Self {
        match state {
            LinkState::Idle => Self::Idle,
            LinkState::Up => Self::Up,
            LinkState::Dialling => Self::Dialling,
            LinkState::Down(why) => Self::Down(why.clone()),
            LinkState::Parked(why) => Self::Parked(why.clone()),
            _ => Self::Other,
        }
    }
}

/// The link to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinkReport {
    /// The peer.
    pub peer: u64,
    /// How the node stands to it.
    pub standing: LinkStanding,
    /// How long it has been so.
    pub since: Duration,
    /// The address of the link, or of the last dial.
    pub address: Option<String>,
    /// The smoothed round trip.
    pub round_trip: Option<Duration>,
    /// How the last connection ended, and how long ago.
    pub last_close: Option<(String, Duration)>,
}

impl LinkReport {
    pub(super) fn of(status: &LinkStatus) -> Self {
        let closed = status.last_close.as_ref();
        Self {
            peer: status.peer.get(),
            standing: LinkStanding::from(&status.state),
            since: status.since,
            address: status.address.map(|address| address.to_string()),
            round_trip: status.rtt,
            last_close: closed.map(|close| (close.reason.clone(), close.at.elapsed())),
        }
    }
}

/// What a node says of itself: its machine, its groups, its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeReport {
    /// The node.
    pub node: u64,
    /// The uid of its cluster; 0 as long as it knows none.
    pub uid: u128,
    /// Random per start of the node.
    pub boot: u128,
    /// How it stands in the cluster, as it knows itself.
    pub standing: Option<NodeStanding>,
    /// How far the forming of the cluster is, as it knows.
    pub formation: FormationStage,
    /// What is not where it is to be, by node or group, and why.
    pub pending: BTreeMap<String, String>,
    /// The machine that it runs on.
    pub host: HostFacts,
    /// Its groups, in the order of their names.
    pub groups: Vec<GroupReport>,
    /// Its links, in the order of the peers' ids.
    pub links: Vec<LinkReport>,
    /// Round trips to voters that make its groups' timeouts unsafe, in the order of the peers' ids.
    pub timing: Vec<TimingWarning>,
}

/// A group's number as serde writes it: a plain number.
pub(crate) mod number {
    use quicraft_transport::GroupId;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &GroupId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(id.get())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GroupId, D::Error> {
        u64::deserialize(from).map(GroupId::new)
    }
}
