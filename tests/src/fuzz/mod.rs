//! Fuzz targets: everything that reads bytes which a peer chose, as functions from bytes, and the
//! admission of peers as a function from a list of events in bytes.
//!
//! A target panics when a promise is broken, and says whether it took the bytes for a message. Each
//! is called twice: by the wrappers in `tests/fuzz` (`make fuzz`), which look for new inputs, and in
//! the gate by `tests/tests/fuzz`, over the committed corpus and over random bytes. This room must not
//! know who calls it.

mod admission;
mod call_parts;
mod frames;
mod handshake;
mod identity;
mod input;
mod life;
mod raft_messages;

pub use admission::admission;
pub use call_parts::{close_text, refusal, transfer_head};
pub use frames::frame_reader;
pub use handshake::{confirm, hello, welcome};
pub use identity::{identity, identity_uri, now};
pub use life::life;
pub use raft_messages::{
    append, append_reply, leader_transfer, leader_transfer_reply, snapshot_head, snapshot_offer,
    snapshot_offer_reply, snapshot_reply, vote, vote_reply,
};

/// A target with its name, which is also the name of its wrapper and of its corpus.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("admission", admission),
    ("append", append),
    ("append_reply", append_reply),
    ("close_text", close_text),
    ("confirm", confirm),
    ("frame_reader", frame_reader),
    ("hello", hello),
    ("identity", identity),
    ("identity_uri", identity_uri),
    ("leader_transfer", leader_transfer),
    ("leader_transfer_reply", leader_transfer_reply),
    ("life", life),
    ("refusal", refusal),
    ("snapshot_head", snapshot_head),
    ("snapshot_offer", snapshot_offer),
    ("snapshot_offer_reply", snapshot_offer_reply),
    ("snapshot_reply", snapshot_reply),
    ("transfer_head", transfer_head),
    ("vote", vote),
    ("vote_reply", vote_reply),
    ("welcome", welcome),
];
