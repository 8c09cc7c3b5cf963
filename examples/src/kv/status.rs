//! What a node says of itself, as `GET /status` answers it.

use std::collections::BTreeSet;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use serde::Serialize;

use super::groups::KvGroup;
use super::host::KvHost;
use super::store::StoreError;

/// One link to a peer, as the transport sees it; whoever runs the transport fills it in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LinkStatus {
    /// The peer's node id.
    pub peer: u64,
    /// Whether there is a link now.
    pub connected: bool,
    /// `up`, `dialling`, `down` or `parked` (the peer refused for good).
    pub state: &'static str,
    /// Milliseconds that it has been so.
    pub since_ms: u64,
    /// The measured round-trip time, in microseconds.
    pub rtt_us: Option<u64>,
    /// The peer's boot, as 32 hexadecimal digits: a number so large that JSON readers round it.
    pub boot: Option<String>,
    /// The peer's count of starts.
    pub epoch: Option<u64>,
    /// Bytes that were sent on this link.
    pub bytes_sent: u64,
    /// Bytes that were received on this link.
    pub bytes_received: u64,
    /// The id of the node that dialled.
    pub dialled_by: Option<u64>,
    /// The same 32 hexadecimal digits at both ends of one link.
    pub link_id: Option<String>,
    /// Live connections with this proven peer now; those that drain are not counted.
    pub links: u32,
    /// Connections that finish their calls because a newer one is the link.
    pub draining: usize,
    /// The most live connections with this proven peer at any time.
    pub links_max: u32,
    /// Calls, requests and transfers to this peer that are in flight.
    pub in_flight: usize,
    /// Streams of the peer that are open, those that wait for the next call among them.
    pub peer_streams: usize,
    /// Those of them that carry the appends of a group.
    pub peer_sessions: usize,
    /// Links with this peer since the node started.
    pub links_total: u64,
    /// Milliseconds from this node's start, or from the loss of the link before, to this link.
    pub established_in_ms: Option<u64>,
    /// Milliseconds from the first packet of this link's handshake to admission.
    pub handshake_ms: Option<u64>,
    /// How often the peer has asked whether this node is there, because another process came to it
    /// under this node's name.
    pub probes: u64,
    /// The serial number of the certificate that the peer has shown on this link.
    pub certificate: Option<String>,
    /// The CA that has issued it.
    pub issuer: Option<String>,
    /// When it ends, in seconds since 1970.
    pub certificate_ends: Option<u64>,
    /// Why the last link ended or the last dial failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_problem: Option<String>,
    /// The code with which the last connection was closed, where one of its ends gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_code: Option<&'static str>,
}

impl LinkStatus {
    /// The link to `peer`, of which nothing else is known yet.
    #[must_use]
    pub fn new(peer: u64) -> Self {
        Self {
            peer,
            ..Self::default()
        }
    }
}

/// QUIC handshakes since the node started, whatever became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HandshakeStatus {
    /// Those that this node dialled.
    pub dialled: u64,
    /// Those that others dialled.
    pub accepted: u64,
}

/// What this node shows to others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CredentialStatus {
    /// How often credentials were taken: at the start, when their files are first followed, and
    /// whenever one has changed.
    pub generation: u64,
    /// The serial number of its certificate.
    pub certificate: String,
    /// When it ends, in seconds since 1970.
    pub ends: u64,
}

/// The calls beside Raft that a drill has asked for, since the node started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallStatus {
    /// Calls that were answered with what was sent.
    pub answered: u64,
    /// All others.
    pub failed: u64,
    /// The slowest answer, in milliseconds.
    pub slowest_ms: u64,
    /// Why the last of those that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// What the transport says of itself; whoever runs it fills it in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkStatus {
    /// Every peer's link.
    pub links: Vec<LinkStatus>,
    /// Handshakes with all peers together.
    pub handshakes: HandshakeStatus,
    /// What this node shows to others.
    pub credentials: CredentialStatus,
    /// Calls of a drill.
    pub calls: CallStatus,
}

impl NetworkStatus {
    /// These links, and no handshakes yet.
    #[must_use]
    pub fn new(links: Vec<LinkStatus>) -> Self {
        Self {
            links,
            ..Self::default()
        }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The cluster's name.
    pub cluster: String,
    /// The node's id.
    pub node: u64,
    /// Every group, in the order of their numbers.
    pub groups: Vec<GroupStatus>,
    /// Every peer's link.
    pub links: Vec<LinkStatus>,
    /// Handshakes with all peers together.
    pub handshakes: HandshakeStatus,
    /// What this node shows to others.
    pub credentials: CredentialStatus,
    /// Calls of a drill.
    pub calls: CallStatus,
    /// Tasks of the process that are alive, but for those of the peers' open streams and of the
    /// heartbeats to followers; what serves this answer is among them.
    pub tasks: usize,
    /// What the store has written.
    pub store: StoreStatus,
}

/// The store's counters since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Commits with an fsync.
    pub synced_commits: u64,
    /// Commits without one.
    pub unsynced_commits: u64,
    /// Appends, over all groups.
    pub appends: u64,
}

/// A group on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its number.
    pub group: u64,
    /// What this node is in it: `leader`, `follower`, `candidate`, `learner`, `shutdown`, or `absent`
    /// if it does not run here.
    pub state: &'static str,
    /// The Raft term.
    pub term: u64,
    /// The leader's node id, if one is known.
    pub leader: Option<u64>,
    /// The index of the last entry in the log.
    pub last_log: Option<u64>,
    /// The index up to which this node knows entries to be committed.
    pub committed: Option<u64>,
    /// The last applied index; `digest` is of exactly this one.
    pub applied: Option<u64>,
    /// The digest over everything up to `applied`, in hexadecimal.
    pub digest: String,
    /// The index of the current snapshot.
    pub snapshot: Option<u64>,
    /// The index up to which the log was purged.
    pub purged: Option<u64>,
    /// Why the group has stopped; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

impl GroupStatus {
    const fn absent(group: u64) -> Self {
        Self {
            group,
            state: "absent",
            term: 0,
            leader: None,
            last_log: None,
            committed: None,
            applied: None,
            digest: String::new(),
            snapshot: None,
            purged: None,
            stopped: None,
        }
    }

    fn of(host: &KvHost, group: u64, open: &KvGroup) -> Result<Self, StoreError> {
        // Copied at once: whoever holds the watched value blocks the group.
        let metrics = open.raft().metrics().borrow_watched().clone();
        let state = host.store().state(group)?;
        Ok(Self {
            group,
            state: match metrics.state {
                ServerState::Leader => "leader",
                ServerState::Follower => "follower",
                ServerState::Candidate => "candidate",
                ServerState::Learner => "learner",
                ServerState::Shutdown => "shutdown",
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.map(|id| id.index),
            applied: state.applied.map(|id| id.index),
            digest: blake3::Hash::from_bytes(state.digest).to_hex().to_string(),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            stopped: metrics.running_state.err().map(|error| error.to_string()),
        })
    }
}

impl NodeStatus {
    /// The node as it is now; `network` is what the transport says of itself. Outside of a tokio
    /// runtime there are no tasks to count.
    ///
    /// # Errors
    ///
    /// [`StoreError`], when a group cannot be read.
    pub fn of(host: &KvHost, network: NetworkStatus) -> Result<Self, StoreError> {
        let open = host.groups();
        let all = 0..u64::from(host.family().shards());
        let groups = all.map(|group| match open.get(&group) {
            Some(open) => GroupStatus::of(host, group, open),
            None => Ok(GroupStatus::absent(group)),
        });
        let stats = host.store().stats();
        let runtime = tokio::runtime::Handle::try_current();
        // Each has a task, and a session one more in its Raft. How many a peer keeps depends on what
        // it once called at the same time, and on which groups it wrote to lately.
        let streams = network.links.iter();
        let streams: usize = streams
            .map(|link| link.peer_streams + link.peer_sessions)
            .sum();
        // So has each peer that gets heartbeats, however many of the groups are led here.
        Ok(Self {
            cluster: host.config().cluster.clone(),
            node: host.config().node,
            groups: groups.collect::<Result<_, _>>()?,
            links: network.links,
            handshakes: network.handshakes,
            credentials: network.credentials,
            calls: network.calls,
            tasks: runtime
                .map_or(0, |runtime| runtime.metrics().num_alive_tasks())
                .saturating_sub(streams + followers(host).len()),
            store: StoreStatus {
                synced_commits: stats.synced_commits,
                unsynced_commits: stats.unsynced_commits,
                appends: stats.appends,
            },
        })
    }
}

/// The peers that get heartbeats of this node: those that follow it in a group at least.
fn followers(host: &KvHost) -> BTreeSet<u64> {
    let own = host.config().node;
    let groups = host.manager().group_status().into_iter();
    let led = groups.filter(|group| group.leader == Some(own));
    let members = led.flat_map(|group| group.voters.into_iter().chain(group.learners));
    members.filter(|&member| member != own).collect()
}
