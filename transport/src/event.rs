//! Everything that can be observed, as one closed list: it feeds the log, the metrics, and
//! whoever subscribes, tests included.
//!
//! This room must not decide anything: taking it out would change nothing but what is seen.

use std::net::SocketAddr;
use std::time::Duration;

use quicraft_certs::{CertificateRefusal, CrlStage, NodeId, PeerRole};
use tokio::sync::broadcast;

use crate::GroupId;
use crate::admission::AdmissionRefusal;
use crate::close::{CloseClass, CloseCode};
use crate::frame::Lane;
use crate::limits::EVENTS_KEPT_MAX;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection was admitted and is the link now.
    LinkUp {
        /// The peer.
        peer: NodeId,
        /// Its address.
        address: SocketAddr,
        /// Whether this node dialled.
        dialled: bool,
        /// The peer's boot.
        boot: u128,
        /// Time from the start of the handshake to here.
        took: Duration,
    },
    /// The link was lost or closed.
    LinkDown {
        /// The peer.
        peer: NodeId,
        /// Its address.
        address: SocketAddr,
        /// Who ended it and why, in words.
        reason: String,
        /// The code, where one of the two ends gave one.
        code: Option<CloseCode>,
    },
    /// A newer connection took the place of the link, which finishes its calls.
    LinkDraining {
        /// The peer.
        peer: NodeId,
    },
    /// A dial failed; another follows.
    DialFailed {
        /// The peer.
        peer: NodeId,
        /// The address that was tried last, if any resolved.
        address: Option<SocketAddr>,
        /// Why.
        reason: String,
        /// The wait before the next dial.
        retry_in: Duration,
    },
    /// The peer told us that dialling again cannot help; it is tried rarely from now on.
    Parked {
        /// The peer.
        peer: NodeId,
        /// Its code.
        code: CloseCode,
    },
    /// We refused a peer.
    Refused {
        /// The node in its certificate.
        peer: NodeId,
        /// Its address.
        address: SocketAddr,
        /// What it was told.
        code: CloseCode,
        /// What only we know.
        detail: String,
    },
    /// A live link was ended, because its peer may not be here any more.
    Evicted {
        /// The peer.
        peer: NodeId,
        /// Its address.
        address: SocketAddr,
        /// What it was told.
        code: CloseCode,
        /// What only we know.
        detail: String,
    },
    /// The key of a peer was seen first and is the only one that it may show from now on.
    KeyPinned {
        /// The peer.
        peer: NodeId,
        /// SHA-256 of its subject public key info: what the roster holds now.
        key_hash: [u8; 32],
    },
    /// The files of our credentials have changed and what they hold was taken, or was refused and
    /// the former credentials stay.
    CredentialsRead {
        /// Why they were refused, if they were.
        problem: Option<String>,
    },
    /// The revocation list that is due first has come nearer to its end. Past its grace no newcomer is
    /// let in.
    CrlDue {
        /// The name of its CA, quoted and escaped.
        issuer: String,
        /// When the next list is due, in seconds since 1970.
        next_update: u64,
        /// How near that is.
        stage: CrlStage,
    },
    /// The certificate of an end was refused, inside TLS. It has proven nothing, so whatever the
    /// certificate names has nothing to do with it.
    CertificateRefused {
        /// Its address.
        address: SocketAddr,
        /// Whether that end dialled or was dialled.
        role: PeerRole,
        /// What is wrong, as metrics name it.
        reason: &'static str,
        /// The same with its values; the other end is not told them.
        detail: String,
    },
    /// A peer refused us.
    RefusedByPeer {
        /// The peer that we dialled.
        peer: NodeId,
        /// What it told us.
        code: CloseCode,
        /// What we do about it.
        class: CloseClass,
    },
    /// A handshake ended before the peer was proven.
    HandshakeFailed {
        /// Its address.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Two live processes claim the same node.
    DuplicateNode {
        /// The node.
        peer: NodeId,
        /// Where the newcomer is.
        newcomer: SocketAddr,
    },
    /// A peer announced that it shuts down.
    GoingAway {
        /// The peer.
        peer: NodeId,
    },
    /// A lane's bound was reached and something was refused or had to wait.
    LaneFull {
        /// The peer.
        peer: NodeId,
        /// The lane.
        lane: Lane,
    },
    /// A Raft message named another node than the one that sent it; it was refused.
    OriginMismatch {
        /// Who sent it.
        peer: NodeId,
        /// For which group.
        group: GroupId,
        /// Whom it names.
        named: u64,
    },
    /// A log holds an entry that the peer does not take; the group cannot replicate past it.
    EntryTooLarge {
        /// The peer.
        peer: NodeId,
        /// The group.
        group: GroupId,
        /// The entry's log index.
        index: u64,
        /// Its encoded bytes.
        size: usize,
        /// The peer's limit.
        limit: usize,
    },
    /// A handler panicked; its call was refused and the link lives on.
    HandlerPanicked {
        /// Whose call it was.
        peer: NodeId,
        /// For which group.
        group: GroupId,
    },
    /// A snapshot is on its way, or its rest. Raised at both ends, as all that follow.
    SnapshotBegun {
        /// The peer at the other end.
        peer: NodeId,
        /// The group.
        group: GroupId,
        /// Which end this is.
        direction: SnapshotDirection,
        /// Bytes that the receiver has kept and that are not sent again.
        offset: u64,
        /// Bytes of the whole snapshot.
        length: u64,
    },
    /// How far a snapshot is: at most once a second for each.
    SnapshotProgress {
        /// The peer at the other end.
        peer: NodeId,
        /// The group.
        group: GroupId,
        /// Which end this is.
        direction: SnapshotDirection,
        /// Bytes that this end has read from its source, or taken from the link.
        bytes: u64,
        /// Bytes of the whole snapshot.
        length: u64,
    },
    /// A snapshot has ended before it was installed. openraft tries again, and goes on where it was.
    SnapshotFailed {
        /// The peer at the other end.
        peer: NodeId,
        /// The group.
        group: GroupId,
        /// Which end this is.
        direction: SnapshotDirection,
        /// Bytes that were past this end.
        bytes: u64,
        /// Bytes of the whole snapshot.
        length: u64,
        /// Why, in words.
        reason: String,
    },
    /// A snapshot was sent and installed.
    SnapshotSent {
        /// The peer.
        peer: NodeId,
        /// The group.
        group: GroupId,
        /// Its bytes.
        bytes: u64,
    },
    /// A snapshot came in whole.
    SnapshotReceived {
        /// The peer.
        peer: NodeId,
        /// The group.
        group: GroupId,
        /// Its bytes.
        bytes: u64,
    },
    /// A snapshot goes on where a broken transfer of it ended. Raised at both ends.
    SnapshotResumed {
        /// The peer at the other end.
        peer: NodeId,
        /// The group.
        group: GroupId,
        /// Bytes that the receiver has kept and that are not sent again.
        offset: u64,
        /// Bytes of the whole snapshot.
        length: u64,
    },
    /// The kernel grants a smaller socket buffer than was asked for.
    SocketBufferSmall {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes granted.
        granted: usize,
    },
    /// The socket is IPv4 and the peer has only IPv6 addresses.
    FamilyMismatch {
        /// The peer.
        peer: NodeId,
    },
}

/// Which end of a snapshot a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotDirection {
    /// It sends.
    Sent,
    /// It receives.
    Received,
}

impl SnapshotDirection {
    /// A short, stable name for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

impl Event {
    /// A short, stable name for metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LinkUp { .. } => "link_up",
            Self::LinkDown { .. } => "link_down",
            Self::LinkDraining { .. } => "link_draining",
            Self::DialFailed { .. } => "dial_failed",
            Self::Parked { .. } => "parked",
            Self::Refused { .. } => "refused",
            Self::Evicted { .. } => "evicted",
            Self::KeyPinned { .. } => "key_pinned",
            Self::CredentialsRead { problem: None } => "credentials_taken",
            Self::CredentialsRead { problem: Some(_) } => "credentials_refused",
            Self::CrlDue { stage, .. } => match stage {
                CrlStage::Stale => "crl_stale",
                CrlStage::Refusing => "crl_refusing",
                _ => "crl_near",
            },
            Self::CertificateRefused { .. } => "certificate_refused",
            Self::RefusedByPeer { .. } => "refused_by_peer",
            Self::HandshakeFailed { .. } => "handshake_failed",
            Self::DuplicateNode { .. } => "duplicate_node",
            Self::GoingAway { .. } => "going_away",
            Self::LaneFull { .. } => "lane_full",
            Self::OriginMismatch { .. } => "origin_mismatch",
            Self::EntryTooLarge { .. } => "entry_too_large",
            Self::HandlerPanicked { .. } => "handler_panicked",
            Self::SnapshotBegun { .. } => "snapshot_begun",
            Self::SnapshotProgress { .. } => "snapshot_progress",
            Self::SnapshotFailed { .. } => "snapshot_failed",
            Self::SnapshotSent { .. } => "snapshot_sent",
            Self::SnapshotReceived { .. } => "snapshot_received",
            Self::SnapshotResumed { .. } => "snapshot_resumed",
            Self::SocketBufferSmall { .. } => "socket_buffer_small",
            Self::FamilyMismatch { .. } => "family_mismatch",
        }
    }

    pub(crate) fn certificate_refused(
        address: SocketAddr,
        role: PeerRole,
        refusal: &CertificateRefusal,
    ) -> Self {
        Self::CertificateRefused {
            address,
            role,
            reason: refusal.label(),
            detail: refusal.to_string(),
        }
    }

    /// For a refusal: which end said no, and why.
    const fn refusal(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Refused { code, .. } => Some(("us", code.label())),
            Self::CertificateRefused { reason, .. } => Some(("us", reason)),
            Self::RefusedByPeer { code, .. } => Some(("peer", code.label())),
            _ => None,
        }
    }

    /// Whether a refusal after TLS stays until something changes. One that a dial soon mends is no
    /// line in a log; that of a certificate is logged by its check, within bounds.
    const fn is_refusal_for_long(&self) -> bool {
        match self {
            Self::Refused { code, .. } | Self::RefusedByPeer { code, .. } => {
                !matches!(code.class(), CloseClass::Retry)
            }
            _ => false,
        }
    }

    /// Whether an operator should look at once.
    const fn is_alarm(&self) -> bool {
        matches!(
            self,
            Self::DuplicateNode { .. }
                | Self::RefusedByPeer {
                    code: CloseCode::DuplicateNode,
                    ..
                }
                | Self::Evicted { .. }
                | Self::CredentialsRead { problem: Some(_) }
                | Self::CrlDue { .. }
                | Self::Parked { .. }
                | Self::OriginMismatch { .. }
                | Self::EntryTooLarge { .. }
                | Self::HandlerPanicked { .. }
        )
    }
}

/// Takes events from everywhere and hands them to the log, the metrics and the subscribers.
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

    /// We have refused a peer after TLS.
    pub(crate) fn refused(&self, peer: NodeId, address: SocketAddr, refusal: &AdmissionRefusal) {
        if refusal.code == CloseCode::DuplicateNode {
            self.raise(Event::DuplicateNode {
                peer,
                newcomer: address,
            });
        }
        self.raise(Event::Refused {
            peer,
            address,
            code: refusal.code,
            detail: refusal.detail.clone(),
        });
    }

    /// Raises an event. Never waits.
    pub(crate) fn raise(&self, event: Event) {
        let (node, name) = (self.node.get(), event.name());
        if event.is_alarm() {
            tracing::error!(target: "quicraft::link", node, event = name, "{event:?}");
        } else if event.is_refusal_for_long() {
            tracing::warn!(target: "quicraft::link", node, event = name, "{event:?}");
        } else {
            tracing::debug!(target: "quicraft::link", node, event = name, "{event:?}");
        }
        metrics::counter!("quicraft_events_total", "event" => name).increment(1);
        if let Some((by, reason)) = event.refusal() {
            metrics::counter!("quicraft_refusals_total", "by" => by, "reason" => reason)
                .increment(1);
        }
        // Without a subscriber there is nobody to tell.
        drop(self.sender.send(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A7: both ends raise a loud event, and every refusal that lasts is a line in the log.
    #[test]
    fn refusals_that_last_are_seen_at_both_ends() {
        let peer = NodeId::new(2).unwrap();
        for code in CloseCode::ALL.iter().copied() {
            let ours = Event::Refused {
                peer,
                address: ([127, 0, 0, 1], 7_000).into(),
                code,
                detail: String::new(),
            };
            let class = code.class();
            let theirs = Event::RefusedByPeer { peer, code, class };
            let lasts = class != CloseClass::Retry;
            assert_eq!(ours.is_refusal_for_long(), lasts, "{code}");
            assert_eq!(theirs.is_refusal_for_long(), lasts, "{code}");
            assert_eq!(
                theirs.is_alarm(),
                code == CloseCode::DuplicateNode,
                "{code}"
            );
        }
    }
}
