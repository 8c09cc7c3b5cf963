//! Who may enter: pure decisions on what a handshake said, with one record for each peer.
//!
//! Nothing here is async, reads a clock, or names quinn. Time and facts come in as arguments and
//! verdicts go out; the link's tasks act on them. Only this room can make a [`ProvenNode`].

mod hellos;
mod known;
mod places;
mod proof;
mod record;
mod screen;

pub use hellos::Hellos;
pub use known::{KnownAddresses, Learned};
pub use places::{Knock, Place, PlaceLimits, Places, PlacesTaken, Reception, receive};
pub use proof::ProvenNode;
pub use record::{Candidate, ConnectionId, PeerRecord, ProbeOutcome, Rank, Verdict};
pub use screen::{AdmissionRefusal, LocalFacts, PeerFacts, Standing, screen};
