//! Managed clusters on the switch: nodes with a manager each, that found, grow, shrink, crash and lose
//! their disks, under load, in virtual time.
//!
//! What this room is for: be the host of a manager as an application is, and do to its nodes what a
//! bad day does. It must not know how the manager does what it is asked.
//!
//! - [`ManagedSpec`]: who founds the cluster, with which groups, on which network;
//! - [`ManagedCluster`]: the nodes, and what a test does to them;
//! - [`ManagedNode`]: one running node; [`OnNode`] is something that runs there and dies with it;
//! - [`Opener`]: how a node opens its groups;
//! - [`MetaTypes`], [`MetaMachine`]: a meta group in which the host keeps notes of its own;
//! - [`Load`]: writers and readers of all groups, and [`Requests`]: what became of theirs.
//!
//! **A crash** takes everything of a node at one moment: it is cut off from the switch, its disks are
//! copied as they are then, and the next run begins from the copies, so that what is left of the
//! former run can neither say nor keep anything any more.

mod cluster;
mod home;
mod load;
mod machine;
mod node;
mod opener;
mod spec;
mod types;

pub use self::cluster::ManagedCluster;
pub use self::load::{Load, Requests};
pub use self::machine::MetaMachine;
pub use self::node::{Hosted, ManagedNode, MetaGroup, OnNode, Opened};
pub use self::opener::Opener;
pub use self::spec::{ManagedSpec, meta_name, orders};
pub use self::types::{MetaAnswer, MetaEntry, MetaTypes};
