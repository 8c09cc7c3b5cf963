//! The links between node processes: real sockets, real signals.
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod cluster;
mod duplicates;
mod movement;
mod replaced;
mod restarts;
mod twin;
