//! Hosts of Quicraft: the smallest one, and `kv`, a key-value store sharded over many Raft groups.
//! [`cluster`] is the main job: it starts nodes of `kv`, kills one, and looks for lost writes.
//!
//! This crate is what a host writes around the transport: storage, configuration and an HTTP
//! front. Nothing in the transport depends on it.

pub mod cluster;
pub mod guide;
pub mod kv;
