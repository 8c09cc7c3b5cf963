//! The certificates of the two nodes, issued in memory, as each peer wants them.

use std::sync::Arc;

use quicraft_certs::{Authority, ClusterName, CredentialStore, IssuedNode, NodeId};

use crate::pair::Failure;

/// The node that asks has the smaller id.
pub(crate) const ASKS: u64 = 1;
/// The node that answers.
pub(crate) const ANSWERS: u64 = 2;

const CLUSTER: &str = "bench.example";

/// An authority and its two nodes.
pub(crate) struct Nodes {
    pub(crate) authority: Authority,
    pub(crate) asks: IssuedNode,
    pub(crate) answers: IssuedNode,
}

impl Nodes {
    pub(crate) fn issue() -> Result<Self, Failure> {
        let authority = Authority::new(ClusterName::new(CLUSTER)?)?;
        let asks = authority.issue(NodeId::new(ASKS)?)?;
        let answers = authority.issue(NodeId::new(ANSWERS)?)?;
        Ok(Self {
            authority,
            asks,
            answers,
        })
    }

    /// The credentials of one of the two.
    pub(crate) fn store(&self, node: &IssuedNode) -> Result<Arc<CredentialStore>, Failure> {
        Ok(CredentialStore::new(node.credentials(&self.authority)?))
    }

    /// The DNS name in the certificate of the node that answers.
    pub(crate) fn server_name() -> String {
        format!("node-{ANSWERS}.{CLUSTER}")
    }
}
