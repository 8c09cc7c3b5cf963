//! Where known peers are, by IP address: what the roster lists, what its names resolved to, and
//! where a link came from.
//!
//! An address here proves nothing; it only decides whose first packet may have a place of the
//! reserve. Ports do not count: a node behind a NAT comes from another one each time.

use std::collections::HashMap;
use std::net::IpAddr;

use quicraft_certs::NodeId;

/// How an address was learned. Each kind replaces what was learned in the same way before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Learned {
    /// The roster lists it.
    Listed,
    /// A name of the roster resolved to it at the last dial.
    Resolved,
    /// The last link that the peer has dialled came from it.
    Linked,
}

impl Learned {
    const ALL: [Self; 3] = [Self::Listed, Self::Resolved, Self::Linked];
}

/// The addresses of known peers.
///
/// Bounded by its users: a peer has at most
/// [`ADDRESSES_MAX`](crate::limits::ADDRESSES_MAX) listed addresses,
/// [`DIAL_TARGETS_MAX`](crate::limits::DIAL_TARGETS_MAX) resolved ones, and one of a link.
#[derive(Debug, Default)]
pub struct KnownAddresses {
    of: HashMap<(NodeId, Learned), Vec<IpAddr>>,
    /// How often each address is above.
    count: HashMap<IpAddr, usize>,
}

impl KnownAddresses {
    /// A peer is at these addresses, and where it was before it is not any more.
    pub fn learn(
        &mut self,
        node: NodeId,
        learned: Learned,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) {
        let addresses: Vec<_> = addresses
            .into_iter()
            .map(|address| address.to_canonical())
            .collect();
        for address in &addresses {
            *self.count.entry(*address).or_insert(0) += 1;
        }
        let before = if addresses.is_empty() {
            self.of.remove(&(node, learned))
        } else {
            self.of.insert((node, learned), addresses)
        };
        for address in before.unwrap_or_default() {
            self.uncount(address);
        }
    }

    /// A peer may not enter any more, wherever it is.
    pub fn forget(&mut self, node: NodeId) {
        for learned in Learned::ALL {
            self.learn(node, learned, []);
        }
    }

    /// Whether a peer is known to be there.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.count.contains_key(&address.to_canonical())
    }

    fn uncount(&mut self, address: IpAddr) {
        if let Some(count) = self.count.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.count.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: u64) -> NodeId {
        NodeId::new(node).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_known_as_long_as_somebody_is_there() {
        let mut known = KnownAddresses::default();
        let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
        known.learn(id(1), Learned::Listed, [a, b]);
        known.learn(id(1), Learned::Linked, [a]);
        known.learn(id(2), Learned::Resolved, [b, b]);
        // Where it is now, it is not where it was.
        known.learn(id(1), Learned::Listed, [b]);
        assert!(known.contains(a), "its link came from there");
        known.learn(id(1), Learned::Linked, []);
        assert!(!known.contains(a));
        known.forget(id(1));
        assert!(known.contains(b), "another is there");
        known.forget(id(2));
        assert!(!known.contains(b));
        assert!(known.of.is_empty() && known.count.is_empty());
    }

    #[test]
    fn a_mapped_address_is_the_one_of_ipv4() {
        let mut known = KnownAddresses::default();
        known.learn(id(1), Learned::Linked, [ip("::ffff:10.0.0.1")]);
        assert!(known.contains(ip("10.0.0.1")));
        known.learn(id(1), Learned::Linked, [ip("10.0.0.2")]);
        assert!(known.contains(ip("::ffff:10.0.0.2")));
        assert!(!known.contains(ip("::ffff:10.0.0.1")));
    }
}
