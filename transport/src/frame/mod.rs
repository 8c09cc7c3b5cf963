//! The wire, without I/O: what a frame and a handshake message look like in bytes.
//!
//! Nothing here is async, names quinn, or knows what a body means. Bytes from a peer never panic,
//! and a length is checked before a byte is allocated for it.

mod assembler;
mod handshake;
mod header;
mod reader;

pub use assembler::FrameAssembler;
pub use handshake::{Confirm, HandshakeError, Hello, Introduction, PROTOCOL_VERSION, Welcome};
pub(crate) use handshake::{HANDSHAKE_PREFIX_BYTES, handshake_length};
pub use header::{Frame, FrameError, FrameHeader, FrameKind, HEADER_BYTES, Lane, TRACE_BYTES};
