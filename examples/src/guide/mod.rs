//! The code of `docs/guide.md`: one small application that moves from a network of its own to
//! Quicraft's transport, and then to its manager. A test runs all three stops, and compares every
//! block of the guide with these files.

pub mod app;
pub mod log;
pub mod on_manager;
pub mod on_transport;
pub mod own_network;
