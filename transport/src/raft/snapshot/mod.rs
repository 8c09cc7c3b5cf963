//! Snapshots as raw bytes: where a host's snapshot comes from, and what it is received into.
//!
//! The data of a snapshot is the host's own type; [`SnapshotIo`] says how it becomes bytes and how
//! bytes become it again. Ready for data in memory ([`MemorySnapshots`]) and in files
//! ([`FileSnapshots`]). This room must not know lanes or messages; it moves bytes in chunks, hashes
//! them, and never holds a whole snapshot unless the host's type does.

mod file;
mod hashing;
mod memory;
#[cfg_attr(unix, path = "read_at_unix.rs")]
#[cfg_attr(not(unix), path = "read_at_other.rs")]
mod read_at;

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

pub use self::file::{FileSnapshotReader, FileSnapshotSink, FileSnapshots};
pub(crate) use self::hashing::HashedReader;
pub use self::memory::{MemoryData, MemorySnapshotSink, MemorySnapshots};

use super::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_HASH_BYTES};

/// How the snapshot data of a state machine becomes bytes, and how bytes become snapshot data.
///
/// A host implements this for a `SnapshotData` of its own; its two ends are a source that is read
/// from, and a [`SnapshotSink`] that is written to.
pub trait SnapshotIo: Send + Sync + 'static {
    /// The `SnapshotData` of the host's state machine.
    type Data: Send + 'static;
    /// Yields the bytes of one snapshot.
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
pub trait SnapshotSink: Send {
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
}

/// Reads `length` bytes and their hash, and stores the bytes.
///
/// # Cancel safety
///
/// Dropping the future drops the sink, which removes what it stored.
pub(crate) async fn receive<I: SnapshotIo>(
    io: &I,
    length: u64,
    body: &mut (impl AsyncRead + Unpin),
) -> Result<I::Data, ReceiveError> {
    let mut sink = io.receive(length).await.map_err(ReceiveError::Store)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; SNAPSHOT_CHUNK_BYTES];
    let mut received = 0;
    while received < length {
        let left = usize::try_from(length - received).unwrap_or(usize::MAX);
        let want = left.min(chunk.len());
        let count = match body.read(&mut chunk[..want]).await {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        }
        .map_err(|source| ReceiveError::Short {
            received,
            length,
            source,
        })?;
        hasher.update(&chunk[..count]);
        sink.write(&chunk[..count])
            .await
            .map_err(ReceiveError::Store)?;
        received += count as u64;
    }
    let mut announced = [0; SNAPSHOT_HASH_BYTES];
    body.read_exact(&mut announced)
        .await
        .map_err(|source| ReceiveError::Short {
            received,
            length,
            source,
        })?;
    // `blake3::Hash` compares in constant time; it costs nothing and needs no thought.
    if hasher.finalize() != blake3::Hash::from_bytes(announced) {
        return Err(ReceiveError::WrongHash { length });
    }
    sink.finish().await.map_err(ReceiveError::Store)
}

#[cfg(test)]
mod tests;
