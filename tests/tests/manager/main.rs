//! The promises of the manager, held in simulation: real quinn, virtual time, three nodes.

mod cluster;
mod groups;
mod host;
mod leaders;
mod requests;
mod sessions;
