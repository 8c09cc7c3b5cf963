//! The small parts of calls that the transport reads itself: the head of a transfer, the text of a
//! refusal and that beside a close code.

use std::time::Duration;

use bytes::Bytes;
use quicraft_transport::RefusalCode;
use quicraft_transport::fuzzing;
use quicraft_transport::limits::{FORGEABLE_RETRY, REFUSAL_TEXT_BYTES_MAX};

/// The body with which a transfer begins.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn transfer_head(data: &[u8]) -> bool {
    let Some((length, head)) = fuzzing::transfer_head(Bytes::copy_from_slice(data)) else {
        assert!(data.len() < 8);
        return false;
    };
    assert_eq!([&length.to_be_bytes(), &head[..]].concat(), data);
    true
}

/// A refusal: two bytes of its code, and its text.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn refusal(data: &[u8]) -> bool {
    let Some((code, text)) = data.split_first_chunk::<2>() else {
        return false;
    };
    let number = u16::from_be_bytes(*code);
    let refusal = fuzzing::refusal(number, text);
    assert!(refusal.text.len() <= REFUSAL_TEXT_BYTES_MAX);
    if refusal.code != RefusalCode::Internal {
        assert_eq!(refusal.code.to_wire(), number);
    }
    true
}

/// The text beside a close code.
///
/// # Panics
///
/// If it makes this end wait for longer than it would by itself.
#[must_use]
pub fn close_text(data: &[u8]) -> bool {
    let wait = fuzzing::asked_wait(data);
    assert!(wait <= FORGEABLE_RETRY);
    let text = format!("retry_after_ms={}", wait.as_millis());
    wait > Duration::ZERO && data == text.as_bytes()
}
