//! Snapshots as raw bytes: where a host's snapshot comes from, and what it is received into.
//!
//! The data of a snapshot is the host's own type; [`SnapshotIo`] says how it becomes bytes and how
//! bytes become it again. Ready for data in memory ([`MemorySnapshots`]) and in files
//! ([`FileSnapshots`]). This room must not know lanes or messages; it moves bytes in chunks, hashes
//! them, keeps those of a broken transfer for a while, and never holds a whole snapshot unless the
//! host's type does.

mod file;
mod hashing;
mod keeper;
mod memory;
mod partial;
#[cfg_attr(unix, path = "read_at_unix.rs")]
#[cfg_attr(not(unix), path = "read_at_other.rs")]
mod read_at;
mod receiving;

use std::future::Future;
use std::io;

use tokio::io::AsyncRead;

pub use self::file::{FileSnapshotReader, FileSnapshotSink, FileSnapshots};
pub(crate) use self::hashing::{HashedReader, hash_prefix};
pub(crate) use self::keeper::{SnapshotKeeper, Spawn};
pub use self::memory::{MemoryData, MemorySnapshotSink, MemorySnapshots};
pub(crate) use self::partial::{Claim, Offer, PartialKey};

/// How the snapshot data of a state machine becomes bytes, and how bytes become snapshot data.
///
/// A host implements this for a `SnapshotData` of its own; its two ends are a source that is read
/// from, and a [`SnapshotSink`] that is written to.
pub trait SnapshotIo: Send + Sync + 'static {
    /// The `SnapshotData` of the host's state machine.
    type Data: Send + 'static;
    /// Yields the bytes of one snapshot.
    ///
    /// To resume a broken transfer, it is read from its beginning; what the receiver has is hashed
    /// and not sent.
    type Source: AsyncRead + Send + Unpin;
    /// Takes the bytes of one snapshot.
    type Sink: SnapshotSink<Data = Self::Data>;

    /// The length of a snapshot in bytes, and a source that yields that many.
    ///
    /// More bytes than the length are not read. Several snapshots may be read at the same time.
    ///
    /// # Errors
    ///
    /// An error here, in the source, or a source that ends early means that this node's storage
    /// failed: openraft then ends this leader, so that another node leads.
    fn open(
        &self,
        data: Self::Data,
    ) -> impl Future<Output = io::Result<(u64, Self::Source)>> + Send;

    /// The receiving end for a snapshot of `length` bytes.
    ///
    /// # Errors
    ///
    /// An error refuses the snapshot; the leader tries again later. So does a `length` that this
    /// node does not want to store.
    fn receive(&self, length: u64) -> impl Future<Output = io::Result<Self::Sink>> + Send;
}

/// Takes the bytes of one snapshot, in order. Dropping it before `finish` must remove what it stored.
///
/// When the link breaks, the sink is kept for at most ten minutes, one for each group, so that the
/// next transfer of the same snapshot goes on writing to it. Its futures are not dropped half way
/// when that happens, but only when the transport stops.
pub trait SnapshotSink: Send + 'static {
    /// The `SnapshotData` of the host's state machine.
    type Data: Send + 'static;

    /// Takes the next bytes, at most 128 KiB of them.
    ///
    /// # Errors
    ///
    /// An error refuses the snapshot; the sink is dropped.
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// Turns the bytes into snapshot data. Called only after all of them came and their hash was
    /// right.
    ///
    /// # Errors
    ///
    /// An error refuses the snapshot.
    fn finish(self) -> impl Future<Output = io::Result<Self::Data>> + Send;
}

/// Why a snapshot was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The bytes ended early.
    #[error("the snapshot ended after {received} of {length} bytes: {source}")]
    Short {
        /// Bytes that came.
        received: u64,
        /// Bytes that were announced.
        length: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// The bytes are not those that were sent.
    #[error("the hash of {length} bytes of the snapshot is wrong")]
    WrongHash {
        /// Bytes that came.
        length: u64,
    },
    /// This node could not store them.
    #[error("the snapshot could not be stored: {0}")]
    Store(#[source] io::Error),
    /// The host's part panicked.
    #[error("storing the snapshot panicked")]
    Panicked,
    /// The transfer begins behind bytes that are not here.
    #[error("{offset} bytes of this snapshot are not kept here (any more)")]
    NotKept {
        /// Where it begins.
        offset: u64,
    },
    /// A later leader sends this group a snapshot, or has sent a part of one.
    #[error("the snapshot of a later leader is kept here")]
    Outranked,
    /// Another transfer to the same group, or the question of one, came later.
    #[error("another transfer took its place")]
    Superseded,
    /// Too many want to send this group a snapshot.
    #[error("too many snapshots wait for this group")]
    Busy,
    /// The task that keeps the bytes has ended: the transport stops.
    #[error("this node stops")]
    Stopped,
}

#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
