//! An answer that says no, and why.
//!
//! Codes are part of the wire (PROTOCOL.md, R clauses): a number is never given a second meaning.

use std::fmt;

use crate::limits::REFUSAL_TEXT_BYTES_MAX;

/// Why a peer did not run a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalCode {
    /// No service is registered for the group on that node.
    UnknownGroup,
    /// The service does not serve this method in this shape.
    UnknownMethod,
    /// The body does not decode.
    Undecodable,
    /// A frame or an entry is over the limit of that node.
    TooLarge,
    /// A bound of that node is reached; try again later.
    Busy,
    /// The deadline had passed before the call was run to its end.
    DeadlinePassed,
    /// The message names another node than the one that sent it.
    OriginMismatch,
    /// The handler panicked; the call may have had effects.
    HandlerPanicked,
    /// The group's service has stopped for good on that node.
    Stopped,
    /// That node is shutting down.
    ShuttingDown,
    /// The bytes of a transfer do not match their announced length or hash.
    Corrupt,
    /// A failure inside the handler, in words.
    Internal,
    /// A transfer begins behind bytes that are not kept on that node; begin at 0.
    NotResumable,
    /// A code of the application, outside the transport's own range.
    Application(u16),
}

impl RefusalCode {
    /// First number that belongs to applications.
    const APPLICATION_BASE: u16 = 0x8000;

    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::UnknownGroup => 1,
            Self::UnknownMethod => 2,
            Self::Undecodable => 3,
            Self::TooLarge => 4,
            Self::Busy => 5,
            Self::DeadlinePassed => 6,
            Self::OriginMismatch => 7,
            Self::HandlerPanicked => 8,
            Self::Stopped => 9,
            Self::ShuttingDown => 10,
            Self::Corrupt => 11,
            Self::Internal => 12,
            Self::NotResumable => 13,
            Self::Application(code) => Self::APPLICATION_BASE | code,
        }
    }

    /// The code behind a number. A number that is not known yet reads as [`RefusalCode::Internal`].
    #[must_use]
    pub const fn from_wire(number: u16) -> Self {
        match number {
            1 => Self::UnknownGroup,
            2 => Self::UnknownMethod,
            3 => Self::Undecodable,
            4 => Self::TooLarge,
            5 => Self::Busy,
            6 => Self::DeadlinePassed,
            7 => Self::OriginMismatch,
            8 => Self::HandlerPanicked,
            9 => Self::Stopped,
            10 => Self::ShuttingDown,
            11 => Self::Corrupt,
            13 => Self::NotResumable,
            code if code >= Self::APPLICATION_BASE => {
                Self::Application(code & !Self::APPLICATION_BASE)
            }
            _ => Self::Internal,
        }
    }
}

/// An answer that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The reason, for machines.
    pub code: RefusalCode,
    /// The reason, for people; at most 256 bytes travel.
    pub text: String,
}

impl Refusal {
    /// A refusal. A longer text is cut at a character boundary.
    #[must_use]
    pub fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > REFUSAL_TEXT_BYTES_MAX {
            let end = (0..=REFUSAL_TEXT_BYTES_MAX)
                .rev()
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or(0);
            text.truncate(end);
        }
        Self { code, text }
    }

    /// A refusal as a frame brings it: a number, and bytes that may be no text.
    pub(crate) fn from_wire(code: u16, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        Self::new(RefusalCode::from_wire(code), text)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.text)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire() {
        for number in (0..=20).chain([0x8000, 0x8001, 0xffff]) {
            let code = RefusalCode::from_wire(number);
            if code != RefusalCode::Internal {
                assert_eq!(code.to_wire(), number);
            }
        }
    }

    #[test]
    fn text_at_the_limit_stays_and_one_past_it_is_cut() {
        let at = "x".repeat(REFUSAL_TEXT_BYTES_MAX);
        assert_eq!(Refusal::new(RefusalCode::Internal, at.clone()).text, at);
        let past = "x".repeat(REFUSAL_TEXT_BYTES_MAX + 1);
        assert_eq!(
            Refusal::new(RefusalCode::Internal, past).text.len(),
            REFUSAL_TEXT_BYTES_MAX
        );
        let wide = "é".repeat(REFUSAL_TEXT_BYTES_MAX);
        assert!(Refusal::new(RefusalCode::Internal, wide).text.len() <= REFUSAL_TEXT_BYTES_MAX);
    }
}
