//! What a host can get instead of a change of its cluster, sorted by what it should do next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quicraft_transport::AlreadyRegistered;

use crate::meta::{InvalidNode, NodeStanding};
use crate::{GroupName, InvalidGroupName, MetaRefusal, OperationError, RequestError};

/// Why the cluster does not start here, or was not changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The cluster was not started on this node; call `initialize_cluster` first.
    #[error("no cluster was started on this node; call initialize_cluster first")]
    NotStarted,
    /// It was started on this node already, with other settings.
    #[error("a cluster was started on this node already, with other settings")]
    StartedBefore,
    /// A node that cannot be.
    #[error(transparent)]
    Node(#[from] InvalidNode),
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] InvalidGroupName),
    /// This node is not among the configured members.
    #[error("node {node} is not among the configured members {members:?}; list it")]
    NotConfigured {
        /// This node.
        node: u64,
        /// The members.
        members: BTreeSet<u64>,
    },
    /// A member is configured twice, or one whose certificate this is not.
    #[error("node {node} is configured twice, or is not the node of this certificate ({own})")]
    Misconfigured {
        /// The node.
        node: u64,
        /// The node of the certificate.
        own: u64,
    },
    /// The cluster knows this node with data, and its disk is empty: its votes and entries are lost, so
    /// it may neither vote nor lead under its id any more. Give it another id and call
    /// `replace_node(old, new)` on a member.
    #[error(
        "node {node} has lost its disk: cluster {uid:032x} knows it with data; start it under a new \
         id and call replace_node({node}, new) on a member"
    )]
    LostIdentity {
        /// The node.
        node: u64,
        /// The cluster.
        uid: u128,
    },
    /// This node was removed, or is being removed.
    #[error("node {node} is {standing}; ids are not reused, so it needs another one to come back")]
    Gone {
        /// The node.
        node: u64,
        /// How it stands.
        standing: NodeStanding,
    },
    /// A configured peer belongs to another cluster than this node.
    #[error("peer {peer} belongs to cluster {theirs:032x}, and this node to {ours:032x}")]
    OtherCluster {
        /// The peer.
        peer: u64,
        /// Its cluster.
        theirs: u128,
        /// Ours.
        ours: u128,
    },
    /// A configured peer lists other members, so that both could found a cluster.
    #[error("peer {peer} is configured with the members {theirs:?}, this node with {ours:?}")]
    OtherMembers {
        /// The peer.
        peer: u64,
        /// What it lists.
        theirs: BTreeSet<u64>,
        /// What this node lists.
        ours: BTreeSet<u64>,
    },
    /// The cluster is not formed yet.
    #[error("the cluster is not formed after {waited:?}: {}", list(pending))]
    NotFormed {
        /// How long it was waited.
        waited: Duration,
        /// What is missing, by node or group.
        pending: BTreeMap<String, String>,
    },
    /// The cluster cannot be changed so; nothing was changed.
    #[error(transparent)]
    Refused(#[from] MetaRefusal),
    /// The meta group has not taken the change. It can be made again.
    #[error("the meta group has not taken the change")]
    Meta(#[source] RequestError),
    /// Some groups did not get there in time. Call the same again: it goes on where it stopped.
    #[error("node {node}: {} of {total} groups are not done; call it again; {}", failed.len(), first(failed))]
    Groups {
        /// The node.
        node: u64,
        /// Groups that the change is about.
        total: usize,
        /// Those that are not done, and why.
        failed: BTreeMap<GroupName, OperationError>,
    },
    /// The node has not taken its seat in time: it does not run, or does not reach the cluster. Call
    /// the same again when it does.
    #[error("node {node} has not answered within {waited:?}; start it, and call it again")]
    NotSeated {
        /// The node.
        node: u64,
        /// How long it was waited.
        waited: Duration,
    },
    /// The change is noted, but this node has not applied it in time, so it cannot go on with it. Call
    /// the same again, here or on another node.
    #[error(
        "node {node} has not applied entry {index} of the meta group within {waited:?}; call it again"
    )]
    NotApplied {
        /// This node.
        node: u64,
        /// The entry that notes the change.
        index: u64,
        /// How long it was waited.
        waited: Duration,
    },
    /// The host's factory failed.
    #[error("group {group} does not open on node {node}: {reason}")]
    Factory {
        /// The node.
        node: u64,
        /// The group.
        group: GroupName,
        /// What the factory says.
        reason: String,
    },
    /// The meta group does not start.
    #[error("the meta group does not start: {0}")]
    MetaGroup(String),
    /// The uid cannot be kept.
    #[error("the cluster's uid cannot be kept on this node: {0}")]
    Uid(String),
    /// Another service of this process has the manager's number.
    #[error("the manager's own service is taken")]
    Registered(#[from] AlreadyRegistered),
    /// The manager is being shut down.
    #[error("the manager is shutting down")]
    ShuttingDown,
}

fn list(pending: &BTreeMap<String, String>) -> String {
    let lines = pending.iter().map(|(what, why)| format!("{what}: {why}"));
    lines.collect::<Vec<_>>().join("; ")
}

fn first(failed: &BTreeMap<GroupName, OperationError>) -> String {
    failed
        .values()
        .next()
        .map_or_else(String::new, ToString::to_string)
}

impl ClusterError {
    /// Whether the same call may succeed later without anything else being done. Every change of a
    /// cluster may be made again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotFormed { .. }
            | Self::Meta(_)
            | Self::Groups { .. }
            | Self::NotSeated { .. }
            | Self::NotApplied { .. }
            | Self::Factory { .. } => true,
            Self::NotStarted
            | Self::StartedBefore
            | Self::Node(_)
            | Self::Name(_)
            | Self::NotConfigured { .. }
            | Self::Misconfigured { .. }
            | Self::LostIdentity { .. }
            | Self::Gone { .. }
            | Self::OtherCluster { .. }
            | Self::OtherMembers { .. }
            | Self::Refused(_)
            | Self::MetaGroup(_)
            | Self::Uid(_)
            | Self::Registered(_)
            | Self::ShuttingDown => false,
        }
    }
}
