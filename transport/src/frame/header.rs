//! The frame header: 32 bytes, fixed layout, network byte order (PROTOCOL.md, F clauses).

use bytes::{BufMut, Bytes, BytesMut};

use crate::{GroupId, TraceContext};

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 32;

/// Bytes of the trace context that follows the header when its flag is set.
pub const TRACE_BYTES: usize = 24;

const FLAG_TRACE: u16 = 0x0001;

/// A class of traffic with its own streams, bounds and priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lane {
    /// Votes, heartbeats, leader transfer, probes, going-away.
    Control,
    /// Log replication.
    Append,
    /// Forwarded proposals, reads, membership and application calls.
    Call,
    /// Snapshots.
    Snapshot,
}

impl Lane {
    /// All lanes, from the highest priority to the lowest.
    pub const ALL: [Self; 4] = [Self::Control, Self::Append, Self::Call, Self::Snapshot];

    /// quinn sends streams of a higher number first.
    // L1: the order of the lanes.
    pub(crate) const fn priority(self) -> i32 {
        match self {
            Self::Control => 3,
            Self::Append => 2,
            Self::Call => 1,
            Self::Snapshot => 0,
        }
    }

    /// The name that logs and metrics use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Append => "append",
            Self::Call => "call",
            Self::Snapshot => "snapshot",
        }
    }

    /// Its place in an array with one slot for each lane.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Control),
            1 => Some(Self::Append),
            2 => Some(Self::Call),
            3 => Some(Self::Snapshot),
            _ => None,
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameKind {
    /// A call, a request of a session, or the head of a transfer.
    Call,
    /// The answer to the call of the same id.
    Reply,
    /// An answer that says no; `method` carries the code and the body a text.
    Refusal,
    /// A receiver has taken the bytes of a transfer, or of a session's stream, up to `id`.
    Progress,
    /// A caller has taken a large reply; its bytes count no longer.
    Taken,
    /// Are you there? On Control only.
    Ping,
    /// The answer to the ping of the same id.
    Pong,
    /// The sender is about to shut down: count it as down at once.
    GoingAway,
    /// A draining end has no call of its own in flight any more.
    Done,
    /// The caller has given the call of this id up.
    Cancel,
}

impl FrameKind {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Call => 1,
            Self::Reply => 2,
            Self::Refusal => 3,
            Self::Progress => 4,
            Self::Taken => 5,
            Self::Ping => 6,
            Self::Pong => 7,
            Self::GoingAway => 8,
            Self::Done => 9,
            Self::Cancel => 10,
        }
    }

    const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Call),
            2 => Some(Self::Reply),
            3 => Some(Self::Refusal),
            4 => Some(Self::Progress),
            5 => Some(Self::Taken),
            6 => Some(Self::Ping),
            7 => Some(Self::Pong),
            8 => Some(Self::GoingAway),
            9 => Some(Self::Done),
            10 => Some(Self::Cancel),
            _ => None,
        }
    }
}

/// Everything of a frame but its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameHeader {
    /// What it is.
    pub kind: FrameKind,
    /// The lane that it belongs to; all frames of a stream have the same.
    pub lane: Lane,
    /// The service's method, or the code of a refusal.
    pub method: u16,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// The call that it belongs to, chosen by the caller; the offset in a progress frame.
    pub id: u64,
    /// The group.
    pub group: GroupId,
    /// Milliseconds that the caller will still wait; 0 means that it did not say.
    pub deadline_ms: u32,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
}

/// Why bytes are not a frame that may stand here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// No such kind.
    #[error("frame kind {0} is not known")]
    UnknownKind(u8),
    /// No such lane.
    #[error("lane {0} is not known")]
    UnknownLane(u8),
    /// Bits that this version does not define are set.
    #[error("flags {0:#06x} are not known")]
    UnknownFlags(u16),
    /// The body is over the limit; nothing was allocated for it.
    #[error("a body of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// The frame's header, so that its call can be refused.
        header: Box<FrameHeader>,
        /// Bytes announced.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, after {0} bytes of it")]
    Cut(usize),
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Everything but the body.
    pub header: FrameHeader,
    /// The body; its length is `header.body_bytes`.
    pub body: Bytes,
}

impl Frame {
    /// A frame with a body. The group, the deadline and the trace are empty until they are set.
    ///
    /// A body over `u32::MAX` bytes cannot be announced; every lane's limit lies far below.
    #[must_use]
    pub fn new(kind: FrameKind, lane: Lane, method: u16, id: u64, body: Bytes) -> Self {
        let body_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let header = FrameHeader {
            kind,
            lane,
            method,
            body_bytes,
            id,
            group: GroupId::new(0),
            deadline_ms: 0,
            trace: None,
        };
        Self { header, body }
    }

    /// A frame without a body.
    #[must_use]
    pub fn bare(kind: FrameKind, lane: Lane, id: u64) -> Self {
        Self::new(kind, lane, 0, id, Bytes::new())
    }

    /// Bytes of the whole frame on the wire.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.header.encoded_bytes() + self.body.len()
    }

    /// The same frame for a group.
    #[must_use]
    pub fn for_group(mut self, group: GroupId) -> Self {
        self.header.group = group;
        self
    }
}

impl FrameHeader {
    /// Bytes of the header with its trace.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        if self.trace.is_some() {
            HEADER_BYTES + TRACE_BYTES
        } else {
            HEADER_BYTES
        }
    }

    /// Appends the header to `buffer`.
    pub fn encode(&self, buffer: &mut BytesMut) {
        let flags = if self.trace.is_some() { FLAG_TRACE } else { 0 };
        let mut fixed = [0; HEADER_BYTES];
        fixed[0] = self.kind.to_wire();
        fixed[1] = self.lane as u8;
        fixed[2..4].copy_from_slice(&self.method.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.body_bytes.to_be_bytes());
        fixed[8..16].copy_from_slice(&self.id.to_be_bytes());
        fixed[16..24].copy_from_slice(&self.group.get().to_be_bytes());
        fixed[24..28].copy_from_slice(&self.deadline_ms.to_be_bytes());
        fixed[28..30].copy_from_slice(&flags.to_be_bytes());
        buffer.reserve(self.encoded_bytes());
        // In one piece: the buffer looks at its room once, not for each field.
        buffer.put_slice(&fixed);
        if let Some(trace) = &self.trace {
            buffer.put_slice(&trace.trace_id);
            buffer.put_slice(&trace.span_id);
        }
    }

    /// Reads the fixed part. The second value says whether a trace context follows.
    ///
    /// # Errors
    ///
    /// [`FrameError`] for a kind, a lane or a flag that this version does not know.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(Self, bool), FrameError> {
        // The fields as one pattern, so that the compiler reads each with one load.
        #[rustfmt::skip]
        let [
            kind, lane, m0, m1, b0, b1, b2, b3,
            i0, i1, i2, i3, i4, i5, i6, i7,
            g0, g1, g2, g3, g4, g5, g6, g7,
            d0, d1, d2, d3, f0, f1, r0, r1,
        ] = *bytes;
        let kind = FrameKind::from_wire(kind).ok_or(FrameError::UnknownKind(kind))?;
        let lane = Lane::from_wire(lane).ok_or(FrameError::UnknownLane(lane))?;
        let flags = u16::from_be_bytes([f0, f1]);
        let reserved = u16::from_be_bytes([r0, r1]);
        if flags & !FLAG_TRACE != 0 {
            return Err(FrameError::UnknownFlags(flags));
        }
        if reserved != 0 {
            return Err(FrameError::UnknownFlags(reserved));
        }
        let header = Self {
            kind,
            lane,
            method: u16::from_be_bytes([m0, m1]),
            body_bytes: u32::from_be_bytes([b0, b1, b2, b3]),
            id: u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
            group: GroupId::new(u64::from_be_bytes([g0, g1, g2, g3, g4, g5, g6, g7])),
            deadline_ms: u32::from_be_bytes([d0, d1, d2, d3]),
            trace: None,
        };
        Ok((header, flags & FLAG_TRACE != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Call,
            lane: Lane::Append,
            method: 0x0102,
            body_bytes: 3,
            id: 0x1112_1314_1516_1718,
            group: GroupId::new(0x2122_2324_2526_2728),
            deadline_ms: 0x3132_3334,
            trace: None,
        }
    }

    /// F1 to F3: the layout. A change of these bytes is a change of version.
    #[test]
    fn golden_bytes() {
        let mut buffer = BytesMut::new();
        header().encode(&mut buffer);
        let golden = [
            0x01, 0x01, 0x01, 0x02, 0, 0, 0, 3, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
            0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x31, 0x32, 0x33, 0x34, 0, 0, 0, 0,
        ];
        assert_eq!(&buffer[..], &golden[..]);
        assert_eq!(FrameHeader::decode(&golden), Ok((header(), false)));
    }

    /// L7: how far a session's stream is.
    #[test]
    fn golden_progress() {
        let mut buffer = BytesMut::new();
        let report = Frame::bare(FrameKind::Progress, Lane::Append, 0x0102_0304);
        report.header.encode(&mut buffer);
        let mut golden = [0; HEADER_BYTES];
        (golden[0], golden[1]) = (4, 1);
        golden[12..16].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(&buffer[..], &golden[..]);
    }

    /// L6: a call that its caller has given up.
    #[test]
    fn golden_cancel() {
        let mut buffer = BytesMut::new();
        let cancel = Frame::bare(FrameKind::Cancel, Lane::Call, 0x0102_0304);
        cancel.header.encode(&mut buffer);
        let mut golden = [0; HEADER_BYTES];
        (golden[0], golden[1]) = (10, 2);
        golden[12..16].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(&buffer[..], &golden[..]);
    }

    /// F4: what this version does not define is refused, not skipped.
    #[test]
    fn unknown_bits_are_refused() {
        let mut buffer = BytesMut::new();
        header().encode(&mut buffer);
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(&buffer);
        let with = |at: usize, value: u8| {
            let mut bytes = bytes;
            bytes[at] = value;
            FrameHeader::decode(&bytes)
        };
        assert_eq!(with(0, 0), Err(FrameError::UnknownKind(0)));
        assert_eq!(with(0, 11), Err(FrameError::UnknownKind(11)));
        assert_eq!(with(1, 4), Err(FrameError::UnknownLane(4)));
        assert_eq!(with(29, 2), Err(FrameError::UnknownFlags(2)));
        assert_eq!(with(31, 1), Err(FrameError::UnknownFlags(1)));
    }

    #[test]
    fn kinds_survive_the_wire() {
        for byte in 1..=10 {
            assert_eq!(
                FrameKind::from_wire(byte).map(FrameKind::to_wire),
                Some(byte)
            );
        }
    }
}
