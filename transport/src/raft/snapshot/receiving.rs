//! One transfer that brings bytes of a snapshot to the task that keeps them.
//!
//! Dropping it loses nothing that the task already has. It must not know what the bytes become.

use std::io;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, oneshot};

use super::super::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_HASH_BYTES};
use super::ReceiveError;
use super::keeper::Part;

/// A snapshot that may come in now.
#[derive(Debug)]
pub(crate) struct Receiving<D> {
    parts: mpsc::Sender<Part>,
    outcome: oneshot::Receiver<Result<D, ReceiveError>>,
    received: u64,
    length: u64,
}

impl<D> Receiving<D> {
    pub(super) const fn new(
        parts: mpsc::Sender<Part>,
        outcome: oneshot::Receiver<Result<D, ReceiveError>>,
        offset: u64,
        length: u64,
    ) -> Self {
        Self {
            parts,
            outcome,
            received: offset,
            length,
        }
    }

    /// Reads the bytes that are missing, and the hash of all, and returns the snapshot.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future keeps what was stored, for a later transfer.
    pub(crate) async fn receive(
        mut self,
        body: &mut (impl AsyncRead + Unpin),
    ) -> Result<D, ReceiveError> {
        let Self {
            parts,
            outcome,
            received,
            length,
        } = &mut self;
        tokio::select! {
            biased;
            // Before all bytes came, only a failure or another transfer ends it.
            ended = &mut *outcome => return ended.unwrap_or(Err(ReceiveError::Stopped)),
            fed = feed(parts, *received, *length, body) => fed?,
        }
        self.outcome.await.unwrap_or(Err(ReceiveError::Stopped))
    }
}

/// Hands over the bytes of a body in chunks, and at last their hash.
async fn feed(
    parts: &mpsc::Sender<Part>,
    mut received: u64,
    length: u64,
    body: &mut (impl AsyncRead + Unpin),
) -> Result<(), ReceiveError> {
    let short = |received: u64| {
        move |source: io::Error| ReceiveError::Short {
            received,
            length,
            source,
        }
    };
    while received < length {
        // Reading gives the sender its budget back, so first comes the room for what is read.
        let Ok(room) = parts.reserve().await else {
            return Ok(());
        };
        let left = usize::try_from(length - received).unwrap_or(usize::MAX);
        let mut chunk = Chunk {
            bytes: BytesMut::with_capacity(left.min(SNAPSHOT_CHUNK_BYTES)),
            room: Some(room),
        };
        let read = read_chunk(body, &mut chunk.bytes, left).await;
        received += chunk.bytes.len() as u64;
        read.map_err(short(received))?;
    }
    let mut hash = [0; SNAPSHOT_HASH_BYTES];
    body.read_exact(&mut hash).await.map_err(short(received))?;
    // If the task has ended this transfer, its outcome says why.
    drop(parts.send(Part::Hash(hash)).await);
    Ok(())
}

/// Bytes that were read. Dropping it hands them over, so that those before an error count, and those
/// before the end of the link.
struct Chunk<'a> {
    bytes: BytesMut,
    room: Option<mpsc::Permit<'a, Part>>,
}

impl Drop for Chunk<'_> {
    fn drop(&mut self) {
        if let Some(room) = self.room.take()
            && !self.bytes.is_empty()
        {
            room.send(Part::Bytes(self.bytes.split().freeze()));
        }
    }
}

/// Fills a chunk, with at most `left` bytes.
async fn read_chunk(
    body: &mut (impl AsyncRead + Unpin),
    chunk: &mut BytesMut,
    left: usize,
) -> io::Result<()> {
    let want = left.min(SNAPSHOT_CHUNK_BYTES);
    while chunk.len() < want {
        let missing = want - chunk.len();
        if body.read_buf(&mut (&mut *chunk).limit(missing)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
