//! Rules 1 to 3: what a handshake says about itself, held against what we know.
//!
//! The same rules run on a Hello and on a Welcome.

use std::time::Duration;

use quicraft_certs::{ClusterName, NodeId};

use super::ProvenNode;
use crate::close::CloseCode;
use crate::frame::{Introduction, PROTOCOL_VERSION};
use crate::limits::RETRY_AFTER;

/// What the roster says about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It may enter. With a pin, only with that key.
    Member {
        /// SHA-256 of the subject public key info, if the roster pins it.
        pin: Option<[u8; 32]>,
    },
    /// It was removed and may never come back under this id.
    Removed,
    /// The roster does not know it.
    Unknown,
    /// Its operator suspended it, for a drill.
    Suspended,
}

impl Standing {
    /// The code for a node that may not enter, whatever its key.
    #[must_use]
    pub const fn bars(self) -> Option<CloseCode> {
        match self {
            Self::Member { .. } => None,
            Self::Removed => Some(CloseCode::Removed),
            Self::Unknown => Some(CloseCode::NotMember),
            Self::Suspended => Some(CloseCode::Suspended),
        }
    }

    /// The code for a node that may not enter with this key.
    #[must_use]
    pub fn refuses(self, key_hash: [u8; 32]) -> Option<CloseCode> {
        match self {
            Self::Member { pin: Some(pin) } if pin != key_hash => Some(CloseCode::KeyNotPinned),
            other => other.bars(),
        }
    }
}

/// What this node is, as far as admission compares it.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by tests and by the endpoint, field by field"
)]
pub struct LocalFacts {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The uid of the founding; 0 before it.
    pub cluster_uid: u128,
    /// The codec of its bodies.
    pub codec: u8,
    /// The version of its Raft messages.
    pub raft_wire: u16,
}

/// What a handshake said, and what the certificate proved.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by tests and by the link, field by field"
)]
pub struct PeerFacts<'a> {
    /// The node id in the certificate.
    pub certified: NodeId,
    /// SHA-256 of the certificate's subject public key info.
    pub key_hash: [u8; 32],
    /// Whom the peer speaks to: `to` of a Hello, `you` of a Welcome.
    pub addressed: NodeId,
    /// Whom we dialled; nothing where the peer dialled us.
    pub wanted: Option<NodeId>,
    /// The versions that it speaks; both the same in a Welcome.
    pub versions: (u16, u16),
    /// Everything else that it said about itself.
    pub introduction: &'a Introduction,
}

/// No, and what the other end is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
#[non_exhaustive]
pub struct AdmissionRefusal {
    /// The code that travels.
    pub code: CloseCode,
    /// When it may ask again, where the code's class is retry-after.
    pub retry_after: Duration,
    /// For the local log only.
    pub detail: String,
}

impl AdmissionRefusal {
    pub(crate) fn new(code: CloseCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            retry_after: RETRY_AFTER,
            detail: detail.into(),
        }
    }
}

/// Judges everything about a peer that needs no record of earlier connections.
///
/// # Errors
///
/// The first rule that is broken, in the order of the design.
pub fn screen(
    me: &LocalFacts,
    peer: &PeerFacts<'_>,
    standing: Standing,
) -> Result<ProvenNode, AdmissionRefusal> {
    protocol(me, peer)?;
    addressing(me, peer)?;
    membership(me, peer, standing)?;
    Ok(ProvenNode::new(peer.certified))
}

/// Rule 1, first half: do both speak of the same thing in the same words?
fn protocol(me: &LocalFacts, peer: &PeerFacts<'_>) -> Result<(), AdmissionRefusal> {
    let said = peer.introduction;
    let refuse = |code, detail: String| Err(AdmissionRefusal::new(code, detail));
    let (low, high) = peer.versions;
    if !(low..=high).contains(&PROTOCOL_VERSION) {
        let detail = format!("it speaks versions {low} to {high}, we speak {PROTOCOL_VERSION}");
        return refuse(CloseCode::VersionMismatch, detail);
    }
    if said.cluster != me.cluster {
        let detail = format!(
            "it is of cluster {}, we are of {}",
            said.cluster, me.cluster
        );
        return refuse(CloseCode::WrongCluster, detail);
    }
    let founded = me.cluster_uid != 0 && said.cluster_uid != 0;
    if founded && said.cluster_uid != me.cluster_uid {
        let detail = format!(
            "it is of the founding {:032x} of the cluster, we are of {:032x}",
            said.cluster_uid, me.cluster_uid
        );
        return refuse(CloseCode::WrongCluster, detail);
    }
    if said.codec != me.codec {
        let detail = format!("its codec is {}, ours is {}", said.codec, me.codec);
        return refuse(CloseCode::CodecMismatch, detail);
    }
    if said.raft_wire != me.raft_wire {
        let detail = format!(
            "its Raft wire is {}, ours is {}",
            said.raft_wire, me.raft_wire
        );
        return refuse(CloseCode::RaftWireMismatch, detail);
    }
    Ok(())
}

/// Rule 1, second half, and the first of rule 2: who speaks to whom?
fn addressing(me: &LocalFacts, peer: &PeerFacts<'_>) -> Result<(), AdmissionRefusal> {
    let refuse = |code, detail: String| Err(AdmissionRefusal::new(code, detail));
    if peer.certified == me.node {
        return refuse(
            CloseCode::SelfId,
            format!("it shows our own id {}", me.node),
        );
    }
    if peer.introduction.from != peer.certified {
        let (said, proven) = (peer.introduction.from, peer.certified);
        let detail = format!("it says that it is node {said}, its certificate says {proven}");
        return refuse(CloseCode::IdMismatch, detail);
    }
    if let Some(wanted) = peer.wanted.filter(|wanted| *wanted != peer.certified) {
        let detail = format!("we dialled node {wanted}, node {} answered", peer.certified);
        return refuse(CloseCode::WrongTarget, detail);
    }
    if peer.addressed != me.node {
        let detail = format!(
            "it speaks to node {}, we are node {}",
            peer.addressed, me.node
        );
        // A wrong echo of our own certificate means that the acceptor never asked for it.
        let code = if peer.wanted.is_some() {
            CloseCode::IdMismatch
        } else {
            CloseCode::WrongTarget
        };
        return refuse(code, detail);
    }
    Ok(())
}

/// Rules 2 and 3: may this node enter, and with this key?
fn membership(
    me: &LocalFacts,
    peer: &PeerFacts<'_>,
    standing: Standing,
) -> Result<(), AdmissionRefusal> {
    let node = peer.certified;
    let Some(code) = standing.refuses(peer.key_hash) else {
        return Ok(());
    };
    let detail = match standing {
        Standing::Member { .. } => format!("the roster pins another key for node {node}"),
        Standing::Removed => format!("node {node} was removed from cluster {}", me.cluster),
        Standing::Unknown => format!("the roster of node {} does not know node {node}", me.node),
        Standing::Suspended => format!("node {node} is suspended here"),
    };
    Err(AdmissionRefusal::new(code, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: u64) -> NodeId {
        NodeId::new(node).unwrap()
    }

    fn me() -> LocalFacts {
        let cluster = ClusterName::new("prod.example").unwrap();
        LocalFacts {
            node: id(1),
            cluster,
            cluster_uid: 7,
            codec: 1,
            raft_wire: 1,
        }
    }

    fn introduction() -> Introduction {
        Introduction {
            cluster: ClusterName::new("prod.example").unwrap(),
            cluster_uid: 7,
            from: id(2),
            boot: 1,
            epoch: 1,
            generation: 1,
            features: 0,
            codec: 1,
            raft_wire: 1,
            frame_bytes_max: 1,
            entry_bytes_max: 1,
        }
    }

    const MEMBER: Standing = Standing::Member { pin: None };

    fn verdict(
        standing: Standing,
        change: impl FnOnce(&mut PeerFacts<'_>, &mut Introduction),
    ) -> Result<ProvenNode, CloseCode> {
        let template = introduction();
        let mut said = introduction();
        let mut facts = PeerFacts {
            certified: id(2),
            key_hash: [9; 32],
            addressed: id(1),
            wanted: None,
            versions: (PROTOCOL_VERSION, PROTOCOL_VERSION),
            introduction: &template,
        };
        change(&mut facts, &mut said);
        let facts = PeerFacts {
            introduction: &said,
            ..facts
        };
        screen(&me(), &facts, standing).map_err(|refusal| refusal.code)
    }

    /// A1 to A3, H3: each rule and its code.
    #[test]
    fn each_rule_has_its_code() {
        let pinned = |pin| Standing::Member { pin: Some(pin) };
        assert_eq!(verdict(MEMBER, |_, _| ()).map(ProvenNode::node), Ok(id(2)));
        assert_eq!(
            verdict(pinned([9; 32]), |_, _| ()).map(ProvenNode::node),
            Ok(id(2))
        );
        let table: Vec<(CloseCode, Result<ProvenNode, CloseCode>)> = vec![
            (
                CloseCode::VersionMismatch,
                verdict(MEMBER, |f, _| f.versions = (PROTOCOL_VERSION + 1, u16::MAX)),
            ),
            (
                CloseCode::VersionMismatch,
                verdict(MEMBER, |f, _| f.versions = (1, PROTOCOL_VERSION - 1)),
            ),
            (
                CloseCode::VersionMismatch,
                verdict(MEMBER, |f, _| f.versions = (PROTOCOL_VERSION, 0)),
            ),
            (
                CloseCode::WrongCluster,
                verdict(MEMBER, |_, i| {
                    i.cluster = ClusterName::new("other.example").unwrap()
                }),
            ),
            (
                CloseCode::WrongCluster,
                verdict(MEMBER, |_, i| i.cluster_uid = 8),
            ),
            (
                CloseCode::CodecMismatch,
                verdict(MEMBER, |_, i| i.codec = 2),
            ),
            (
                CloseCode::RaftWireMismatch,
                verdict(MEMBER, |_, i| i.raft_wire = 2),
            ),
            (
                CloseCode::SelfId,
                verdict(MEMBER, |f, _| f.certified = id(1)),
            ),
            (
                CloseCode::IdMismatch,
                verdict(MEMBER, |_, i| i.from = id(3)),
            ),
            (
                CloseCode::WrongTarget,
                verdict(MEMBER, |f, _| f.addressed = id(3)),
            ),
            (
                CloseCode::WrongTarget,
                verdict(MEMBER, |f, _| f.wanted = Some(id(3))),
            ),
            (
                CloseCode::IdMismatch,
                verdict(MEMBER, |f, _| {
                    (f.wanted, f.addressed) = (Some(id(2)), id(3))
                }),
            ),
            (CloseCode::NotMember, verdict(Standing::Unknown, |_, _| ())),
            (CloseCode::Removed, verdict(Standing::Removed, |_, _| ())),
            (
                CloseCode::Suspended,
                verdict(Standing::Suspended, |_, _| ()),
            ),
            (CloseCode::KeyNotPinned, verdict(pinned([8; 32]), |_, _| ())),
        ];
        for (row, (expected, found)) in table.into_iter().enumerate() {
            assert_eq!(found.err(), Some(expected), "row {row}");
        }
    }

    /// A cluster that is not founded yet has no uid, and meets one that is.
    /// A1: a uid of 0 is none.
    #[test]
    fn an_unfounded_end_is_not_another_cluster() {
        assert!(verdict(MEMBER, |_, said| said.cluster_uid = 0).is_ok());
    }
}
