//! The test harness of Quicraft.
//!
//! - [`switch`]: an in-memory UDP network on which the real quinn and TLS run, so that a test says
//!   what the network does (delay, loss, bandwidth, partitions) and a seed replays it. Under
//!   tokio's paused clock a minute of it passes in milliseconds.
//! - [`bare_quinn`]: quinn endpoints on it without anything of Quicraft, to test the switch itself
//!   and to be the ceiling of what the transport can reach.
//! - [`half_open`]: clients that begin a handshake and go silent, for floods of them.
//! - [`raft`]: whole openraft nodes in memory, on whatever network a test gives them, with one
//!   that has no network at all as the ceiling.
//!
//! - [`sim`]: whole clusters of them on the switch, over the real transport.
//! - [`managed`]: clusters whose nodes have a manager each, which founds, grows and heals them.
//! - [`fuzz`]: what reads bytes that a peer chose, as functions from bytes.
//!
//! All but `sim`, `managed` and `fuzz` know nothing of the transport that they test: `Transport::builder(..)` takes what
//! [`switch::Switch::socket`] and [`switch::Switch::runtime`] return.

pub mod bare_quinn;
pub mod fuzz;
pub mod half_open;
pub mod managed;
pub mod raft;
pub mod sim;
pub mod switch;
