//! Hosts of Quicraft: the smallest one, and `kv`, a key-value store sharded over many Raft groups.
//!
//! This crate is what a host writes around the transport: storage, configuration and an HTTP
//! front. Nothing in the transport depends on it.

pub mod kv;
