//! What the certificates of nodes must be, seen from outside the crate.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails ends the test, also outside its own function"
)]

mod authority;
mod credentials;
mod handshake;
mod odd;
mod refusals;
mod revocation;
mod store;
