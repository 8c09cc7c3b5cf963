//! Everything of groups, nodes and the cluster that can be observed, as one closed list: it feeds the
//! log, the metrics, and whoever subscribes.

use std::time::Duration;

use quicraft_transport::{GroupId, NodeId};
use tokio::sync::broadcast;
use tracing::field::display;

use super::formation::FormationStage;
use crate::cluster::ChangeStep;
use crate::raft_config::TimingWarning;
use crate::{GroupName, NodeStanding};

/// Events that a slow subscriber may be behind; then the oldest are lost to it, and it is told how
/// many. 4,096: a node that led a thousand groups dies, and each of them loses its leader, elects
/// and has a new one.
pub const EVENTS_KEPT_MAX: usize = 4_096;

/// Something that happened in this node's groups, or in the cluster as this node knows it.
///
/// Nodes raise their own: what a group's leader sees of its followers is an event there only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A group runs on this node.
    GroupOpened {
        /// The group.
        group: GroupName,
        /// Its number on the wire.
        id: GroupId,
    },
    /// A group was taken from this node in order.
    GroupClosed {
        /// The group.
        group: GroupName,
    },
    /// A group runs no more on this node, although nobody took it away. It stays so until the node
    /// starts again.
    GroupFailed {
        /// The group.
        group: GroupName,
        /// Why.
        reason: String,
    },
    /// This node takes another one for the leader of a group, or nobody any more.
    LeaderChanged {
        /// The group.
        group: GroupName,
        /// Who led, as this node knew it.
        from: Option<u64>,
        /// Who leads.
        to: Option<u64>,
        /// The term, as openraft writes it.
        term: String,
    },
    /// A term has begun in which nobody leads yet.
    ElectionStarted {
        /// The group.
        group: GroupName,
        /// The term.
        term: String,
    },
    /// A term has ended in which nobody led, as far as this node knows.
    ElectionLost {
        /// The group.
        group: GroupName,
        /// The term that elected nobody.
        term: String,
    },
    /// The members of a group are others than before, as this node's log says.
    MembershipChanged {
        /// The group.
        group: GroupName,
        /// The voters, in the order of their ids; of a joint configuration those of both.
        voters: Vec<u64>,
        /// The learners, in the order of their ids.
        learners: Vec<u64>,
    },
    /// A follower has acknowledged nothing for longer than the election timeout, in groups that this
    /// node leads. One event for all groups in which that was seen at the same time.
    PeerDead {
        /// The follower.
        peer: u64,
        /// The groups, in the order of their names.
        groups: Vec<GroupName>,
        /// For how long it has been silent in the first of them.
        silent: Duration,
    },
    /// A follower that was dead acknowledges again, in groups that this node leads.
    PeerAlive {
        /// The follower.
        peer: u64,
        /// The groups, in the order of their names.
        groups: Vec<GroupName>,
    },
    /// A node stands otherwise in the cluster than before, as the `meta` group has applied it.
    StandingChanged {
        /// The node.
        node: u64,
        /// How it stood; none if it was not known.
        from: Option<NodeStanding>,
        /// How it stands.
        to: NodeStanding,
    },
    /// A node was taken into all its groups, by this node.
    NodeAdded {
        /// The node.
        node: u64,
        /// How long it took, of this node's part of it.
        took: Duration,
    },
    /// A node was taken out of all its groups, by this node.
    NodeRemoved {
        /// The node.
        node: u64,
        /// How long it took, of this node's part of it.
        took: Duration,
    },
    /// A step of a change of a node was taken, driven by this node. Waiting is none.
    StepTaken {
        /// The node that is changed.
        node: u64,
        /// The group, for the steps of one.
        group: Option<GroupName>,
        /// The step.
        step: ChangeStep,
    },
    /// The measured round trip to a voter makes the Raft timeouts of a group unsafe. Raised when it
    /// becomes so, and again when the round trip has outgrown the advice.
    TimingUnsafe {
        /// The peer, its round trip, and the values to set.
        warning: TimingWarning,
    },
    /// The timeouts suit the round trip again, with room to spare.
    TimingSafe {
        /// The peer.
        peer: u64,
        /// Its round trip.
        round_trip: Duration,
    },
    /// The forming of the cluster has come further, or has fallen back.
    FormationProgress {
        /// How far it is.
        stage: FormationStage,
        /// Nodes and groups that are where they are to be.
        done: usize,
        /// All of them, as this node knows them.
        total: usize,
    },
    /// The cluster has removed this node: it may never enter again under its id.
    RemovedFromCluster,
}

impl Event {
    /// A short, stable name for metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::GroupOpened { .. } => "group_opened",
            Self::GroupClosed { .. } => "group_closed",
            Self::GroupFailed { .. } => "group_failed",
            Self::LeaderChanged { .. } => "leader_changed",
            Self::ElectionStarted { .. } => "election_started",
            Self::ElectionLost { .. } => "election_lost",
            Self::MembershipChanged { .. } => "membership_changed",
            Self::PeerDead { .. } => "peer_dead",
            Self::PeerAlive { .. } => "peer_alive",
            Self::StandingChanged { .. } => "standing_changed",
            Self::NodeAdded { .. } => "node_added",
            Self::NodeRemoved { .. } => "node_removed",
            Self::StepTaken { .. } => "step_taken",
            Self::TimingUnsafe { .. } => "timing_unsafe",
            Self::TimingSafe { .. } => "timing_safe",
            Self::FormationProgress { .. } => "formation_progress",
            Self::RemovedFromCluster => "removed_from_cluster",
        }
    }

    /// The group that it is about, if it is about one.
    #[must_use]
    pub const fn group(&self) -> Option<&GroupName> {
        match self {
            Self::GroupOpened { group, .. }
            | Self::GroupClosed { group }
            | Self::GroupFailed { group, .. }
            | Self::LeaderChanged { group, .. }
            | Self::ElectionStarted { group, .. }
            | Self::ElectionLost { group, .. }
            | Self::MembershipChanged { group, .. } => Some(group),
            Self::StepTaken { group, .. } => group.as_ref(),
            Self::PeerDead { .. }
            | Self::PeerAlive { .. }
            | Self::StandingChanged { .. }
            | Self::NodeAdded { .. }
            | Self::NodeRemoved { .. }
            | Self::TimingUnsafe { .. }
            | Self::TimingSafe { .. }
            | Self::FormationProgress { .. }
            | Self::RemovedFromCluster => None,
        }
    }

    /// The other node that it is about, if it is about one.
    #[must_use]
    pub const fn peer(&self) -> Option<u64> {
        match self {
            Self::PeerDead { peer, .. }
            | Self::PeerAlive { peer, .. }
            | Self::TimingSafe { peer, .. } => Some(*peer),
            Self::TimingUnsafe { warning } => Some(warning.peer),
            Self::StandingChanged { node, .. }
            | Self::NodeAdded { node, .. }
            | Self::NodeRemoved { node, .. }
            | Self::StepTaken { node, .. } => Some(*node),
            Self::GroupOpened { .. }
            | Self::GroupClosed { .. }
            | Self::GroupFailed { .. }
            | Self::LeaderChanged { .. }
            | Self::ElectionStarted { .. }
            | Self::ElectionLost { .. }
            | Self::MembershipChanged { .. }
            | Self::FormationProgress { .. }
            | Self::RemovedFromCluster => None,
        }
    }

    const fn weight(&self) -> Weight {
        match self {
            Self::GroupFailed { .. } | Self::RemovedFromCluster => Weight::Alarm,
            Self::FormationProgress {
                stage: FormationStage::Failed,
                ..
            } => Weight::Alarm,
            Self::PeerDead { .. } | Self::TimingUnsafe { .. } => Weight::Warning,
            Self::FormationProgress { .. }
            | Self::StandingChanged { .. }
            | Self::NodeAdded { .. }
            | Self::NodeRemoved { .. }
            | Self::MembershipChanged { .. }
            | Self::PeerAlive { .. }
            | Self::TimingSafe { .. } => Weight::News,
            Self::GroupOpened { .. }
            | Self::GroupClosed { .. }
            | Self::LeaderChanged { .. }
            | Self::ElectionStarted { .. }
            | Self::ElectionLost { .. }
            | Self::StepTaken { .. } => Weight::Detail,
        }
    }

    /// Whether it is about the inside of a group; if not, it is about the cluster.
    const fn is_of_raft(&self) -> bool {
        matches!(
            self,
            Self::GroupFailed { .. }
                | Self::LeaderChanged { .. }
                | Self::ElectionStarted { .. }
                | Self::ElectionLost { .. }
                | Self::MembershipChanged { .. }
                | Self::PeerDead { .. }
                | Self::PeerAlive { .. }
                | Self::TimingUnsafe { .. }
                | Self::TimingSafe { .. }
        )
    }
}

/// How loudly an event is logged.
#[derive(Clone, Copy)]
enum Weight {
    /// An operator should look at once.
    Alarm,
    /// An operator should look.
    Warning,
    /// Rare, and wanted in every log.
    News,
    /// As frequent as groups are many.
    Detail,
}

/// Takes events from everywhere and hands them to the log, the metrics and the subscribers. Clones
/// hand them to the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    node: NodeId,
    sender: broadcast::Sender<Event>,
}

impl Events {
    pub(crate) fn new(node: NodeId) -> Self {
        let (sender, _) = broadcast::channel(EVENTS_KEPT_MAX);
        Self { node, sender }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Raises an event. Never waits.
    pub(crate) fn raise(&self, event: Event) {
        self.log(&event);
        metrics::counter!("quicraft_events_total", "event" => event.name()).increment(1);
        if let Event::NodeAdded { took, .. } = &event {
            metrics::counter!("quicraft_node_additions_total").increment(1);
            metrics::histogram!("quicraft_node_addition_seconds").record(*took);
        }
        // Without a subscriber there is nobody to tell.
        drop(self.sender.send(event));
    }

    fn log(&self, event: &Event) {
        let (node, name) = (self.node.get(), event.name());
        let (group, peer) = (event.group().map(display), event.peer());
        // A macro, because level and target of a line are part of its place in the code.
        macro_rules! line {
            ($level:ident) => {
                if event.is_of_raft() {
                    tracing::$level!(target: "quicraft::raft", node, peer, group, event = name, "{event:?}");
                } else {
                    tracing::$level!(target: "quicraft::cluster", node, peer, group, event = name, "{event:?}");
                }
            };
        }
        match event.weight() {
            Weight::Alarm => line!(error),
            Weight::Warning => line!(warn),
            Weight::News => line!(info),
            Weight::Detail => line!(debug),
        }
    }
}
