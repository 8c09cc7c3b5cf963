//! What the certificates of nodes must be, seen from outside the crate.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails ends the test, also outside its own function"
)]

mod authority;
mod corpus;
mod credentials;
mod handshake;
mod judge;
mod names;
mod odd;
mod paths;
mod requests;
mod revocation;
mod store;
mod told;
