//! openraft on top of the transport: the only place that names openraft and bincode.
//!
//! We ask: openraft -> [`RaftFactory`] -> [`RaftNetwork`] -> bytes -> a lane of the link. They
//! answer: bytes -> [`RaftService`] -> openraft. Below this folder the transport moves opaque calls
//! for a group, so a network for another version of openraft is one more folder beside this one.
//!
//! Everything but [`RaftTiming`] needs the feature `serde` (default), which gives openraft's types
//! the serde that the codec works with. openraft's `single-threaded` is not supported.

pub mod limits;
mod timing;

#[cfg(feature = "serde")]
mod append;
#[cfg(feature = "serde")]
mod codec;
#[cfg(feature = "serde")]
mod dispatcher;
#[cfg(feature = "serde")]
mod errors;
#[cfg(feature = "serde")]
mod factory;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
#[cfg(feature = "serde")]
pub(crate) mod heartbeat;
#[cfg(feature = "serde")]
mod network;
#[cfg(feature = "serde")]
mod snapshot;
#[cfg(feature = "serde")]
mod snapshot_sending;
mod snapshot_watch;
#[cfg(feature = "serde")]
mod wire;

#[cfg(feature = "serde")]
#[cfg(test)]
mod testing;

pub use self::timing::RaftTiming;

#[cfg(feature = "serde")]
pub use self::{
    codec::{BincodeCodec, Codec, CodecError, RaftCodec},
    dispatcher::{RaftService, serve},
    factory::RaftFactory,
    network::RaftNetwork,
    snapshot::{
        FileSnapshotReader, FileSnapshotSink, FileSnapshots, MemoryData, MemorySnapshotSink,
        MemorySnapshots, SnapshotIo, SnapshotSink,
    },
};

/// The version of the messages in this folder, told in the handshake: a peer with another one is
/// refused there.
pub const RAFT_WIRE_VERSION: u16 = 3;

/// The codec of this build, told in the handshake: a peer with another one is refused there. 0 in a
/// build without the feature `serde`, which has no Raft messages.
#[cfg(feature = "serde")]
pub const CODEC_ID: u8 = <RaftCodec as Codec>::ID;
/// No codec.
#[cfg(not(feature = "serde"))]
pub const CODEC_ID: u8 = 0;
