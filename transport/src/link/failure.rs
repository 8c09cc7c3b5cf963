//! How a handshake fails, and what the dialer makes of it.
//!
//! Only a code that the peer closed with can park it; what anyone on the path can forge cannot.

use super::connection::{close_code, describe};
use crate::admission::AdmissionRefusal;
use crate::close::{CloseClass, CloseCode};
use crate::frame::HandshakeError;

/// How a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFailure {
    /// We refuse the peer.
    #[error("refused: {0}")]
    Refused(#[from] AdmissionRefusal),
    /// The peer refused us with a code.
    #[error("the peer refused us: {0}")]
    ByPeer(CloseCode),
    /// The connection ended without a code of ours; anyone on the path may have forged that.
    #[error("{text}")]
    Lost {
        /// In words.
        text: String,
        /// Whether TLS or the transport was refused, rather than lost.
        refused: bool,
    },
}

impl HandshakeFailure {
    /// What the dialer does about it.
    pub(crate) fn class(&self) -> CloseClass {
        match self {
            // Our own verdict about who answered at an address: it may be another node tomorrow.
            Self::Refused(refusal) => match refusal.code.class() {
                CloseClass::Fatal | CloseClass::RetryAfter => CloseClass::RetryAfter,
                CloseClass::Retry => CloseClass::Retry,
            },
            Self::ByPeer(code) => code.class(),
            Self::Lost { refused: true, .. } => CloseClass::RetryAfter,
            Self::Lost { refused: false, .. } => CloseClass::Retry,
        }
    }

    pub(super) fn lost(connection: &quinn::Connection, otherwise: &dyn std::fmt::Display) -> Self {
        match connection.close_reason() {
            Some(error) => Self::ended(&error),
            None => Self::Lost {
                text: otherwise.to_string(),
                refused: false,
            },
        }
    }

    pub(crate) fn ended(error: &quinn::ConnectionError) -> Self {
        if let Some(code) = close_code(error) {
            return Self::ByPeer(code);
        }
        let refused = match error {
            // A node that stops or has no room refuses so; it is worth an ordinary retry.
            quinn::ConnectionError::ConnectionClosed(close) => {
                close.error_code != quinn::TransportErrorCode::CONNECTION_REFUSED
            }
            quinn::ConnectionError::TransportError(_) | quinn::ConnectionError::VersionMismatch => {
                true
            }
            quinn::ConnectionError::ApplicationClosed(_)
            | quinn::ConnectionError::Reset
            | quinn::ConnectionError::TimedOut
            | quinn::ConnectionError::LocallyClosed
            | quinn::ConnectionError::CidsExhausted => false,
        };
        Self::Lost {
            text: describe(error),
            refused,
        }
    }
}

pub(super) fn refusal(code: CloseCode, detail: impl Into<String>) -> HandshakeFailure {
    HandshakeFailure::Refused(AdmissionRefusal::new(code, detail))
}

/// A message that does not decode.
pub(super) fn bad_hello(error: &HandshakeError) -> HandshakeFailure {
    refusal(CloseCode::BadHello, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{ConnectionClose, ConnectionError, TransportErrorCode};

    fn class(error_code: TransportErrorCode) -> CloseClass {
        let close = ConnectionClose {
            error_code,
            frame_type: None,
            reason: bytes::Bytes::new(),
        };
        HandshakeFailure::ended(&ConnectionError::ConnectionClosed(close)).class()
    }

    /// What anyone on the path can forge never parks a peer.
    /// C3: it can be forged.
    #[test]
    fn transport_errors_are_at_most_retry_after() {
        assert_eq!(
            class(TransportErrorCode::CONNECTION_REFUSED),
            CloseClass::Retry
        );
        assert_eq!(
            class(TransportErrorCode::crypto(49)),
            CloseClass::RetryAfter
        );
        assert_eq!(
            class(TransportErrorCode::PROTOCOL_VIOLATION),
            CloseClass::RetryAfter
        );
        let lost = |error| HandshakeFailure::ended(&error).class();
        assert_eq!(lost(ConnectionError::Reset), CloseClass::Retry);
        assert_eq!(lost(ConnectionError::TimedOut), CloseClass::Retry);
        assert_eq!(
            lost(ConnectionError::VersionMismatch),
            CloseClass::RetryAfter
        );
    }

    #[test]
    fn a_code_of_the_peer_keeps_its_class_and_our_own_verdict_parks_nobody() {
        let by_peer = HandshakeFailure::ByPeer(CloseCode::Removed);
        assert_eq!(by_peer.class(), CloseClass::Fatal);
        let ours = refusal(CloseCode::Removed, "we removed it");
        assert_eq!(ours.class(), CloseClass::RetryAfter);
    }
}
