//! What is seen of the groups and the links of this node: events, metrics and its report.
//!
//! This room must not decide anything: taking it out would change nothing but what is seen.

mod assemble;
mod cluster_status;
mod event;
mod formation;
mod gauges;
mod group_track;
mod host;
mod link_watch;
mod log_ends;
mod meter;
mod report;
mod sample;
mod standings;
mod watcher;

pub use assemble::assemble;
pub use cluster_status::{
    ClusterStatus, GroupHealth, GroupView, MemberView, NodeView, Problem, Reach,
};
pub use event::{EVENTS_KEPT_MAX, Event};
pub use formation::FormationStage;
pub use host::HostFacts;
pub use report::{FollowerReport, GroupReport, LinkReport, LinkStanding, Liveness, NodeReport};
pub use sample::{FollowerSample, GroupSample};

pub(crate) use meter::CommandMeter;
pub(crate) use report::number;
pub(crate) use sample::{moves, sample};
pub(crate) use watcher::{Watched, Watcher};
