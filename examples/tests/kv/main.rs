//! The key-value store's durable storage, tested through its public doors.
//!
//! One binary for all of it, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod admin;
mod bounds;
mod cluster;
mod crash;
mod disk;
mod entries;
mod failing;
mod folder;
mod front;
mod log;
mod meta;
mod network;
mod order;
mod sharing;
mod snapshots;
mod suite;
