//! How a handshake fails, and what the dialer makes of it.
//!
//! Only a code that the peer closed with can park it; what anyone on the path can forge cannot.

use std::time::Duration;

use quicraft_certs::{CertificateRefusal, RefusalNote};
use quinn::{ConnectionError, TransportErrorCode};

use super::connection::{close_code, describe};
use crate::admission::AdmissionRefusal;
use crate::close::{CloseClass, CloseCode};
use crate::frame::HandshakeError;
use crate::life::Setback;
use crate::limits::{FORGEABLE_RETRY, RETRY_AFTER};

/// What the text of a close says before the milliseconds that the dialer is to wait.
const RETRY_AFTER_TEXT: &str = "retry_after_ms=";

/// The alert to a dialer without a certificate, `certificate_required` (RFC 8446, 6.2).
const CERTIFICATE_REQUIRED: u8 = 116;

/// How a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFailure {
    /// We refuse the peer.
    #[error("refused: {0}")]
    Refused(#[from] AdmissionRefusal),
    /// We refuse the certificate of the other end, inside TLS. It has proven nothing, so this says
    /// nothing about a node.
    #[error("refused: {0}")]
    Certificate(CertificateRefusal),
    /// The peer refused us with a code.
    #[error("the peer refused us: {code}")]
    ByPeer {
        /// Its code.
        code: CloseCode,
        /// The wait that it asked for, within bounds.
        retry_after: Duration,
    },
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
    /// What it means for the next dial.
    pub(crate) fn setback(&self) -> Setback {
        match self {
            // Our own verdict about who answered at an address: it may be another node tomorrow.
            Self::Refused(refusal) => match (refusal.code, refusal.code.class()) {
                (CloseCode::Superseded, _) => Setback::Superseded,
                (_, CloseClass::Fatal | CloseClass::RetryAfter) => {
                    Setback::RetryAfter(refusal.retry_after)
                }
                (_, CloseClass::Retry) => Setback::Retry,
            },
            Self::ByPeer { code, retry_after } => match (code, code.class()) {
                (CloseCode::Superseded, _) => Setback::Superseded,
                (code, CloseClass::Fatal) => Setback::Fatal(*code),
                (_, CloseClass::RetryAfter) => Setback::RetryAfter(*retry_after),
                (_, CloseClass::Retry) => Setback::Retry,
            },
            Self::Certificate(_) | Self::Lost { refused: true, .. } => Setback::Forgeable,
            Self::Lost { refused: false, .. } => Setback::Retry,
        }
    }

    /// What the dialer makes of an end after TLS. Until the acceptor has confirmed TLS (RFC 9001,
    /// 4.1.2), a close may still have come in one of the first packets, whose keys are public. The
    /// next dial tells which it was.
    pub(super) fn unless_forged(self, quic: &quinn::Connection) -> Self {
        let confirmed = quic.stats().frame_rx.handshake_done > 0;
        match self {
            Self::ByPeer { code, .. } if code.class() == CloseClass::Fatal && !confirmed => {
                Self::forged(format!(
                    "closed by the peer: {code}, before TLS was confirmed"
                ))
            }
            other => other,
        }
    }

    const fn forged(text: String) -> Self {
        let refused = true;
        Self::Lost { text, refused }
    }

    /// The stream of the handshake broke: with its connection, or the peer has ended it alone, and
    /// is told that no such message can be read.
    pub(super) fn broken(connection: &quinn::Connection, stream: &dyn std::fmt::Display) -> Self {
        match connection.close_reason() {
            Some(error) => Self::ended(&error),
            None => refusal(CloseCode::BadHello, stream.to_string()),
        }
    }

    /// How a handshake ended inside TLS, with what this end has noted of it.
    pub(crate) fn in_tls(error: &ConnectionError, note: &RefusalNote) -> Self {
        if let Some(refusal) = note.refusal() {
            return Self::Certificate(refusal.clone());
        }
        let required = TransportErrorCode::crypto(CERTIFICATE_REQUIRED);
        match error {
            // C3: the keys of the first packets are public, and a close code may travel in them.
            ConnectionError::ApplicationClosed(_) => Self::forged(describe(error)),
            // TLS itself refuses a dialer that shows none; nobody is asked then.
            ConnectionError::TransportError(refused) if refused.code == required => {
                Self::Certificate(CertificateRefusal::NoCertificate)
            }
            _ => Self::ended(error),
        }
    }

    pub(crate) fn ended(error: &ConnectionError) -> Self {
        if let (Some(code), ConnectionError::ApplicationClosed(close)) = (close_code(error), error)
        {
            let retry_after = asked_wait(&close.reason);
            return Self::ByPeer { code, retry_after };
        }
        let refused = match error {
            // A node that stops or has no room refuses so; it is worth an ordinary retry.
            ConnectionError::ConnectionClosed(close) => {
                close.error_code != TransportErrorCode::CONNECTION_REFUSED
            }
            ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => true,
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::TimedOut
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => false,
        };
        Self::Lost {
            text: describe(error),
            refused,
        }
    }
}

/// The text of a close that asks the dialer to wait.
pub(super) fn wait_text(wait: Duration) -> String {
    format!("{RETRY_AFTER_TEXT}{}", wait.as_millis())
}

/// The wait that the text of a close asks for; without one, and above what is sensible, ours.
pub(crate) fn asked_wait(text: &[u8]) -> Duration {
    let asked = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.strip_prefix(RETRY_AFTER_TEXT))
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis);
    asked.map_or(RETRY_AFTER, |wait| wait.min(FORGEABLE_RETRY))
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
    use bytes::Bytes;
    use quinn::{ApplicationClose, ConnectionClose};

    fn refused_by_transport(error_code: TransportErrorCode) -> Setback {
        let close = ConnectionClose {
            error_code,
            frame_type: None,
            reason: Bytes::new(),
        };
        HandshakeFailure::ended(&ConnectionError::ConnectionClosed(close)).setback()
    }

    fn refused_by_peer(code: CloseCode, text: &'static str) -> Setback {
        let close = ApplicationClose {
            error_code: code.varint(),
            reason: Bytes::from_static(text.as_bytes()),
        };
        HandshakeFailure::ended(&ConnectionError::ApplicationClosed(close)).setback()
    }

    /// What anyone on the path can forge never parks a peer.
    /// C3: it can be forged.
    #[test]
    fn transport_errors_are_at_most_forgeable() {
        let refused = refused_by_transport(TransportErrorCode::CONNECTION_REFUSED);
        assert_eq!(refused, Setback::Retry);
        let alert = refused_by_transport(TransportErrorCode::crypto(49));
        assert_eq!(alert, Setback::Forgeable);
        let violation = refused_by_transport(TransportErrorCode::PROTOCOL_VIOLATION);
        assert_eq!(violation, Setback::Forgeable);
        let lost = |error| HandshakeFailure::ended(&error).setback();
        assert_eq!(lost(ConnectionError::Reset), Setback::Retry);
        assert_eq!(lost(ConnectionError::TimedOut), Setback::Retry);
        assert_eq!(lost(ConnectionError::VersionMismatch), Setback::Forgeable);
    }

    #[test]
    fn a_code_of_the_peer_keeps_its_class_and_our_own_verdict_parks_nobody() {
        let removed = refused_by_peer(CloseCode::Removed, "");
        assert_eq!(removed, Setback::Fatal(CloseCode::Removed));
        let superseded = refused_by_peer(CloseCode::Superseded, "");
        assert_eq!(superseded, Setback::Superseded);
        let ours = refusal(CloseCode::Removed, "we removed it").setback();
        assert_eq!(ours, Setback::RetryAfter(RETRY_AFTER));
    }

    /// C2, C4: the wait is in the text, and no peer can keep us away for long.
    #[test]
    fn a_peer_says_how_long_to_wait_within_bounds() {
        let wait = |text| refused_by_peer(CloseCode::Busy, text);
        let ms = |ms| Setback::RetryAfter(Duration::from_millis(ms));
        assert_eq!(wait("retry_after_ms=250"), ms(250));
        assert_eq!(wait("retry_after_ms=30000"), ms(30_000));
        assert_eq!(wait("retry_after_ms=30001"), ms(30_000));
        for text in ["", "retry_after_ms=", "retry_after_ms=-1", "250"] {
            assert_eq!(wait(text), Setback::RetryAfter(RETRY_AFTER), "{text}");
        }
        let said = wait_text(Duration::from_millis(250));
        assert_eq!(said, "retry_after_ms=250");
    }
}
