//! Frames of the peers that have no format of their own: length, kind, id, body.
//!
//! Written apart from Quicraft's on purpose: a ceiling that shares our code would share its faults.

use bytes::{Buf, BufMut, BytesMut};

use super::PeerFailure;

/// What a header needs: a length, a kind with three bytes of padding, an id.
const FIELDS_BYTES: usize = 16;

/// Bytes of a body; a longer one is a fault of this program.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    Reply,
    /// Bytes that are counted and discarded.
    Bulk,
}

impl Kind {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Call => 1,
            Self::Reply => 2,
            Self::Bulk => 3,
        }
    }

    fn from_wire(byte: u8) -> Result<Self, PeerFailure> {
        match byte {
            1 => Ok(Self::Call),
            2 => Ok(Self::Reply),
            3 => Ok(Self::Bulk),
            _ => Err(format!("a frame of kind {byte}").into()),
        }
    }
}

/// Appends a header of `HEADER` bytes, the last of which are padding.
pub(crate) fn put_header<const HEADER: usize>(
    kind: Kind,
    id: u64,
    body_bytes: usize,
    into: &mut BytesMut,
) {
    const { assert!(HEADER >= FIELDS_BYTES) };
    let body_bytes = u32::try_from(body_bytes).unwrap_or(u32::MAX);
    into.reserve(HEADER);
    into.put_u32(body_bytes);
    into.put_u32(u32::from(kind.to_wire()));
    into.put_u64(id);
    into.put_bytes(0, HEADER - FIELDS_BYTES);
}

/// Appends a whole frame.
pub(crate) fn put_frame<const HEADER: usize>(
    kind: Kind,
    id: u64,
    body: &[u8],
    into: &mut BytesMut,
) {
    into.reserve(HEADER + body.len());
    put_header::<HEADER>(kind, id, body.len(), into);
    into.extend_from_slice(body);
}

/// Bytes as they come in, and the frames in them.
#[derive(Debug, Default)]
pub(crate) struct Incoming<const HEADER: usize> {
    /// Read into its spare room.
    pub(crate) buffer: BytesMut,
    /// Bytes of a bulk frame that have not come yet.
    discarding: usize,
}

impl<const HEADER: usize> Incoming<HEADER> {
    /// Hands every whole call and reply to `take`, in place; bulk is discarded as it comes.
    pub(crate) fn each(
        &mut self,
        mut take: impl FnMut(Kind, u64, &[u8]),
    ) -> Result<(), PeerFailure> {
        let mut at = 0;
        loop {
            let discarded = self.discarding.min(self.buffer.len() - at);
            self.discarding -= discarded;
            at += discarded;
            let bytes = &self.buffer[at..];
            let Some(mut header) = bytes.get(..HEADER) else {
                break;
            };
            let size = header.get_u32() as usize;
            let kind = Kind::from_wire(u8::try_from(header.get_u32())?)?;
            let id = header.get_u64();
            if size > BODY_BYTES_MAX {
                return Err(format!("a frame of {size} bytes").into());
            }
            if kind == Kind::Bulk {
                self.discarding = size;
                at += HEADER;
                continue;
            }
            let Some(body) = bytes.get(HEADER..HEADER + size) else {
                break;
            };
            take(kind, id, body);
            at += HEADER + size;
        }
        self.buffer.advance(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames<const HEADER: usize>() -> BytesMut {
        let mut bytes = BytesMut::new();
        put_frame::<HEADER>(Kind::Call, 1, b"one", &mut bytes);
        put_frame::<HEADER>(Kind::Bulk, 0, &[3; 1_000], &mut bytes);
        put_frame::<HEADER>(Kind::Reply, u64::MAX, b"", &mut bytes);
        bytes
    }

    fn in_pieces_of<const HEADER: usize>(size: usize) {
        let bytes = frames::<HEADER>();
        assert_eq!(bytes.len(), 3 * HEADER + 1_003);
        let mut incoming = Incoming::<HEADER>::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            incoming.buffer.extend_from_slice(piece);
            incoming
                .each(|kind, id, body| found.push((kind, id, body.to_vec())))
                .unwrap();
            assert!(incoming.buffer.len() < HEADER + 3, "bulk is not kept");
        }
        let expected = [
            (Kind::Call, 1, b"one".to_vec()),
            (Kind::Reply, u64::MAX, Vec::new()),
        ];
        assert_eq!(found, expected);
        assert!(incoming.buffer.is_empty());
    }

    #[test]
    fn frames_survive_any_cut() {
        for size in 1..100 {
            in_pieces_of::<16>(size);
            in_pieces_of::<32>(size);
        }
        in_pieces_of::<32>(10_000);
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let mut incoming = Incoming::<16>::default();
        incoming.buffer.put_bytes(0xff, 16);
        assert!(incoming.each(|_, _, _| {}).is_err());
        let mut incoming = Incoming::<16>::default();
        put_header::<16>(Kind::Call, 1, BODY_BYTES_MAX, &mut incoming.buffer);
        assert!(incoming.each(|_, _, _| {}).is_ok());
        let mut incoming = Incoming::<16>::default();
        put_header::<16>(Kind::Call, 1, BODY_BYTES_MAX + 1, &mut incoming.buffer);
        assert!(incoming.each(|_, _, _| {}).is_err());
    }
}
