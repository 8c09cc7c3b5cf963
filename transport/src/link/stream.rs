//! Frames over a quinn stream: reading them one by one, writing those that are ready together.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use quinn::{ReadError, RecvStream, SendStream, WriteError};

use crate::close::StreamCode;
use crate::frame::{Frame, FrameAssembler, FrameError, FrameHeader};
use crate::limits::READ_CHUNK_BYTES_MAX;

/// Bodies up to this size are copied behind their headers, so that many frames become one write;
/// larger ones travel as they are. 4 KiB: below it the copy costs less than one more chunk in
/// quinn's send buffer.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// Chunks that a batch takes at once, each the part of the stream in one packet: 45 KiB in ordinary
/// datagrams. One by one they would cost as many turns with the lock of the connection, on which its
/// packets wait.
const BATCH_CHUNKS: usize = 32;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameReadError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Stream(#[from] ReadError),
}

/// What one look at a stream has brought.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole frame.
    Frame(Frame),
    /// Bytes of a frame that is not whole yet: the peer is slow, but it moves.
    Piece,
    /// The peer has finished the stream behind a whole frame.
    End,
}

/// Reads frames from a stream.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: RecvStream,
    assembler: FrameAssembler,
    taken: u64,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, body_bytes_max: usize) -> Self {
        Self {
            stream,
            assembler: FrameAssembler::new(body_bytes_max),
            taken: 0,
        }
    }

    /// Bytes taken from the stream so far.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// The header of the next frame, as soon as it is there; the frame itself comes with the next
    /// read. `None` when the peer has finished the stream behind a whole frame.
    ///
    /// Cancel safe: what was read stays with the reader.
    pub(crate) async fn header(&mut self) -> Result<Option<FrameHeader>, FrameReadError> {
        loop {
            if let Some(header) = self.assembler.header()? {
                return Ok(Some(header));
            }
            let chunk = self.stream.read_chunk(READ_CHUNK_BYTES_MAX, true).await?;
            if !self.push(chunk)? {
                return Ok(None);
            }
        }
    }

    /// Takes what has arrived, and waits for something if nothing has.
    ///
    /// Cancel safe: what was read stays with the reader.
    pub(crate) async fn step(&mut self) -> Result<Step, FrameReadError> {
        let mut grew = false;
        loop {
            if let Some(frame) = self.assembler.next_frame()? {
                return Ok(Step::Frame(frame));
            }
            let read = self.stream.read_chunk(READ_CHUNK_BYTES_MAX, true);
            // A frame that has arrived whole is one step, in however many packets it came.
            let chunk = if grew {
                match read.now_or_never() {
                    Some(chunk) => chunk?,
                    None => return Ok(Step::Piece),
                }
            } else {
                read.await?
            };
            if !self.push(chunk)? {
                return Ok(Step::End);
            }
            grew = true;
        }
    }

    /// Takes what has arrived and adds the whole frames of it to `frames`, which may be none; waits
    /// if nothing has arrived. `false` when the peer has finished the stream behind a whole frame.
    ///
    /// An error concerns what comes behind the frames that were added.
    ///
    /// Cancel safe: what was read stays with the reader.
    pub(crate) async fn batch(
        &mut self,
        frames: &mut VecDeque<Frame>,
    ) -> Result<bool, FrameReadError> {
        // An earlier read may have left whole frames.
        self.take_whole(frames)?;
        if !frames.is_empty() {
            return Ok(true);
        }
        let mut chunks = [const { Bytes::new() }; BATCH_CHUNKS];
        let Some(count) = self.stream.read_chunks(&mut chunks).await? else {
            self.assembler.finish()?;
            return Ok(false);
        };
        for chunk in &mut chunks[..count] {
            self.taken += chunk.len() as u64;
            self.assembler.push(std::mem::take(chunk));
        }
        self.take_whole(frames)?;
        Ok(true)
    }

    fn take_whole(&mut self, frames: &mut VecDeque<Frame>) -> Result<(), FrameError> {
        while let Some(frame) = self.assembler.next_frame()? {
            frames.push_back(frame);
        }
        Ok(())
    }

    /// The header of a frame that has not arrived whole.
    pub(crate) const fn arriving(&self) -> Option<&FrameHeader> {
        self.assembler.arriving()
    }

    /// Takes a chunk; `false` at the end of the stream.
    fn push(&mut self, chunk: Option<quinn::Chunk>) -> Result<bool, FrameError> {
        match chunk {
            Some(chunk) => {
                self.taken += chunk.bytes.len() as u64;
                self.assembler.push(chunk.bytes);
                Ok(true)
            }
            None => self.assembler.finish().map(|()| false),
        }
    }

    /// The next frame; `None` when the peer has finished the stream behind a whole frame.
    ///
    /// Cancel safe: what was read stays with the reader.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameReadError> {
        loop {
            match self.step().await? {
                Step::Frame(frame) => return Ok(Some(frame)),
                Step::Piece => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// Asks the peer to stop sending.
    pub(crate) fn stop(&mut self, code: StreamCode) {
        // A stream that has ended already needs no stop.
        drop(self.stream.stop(code.varint()));
    }

    /// The bytes behind the last frame and the stream that goes on, for raw bytes.
    pub(crate) fn into_raw(self) -> (Bytes, RecvStream) {
        (self.assembler.into_rest(), self.stream)
    }
}

/// Writes frames as one sequence of chunks, so that they leave together. Returns the bytes written.
///
/// Not cancel safe: a dropped write may have written half a frame, so reset the stream then.
pub(crate) async fn write_frames(
    stream: &mut SendStream,
    frames: &[Frame],
) -> Result<usize, WriteError> {
    write_each(stream, frames.iter()).await
}

/// The same for frames that do not lie in one slice.
pub(crate) async fn write_each<'a>(
    stream: &mut SendStream,
    frames: impl Iterator<Item = &'a Frame> + Clone,
) -> Result<usize, WriteError> {
    let mut chunks = gather(frames);
    let bytes = chunks.iter().map(Bytes::len).sum();
    stream.write_all_chunks(&mut chunks).await?;
    Ok(bytes)
}

/// Frames as chunks: headers and small bodies joined, large bodies as they are.
pub(super) fn gather<'a>(frames: impl Iterator<Item = &'a Frame> + Clone) -> Vec<Bytes> {
    let small = |frame: &Frame| frame.body.len() <= COPY_BYTES_MAX;
    let joined = frames.clone().map(|frame| {
        frame.header.encoded_bytes() + if small(frame) { frame.body.len() } else { 0 }
    });
    let mut buffer = BytesMut::with_capacity(joined.sum());
    let mut chunks = Vec::with_capacity(1);
    for frame in frames {
        frame.header.encode(&mut buffer);
        if small(frame) {
            buffer.extend_from_slice(&frame.body);
        } else {
            chunks.push(buffer.split().freeze());
            chunks.push(frame.body.clone());
        }
    }
    if !buffer.is_empty() {
        chunks.push(buffer.freeze());
    }
    chunks
}

/// Resets a stream that was written half, unless it is taken back in time.
#[derive(Debug)]
pub(crate) struct ResetOnDrop(Option<SendStream>);

impl ResetOnDrop {
    pub(crate) const fn new(stream: SendStream) -> Self {
        Self(Some(stream))
    }

    pub(crate) fn stream(&mut self) -> &mut SendStream {
        #[expect(
            clippy::expect_used,
            reason = "the stream leaves only through `take`, which ends self"
        )]
        self.0.as_mut().expect("taken only at the end")
    }

    pub(crate) fn take(mut self) -> SendStream {
        #[expect(clippy::expect_used, reason = "the stream leaves only here")]
        self.0.take().expect("taken only once")
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0 {
            // A stream that has ended already needs no reset.
            drop(stream.reset(StreamCode::Cancelled.varint()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameKind, HEADER_BYTES, Lane};

    fn frame(size: usize) -> Frame {
        Frame::new(
            FrameKind::Call,
            Lane::Call,
            0,
            1,
            Bytes::from(vec![1; size]),
        )
    }

    #[test]
    fn small_frames_leave_in_one_chunk_and_large_bodies_are_not_copied() {
        assert_eq!(
            gather([frame(10), frame(COPY_BYTES_MAX), frame(0)].iter()).len(),
            1
        );
        let large = frame(COPY_BYTES_MAX + 1);
        let chunks = gather([frame(10), large.clone(), frame(5)].iter());
        let sizes: Vec<_> = chunks.iter().map(Bytes::len).collect();
        assert_eq!(
            sizes,
            [2 * HEADER_BYTES + 10, COPY_BYTES_MAX + 1, HEADER_BYTES + 5]
        );
        assert_eq!(chunks[1].as_ptr(), large.body.as_ptr());
    }
}
