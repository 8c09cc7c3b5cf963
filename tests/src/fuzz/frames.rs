//! The frame reader: any stream of bytes, cut anywhere.

use bytes::{Bytes, BytesMut};
use quicraft_transport::frame::{Frame, FrameAssembler, FrameError};

/// The limit of bodies: small, so that the fuzzer reaches both sides of it.
const BODY_BYTES_MAX: usize = 512;

/// Reads the bytes behind the first as frames, whole and in pieces of the first byte's length. Both
/// readings are the same, no body is over the limit, and frames encode to the bytes that they came
/// from.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn frame_reader(data: &[u8]) -> bool {
    let Some((cut, stream)) = data.split_first() else {
        return false;
    };
    let whole = read(stream, stream.len().max(1));
    let cut = read(stream, usize::from(*cut).max(1));
    assert_eq!(whole, cut, "where a stream is cut makes no difference");
    let (frames, end) = whole;
    let mut again = BytesMut::new();
    for frame in &frames {
        assert!(frame.body.len() <= BODY_BYTES_MAX);
        assert_eq!(frame.body.len(), frame.header.body_bytes as usize);
        frame.header.encode(&mut again);
        again.extend_from_slice(&frame.body);
    }
    assert!(stream.starts_with(&again), "a frame is its bytes");
    if let Err(FrameError::TooLarge { size, limit, .. }) = &end {
        assert!(*size > BODY_BYTES_MAX && *limit == BODY_BYTES_MAX);
    }
    if end.is_ok() {
        assert_eq!(again.len(), stream.len(), "nothing is lost at a good end");
    }
    end.is_ok() && !frames.is_empty()
}

/// The frames of a stream, and what ended it.
fn read(stream: &[u8], piece: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut assembler = FrameAssembler::new(BODY_BYTES_MAX);
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        assembler.push(Bytes::copy_from_slice(piece));
        loop {
            match assembler.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    let end = assembler.finish().map_err(|_| FrameError::Cut(0));
    (frames, end)
}
