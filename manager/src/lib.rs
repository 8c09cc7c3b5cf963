//! Many Raft groups on one transport: what belongs to a cluster rather than to one group.
//!
//! **What is here:** the names of groups ([`GroupName`]) and the families of shards with their stable
//! hash from key to shard ([`ShardFamily`]). Both are pure: no task, no network, no storage.
//!
//! **What is not here yet:** the manager itself. It will run any number of groups of any
//! `RaftTypeConfig` on one transport, found a cluster, change the membership of many groups in one
//! go, forward proposals to leaders, balance and drain leaders, shut down in order, and show one
//! status. Until then a host does with its groups what it did before: it makes each `Raft` with the
//! factory of `quicraft_transport::raft`, serves it, and calls openraft for the rest.
//!
//! A name is for people; on the wire a group is a number, `quicraft_transport::GroupId`. Which
//! number a name has is the host's to decide and to keep.
//!
//! ```
//! use quicraft_manager::{GroupName, ShardFamily};
//!
//! let orders = ShardFamily::new("orders", 32)?;
//! let group = orders.group_of(b"order-4711");
//! assert_eq!(group.family(), "orders");
//! assert_eq!(group, GroupName::parse(&group.to_string())?);
//!
//! let meta: GroupName = "meta".parse()?;
//! assert_eq!(meta.shard(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod group_name;
mod shard_family;
mod shard_hash;

pub use group_name::{GroupName, InvalidGroupName};
pub use shard_family::{InvalidShardCount, NewFamilyError, ShardFamily, ShardOutOfRange};
pub use shard_hash::shard_hash;
