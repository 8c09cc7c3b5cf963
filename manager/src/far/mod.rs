//! Groups that this node does not host: requests find their leader among the members that the host
//! or the cluster names. It must not know a Raft.

mod far_group;
mod far_guide;
mod remote_group;

pub use far_group::FarGroup;
pub use remote_group::RemoteGroup;

use far_guide::{FarGuide, Members};
