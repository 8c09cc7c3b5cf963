//! The one connection to a peer: dial, accept, handshake, lanes, teardown.
//!
//! Beside the endpoint this is the only room that names quinn. It moves opaque bodies for groups and
//! must not know what they mean: no Raft, no codec.

// In the order of a call's way: who asks, over which connection, on which lane.
mod accept;
mod adopt;
mod arrival;
mod budget;
mod call;
mod call_serve;
mod call_shared;
mod certificate_metrics;
mod certificate_watch;
mod connection;
mod control;
mod crl_watch;
mod dial;
mod failure;
mod handshake;
mod local;
mod movement;
mod outbox;
mod peer;
mod peer_state;
mod probe;
pub(crate) mod quic;
mod roster_watch;
mod serve;
mod session;
mod session_serve;
mod stats;
mod stream;
mod transfer;
mod transfer_serve;
pub(crate) mod udp;
mod waiting;
mod window;

pub(crate) use accept::accept_loop;

#[cfg(feature = "fuzzing")]
pub(crate) use {failure::asked_wait, outbox::leaving, transfer_serve::split_head};

pub(crate) use budget::Budget;
pub(crate) use certificate_watch::certificate_loop;
pub(crate) use local::{LocalNode, LocalParts, lock};
pub use peer::{CallLane, LinkNeed, Peer, Request};
pub(crate) use peer_state::PeerState;
pub(crate) use roster_watch::{roster_loop, shut_down};
pub use session::{SessionReceiver, SessionSender};
pub use stats::{LaneStatus, LastClose, LastRefusal, LinkState, LinkStatus};
pub use transfer_serve::TransferBody;
