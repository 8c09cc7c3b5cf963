//! The sending side of a snapshot: its bytes, and after them their hash, read in one pass. The bytes
//! that the receiver has already are read and hashed before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::super::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_HASH_BYTES};

/// Yields exactly `length` bytes of a source, or those behind a prefix that was read before, and then
/// the blake3 hash of all.
///
/// A source that ends early is an error; what it has beyond `length` is not read.
#[derive(Debug)]
pub(crate) struct HashedReader<R> {
    source: R,
    length: u64,
    left: u64,
    hasher: blake3::Hasher,
    trailer: Option<([u8; SNAPSHOT_HASH_BYTES], usize)>,
}

impl<R: AsyncRead + Unpin> HashedReader<R> {
    /// Reads `length` bytes of `source`.
    pub(crate) fn new(source: R, length: u64) -> Self {
        Self::behind(source, length, 0, blake3::Hasher::new())
    }

    /// Reads the rest of a source of `length` bytes, from which `offset` bytes were read into
    /// `hasher`.
    pub(crate) const fn behind(
        source: R,
        length: u64,
        offset: u64,
        hasher: blake3::Hasher,
    ) -> Self {
        Self {
            source,
            length,
            left: length.saturating_sub(offset),
            hasher,
            trailer: None,
        }
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let want = left.min(buffer.remaining()).min(SNAPSHOT_CHUNK_BYTES);
        if want == buffer.remaining() {
            // Into memory that need not be cleared first.
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.source).poll_read(cx, buffer))?;
            return Poll::Ready(self.take(&buffer.filled()[before..]));
        }
        // A part of the caller's buffer, so that the bytes are not copied once more.
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(want));
        ready!(Pin::new(&mut self.source).poll_read(cx, &mut part))?;
        self.take(part.filled())?;
        let count = part.filled().len();
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }

    /// Hashes what was read.
    fn take(&mut self, read: &[u8]) -> io::Result<()> {
        if read.is_empty() {
            let text = format!(
                "the snapshot ended after {} of {} bytes",
                self.length - self.left,
                self.length
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.hasher.update(read);
        self.left -= read.len() as u64;
        Ok(())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for HashedReader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.left > 0 {
            return this.poll_source(cx, buffer);
        }
        let (hash, sent) = this
            .trailer
            .get_or_insert_with(|| (*this.hasher.finalize().as_bytes(), 0));
        let end = hash.len().min(*sent + buffer.remaining());
        buffer.put_slice(&hash[*sent..end]);
        *sent = end;
        Poll::Ready(Ok(()))
    }
}

/// Reads and hashes the first `length` bytes of a source.
///
/// # Errors
///
/// What the source says, or that it ended early.
///
/// # Cancel safety
///
/// Dropping the future stops it behind the chunk that is being read; the source is of no use then.
pub(crate) async fn hash_prefix(
    source: &mut (impl AsyncRead + Unpin),
    length: u64,
) -> io::Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; SNAPSHOT_CHUNK_BYTES];
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let read = source.read(&mut chunk[..want]).await?;
        if read == 0 {
            let text = format!("the snapshot ended after {} bytes", length - left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        hasher.update(&chunk[..read]);
        left -= read as u64;
        // A source in memory never waits; others need their turn, and a drop must be noticed.
        tokio::task::yield_now().await;
    }
    Ok(hasher)
}
