//! What a host says of its cluster, and how it opens the groups that the cluster gives this node. It
//! must not know what is done with either.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use quicraft_transport::GroupId;

use super::error::ClusterError;
use crate::meta::{NewGroup, NodeRecord};
use crate::{GroupName, RaftManager};

/// What a node is configured with. It is the same on all of them but for `me`, and only the founding
/// looks at all of it: afterwards the `meta` group says what the cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterSpec {
    /// This node.
    pub me: u64,
    /// The members that found the cluster together, this node among them. A node that joins later
    /// lists itself and some members that it can ask.
    pub members: Vec<NodeRecord>,
    /// The groups that the cluster begins with, beside `meta`. A founder that is none of the members
    /// is refused.
    pub groups: Vec<NewGroup>,
    /// The operator vouches that none of the members belongs to a cluster, also those that do not
    /// answer: this node founds without them. Default `false`: it waits for all their answers.
    pub force_found: bool,
}

impl ClusterSpec {
    /// These members and no groups beside `meta`.
    #[must_use]
    pub fn new(me: u64, members: impl IntoIterator<Item = NodeRecord>) -> Self {
        Self {
            me,
            members: members.into_iter().collect(),
            groups: Vec::new(),
            force_found: false,
        }
    }

    /// The same with groups.
    #[must_use]
    pub fn with_groups(mut self, groups: impl IntoIterator<Item = NewGroup>) -> Self {
        self.groups.extend(groups);
        self
    }

    /// The same, founding without the answers of all members.
    #[must_use]
    pub const fn force_found(mut self) -> Self {
        self.force_found = true;
        self
    }

    /// The ids of the members.
    pub(super) fn configured(&self) -> BTreeSet<u64> {
        self.members.iter().map(|member| member.node).collect()
    }

    /// Checks it by itself. `own` is the node of the certificate.
    pub(super) fn validate(&self, own: u64) -> Result<(), ClusterError> {
        let mut ids = BTreeSet::new();
        for member in &self.members {
            member.validate()?;
            if !ids.insert(member.node) {
                let node = member.node;
                return Err(ClusterError::Misconfigured { node, own });
            }
        }
        if self.me != own {
            let node = self.me;
            return Err(ClusterError::Misconfigured { node, own });
        }
        if !ids.contains(&self.me) {
            let node = self.me;
            return Err(ClusterError::NotConfigured { node, members: ids });
        }
        Ok(())
    }
}

/// What a factory says when it fails.
pub type FactoryError = Box<dyn std::error::Error + Send + Sync>;

/// How the host opens and destroys this node's part of a group.
///
/// Opening means `RaftManager::start_group` with the host's log, state machine and types for that
/// name. It is called for every group that the cluster gives this node: at the start, and whenever
/// a group is created or this node is taken into one.
pub trait GroupFactory: Send + Sync + 'static {
    /// Starts this node's part of a group. Opening what is open is fine.
    fn open(
        &self,
        manager: RaftManager,
        name: GroupName,
        id: GroupId,
    ) -> BoxFuture<'static, Result<(), FactoryError>>;

    /// Deletes what this node has stored of a group that it is in no more. The group was shut down
    /// before. Deleting what is not there is fine. What fails is tried again for as long as the node
    /// runs, and until then no other group of that name is opened.
    fn destroy(&self, name: GroupName, id: GroupId)
    -> BoxFuture<'static, Result<(), FactoryError>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::InvalidNode;

    fn node(id: u64) -> NodeRecord {
        NodeRecord::new(id, [format!("10.0.0.{id}:4000")])
    }

    #[test]
    fn what_cannot_be_is_named() {
        let spec = |me, members: &[u64]| ClusterSpec::new(me, members.iter().map(|&id| node(id)));
        spec(1, &[1, 2, 3]).validate(1).unwrap();
        assert!(matches!(
            spec(1, &[1, 2, 2]).validate(1),
            Err(ClusterError::Misconfigured { node: 2, own: 1 })
        ));
        assert!(matches!(
            spec(2, &[1, 2]).validate(1),
            Err(ClusterError::Misconfigured { node: 2, own: 1 })
        ));
        assert!(matches!(
            spec(4, &[1, 2]).validate(4),
            Err(ClusterError::NotConfigured { node: 4, .. })
        ));
        let zero = ClusterSpec::new(1, [node(1), NodeRecord::new(0, ["a:1"])]);
        assert!(matches!(
            zero.validate(1),
            Err(ClusterError::Node(InvalidNode::Zero))
        ));
    }
}
