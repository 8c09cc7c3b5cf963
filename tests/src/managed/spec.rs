//! What a managed cluster is made of.

use std::time::Duration;

use openraft::Config;
use quicraft_manager::{GroupName, RaftManagerConfig};
use quicraft_transport::TransportConfig;
use quicraft_transport::raft::RaftTiming;

use crate::switch::Conditions;

/// How a cluster is built. Fields are set before it is made.
#[derive(Debug, Clone)]
pub struct ManagedSpec {
    /// The ids of the nodes that are configured to found it.
    pub founders: Vec<u64>,
    /// Those that found it without the answers of all the others.
    pub forced: Vec<u64>,
    /// The groups beside meta that it is founded with.
    pub groups: Vec<GroupName>,
    /// The random choices of the network and of the load.
    pub seed: u64,
    /// What every path does to datagrams.
    pub conditions: Conditions,
    /// Settings of every group.
    pub raft: Config,
    /// Settings of every transport.
    pub transport: TransportConfig,
    /// Settings of every manager.
    pub manager: RaftManagerConfig,
}

impl ManagedSpec {
    /// A cluster of these nodes with so many groups of the family `orders`, on a perfect network with
    /// a round trip of 10 ms, with the settings of the hosts (heartbeat 200 ms, election 1,000 to
    /// 2,000 ms).
    #[must_use]
    pub fn new(founders: impl IntoIterator<Item = u64>, groups: u32) -> Self {
        let raft = crate::raft::config();
        Self {
            founders: founders.into_iter().collect(),
            forced: Vec::new(),
            groups: (0..groups).map(orders).collect(),
            seed: 1,
            conditions: Conditions::delayed(Duration::from_millis(5)),
            transport: TransportConfig::default().with_timing(RaftTiming::derive(&raft)),
            raft,
            manager: RaftManagerConfig::default(),
        }
    }
}

/// The name of the meta group.
///
/// # Panics
///
/// Never: it is a name.
#[must_use]
pub fn meta_name() -> GroupName {
    name("meta")
}

/// The name of a group of the family `orders`.
///
/// # Panics
///
/// Never: it is a name.
#[must_use]
pub fn orders(shard: u32) -> GroupName {
    name(&format!("orders/{shard}"))
}

fn name(text: &str) -> GroupName {
    GroupName::parse(text).unwrap_or_else(|error| panic!("{error}"))
}
