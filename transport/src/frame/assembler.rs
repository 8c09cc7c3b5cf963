//! Puts frames together from the pieces in which a stream delivers them.
//!
//! A body that lies in one piece is handed out as a slice of it, without a copy. Memory is taken as
//! bytes arrive, never ahead of them because a header announced many.

use bytes::{Buf, Bytes, BytesMut};

use super::header::{Frame, FrameError, FrameHeader, HEADER_BYTES, TRACE_BYTES};
use super::reader::take_trace;

/// Turns pieces of a stream into frames.
#[derive(Debug)]
pub struct FrameAssembler {
    body_bytes_max: usize,
    /// Bytes that were received and not yet handed out.
    pieces: Pieces,
    /// A header whose body is still on its way.
    header: Option<FrameHeader>,
}

impl FrameAssembler {
    /// An assembler that refuses bodies over `body_bytes_max` bytes.
    #[must_use]
    pub fn new(body_bytes_max: usize) -> Self {
        Self {
            body_bytes_max,
            pieces: Pieces::default(),
            header: None,
        }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, piece: Bytes) {
        self.pieces.push(piece);
    }

    /// The next whole frame, or `None` until more bytes were pushed.
    ///
    /// # Errors
    ///
    /// [`FrameError`] for bytes that are no frame or one over the limit. The stream cannot be read on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let header = match self.header.take() {
            Some(header) => header,
            None => match self.next_header()? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let Some(body) = self.pieces.take(header.body_bytes as usize) else {
            // Its body is still on its way.
            self.header = Some(header);
            return Ok(None);
        };
        Ok(Some(Frame { header, body }))
    }

    /// The header of the next frame as soon as it is there, whether its body is or not. The frame
    /// itself stays, for [`FrameAssembler::next_frame`].
    ///
    /// # Errors
    ///
    /// As for [`FrameAssembler::next_frame`].
    pub fn header(&mut self) -> Result<Option<FrameHeader>, FrameError> {
        if self.header.is_none() {
            self.header = self.next_header()?;
        }
        Ok(self.header)
    }

    /// The header of a frame whose body is still on its way, where it was read already.
    #[must_use]
    pub const fn arriving(&self) -> Option<&FrameHeader> {
        self.header.as_ref()
    }

    fn next_header(&mut self) -> Result<Option<FrameHeader>, FrameError> {
        let Some(fixed) = self.pieces.peek::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let (mut header, traced) = FrameHeader::decode(&fixed)?;
        // The limit comes before anything is kept or allocated for the body.
        let size = header.body_bytes as usize;
        if size > self.body_bytes_max {
            let limit = self.body_bytes_max;
            return Err(FrameError::TooLarge {
                header: Box::new(header),
                size,
                limit,
            });
        }
        if traced {
            let Some(mut head) = self.pieces.take(HEADER_BYTES + TRACE_BYTES) else {
                return Ok(None);
            };
            head.advance(HEADER_BYTES);
            header.trace = take_trace(&head);
        } else {
            self.pieces.skip(HEADER_BYTES);
        }
        Ok(Some(header))
    }

    /// What is left when the stream has ended.
    ///
    /// # Errors
    ///
    /// [`FrameError::Cut`] if it ended inside a frame.
    pub const fn finish(&self) -> Result<(), FrameError> {
        if self.header.is_none() && self.pieces.len == 0 {
            Ok(())
        } else {
            Err(FrameError::Cut(self.pieces.len))
        }
    }

    /// Gives back the bytes behind the last frame, for a stream that goes on with raw bytes.
    #[must_use]
    pub fn into_rest(mut self) -> Bytes {
        let len = self.pieces.len;
        self.pieces.take(len).unwrap_or_default()
    }
}

/// A queue of pieces: one that is read where it lies, or several joined in one buffer; never both.
///
/// The first piece moves into the buffer as soon as a second one comes. Joining both when the frame is
/// whole would copy 8 MiB in one go, for milliseconds in which whoever runs on the same thread waits.
#[derive(Debug, Default)]
struct Pieces {
    front: Bytes,
    back: BytesMut,
    len: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if self.front.is_empty() && self.back.is_empty() {
            self.front = piece;
        } else {
            self.back
                .extend_from_slice(&std::mem::take(&mut self.front));
            self.back.extend_from_slice(&piece);
        }
    }

    /// A copy of the first `N` bytes, if there are that many.
    fn peek<const N: usize>(&self) -> Option<[u8; N]> {
        if let Some(bytes) = self.front.first_chunk() {
            return Some(*bytes);
        }
        self.back.first_chunk().copied()
    }

    /// Passes over the first `size` bytes, if there are that many.
    fn skip(&mut self, size: usize) {
        if self.front.len() >= size {
            self.front.advance(size);
            self.len -= size;
        } else {
            self.take(size);
        }
    }

    /// The first `size` bytes, if there are that many: a slice where one piece holds them all.
    fn take(&mut self, size: usize) -> Option<Bytes> {
        if self.len < size {
            return None;
        }
        self.len -= size;
        if self.front.is_empty() {
            self.front = self.back.split().freeze();
        }
        Some(self.front.split_to(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameKind, Lane};
    use crate::{GroupId, TraceContext};
    use proptest::prelude::*;

    fn encoded(frame: &Frame) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        frame.header.encode(&mut buffer);
        buffer.extend_from_slice(&frame.body);
        buffer.to_vec()
    }

    fn call(size: usize, traced: bool) -> Frame {
        let body = Bytes::from(vec![7; size]);
        let mut frame =
            Frame::new(FrameKind::Call, Lane::Call, 5, 9, body).for_group(GroupId::new(3));
        frame.header.trace = traced.then(|| TraceContext::new([1; 16], [2; 8]));
        frame
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            sizes in proptest::collection::vec((0_usize..300, any::<bool>()), 1..8),
            cuts in proptest::collection::vec(1_usize..70, 1..64),
        ) {
            let frames: Vec<_> = sizes.iter().map(|(size, traced)| call(*size, *traced)).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(encoded).collect();
            let mut assembler = FrameAssembler::new(300);
            let (mut got, mut rest, mut cut) = (Vec::new(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                assembler.push(Bytes::copy_from_slice(piece));
                rest = tail;
                while let Some(frame) = assembler.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, frames);
            prop_assert!(assembler.finish().is_ok());
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error(pieces in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..80), 0..8)) {
            let mut assembler = FrameAssembler::new(64);
            for piece in pieces {
                assembler.push(Bytes::from(piece));
                while let Ok(Some(frame)) = assembler.next_frame() {
                    prop_assert!(frame.body.len() <= 64);
                }
            }
        }
    }

    /// F5: the limit itself passes, one past it is refused before its body came.
    #[test]
    fn a_body_at_the_limit_and_one_past_it() {
        let mut assembler = FrameAssembler::new(100);
        assembler.push(encoded(&call(100, false)).into());
        assert!(assembler.next_frame().unwrap().is_some());
        assembler.push(Bytes::copy_from_slice(
            &encoded(&call(101, false))[..HEADER_BYTES],
        ));
        let error = assembler.next_frame().unwrap_err();
        assert!(matches!(
            error,
            FrameError::TooLarge {
                size: 101,
                limit: 100,
                ..
            }
        ));
    }

    /// F5: memory follows the bytes that came, not the length that was announced.
    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut assembler = FrameAssembler::new(usize::MAX);
        let mut frame = call(0, false);
        frame.header.body_bytes = u32::MAX;
        assembler.push(encoded(&frame).into());
        assert_eq!(assembler.next_frame(), Ok(None));
        assembler.push(Bytes::from_static(b"few"));
        assert_eq!(assembler.next_frame(), Ok(None));
        assert!(assembler.pieces.back.capacity() + assembler.pieces.front.len() < 1024);
    }

    #[test]
    fn a_body_in_one_piece_is_not_copied() {
        let bytes = Bytes::from(encoded(&call(200, false)));
        let inside = bytes.slice(HEADER_BYTES..).as_ptr();
        let mut assembler = FrameAssembler::new(200);
        assembler.push(bytes);
        assert_eq!(
            assembler.next_frame().unwrap().unwrap().body.as_ptr(),
            inside
        );
    }

    #[test]
    fn an_end_inside_a_frame_is_told() {
        let mut assembler = FrameAssembler::new(200);
        let bytes = encoded(&call(200, false));
        assembler.push(Bytes::copy_from_slice(&bytes[..bytes.len() - 1]));
        assert_eq!(assembler.next_frame(), Ok(None));
        assert!(matches!(assembler.finish(), Err(FrameError::Cut(199))));
    }
}
