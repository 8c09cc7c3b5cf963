//! Many Raft groups on one transport: what belongs to a cluster rather than to one group.
//!
//! **What is here:** the [`RaftManager`], which holds any number of groups of any `RaftTypeConfig` on
//! one transport; proposals and linearizable reads from any node, which find the leader of their
//! group and wait for it ([`Group::propose`], [`Group::read`]); what is done to all groups, with a
//! bound and a result for each ([`RaftManager::for_all_groups`]); the names of groups ([`GroupName`])
//! and the families of shards with their stable hash from key to shard ([`ShardFamily`]).
//!
//! **What is not here yet:** founding a cluster, the change of membership of many groups in one go,
//! balancing and draining leaders, and one status of the whole cluster. Until then a host founds its
//! groups and changes their members with openraft's own handle, [`Group::raft`].
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

mod cluster;
mod config;
mod control;
mod error;
mod far;
mod forward;
mod group;
mod group_name;
mod leaders;
mod manager;
mod many;
mod meta;
pub mod raft_config;
mod sessions;
mod shard_family;
mod shard_hash;
mod stopping;
mod watch;

pub use cluster::{
    ChangeObserver, ChangeOptions, ChangePoint, ChangeReport, ChangeStep, ClusterError,
    ClusterSpec, FactoryError, FormationReport, FormationState, GroupActed, GroupChange,
    GroupFactory, NodeActed,
};
pub use config::{InvalidConfig, RaftManagerConfig};
pub use error::{NodeAt, OperationError, RequestError, StartGroupError};
pub use far::{FarGroup, RemoteGroup};
pub use group::{
    ActionOutcome, Changed, Group, GroupAction, GroupGoal, GroupOperations, GroupProgress,
    GroupRefusal, GroupSpec, GroupStatus, GroupStep, Proposed, RequestOptions, Transferred,
};
pub use group_name::{GroupName, InvalidGroupName};
pub use leaders::LeaderMove;
pub use manager::{GroupResult, RaftManager};
pub use meta::{
    ClusterNode, DATA_BYTES_MAX, GroupRecord, GroupRole, GroupSelection, InvalidNode,
    META_VOTERS_MAX, Meta, MetaCommand, MetaRefusal, MetaReply, MetaState, NewGroup, NodeEntry,
    NodeRecord, NodeStanding,
};
pub use sessions::{ClientSession, CommandId, Delivery, SessionLimits, SessionTable, StaleCommand};
pub use shard_family::{InvalidShardCount, NewFamilyError, ShardFamily, ShardOutOfRange};
pub use shard_hash::shard_hash;
pub use stopping::GroupStopped;
pub use watch::{
    ClusterStatus, EVENTS_KEPT_MAX, Event, FollowerReport, FollowerSample, FormationStage,
    GroupHealth, GroupReport, GroupSample, GroupView, HostFacts, LinkReport, LinkStanding,
    Liveness, MemberView, NodeReport, NodeView, Problem, Reach, assemble,
};
