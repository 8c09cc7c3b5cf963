//! The Raft nodes of the harness: their stores pass openraft's own suite, and a group of them on
//! the network that is none elects, writes, catches up by snapshot and survives a power loss.

mod group;
mod stores;
