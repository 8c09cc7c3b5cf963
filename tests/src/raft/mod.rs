//! Whole openraft nodes for tests.
//!
//! What this room is for: Raft nodes whose disk is memory with knobs, so that a test of a network
//! has only the network to doubt. It must not know quinn, the switch or the transport: a network is
//! whatever `RaftNetworkFactory` a test hands to [`RaftNode::build`].
//!
//! - [`TypeConfig`]: what the groups of the tests replicate: opaque bytes;
//! - [`MemLog`]: the log and the vote, with a flush that can be delayed, and a power loss;
//! - [`Machine`]: a state machine that records what it applied, with snapshots in memory
//!   ([`InMemory`]) or in files ([`InFiles`]);
//! - [`ChannelNetwork`]: nodes call each other in process: the ceiling of what a network can reach;
//! - [`RaftNode`]: all of it together, as one node of one group.

mod channel;
mod log;
mod machine;
mod node;
mod snapshots;
mod types;

pub use self::channel::{ChannelClient, ChannelFactory, ChannelNetwork};
pub use self::log::MemLog;
pub use self::machine::{Applied, Machine, MachineSnapshotBuilder};
pub use self::node::{RaftNode, config};
pub use self::snapshots::{InFiles, InMemory, SnapshotStore};
pub use self::types::{Command, Recorded, TypeConfig};
