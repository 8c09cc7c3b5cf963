//! How long a client waits for its answer.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::refusal::Refusal;

/// Milliseconds that the client waits from now on.
const HEADER: &str = "x-deadline-ms";

/// The longest that a client may ask for. 10 minutes: whoever waits for longer is not there any more.
const LONGEST_MS: u64 = 600_000;

/// When the request is to be answered: after what the client says, or after `default`.
pub(super) fn deadline_of(headers: &HeaderMap, default: Duration) -> Result<Instant, Refusal> {
    let refused = |error| Refusal::new(StatusCode::BAD_REQUEST, error);
    let wait = wait_of(headers, default).map_err(refused)?;
    Ok(Instant::now() + wait)
}

fn wait_of(headers: &HeaderMap, default: Duration) -> Result<Duration, String> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(default);
    };
    let millis = value.to_str().ok().and_then(|text| text.parse().ok());
    let millis = millis.filter(|millis| (1..=LONGEST_MS).contains(millis));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{HEADER} must be 1 to {LONGEST_MS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_say_how_long_it_waits() {
        let default = Duration::from_secs(5);
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, value.parse().unwrap());
            wait_of(&headers, default).ok()
        };
        assert_eq!(wait_of(&HeaderMap::new(), default), Ok(default));
        assert_eq!(of("1"), Some(Duration::from_millis(1)));
        assert_eq!(of("600000"), Some(Duration::from_secs(600)));
        for wrong in ["0", "600001", "-1", "soon", ""] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
