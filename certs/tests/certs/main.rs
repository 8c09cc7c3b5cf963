//! What the certificates of nodes must be, seen from outside the crate.

mod authority;
mod credentials;
mod handshake;
mod odd;
mod refusals;
mod revocation;
mod store;
