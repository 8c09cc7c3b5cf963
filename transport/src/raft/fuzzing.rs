//! A door for the fuzz targets, and for the guard of instruction counts, to the messages in `wire/`,
//! which are nobody else's business.

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::raft::AppendEntriesRequest;

use super::codec::CodecError;
use super::limits::CODEC_INPUT_BYTES_MAX;
use super::wire::{
    AppendReply, AppendSplitter, FrameLimits, SnapshotHead, SnapshotOfferReply,
    SnapshotOfferRequest, SnapshotReply, TransferReply, TransferRequest, VoteReply,
    VoteRequestBody, WireError, decode_append, encode,
};

/// A message of the Raft wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RaftMessage {
    /// An append frame, which is also a heartbeat.
    Append,
    /// The answer to one.
    AppendReply,
    /// A vote or a pre-vote.
    Vote,
    /// The answer to one.
    VoteReply,
    /// A transfer of leadership.
    LeaderTransfer,
    /// The answer to one.
    LeaderTransferReply,
    /// The head of a snapshot.
    SnapshotHead,
    /// The answer to a snapshot.
    SnapshotReply,
    /// The question for what is kept of a snapshot.
    SnapshotOffer,
    /// The answer to it.
    SnapshotOfferReply,
}

/// Larger than any message, so that one frame takes a whole request.
const WHOLE: FrameLimits = FrameLimits {
    frame_bytes: usize::MAX,
    entry_bytes: CODEC_INPUT_BYTES_MAX,
};

/// Decodes `bytes` as the node that gets them would, and encodes the message again. `None` if the
/// bytes are refused.
///
/// # Errors
///
/// A message that decoded and does not encode.
pub fn encoded_again<C: RaftTypeConfig<NodeId = u64>>(
    message: RaftMessage,
    bytes: &[u8],
) -> Result<Option<Bytes>, CodecError> {
    let result = match message {
        RaftMessage::Append => decode_append::<C>(bytes).map(|request| {
            let frame = AppendSplitter::new(request, WHOLE).next_frame()?;
            Ok(frame.map_or_else(Bytes::new, |frame| frame.body))
        }),
        RaftMessage::AppendReply => AppendReply::<C>::decode(bytes).map(|message| message.encode()),
        RaftMessage::Vote => VoteRequestBody::<C>::decode(bytes)
            .map(|request| encode(&VoteRequestBody::from(request))),
        RaftMessage::VoteReply => {
            VoteReply::<C>::decode(bytes).map(|response| encode(&VoteReply::from(response)))
        }
        RaftMessage::LeaderTransfer => TransferRequest::<C>::decode(bytes)
            .map(|request| encode(&TransferRequest::from(request))),
        RaftMessage::LeaderTransferReply => {
            TransferReply::decode::<C>(bytes).map(|response| TransferReply::encode::<C>(&response))
        }
        RaftMessage::SnapshotHead => SnapshotHead::<C>::decode(bytes).map(|head| encode(&head)),
        RaftMessage::SnapshotReply => {
            SnapshotReply::<C>::decode(bytes).map(|response| encode(&SnapshotReply::from(response)))
        }
        RaftMessage::SnapshotOffer => {
            SnapshotOfferRequest::<C>::decode(bytes).map(|question| encode(&question))
        }
        RaftMessage::SnapshotOfferReply => {
            SnapshotOfferReply::<C>::decode(bytes).map(|message| message.encode())
        }
    };
    match result {
        Ok(encoded) => encoded.map(Some),
        Err(WireError::Codec(_) | WireError::Malformed(_) | WireError::Implausible(_)) => Ok(None),
    }
}

/// The one frame of a request, as a leader sends it; nothing if an entry is too large.
///
/// # Errors
///
/// An entry that does not encode.
pub fn append_frame<C: RaftTypeConfig<NodeId = u64>>(
    request: AppendEntriesRequest<C>,
) -> Result<Option<Bytes>, CodecError> {
    let frame = AppendSplitter::new(request, WHOLE).next_frame()?;
    Ok(frame.map(|frame| frame.body))
}

/// The request in a frame, as a follower reads it; `None` if the bytes are refused.
#[must_use]
pub fn append_request<C: RaftTypeConfig<NodeId = u64>>(
    body: &[u8],
) -> Option<AppendEntriesRequest<C>> {
    decode_append::<C>(body).ok()
}
