//! Doors for the fuzz targets, and for the guard of instruction counts, to what handles the bytes of
//! peers and is not public. They are behind the feature `fuzzing` and no part of the public API:
//! nothing here keeps its shape between versions.

use std::time::Duration;

use bytes::Bytes;

use crate::Refusal;
use crate::frame::{
    Confirm, Frame, HANDSHAKE_PREFIX_BYTES, HandshakeError, Hello, Welcome, handshake_length,
};

pub use crate::raft::fuzzing::{RaftMessage, append_frame, append_request, encoded_again};

/// A handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeMessage {
    /// The dialer's first.
    Hello,
    /// The acceptor's answer.
    Welcome,
    /// The dialer's second.
    Confirm,
}

impl HandshakeMessage {
    const fn kind(self) -> u8 {
        match self {
            Self::Hello => Hello::KIND,
            Self::Welcome => Welcome::KIND,
            Self::Confirm => Confirm::KIND,
        }
    }
}

/// The fields of a handshake message that is due, as they are read from a stream: `None` while bytes
/// are missing.
///
/// # Errors
///
/// [`HandshakeError`] for a prefix that is none or announces too much.
pub fn handshake_fields(
    message: HandshakeMessage,
    stream: &[u8],
) -> Result<Option<&[u8]>, HandshakeError> {
    let Some((prefix, rest)) = stream.split_first_chunk::<HANDSHAKE_PREFIX_BYTES>() else {
        return Ok(None);
    };
    let size = handshake_length(*prefix, message.kind())?;
    Ok(rest.get(..size))
}

/// The length and the service's part of the body with which a transfer begins.
#[must_use]
pub fn transfer_head(body: Bytes) -> Option<(u64, Bytes)> {
    crate::link::split_head(body)
}

/// A refusal as a frame brings it.
#[must_use]
pub fn refusal(code: u16, text: &[u8]) -> Refusal {
    Refusal::from_wire(code, text)
}

/// The wait that the text beside a close code asks for.
#[must_use]
pub fn asked_wait(text: &[u8]) -> Duration {
    crate::link::asked_wait(text)
}

/// Frames on their way through a lane, up to the chunks that its writer hands to the stream.
pub async fn leaving(frames: Vec<Frame>) -> Vec<Bytes> {
    crate::link::leaving(frames).await
}
