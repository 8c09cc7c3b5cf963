//! The frames in which heartbeats of all groups, and the answers to them, travel together.
//!
//! A frame of heartbeats is its number and then, to its end, group, length and bytes of each; a
//! heartbeat's place in its frame is its id. A frame of answers is, to its end, an answer after the
//! other in the order of the places: in one number how many places were passed over and what kind
//! of answer it is, and what belongs to the kind. What the bytes of a heartbeat mean only its group
//! knows; this room must not.

use bytes::{Bytes, BytesMut};

use super::heartbeat::HEARTBEAT_MATCHED;
use super::{WireError, varint};
use crate::raft::limits::HEARTBEATS_PER_FRAME_MAX;
use crate::{GroupId, Refusal};

/// Bytes of the numbers before a heartbeat's own, at most.
pub(crate) const HEARTBEAT_HEAD_BYTES_MAX: usize = 2 * varint::VARINT_BYTES_MAX;

/// Begins a frame.
pub(crate) fn begin(into: &mut BytesMut, number: u64) {
    varint::put(into, number);
}

/// Bytes that a heartbeat takes in a frame.
pub(crate) const fn heartbeat_bytes(group: GroupId, body: usize) -> usize {
    varint::length(group.get()) + varint::length(body as u64) + body
}

/// Appends a heartbeat.
pub(crate) fn put_heartbeat(into: &mut BytesMut, group: GroupId, body: &[u8]) {
    varint::put(into, group.get());
    varint::put(into, body.len() as u64);
    into.extend_from_slice(body);
}

/// The number of a frame of heartbeats or of late answers, and what is behind it.
pub(crate) fn number(mut frame: &[u8]) -> Result<(u64, &[u8]), WireError> {
    let number = varint::take(&mut frame)?;
    Ok((number, frame))
}

/// The heartbeats of a frame, behind its number. All of it is checked before the first is taken, so
/// that a frame that is none has no effect.
pub(crate) fn heartbeats(frame: &[u8]) -> Result<Vec<(GroupId, &[u8])>, WireError> {
    let mut rest = frame;
    let mut heartbeats = Vec::new();
    while !rest.is_empty() {
        if heartbeats.len() == HEARTBEATS_PER_FRAME_MAX {
            return Err(WireError::Malformed("too many heartbeats in a frame"));
        }
        let group = GroupId::new(varint::take(&mut rest)?);
        heartbeats.push((group, varint::take_part(&mut rest)?));
    }
    Ok(heartbeats)
}

/// The answer to one heartbeat of a frame.
pub(crate) type BeatAnswer = Result<Bytes, Refusal>;

const KIND_BITS: u32 = 2;
/// The usual reply, which has one byte that everybody knows.
const KIND_MATCHED: u64 = 0;
/// Any reply: length and bytes.
const KIND_REPLY: u64 = 1;
/// A refusal: code, and length and bytes of its text.
const KIND_REFUSAL: u64 = 2;

/// Puts answers together, in the order of their places.
#[derive(Debug)]
pub(crate) struct AnswerFrame {
    body: BytesMut,
    limit: usize,
    next_place: u64,
}

impl AnswerFrame {
    /// A frame of at most `limit` bytes, behind `number` if it comes late.
    pub(crate) fn new(number: Option<u64>, limit: usize) -> Self {
        let mut body = BytesMut::with_capacity(256);
        if let Some(number) = number {
            varint::put(&mut body, number);
        }
        Self {
            body,
            limit,
            next_place: 0,
        }
    }

    /// Appends the answer of a place behind all that are in; `false` if there is no room for it.
    pub(crate) fn put(&mut self, place: u32, answer: &BeatAnswer) -> bool {
        let before = self.body.len();
        let passed = u64::from(place).saturating_sub(self.next_place) << KIND_BITS;
        match answer {
            Ok(reply) if **reply == [HEARTBEAT_MATCHED] => {
                varint::put(&mut self.body, passed | KIND_MATCHED);
            }
            Ok(reply) => {
                varint::put(&mut self.body, passed | KIND_REPLY);
                self.put_part(reply);
            }
            Err(refusal) => {
                varint::put(&mut self.body, passed | KIND_REFUSAL);
                varint::put(&mut self.body, u64::from(refusal.code.to_wire()));
                self.put_part(refusal.text.as_bytes());
            }
        }
        if self.body.len() > self.limit {
            self.body.truncate(before);
            return false;
        }
        self.next_place = u64::from(place) + 1;
        true
    }

    /// Whether no answer is in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.next_place == 0
    }

    fn put_part(&mut self, part: &[u8]) {
        varint::put(&mut self.body, part.len() as u64);
        self.body.extend_from_slice(part);
    }

    /// The frame.
    pub(crate) fn finish(self) -> Bytes {
        self.body.freeze()
    }
}

/// Takes the next answer off a frame of answers that began as `whole`; `next_place` is 0 at first.
pub(crate) fn take_answer(
    whole: &Bytes,
    rest: &mut &[u8],
    next_place: &mut u64,
) -> Result<(usize, BeatAnswer), WireError> {
    let head = varint::take(rest)?;
    let place = next_place.checked_add(head >> KIND_BITS);
    let place = place
        .filter(|place| *place < HEARTBEATS_PER_FRAME_MAX as u64)
        .ok_or(WireError::Malformed("an answer to no heartbeat"))?;
    let answer = match head & ((1 << KIND_BITS) - 1) {
        KIND_MATCHED => Ok(Bytes::from_static(&[HEARTBEAT_MATCHED])),
        KIND_REPLY => Ok(whole.slice_ref(varint::take_part(rest)?)),
        KIND_REFUSAL => {
            let code = varint::take_as(rest)?;
            Err(Refusal::from_wire(code, varint::take_part(rest)?))
        }
        _ => return Err(WireError::Malformed("an unknown kind of answer")),
    };
    *next_place = place + 1;
    let place = usize::try_from(place).unwrap_or(usize::MAX);
    Ok((place, answer))
}
