//! An in-memory UDP network for real quinn endpoints.
//!
//! What this room is for: carry datagrams between sockets of one process as a described network
//! would (delay, loss, bandwidth, partitions), the same way each time for the same seed.
//! It must not know what the datagrams carry: no QUIC, no TLS, no Raft.
//!
//! - [`Switch`]: the network, and the knobs that a test turns while it runs;
//! - [`Conditions`]: what one direction between two hosts does to datagrams;
//! - [`Counters`]: what happened to them, with every drop by its cause;
//! - [`SwitchSocket`]: one bound socket, the `quinn::AsyncUdpSocket`;
//! - `path` decides the fate of a datagram, `paths`, `guards` and `inboxes` are the tables of
//!   directions, of firewalls and of bound addresses, `state` holds them and what is under way behind
//!   the one lock, `delivery` is the one task that hands datagrams over when they are due;
//! - `faults` is what a test does to hosts and sockets: partitions, firewalls, crashes, pauses, and
//!   addresses that change.
//!
//! **Hosts and paths.** A host is an IP address; sockets of one host share its paths. A path is one
//! direction from a host to a host and has its own conditions, counters, queue and random numbers,
//! so what happens on one path never changes the random choices on another. A socket may have one
//! address of each family; its host is then two hosts to the switch, one of each family.
//!
//! **Time** is `tokio::time` throughout. tokio's timers have a resolution of one millisecond, so
//! datagrams that are due within the same millisecond are handed over together at its end, in
//! order; delays of whole milliseconds are exact.

mod conditions;
mod counters;
mod delivery;
mod faults;
mod guards;
mod inboxes;
mod network;
mod path;
mod paths;
mod socket;
mod state;

pub use self::conditions::{Conditions, MAX_DATAGRAM_BYTES, megabits};
pub use self::counters::{Counters, Drops};
pub use self::network::{Switch, address, address_v6, host, host_v6};
pub use self::socket::{SocketOptions, SwitchSocket};
