//! What a node answers for itself, beside its groups: who it is, what it knows of another node.
//!
//! It must not decide anything about the cluster: that is `cluster`.

mod client;
mod service;
pub(crate) mod wire;

pub(crate) use client::ask;
pub(crate) use service::ControlService;
