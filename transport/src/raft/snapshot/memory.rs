//! Snapshots that a host keeps in memory.

use std::io::{self, Cursor};
use std::marker::PhantomData;

use super::super::limits::{MEMORY_SNAPSHOT_BYTES_MAX, SNAPSHOT_CHUNK_BYTES};
use super::{SnapshotIo, SnapshotSink};

/// Snapshot data that is bytes in memory.
pub trait MemoryData: Send + 'static {
    /// All of its bytes, wherever a cursor in it may stand.
    fn into_bytes(self) -> Vec<u8>;
    /// Data of these bytes; a cursor stands at the beginning.
    fn from_bytes(bytes: Vec<u8>) -> Self;
}

impl MemoryData for Vec<u8> {
    fn into_bytes(self) -> Vec<u8> {
        self
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        bytes
    }
}

impl MemoryData for Cursor<Vec<u8>> {
    fn into_bytes(self) -> Vec<u8> {
        self.into_inner()
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

/// Snapshots in memory: `Cursor<Vec<u8>>`, `Vec<u8>`, or a host's own [`MemoryData`].
#[derive(Clone, Debug)]
pub struct MemorySnapshots<D = Cursor<Vec<u8>>> {
    bytes_max: u64,
    data: PhantomData<fn() -> D>,
}

impl<D> MemorySnapshots<D> {
    /// Snapshots of at most 1 GiB.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_bytes_max(MEMORY_SNAPSHOT_BYTES_MAX)
    }

    /// Snapshots of at most `bytes_max` bytes; a longer one is refused before it is received.
    #[must_use]
    pub const fn with_bytes_max(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            data: PhantomData,
        }
    }
}

impl<D> Default for MemorySnapshots<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: MemoryData> SnapshotIo for MemorySnapshots<D> {
    type Data = D;
    type Source = Cursor<Vec<u8>>;
    type Sink = MemorySnapshotSink<D>;

    async fn open(&self, data: D) -> io::Result<(u64, Cursor<Vec<u8>>)> {
        let bytes = data.into_bytes();
        Ok((bytes.len() as u64, Cursor::new(bytes)))
    }

    async fn receive(&self, length: u64) -> io::Result<MemorySnapshotSink<D>> {
        check_length(length, self.bytes_max)?;
        // The rest is allocated as it comes: an announced length alone takes no memory.
        let first = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(SNAPSHOT_CHUNK_BYTES);
        Ok(MemorySnapshotSink {
            bytes: Vec::with_capacity(first),
            data: PhantomData,
        })
    }
}

/// Refuses a snapshot that is longer than the host wants.
pub(super) fn check_length(length: u64, bytes_max: u64) -> io::Result<()> {
    if length <= bytes_max {
        return Ok(());
    }
    let text = format!("a snapshot of {length} bytes is over the limit of {bytes_max}");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, text))
}

/// Receives a snapshot into memory.
#[derive(Debug)]
pub struct MemorySnapshotSink<D> {
    bytes: Vec<u8>,
    data: PhantomData<fn() -> D>,
}

impl<D: MemoryData> SnapshotSink for MemorySnapshotSink<D> {
    type Data = D;

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    async fn finish(self) -> io::Result<D> {
        Ok(D::from_bytes(self.bytes))
    }
}
