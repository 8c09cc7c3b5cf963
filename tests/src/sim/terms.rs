//! The term of every group on every node.

use std::collections::BTreeMap;

use super::SimCluster;

/// The terms of a cluster at one moment, by node and group. Nobody was elected between two equal ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms(BTreeMap<(u64, u64), u64>);

impl Terms {
    /// The terms now.
    #[must_use]
    pub fn of(cluster: &SimCluster) -> Self {
        let nodes = cluster.nodes();
        Self(
            nodes
                .flat_map(|node| {
                    let groups = node.groups.keys();
                    groups.map(|&group| ((node.id, group), node.term(group)))
                })
                .collect(),
        )
    }

    /// The same without one group.
    #[must_use]
    pub fn without(mut self, group: u64) -> Self {
        self.0.retain(|(_, each), _| *each != group);
        self
    }
}
