//! Whole clusters on the switch: the real transport, TLS and openraft, with nothing in between
//! replaced but the cable and the disk.
//!
//! What this room is for: start, crash and restart nodes, and say what they agree on. It uses the
//! transport as a host does; it must not know how a link or a lane works inside.
//!
//! - [`SimSpec`]: how many nodes and groups, on which network, with which timing;
//! - [`SimCluster`]: the nodes, and what a test does to them;
//! - [`Names`]: what the names in rosters resolve to;
//! - [`SimNode`]: one running node: its transport and its groups;
//! - [`Schedule`]: the faults of a bad day, drawn from a seed;
//! - [`Callers`]: calls between all nodes the whole time, and what became of each;
//! - [`Terms`]: the term of every group on every node, to see whether anybody was elected;
//! - [`Latencies`]: what calls and commits took;
//! - [`Sink`]: a service of an application beside Raft: it echoes calls, and takes transfers slowly;
//! - [`Saturation`]: a link full of snapshots, and what heartbeats take on it;
//! - [`Stranger`]: a bare QUIC client with a certificate that speaks raw bytes, good or bad;
//! - [`Attacker`]: a host that begins handshakes and never finishes one.

mod attacker;
mod callers;
mod cluster;
mod faults;
mod hello;
mod home;
mod latencies;
mod names;
mod node;
mod saturation;
mod schedule;
mod sink;
mod spec;
mod stranger;
mod terms;

pub use self::attacker::Attacker;
pub use self::callers::{Called, Callers, Calls};
pub use self::cluster::SimCluster;
pub use self::faults::name_of;
pub use self::hello::{RawHello, confirm};
pub use self::home::Families;
pub use self::latencies::Latencies;
pub use self::names::Names;
pub use self::node::{SimGroup, SimNode};
pub use self::saturation::{Saturated, Saturation};
pub use self::schedule::{Schedule, Step};
pub use self::sink::{ECHO, Sink};
pub use self::spec::{HOLE, LIMIT, MS, SimSpec};
pub use self::stranger::Stranger;
pub use self::terms::Terms;
