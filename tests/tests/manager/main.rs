//! The promises of the manager, held in simulation: real quinn, virtual time, three nodes.

mod actions;
mod cluster;
mod created;
mod far;
mod formation;
mod groups;
mod growing;
mod host;
mod killed_changes;
mod leaders;
mod load;
mod lost_disks;
mod membership;
mod recorded;
mod requests;
mod seen_cluster;
mod sessions;
mod transfer;
mod watching;
mod weaknesses;
