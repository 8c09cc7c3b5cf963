//! The identity of a node: its cluster and its id, and the one way to write both into a
//! certificate. It must not know certificates themselves.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::{ClusterName, InvalidClusterName, InvalidNodeId, NodeId};

const SCHEME: &str = "spiffe://";
const PATH: &str = "/node/";

/// Who a node is: a cluster and a node id.
///
/// The identity is the URI `spiffe://<cluster>/node/<id>`. There is exactly one spelling for each
/// identity: what [`NodeIdentity::parse_uri`] accepts, [`NodeIdentity::uri`] writes byte for byte.
/// The DNS name is for SNI, name constraints and other tools, and proves nothing.
///
/// ```
/// use quicraft_certs::NodeIdentity;
///
/// let identity = NodeIdentity::parse_uri("spiffe://prod.example/node/7")?;
/// assert_eq!(identity.node().get(), 7);
/// assert_eq!(identity.dns_name(), "node-7.prod.example");
/// assert!(NodeIdentity::parse_uri("spiffe://prod.example/node/07").is_err());
/// # Ok::<(), quicraft_certs::InvalidUri>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIdentity {
    cluster: ClusterName,
    node: NodeId,
}

impl NodeIdentity {
    /// Joins a cluster and a node id.
    #[must_use]
    pub const fn new(cluster: ClusterName, node: NodeId) -> Self {
        Self { cluster, node }
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// `spiffe://<cluster>/node/<id>`: the identity, as a certificate carries it.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}{PATH}{}", self.cluster, self.node)
    }

    /// `node-<id>.<cluster>`: the name that a dialer asks for.
    #[must_use]
    pub fn dns_name(&self) -> String {
        dns_name(&self.cluster, self.node)
    }

    /// Reads the one accepted spelling of an identity.
    ///
    /// # Errors
    ///
    /// [`InvalidUri`] for every other text: another scheme, another path, a port, a query, a
    /// leading zero, a percent sign, an upper-case letter, a NUL, and so on.
    pub fn parse_uri(uri: &str) -> Result<Self, InvalidUri> {
        let rest = uri.strip_prefix(SCHEME).ok_or(InvalidUri::Scheme)?;
        // The first slash ends the trust domain, as in every URI.
        let slash = rest.find('/').ok_or(InvalidUri::Path)?;
        let (cluster, path) = rest.split_at(slash);
        let cluster = ClusterName::new(cluster)?;
        let node = path.strip_prefix(PATH).ok_or(InvalidUri::Path)?;
        let identity = Self::new(cluster, node.parse()?);
        // The rules above leave one spelling. This line keeps that true when they change.
        if identity.uri() != uri {
            return Err(InvalidUri::NotCanonical);
        }
        Ok(identity)
    }
}

pub(crate) fn dns_name(cluster: &ClusterName, node: NodeId) -> String {
    format!("node-{node}.{cluster}")
}

/// Why a URI is not the identity of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum InvalidUri {
    /// It does not begin with `spiffe://` in lower case.
    #[error("the URI does not begin with spiffe://")]
    Scheme,
    /// What follows the cluster is not `/node/` and an id.
    #[error("the path of the URI is not /node/<id>")]
    Path,
    /// The trust domain is not a cluster name.
    #[error(transparent)]
    Cluster(#[from] InvalidClusterName),
    /// The last part is not a node id in canonical decimal.
    #[error(transparent)]
    Node(#[from] InvalidNodeId),
    /// It is a second spelling of an identity.
    #[error("the URI is not the canonical spelling of this identity")]
    NotCanonical,
}

impl FromStr for NodeIdentity {
    type Err = InvalidUri;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        Self::parse_uri(uri)
    }
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{PATH}{}", self.cluster, self.node)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls_pki_types::ServerName;

    use super::*;

    #[test]
    fn both_names_have_their_form() {
        let identity = NodeIdentity::parse_uri("spiffe://prod.example/node/7").unwrap();
        assert_eq!(identity.cluster().as_str(), "prod.example");
        assert_eq!(identity.node().get(), 7);
        assert_eq!(identity.uri(), "spiffe://prod.example/node/7");
        assert_eq!(identity.to_string(), identity.uri());
        assert_eq!(identity.dns_name(), "node-7.prod.example");
    }

    #[track_caller]
    fn refused(uris: &[(&str, InvalidUri)]) {
        for (uri, reason) in uris {
            assert_eq!(NodeIdentity::parse_uri(uri), Err(*reason), "{uri:?}");
        }
    }

    #[test]
    fn every_malformed_form_has_its_reason() {
        use InvalidUri::{Path, Scheme};
        refused(&[
            ("", Scheme),
            ("spiffe:/", Scheme),
            ("SPIFFE://prod/node/1", Scheme),
            ("https://prod/node/1", Scheme),
            (" spiffe://prod/node/1", Scheme),
            ("spiffe://", Path),
            ("spiffe://prod", Path),
            ("spiffe://prod/", Path),
            ("spiffe://prod/node", Path),
            ("spiffe://prod//node/1", Path),
            ("spiffe://prod/Node/1", Path),
            ("spiffe://prod/workload/1", Path),
            ("spiffe://prod/%6eode/1", Path),
        ]);
    }

    #[test]
    fn every_malformed_cluster_has_its_reason() {
        let character = |found| InvalidUri::Cluster(InvalidClusterName::Character { found });
        refused(&[
            ("spiffe:///node/1", InvalidClusterName::Empty.into()),
            ("spiffe://Prod/node/1", InvalidClusterName::UpperCase.into()),
            ("spiffe://prod:1/node/1", character(':')),
            ("spiffe://a@prod/node/1", character('@')),
            ("spiffe://prod?x/node/1", character('?')),
            ("spiffe://prod%2e/node/1", character('%')),
            ("spiffe://prod\0/node/1", character('\0')),
        ]);
    }

    #[test]
    fn every_malformed_node_has_its_reason() {
        use InvalidNodeId as Bad;
        refused(&[
            ("spiffe://prod/node/", Bad::Empty.into()),
            ("spiffe://prod/node/0", Bad::Zero.into()),
            ("spiffe://prod/node/02", Bad::LeadingZero.into()),
            ("spiffe://prod/node/+2", Bad::NotDecimal.into()),
            ("spiffe://prod/node/-2", Bad::NotDecimal.into()),
            ("spiffe://prod/node/%32", Bad::NotDecimal.into()),
            ("spiffe://prod/node/2/", Bad::NotDecimal.into()),
            ("spiffe://prod/node//2", Bad::NotDecimal.into()),
            ("spiffe://prod/node/2?x=1", Bad::NotDecimal.into()),
            ("spiffe://prod/node/2#x", Bad::NotDecimal.into()),
            ("spiffe://prod/node/2\0", Bad::NotDecimal.into()),
            ("spiffe://prod/node/2 ", Bad::NotDecimal.into()),
            (
                "spiffe://prod/node/18446744073709551616",
                Bad::TooLarge.into(),
            ),
        ]);
    }

    prop_compose! {
        fn identities()(
            labels in prop::collection::vec("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", 0..5),
            last in "[a-z][a-z0-9]{0,20}",
            id in 1..=u64::MAX,
        ) -> NodeIdentity {
            let name = labels.iter().map(|label| format!("{label}.")).collect::<String>() + &last;
            NodeIdentity::new(ClusterName::new(&name).unwrap(), NodeId::new(id).unwrap())
        }
    }

    proptest! {
        #[test]
        fn an_identity_survives_its_uri(identity in identities()) {
            prop_assert_eq!(NodeIdentity::parse_uri(&identity.uri()), Ok(identity));
        }

        #[test]
        fn every_dns_name_is_one(identity in identities()) {
            let is_dns = matches!(
                ServerName::try_from(identity.dns_name()),
                Ok(ServerName::DnsName(_))
            );
            prop_assert!(is_dns);
        }

        #[test]
        fn no_text_panics(uri in any::<String>()) {
            prop_assert!(NodeIdentity::parse_uri(&uri).is_err() || uri.starts_with(SCHEME));
        }

        /// Close to a good one, so that the later rules are reached too.
        #[test]
        fn whatever_is_accepted_is_canonical(uri in "spiffe://[a-z.A-Z0-9-]{0,12}/node/[0-9+%/]{0,21}") {
            if let Ok(identity) = NodeIdentity::parse_uri(&uri) {
                prop_assert_eq!(identity.uri(), uri);
            }
        }
    }
}
