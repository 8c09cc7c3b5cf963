//! Connections that have shown a certificate of the cluster and owe their hello: how many there may
//! be, and how many of one node, so that whoever has one node's key cannot keep all others out.

use std::collections::HashMap;

use quicraft_certs::NodeId;

/// Who owes a hello.
#[derive(Debug)]
pub struct Hellos {
    max: usize,
    of_node_max: usize,
    all: usize,
    /// Of each node that owes one; at most `max`.
    of_node: HashMap<NodeId, usize>,
}

impl Hellos {
    /// At most `max`, and at most `of_node_max` of one node.
    #[must_use]
    pub fn new(max: usize, of_node_max: usize) -> Self {
        Self {
            max,
            of_node_max,
            all: 0,
            of_node: HashMap::new(),
        }
    }

    /// One more, of the node that the certificate names. `false` if it may not be.
    #[must_use = "one that was not taken is not given back"]
    pub fn take(&mut self, node: NodeId) -> bool {
        let of_node = self.of_node.get(&node).copied().unwrap_or(0);
        let fits = self.all < self.max && of_node < self.of_node_max;
        if fits {
            self.all += 1;
            self.of_node.insert(node, of_node + 1);
        }
        fits
    }

    /// One that was taken has been judged, or is gone.
    pub fn give_back(&mut self, node: NodeId) {
        let Some(of_node) = self.of_node.get_mut(&node) else {
            return;
        };
        self.all -= 1;
        *of_node -= 1;
        if *of_node == 0 {
            self.of_node.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: u64) -> NodeId {
        NodeId::new(node).unwrap()
    }

    #[test]
    fn both_limits_hold_at_the_limit_and_one_past_it() {
        let mut hellos = Hellos::new(5, 2);
        for (node, fits) in [
            (1, true),
            (1, true),
            (1, false),
            (2, true),
            (2, true),
            (3, true),
            (4, false),
        ] {
            assert_eq!(hellos.take(id(node)), fits, "{node}");
        }
        hellos.give_back(id(1));
        // One that was never taken changes nothing.
        hellos.give_back(id(4));
        assert!(!hellos.take(id(2)));
        assert!(hellos.take(id(1)));
        for node in [1, 1, 2, 2, 3] {
            hellos.give_back(id(node));
        }
        assert!(hellos.all == 0 && hellos.of_node.is_empty());
    }
}
