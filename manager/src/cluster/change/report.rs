//! What came of a change.

use std::collections::BTreeMap;
use std::time::Duration;

use super::step::ChangeStep;
use crate::GroupName;

/// What was done in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupChange {
    /// The steps that this call took, in their order; none if the group was there already.
    pub steps: Vec<ChangeStep>,
    /// How long it took.
    pub took: Duration,
}

/// A change that is done: every group is where it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeReport {
    /// The node.
    pub node: u64,
    /// What this call did in each group.
    pub groups: BTreeMap<GroupName, GroupChange>,
    /// How long all of it took.
    pub took: Duration,
}
