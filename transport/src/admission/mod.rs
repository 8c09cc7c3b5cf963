//! Who may enter: pure decisions on what a handshake said, with one record for each peer.
//!
//! Nothing here is async, reads a clock, or names quinn. Time and facts come in as arguments and
//! verdicts go out; the link's tasks act on them. Only this room can make a [`ProvenNode`].

mod proof;
mod record;
mod screen;

pub use proof::ProvenNode;
pub use record::{Candidate, ConnectionId, PeerRecord, ProbeOutcome, Rank, Verdict};
pub use screen::{AdmissionRefusal, LocalFacts, PeerFacts, Standing, screen};
