//! The Raft messages as they stand on the wire: our own structs around openraft's `Vote`, `LogId`,
//! `Entry` and membership.
//!
//! openraft's own message types are not sent, because a field that a later openraft adds to them
//! would silently change the bytes. Enums carry an explicit tag byte. A change of bytes is a change
//! of [`RAFT_WIRE_VERSION`](super::RAFT_WIRE_VERSION), which travels in the handshake; golden bytes in the tests notice it.
//! This room must not know where messages come from or go to. Messages are checked for what openraft
//! asserts of them, because bytes from a peer must not panic a Raft core.

mod append;
pub(crate) mod beats;
mod heartbeat;
mod snapshot;
mod transfer;
mod varint;
mod vote;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod heartbeat_golden;

use bytes::{Bytes, BytesMut};
use openraft::type_config::alias::VoteOf;
use openraft::vote::{RaftLeaderId, RaftVote};
use openraft::{Membership, RaftTypeConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::append::{
    AppendFrame, AppendReply, AppendSplitter, FrameLimits, OversizedEntry, decode_append,
};
pub(crate) use self::heartbeat::{HeartbeatReply, decode_heartbeat, encode_heartbeat};
pub(crate) use self::snapshot::{
    SnapshotHead, SnapshotOfferReply, SnapshotOfferRequest, SnapshotReply,
};
pub(crate) use self::transfer::{TransferReply, TransferRequest};
pub(crate) use self::vote::{VoteReply, VoteRequestBody};

use super::codec::{Codec, CodecError, RaftCodec};

/// The numbers of the methods, in the header of a call, a session or a transfer.
pub(crate) mod method {
    /// A session of append frames.
    pub(crate) const APPEND: u16 = 1;
    /// An append without entries; it travels with those of other groups.
    pub(crate) const HEARTBEAT: u16 = 2;
    /// A vote, as a call of the Control lane.
    pub(crate) const VOTE: u16 = 3;
    /// A pre-vote, as a call of the Control lane.
    pub(crate) const PRE_VOTE: u16 = 4;
    /// A transfer of leadership, as a call of the Control lane.
    pub(crate) const TRANSFER_LEADER: u16 = 5;
    /// A snapshot, as a transfer of the Snapshot lane.
    pub(crate) const SNAPSHOT: u16 = 6;
    /// What the receiver has kept of a snapshot, as a call of the Control lane.
    pub(crate) const SNAPSHOT_OFFER: u16 = 7;

    /// A frame of heartbeats of all groups, as a call of the Control lane to the node.
    pub(crate) const BEATS: u16 = 1;
    /// Answers to one that come after its reply, as a call of the Control lane to the node.
    pub(crate) const LATE_ANSWERS: u16 = 2;
}

/// Why bytes are not the message that they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The codec does not take them.
    #[error("{0}")]
    Codec(#[from] CodecError),
    /// A length or tag of the message itself is wrong.
    #[error("the message is malformed: {0}")]
    Malformed(&'static str),
    /// The message decodes, but no correct node sends such a one.
    #[error("no correct node sends this: {0}")]
    Implausible(&'static str),
}

/// A message that is one value of the codec.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Bytes, CodecError> {
    let mut bytes = BytesMut::with_capacity(64);
    RaftCodec::encode(message, &mut bytes)?;
    Ok(bytes.freeze())
}

/// The message that is one value of the codec.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    Ok(RaftCodec::decode(bytes)?)
}

/// Takes the first byte, which tells the variants of a message apart.
fn split_tag(bytes: &[u8]) -> Result<(u8, &[u8]), WireError> {
    bytes
        .split_first()
        .map(|(tag, rest)| (*tag, rest))
        .ok_or(WireError::Malformed("no tag"))
}

/// A tag byte and one value of the codec.
fn encode_tagged<T: Serialize>(tag: u8, value: &T) -> Result<Bytes, CodecError> {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.extend_from_slice(&[tag]);
    RaftCodec::encode(value, &mut bytes)?;
    Ok(bytes.freeze())
}

/// The node that a vote names.
pub(crate) fn named_node<C: RaftTypeConfig<NodeId = u64>>(vote: &VoteOf<C>) -> u64 {
    *vote.leader_id().node_id()
}

/// Every group of voters has a member, and every voter a node: openraft takes the node of each
/// voter for granted when it leads or asks for votes. No group of voters at all is what a log has
/// before its first membership.
fn check_membership<C: RaftTypeConfig>(
    membership: &Membership<C::NodeId, C::Node>,
) -> Result<(), WireError> {
    for voters in membership.get_joint_config() {
        if voters.is_empty() {
            return Err(WireError::Implausible("a membership without a voter"));
        }
        if voters.iter().any(|id| membership.get_node(id).is_none()) {
            return Err(WireError::Implausible("a voter without a node"));
        }
    }
    Ok(())
}

/// A message of a leader must carry a leader's vote; openraft would take any other for granted.
fn check_leader_vote<C: RaftTypeConfig>(vote: &VoteOf<C>) -> Result<(), WireError> {
    if vote.is_committed() {
        Ok(())
    } else {
        Err(WireError::Implausible(
            "a leader's message with a candidate's vote",
        ))
    }
}
