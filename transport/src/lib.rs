//! Bytes between two proven nodes over one QUIC connection, and the openraft network on top of them.
//!
//! All Raft groups of a process share one link to each peer. Mutual TLS proves which node is at the
//! other end, a node that is invalid or a duplicate is refused at the handshake, and each class of
//! traffic has a lane with its own streams, bounds and priority.
//!
//! ```text
//!  we ask:      openraft -> raft::network -> (bytes) -> link -> lane -> frame -> quinn
//!  they answer: quinn -> link -> admission (once) -> frame -> service -> raft::dispatcher -> openraft
//! ```
//!
//! Start with [`Transport::builder`], feed a [`Roster`], and give each group the factory of
//! [`raft`]. A host's own calls travel on the same link: register a [`service::Service`] and call
//! [`link::Peer::call`].
//!
//! What this crate does not do: it knows no membership and runs no group (that is
//! `quicraft-manager`), it retries no Raft message, and it stores nothing but the
//! [`Incarnation`]. openraft's feature `single-threaded` is not supported.

// In the order of a call's way; what everything shares comes last.
mod address;
pub mod admission;
pub mod close;
mod config;
mod credential_files;
mod endpoint;
mod error;
mod event;
pub mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod handle;
mod incarnation;
pub mod life;
pub mod limits;
pub mod link;
mod private_file;
pub mod raft;
mod refusal;
mod roster;
pub mod service;
mod socket;

pub use address::{InvalidAddress, PeerAddress, Resolver, SystemResolver};
pub use admission::ProvenNode;
pub use config::{Congestion, InvalidSetting, TransportConfig};
pub use credential_files::ReloadError;
pub use endpoint::{ShutdownReport, StartError, Transport, TransportBuilder};
pub use error::{CallError, LinkEnd, UnreachableReason};
pub use event::{Event, SnapshotDirection};
pub use group::{GroupId, TraceContext};
pub use handle::{AlreadyRegistered, HandshakeStatus, Registration, TransportHandle};
pub use incarnation::{Incarnation, IncarnationError};
pub use link::{LinkState, LinkStatus, Peer};
pub use quicraft_certs as certs;
pub use quicraft_certs::NodeId;
pub use refusal::{Refusal, RefusalCode};
pub use roster::{Dial, Roster, RosterEntry, RosterError};
pub use {openraft, quinn, rustls};
