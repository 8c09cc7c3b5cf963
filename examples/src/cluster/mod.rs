//! The main job, `kv-cluster`: node processes on loopback, many clients, a leader that is killed,
//! and the proof that no acknowledged write was lost.
//!
//! It sees the nodes only as an operator does: through their files, their processes and HTTP. No
//! file here knows Raft or the transport. [`run()`] is the whole job; the other rooms are its steps.
//! [`bad_days`], [`killed_changes`], [`power_on`] and [`rotate`] are jobs of their own on the same nodes.

pub mod bad_days;
pub mod change;
pub mod client;
pub mod copy;
mod draws;
pub mod drill;
pub mod error;
pub mod killed_changes;
pub mod layout;
pub mod limits;
pub mod load;
mod logs;
pub mod nodes;
pub mod observed;
pub mod options;
pub mod pause;
pub mod phase;
pub mod ports;
pub mod power_on;
pub mod readback;
pub mod report;
pub mod rotate;
pub mod run;
pub mod seen;
pub mod start;
pub mod status;
pub mod wait;
pub mod workload;

pub use bad_days::options::BadDaysOptions;
pub use error::ClusterError;
pub use killed_changes::options::KilledChangesOptions;
pub use options::Options;
pub use power_on::PowerOnOptions;
pub use report::{Outcome, Report};
pub use rotate::options::RotateOptions;
pub use run::{Job, run};
