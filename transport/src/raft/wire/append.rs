//! Append frames and the answers to them.
//!
//! A frame is `[u32 length of the head][head]` and then, up to its end, `[u32 length][entry]` for
//! every entry; lengths are little-endian, head and entries are one value of the codec each. So an
//! entry is encoded once, its size is known before it is decided in which frame it travels, and the
//! codec never sees a length that covers more than one entry.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::RaftTypeConfig;
use openraft::entry::RaftEntry;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use openraft::type_config::alias::{LogIdOf, VoteOf};
use serde::{Deserialize, Serialize};

use super::super::codec::{Codec, CodecError, RaftCodec};
use super::super::limits::{APPEND_ENTRIES_MAX, CODEC_INPUT_BYTES_MAX};
use super::{WireError, check_leader_vote, check_membership, decode, encode_tagged, split_tag};

/// Bytes of a length inside a frame.
const LENGTH_BYTES: usize = 4;

/// What stands before the entries.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct AppendHead<C: RaftTypeConfig> {
    pub(super) vote: VoteOf<C>,
    pub(super) prev_log_id: Option<LogIdOf<C>>,
    pub(super) leader_commit: Option<LogIdOf<C>>,
}

/// How large a frame and an entry may be for the peer that they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameLimits {
    /// Bytes of a frame's body.
    pub(crate) frame_bytes: usize,
    /// Bytes of an encoded entry.
    pub(crate) entry_bytes: usize,
}

/// An entry that no frame can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OversizedEntry {
    /// Its index in the log.
    pub(crate) index: u64,
    /// Bytes of its encoding.
    pub(crate) size: usize,
    /// Bytes that it may have.
    pub(crate) limit: usize,
}

/// One append frame, and what it says about the log.
pub(crate) struct AppendFrame<C: RaftTypeConfig> {
    /// The bytes.
    pub(crate) body: Bytes,
    /// The log id before its first entry.
    pub(crate) prev: Option<LogIdOf<C>>,
    /// The log id of its last entry, or `prev` if it has none.
    pub(crate) last: Option<LogIdOf<C>>,
    /// Whether it is the last frame of its request.
    pub(crate) closes: bool,
}

impl<C: RaftTypeConfig> fmt::Debug for AppendFrame<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppendFrame")
            .field("bytes", &self.body.len())
            .field("prev", &self.prev)
            .field("last", &self.last)
            .field("closes", &self.closes)
            .finish()
    }
}

/// Turns one request into frames, one at a time, each a valid AppendEntries of its own.
pub(crate) struct AppendSplitter<C: RaftTypeConfig> {
    vote: VoteOf<C>,
    leader_commit: Option<LogIdOf<C>>,
    prev: Option<LogIdOf<C>>,
    entries: std::vec::IntoIter<C::Entry>,
    /// An entry with its length that did not fit into the frame before.
    carried: Option<(LogIdOf<C>, BytesMut)>,
    limits: FrameLimits,
    done: bool,
    oversized: Option<OversizedEntry>,
}

impl<C: RaftTypeConfig> AppendSplitter<C> {
    /// Frames of `request` within `limits`.
    pub(crate) fn new(request: AppendEntriesRequest<C>, limits: FrameLimits) -> Self {
        let AppendEntriesRequest {
            vote,
            prev_log_id,
            entries,
            leader_commit,
        } = request;
        Self {
            vote,
            leader_commit,
            prev: prev_log_id,
            entries: entries.into_iter(),
            carried: None,
            limits,
            done: false,
            oversized: None,
        }
    }

    /// The entry at which the frames had to end, if there is one. Ask after the last frame.
    pub(crate) fn oversized(&self) -> Option<OversizedEntry> {
        self.oversized
    }

    /// The next frame; `None` after the last one.
    ///
    /// A request without entries is one frame. If an entry is too large for any frame, the frames
    /// end before it, and [`Self::oversized`] says so.
    pub(crate) fn next_frame(&mut self) -> Result<Option<AppendFrame<C>>, CodecError> {
        if self.done {
            return Ok(None);
        }
        let mut body = self.encode_head()?;
        let prev = self.prev.clone();
        let mut count = 0;
        if let Some((log_id, bytes)) = self.carried.take() {
            if body.len() + bytes.len() > self.limits.frame_bytes {
                // It was within the entry limit, but this peer's frames are smaller than that.
                self.stop_at(log_id.index(), bytes.len() - LENGTH_BYTES, body.len());
            } else {
                body.unsplit(bytes);
                self.prev = Some(log_id);
                count = 1;
            }
        }
        self.fill(&mut body, count)?;
        if self.oversized.is_some() && self.prev == prev {
            return Ok(None);
        }
        let last = self.prev.clone();
        Ok(Some(AppendFrame {
            body: body.freeze(),
            prev,
            last,
            closes: self.done,
        }))
    }

    /// Adds entries until the frame is full, the entries are used up, or one is too large.
    fn fill(&mut self, body: &mut BytesMut, mut count: usize) -> Result<(), CodecError> {
        let head = body.len();
        while !self.done {
            let Some(entry) = self.entries.next() else {
                self.done = true;
                break;
            };
            let log_id = entry.log_id();
            let start = body.len();
            match encode_with_length(&entry, body) {
                Ok(size) if size <= self.entry_limit() => {}
                Ok(size) | Err(CodecError::TooLong { size, .. }) => {
                    body.truncate(start);
                    self.stop_at(log_id.index(), size, head);
                    break;
                }
                Err(error) => return Err(error),
            }
            if body.len() <= self.limits.frame_bytes && count < APPEND_ENTRIES_MAX {
                self.prev = Some(log_id);
                count += 1;
            } else if count == 0 {
                let size = body.len() - start - LENGTH_BYTES;
                body.truncate(start);
                self.stop_at(log_id.index(), size, head);
            } else {
                self.carried = Some((log_id, body.split_off(start)));
                break;
            }
        }
        Ok(())
    }

    fn encode_head(&self) -> Result<BytesMut, CodecError> {
        let head = AppendHead::<C> {
            vote: self.vote.clone(),
            prev_log_id: self.prev.clone(),
            leader_commit: self.leader_commit.clone(),
        };
        let mut body = BytesMut::with_capacity(256);
        encode_with_length(&head, &mut body)?;
        Ok(body)
    }

    fn entry_limit(&self) -> usize {
        self.limits.entry_bytes.min(CODEC_INPUT_BYTES_MAX)
    }

    fn stop_at(&mut self, index: u64, size: usize, head: usize) {
        let room = self.limits.frame_bytes.saturating_sub(head + LENGTH_BYTES);
        let limit = self.entry_limit().min(room);
        self.oversized = Some(OversizedEntry { index, size, limit });
        self.done = true;
    }
}

/// Appends a value with its length before it; returns the length.
fn encode_with_length<T: Serialize>(value: &T, body: &mut BytesMut) -> Result<usize, CodecError> {
    let start = body.len();
    body.put_u32_le(0);
    let result = RaftCodec::encode(value, body);
    let size = body.len() - start - LENGTH_BYTES;
    match result.and_then(|()| {
        u32::try_from(size).map_err(|_| CodecError::TooLong {
            size,
            limit: CODEC_INPUT_BYTES_MAX,
        })
    }) {
        Ok(length) => {
            body[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            Ok(size)
        }
        Err(error) => {
            body.truncate(start);
            Err(error)
        }
    }
}

/// The request in one frame, if a leader may send it.
pub(crate) fn decode_append<C: RaftTypeConfig>(
    mut body: &[u8],
) -> Result<AppendEntriesRequest<C>, WireError> {
    let AppendHead {
        vote,
        prev_log_id,
        leader_commit,
    } = decode::<AppendHead<C>>(split_part(&mut body)?)?;
    check_leader_vote::<C>(&vote)?;
    let mut next_index = prev_log_id
        .as_ref()
        .map_or(Some(0), |prev| prev.index().checked_add(1));
    let mut entries = Vec::new();
    while !body.is_empty() {
        if entries.len() == APPEND_ENTRIES_MAX {
            return Err(WireError::Malformed("too many entries in a frame"));
        }
        let entry: C::Entry = decode(split_part(&mut body)?)?;
        // openraft asserts that entries follow each other; a gap would corrupt its log.
        let index = entry.index();
        if next_index != Some(index) {
            return Err(WireError::Implausible(
                "an append with a gap in its entries",
            ));
        }
        if let Some(membership) = entry.get_membership() {
            check_membership::<C>(&membership)?;
        }
        next_index = index.checked_add(1);
        entries.push(entry);
    }
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

/// Takes the next part of a frame off its front.
fn split_part<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let (length, rest) = body
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or(WireError::Malformed("a frame ends inside a length"))?;
    let length = usize::try_from(u32::from_le_bytes(*length))
        .map_err(|_| WireError::Malformed("a length of this frame is over our address space"))?;
    let (part, rest) = rest
        .split_at_checked(length)
        .ok_or(WireError::Malformed("a frame ends inside a part"))?;
    *body = rest;
    Ok(part)
}

/// The answer to one append frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AppendReply<C: RaftTypeConfig> {
    /// The log matches up to here and is flushed. Less than the frame's last id: only a part of the
    /// frame was taken, and the session ends.
    Matched(Option<LogIdOf<C>>),
    /// The log id before the frame is not in the log. The session ends.
    Conflict(LogIdOf<C>),
    /// A higher vote is known. The session ends.
    HigherVote(VoteOf<C>),
}

impl<C: RaftTypeConfig> AppendReply<C> {
    const MATCHED: u8 = 1;
    const CONFLICT: u8 = 2;
    const HIGHER_VOTE: u8 = 3;

    /// The bytes of this reply.
    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        match self {
            Self::Matched(log_id) => encode_tagged(Self::MATCHED, log_id),
            Self::Conflict(log_id) => encode_tagged(Self::CONFLICT, log_id),
            Self::HigherVote(vote) => encode_tagged(Self::HIGHER_VOTE, vote),
        }
    }

    /// The reply in `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match split_tag(bytes)? {
            (Self::MATCHED, rest) => Ok(Self::Matched(decode(rest)?)),
            (Self::CONFLICT, rest) => Ok(Self::Conflict(decode(rest)?)),
            (Self::HIGHER_VOTE, rest) => Ok(Self::HigherVote(decode(rest)?)),
            _ => Err(WireError::Malformed("unknown tag of an append reply")),
        }
    }

    /// What it says to openraft, if it can be an answer to a frame from `prev` to `last`.
    ///
    /// openraft believes what it is told about a follower's log, so that is checked here.
    pub(crate) fn judge(
        self,
        prev: Option<&LogIdOf<C>>,
        last: Option<&LogIdOf<C>>,
    ) -> Result<StreamAppendResult<C>, WireError> {
        match self {
            Self::Matched(log_id) if (prev..=last).contains(&log_id.as_ref()) => Ok(Ok(log_id)),
            Self::Matched(_) => Err(WireError::Implausible("it acknowledges what was not sent")),
            Self::Conflict(log_id) if Some(&log_id) == prev => {
                Ok(Err(StreamAppendError::Conflict(log_id)))
            }
            Self::Conflict(_) => Err(WireError::Implausible(
                "it conflicts with what was not sent",
            )),
            Self::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(vote))),
        }
    }
}

impl<C: RaftTypeConfig> From<StreamAppendResult<C>> for AppendReply<C> {
    fn from(result: StreamAppendResult<C>) -> Self {
        match result {
            Ok(log_id) => Self::Matched(log_id),
            Err(StreamAppendError::Conflict(log_id)) => Self::Conflict(log_id),
            Err(StreamAppendError::HigherVote(vote)) => Self::HigherVote(vote),
        }
    }
}
