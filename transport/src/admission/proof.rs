//! The proof that a peer was admitted.

use std::fmt;

use quicraft_certs::NodeId;

/// A node whose certificate and handshake were judged by admission.
///
/// Only admission makes one, so whoever holds it need not ask again who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProvenNode {
    node: NodeId,
}

impl ProvenNode {
    pub(super) const fn new(node: NodeId) -> Self {
        Self { node }
    }

    /// A proof without a handshake, for tests of what stands behind admission.
    #[cfg(test)]
    pub(crate) const fn for_tests(node: NodeId) -> Self {
        Self { node }
    }

    /// Its id.
    #[must_use]
    pub const fn node(self) -> NodeId {
        self.node
    }
}

impl fmt::Display for ProvenNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}
