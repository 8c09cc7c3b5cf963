//! What the nodes of a cluster ask each other beside the groups: methods, questions and answers. It
//! must not know how they travel.

use std::collections::BTreeSet;

use quicraft_transport::GroupId;
use serde::{Deserialize, Serialize};

use crate::group::GroupAction;
use crate::meta::{GroupSelection, NodeRecord, NodeStanding};
use crate::{GroupName, MetaRefusal};

/// The number under which a node answers for itself. No group can have it.
pub(crate) const CONTROL: GroupId = GroupId::new(u64::MAX);

/// The methods of a node's control service.
pub(crate) mod method {
    /// Who are you, and what do you know of me? An [`Identity`](super::Identity).
    pub(crate) const IDENTITY: u16 = 1;
    /// My disk keeps the cluster's uid now. A [`Seated`](super::Seated).
    pub(crate) const SEAT: u16 = 2;
    /// You are in this group no more: end it. Nothing, or why not.
    pub(crate) const CLOSE: u16 = 3;
    /// Do this in your part of some groups. A list of [`GroupActed`](crate::GroupActed).
    pub(crate) const ACT: u16 = 4;
    /// How do you stand? A [`NodeReport`](crate::NodeReport).
    pub(crate) const STATUS: u16 = 5;
    /// Who is in the cluster, and where? M6: a [`Neighbours`](super::Neighbours).
    pub(crate) const NEIGHBOURS: u16 = 6;
}

/// What a node says of itself, and what it knows of the one who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Identity {
    /// It belongs to no cluster, and its disk is empty. It is configured with these members.
    /// With `forced` it may found the cluster without the answers of the others.
    Empty {
        configured: BTreeSet<u64>,
        forced: bool,
    },
    /// It belongs to a cluster, and cannot say more yet.
    Starting { uid: u128 },
    /// It belongs to a cluster, which knows the one who asks so.
    Cluster {
        uid: u128,
        standing: Option<NodeStanding>,
        seated: bool,
    },
}

/// What came of a seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Seated {
    /// It is noted. Before the node has applied this index of the meta group, what it applies may be
    /// older than what let it in.
    Done { floor: u64 },
    /// The cluster does not have it.
    Refused(MetaRefusal),
}

/// The nodes that may enter, for one that cannot learn it from the meta group, because it does not
/// know the leader that would tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Neighbours {
    /// What was applied of the meta group by then.
    pub(crate) floor: u64,
    pub(crate) nodes: Vec<NodeRecord>,
}

/// The group that is to be ended on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Close {
    pub(crate) group: GroupName,
    pub(crate) id: u64,
}

/// What a node is to do in its part of some groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Act {
    pub(crate) groups: GroupSelection,
    pub(crate) action: GroupAction,
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use quicraft_transport::raft::{Codec as _, RaftCodec};

    use super::*;
    use crate::forward::method as group;

    fn bytes(value: &impl Serialize) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        RaftCodec::encode(value, &mut bytes).unwrap();
        bytes.to_vec()
    }

    /// M1: the numbers of the methods, and of the node itself.
    #[test]
    fn methods_keep_their_numbers() {
        let of_groups = [
            group::PROPOSE,
            group::READ_POINT,
            group::CHANGE,
            group::PROGRESS,
            group::TRANSFER,
        ];
        assert_eq!(of_groups, [0x100, 0x101, 0x102, 0x103, 0x104]);
        let of_nodes = [
            method::IDENTITY,
            method::SEAT,
            method::CLOSE,
            method::ACT,
            method::STATUS,
        ];
        assert_eq!(of_nodes, [1, 2, 3, 4, 5]);
        assert_eq!(CONTROL.get(), u64::MAX);
    }

    /// M3, M4: the bytes, which a change of version must not change by accident.
    #[test]
    fn identities_and_seats_keep_their_bytes() {
        let empty = Identity::Empty {
            configured: BTreeSet::from([1, 2]),
            forced: true,
        };
        assert_eq!(bytes(&empty), [0, 2, 1, 2, 1]);
        assert_eq!(bytes(&Identity::Starting { uid: 7 }), [1, 7]);
        let cluster = Identity::Cluster {
            uid: 7,
            standing: Some(NodeStanding::Member),
            seated: true,
        };
        assert_eq!(bytes(&cluster), [2, 7, 1, 1, 1]);
        assert_eq!(bytes(&Seated::Done { floor: 9 }), [0, 9]);
        let close = Close {
            group: GroupName::parse("a/1").unwrap(),
            id: 3,
        };
        assert_eq!(bytes(&close), [3, b'a', b'/', b'1', 3]);
    }
}
