//! Whole clusters on the switch: the real transport, TLS and openraft, with nothing in between
//! replaced but the cable and the disk.
//!
//! What this room is for: start, crash and restart nodes, and say what they agree on. It uses the
//! transport as a host does; it must not know how a link or a lane works inside.
//!
//! - [`SimSpec`]: how many nodes and groups, on which network, with which timing;
//! - [`SimCluster`]: the nodes, and what a test does to them;
//! - [`SimNode`]: one running node: its transport and its groups;
//! - [`Terms`]: the term of every group on every node, to see whether anybody was elected;
//! - [`Latencies`]: what calls and commits took;
//! - [`Sink`]: a service of an application beside Raft: it echoes calls, and takes transfers slowly;
//! - [`Saturation`]: a link full of snapshots, and what heartbeats take on it;
//! - [`Stranger`]: a bare QUIC client with a certificate that speaks raw bytes, good or bad.

mod cluster;
mod hello;
mod latencies;
mod node;
mod saturation;
mod sink;
mod spec;
mod stranger;
mod terms;

pub use self::cluster::SimCluster;
pub use self::hello::{RawHello, confirm};
pub use self::latencies::Latencies;
pub use self::node::{SimGroup, SimNode};
pub use self::saturation::{Saturated, Saturation};
pub use self::sink::{ECHO, Sink};
pub use self::spec::{LIMIT, MS, SimSpec};
pub use self::stranger::Stranger;
pub use self::terms::Terms;
