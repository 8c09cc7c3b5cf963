//! The sending side of a snapshot: its bytes, and after them their hash, read in one pass.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::super::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_HASH_BYTES};

/// Yields exactly `length` bytes of a source and then their blake3 hash.
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
        Self {
            source,
            length,
            left: length,
            hasher: blake3::Hasher::new(),
            trailer: None,
        }
    }

    /// Bytes that it will yield in all, or `None` when that is more than a transfer can count.
    pub(crate) fn transfer_length(length: u64) -> Option<u64> {
        length.checked_add(SNAPSHOT_HASH_BYTES as u64)
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let want = left.min(buffer.remaining()).min(SNAPSHOT_CHUNK_BYTES);
        // A part of the caller's buffer, so that the bytes are not copied once more.
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(want));
        ready!(Pin::new(&mut self.source).poll_read(cx, &mut part))?;
        let read = part.filled();
        if read.is_empty() {
            let text = format!(
                "the snapshot ended after {} of {} bytes",
                self.length - self.left,
                self.length
            );
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        self.hasher.update(read);
        let count = read.len();
        buffer.advance(count);
        self.left -= count as u64;
        Poll::Ready(Ok(()))
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
