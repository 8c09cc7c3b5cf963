//! What the cluster knows of one node. It must not know how a node is reached or admitted.

use std::fmt;

use quicraft_transport::limits::ADDRESSES_MAX;
use quicraft_transport::{InvalidAddress, NodeId, PeerAddress};
use serde::{Deserialize, Serialize};

/// Bytes of what a host keeps about a node. 4 KiB: an address, a zone, a few labels; the record
/// stands in every membership of every group.
pub const DATA_BYTES_MAX: usize = 4 << 10;

/// How a node stands in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NodeStanding {
    /// It may enter, and is being taken into its groups.
    Joining,
    /// It is in its groups.
    Member,
    /// It may still enter, and is being taken out of its groups.
    Leaving,
    /// It may never enter again, and its id is not given to another.
    Removed,
}

impl fmt::Display for NodeStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Member => "member",
            Self::Leaving => "leaving",
            Self::Removed => "removed",
        })
    }
}

/// A node as the `meta` group holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeRecord {
    /// Its id, never 0.
    pub node: u64,
    /// Where its peers reach it: `host:port` or `[v6]:port`, at least one and at most
    /// [`ADDRESSES_MAX`].
    pub addresses: Vec<String>,
    /// SHA-256 of its public key, if the cluster insists on that key.
    pub pin: Option<[u8; 32]>,
    /// What the host keeps about it, for example where it serves clients; at most
    /// [`DATA_BYTES_MAX`] bytes. The manager only carries it.
    pub data: String,
}

/// Why a record of a node cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNode {
    /// 0 is no node.
    #[error("0 is no id of a node; number the nodes from 1")]
    Zero,
    /// Nobody could reach it.
    #[error("node {node} has no address")]
    NoAddress {
        /// The node.
        node: u64,
    },
    /// More addresses than are kept.
    #[error("node {node} has {count} addresses; {ADDRESSES_MAX} are kept at most")]
    TooManyAddresses {
        /// The node.
        node: u64,
        /// How many.
        count: usize,
    },
    /// An address that is none.
    #[error("node {node} cannot be reached")]
    Address {
        /// The node.
        node: u64,
        /// What is wrong with it.
        #[source]
        source: InvalidAddress,
    },
    /// The same address twice.
    #[error("node {node} has the address {address} twice")]
    AddressTwice {
        /// The node.
        node: u64,
        /// The address.
        address: String,
    },
    /// More of the host's own than is kept.
    #[error("node {node} has {size} bytes of data; {DATA_BYTES_MAX} are kept at most")]
    DataTooLarge {
        /// The node.
        node: u64,
        /// How many.
        size: usize,
    },
}

impl NodeRecord {
    /// A node that is reached at `addresses`.
    #[must_use]
    pub fn new(node: u64, addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            node,
            addresses: addresses.into_iter().map(Into::into).collect(),
            pin: None,
            data: String::new(),
        }
    }

    /// The same with what the host keeps about it.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<String>) -> Self {
        self.data = data.into();
        self
    }

    /// The same, insisting on a public key.
    #[must_use]
    pub const fn pinned(mut self, key_hash: [u8; 32]) -> Self {
        self.pin = Some(key_hash);
        self
    }

    /// Checks it by itself.
    ///
    /// # Errors
    ///
    /// [`InvalidNode`] names the value that cannot be.
    pub fn validate(&self) -> Result<(), InvalidNode> {
        let node = self.node;
        NodeId::new(node).map_err(|_| InvalidNode::Zero)?;
        let count = self.addresses.len();
        if count == 0 {
            return Err(InvalidNode::NoAddress { node });
        }
        if count > ADDRESSES_MAX {
            return Err(InvalidNode::TooManyAddresses { node, count });
        }
        for (at, address) in self.addresses.iter().enumerate() {
            let parsed = address.parse::<PeerAddress>();
            parsed.map_err(|source| InvalidNode::Address { node, source })?;
            if self.addresses[..at].contains(address) {
                let address = address.clone();
                return Err(InvalidNode::AddressTwice { node, address });
            }
        }
        let size = self.data.len();
        if size > DATA_BYTES_MAX {
            return Err(InvalidNode::DataTooLarge { node, size });
        }
        Ok(())
    }

    /// Its addresses as the transport takes them. What was validated loses none.
    #[must_use]
    pub fn peer_addresses(&self) -> Vec<PeerAddress> {
        let parsed = self.addresses.iter().map(|address| address.parse());
        parsed.filter_map(Result::ok).collect()
    }
}

/// A host's type for a node of openraft's memberships, made of what the cluster knows of it.
///
/// Implement it for the `Node` of your type config if that is not one of openraft's own.
pub trait ClusterNode: openraft::Node {
    /// The node of this record.
    fn of(record: &NodeRecord) -> Self;
}

impl ClusterNode for openraft::BasicNode {
    fn of(record: &NodeRecord) -> Self {
        Self::new(record.addresses.first().cloned().unwrap_or_default())
    }
}

impl ClusterNode for openraft::EmptyNode {
    fn of(_: &NodeRecord) -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> NodeRecord {
        NodeRecord::new(3, [address])
    }

    #[test]
    fn what_cannot_be_is_named() {
        at("10.0.0.3:4000").validate().unwrap();
        assert_eq!(
            NodeRecord::new(0, ["a:1"]).validate(),
            Err(InvalidNode::Zero)
        );
        let none = NodeRecord::new(3, Vec::<String>::new());
        assert_eq!(none.validate(), Err(InvalidNode::NoAddress { node: 3 }));
        for malformed in ["", "host", "host:0", "::1:4000", "host:x"] {
            let invalid = at(malformed).validate();
            assert!(
                matches!(invalid, Err(InvalidNode::Address { node: 3, .. })),
                "{malformed:?}: {invalid:?}"
            );
        }
        let twice = NodeRecord::new(3, ["a:1", "b:1", "a:1"]).validate();
        assert!(matches!(twice, Err(InvalidNode::AddressTwice { .. })));
    }

    #[test]
    fn limits_hold_at_the_limit_and_one_past_it() {
        let many = |count: usize| NodeRecord::new(3, (1..=count).map(|port| format!("a:{port}")));
        many(ADDRESSES_MAX).validate().unwrap();
        let over = many(ADDRESSES_MAX + 1).validate();
        assert!(matches!(
            over,
            Err(InvalidNode::TooManyAddresses { count: 17, .. })
        ));
        let data = |bytes: usize| at("a:1").with_data("x".repeat(bytes));
        data(DATA_BYTES_MAX).validate().unwrap();
        let over = data(DATA_BYTES_MAX + 1).validate();
        assert!(matches!(
            over,
            Err(InvalidNode::DataTooLarge { size: 4097, .. })
        ));
    }
}
