//! What a caller of a peer can get instead of a reply, sorted by what it should do next.
//!
//! This room must not know how a link ends or what Raft makes of an error; it only keeps the facts:
//! which peer, which group, which address, and why.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use quicraft_certs::NodeId;

use crate::{GroupId, Refusal};

/// Why a call has no reply.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nothing was sent. Back off: the peer is down, unknown, refused us, or our queue to it is full.
    #[error(
        "node {peer} is unreachable for group {group}{}: {reason}",
        at(address)
    )]
    Unreachable {
        /// The peer.
        peer: NodeId,
        /// The group of the call.
        group: GroupId,
        /// Where it was last tried.
        address: Option<SocketAddr>,
        /// Why.
        reason: UnreachableReason,
    },
    /// The link or the stream ended after the call was (at least in part) sent; the peer may or may
    /// not have run it, whatever ended. `end` says whether asking again at once makes sense, for a
    /// call that is safe to repeat.
    #[error(
        "a call of group {group} to node {peer}{} was cut ({end}): {reason}",
        at(address)
    )]
    Cut {
        /// The peer.
        peer: NodeId,
        /// The group of the call.
        group: GroupId,
        /// The address of the link.
        address: Option<SocketAddr>,
        /// What ended.
        end: LinkEnd,
        /// Why, in words.
        reason: String,
    },
    /// The deadline passed; the peer may or may not have run the call.
    #[error(
        "node {peer} did not answer a call of group {group}{} within {limit:?}",
        at(address)
    )]
    Timeout {
        /// The peer.
        peer: NodeId,
        /// The group of the call.
        group: GroupId,
        /// The address of the link, if there was one.
        address: Option<SocketAddr>,
        /// How long the call waited.
        limit: Duration,
    },
    /// The peer said no, and why.
    #[error("node {peer} refused a call of group {group}: {refusal}")]
    Refused {
        /// The peer.
        peer: NodeId,
        /// The group of the call.
        group: GroupId,
        /// Its answer.
        refusal: Refusal,
    },
    /// The body is over the frame limit; nothing was sent. The caller has to split it.
    #[error("a body of {size} bytes for node {peer}, group {group}, is over the limit of {limit}")]
    TooLarge {
        /// The peer.
        peer: NodeId,
        /// The group of the call.
        group: GroupId,
        /// Bytes of the body.
        size: usize,
        /// Bytes that may be sent.
        limit: usize,
    },
    /// The local source of a transfer could not be read. Nothing is wrong with the peer.
    #[error("the source of a transfer to node {peer}, group {group}, could not be read: {reason}")]
    Source {
        /// The peer.
        peer: NodeId,
        /// The group of the transfer.
        group: GroupId,
        /// What the reader said.
        reason: String,
    },
}

/// What ended under a call that was cut. In every case the peer may have run the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkEnd {
    /// The link died, or the peer left (it shut down, refused us, was silent or was reset), and no
    /// other one is there. Asking again fails until the peer is dialled again: back off.
    Lost,
    /// A newer connection to the peer took this one's place, or the link was closed in order because
    /// it rested. Nothing is wrong with the peer: ask again at once.
    Replaced,
    /// Only the stream of the call ended; the link lives on. Ask again at once.
    StreamOnly,
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "the link is lost",
            Self::Replaced => "the link was replaced",
            Self::StreamOnly => "only the stream ended",
        })
    }
}

/// Why nothing could be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnreachableReason {
    /// The roster does not know this node.
    #[error("the roster does not know it")]
    Unknown,
    /// There is no link, and the next dial is not due yet.
    #[error("the link is down: {0}")]
    Down(String),
    /// No link was established before the deadline of the call.
    #[error("no link before the deadline")]
    Dialling,
    /// A local queue or bound of the lane is full.
    #[error("the {lane} lane is full ({limit} {unit})")]
    LaneFull {
        /// The lane's name.
        lane: &'static str,
        /// Its bound.
        limit: usize,
        /// What the bound counts.
        unit: &'static str,
    },
    /// The peer was suspended by `suspend_peer`.
    #[error("the peer is suspended")]
    Suspended,
    /// This transport is shutting down.
    #[error("this transport is shutting down")]
    ShuttingDown,
    /// The call is for this very node.
    #[error("it is this node itself")]
    Myself,
}

fn at(address: &Option<SocketAddr>) -> String {
    address.map_or_else(String::new, |address| format!(" at {address}"))
}
