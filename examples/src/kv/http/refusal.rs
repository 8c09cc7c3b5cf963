//! Every answer that is not 200: its status, its headers and its body.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quicraft_manager::RequestError;
use serde::Serialize;

/// Seconds after which a refused client should ask again: about an election.
const RETRY_AFTER_SECONDS: &str = "1";

/// An answer that is not 200.
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
    group: Option<u64>,
    leader: Option<u64>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct RefusalBody<'a> {
    error: &'a str,
    group: Option<u64>,
    leader: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// What the body of an answer says whose request may have been done or not.
const UNKNOWN: &str = "unknown";

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            group: None,
            leader: None,
            reason: None,
        }
    }

    pub(super) fn of(mut self, group: u64) -> Self {
        self.group = Some(group);
        self
    }

    /// A request that the group did not answer.
    pub(super) fn request(group: u64, error: &RequestError) -> Self {
        let text = error.to_string();
        match error {
            RequestError::NoLeader { leader, .. } => Self {
                leader: leader.map(|leader| leader.node),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
            },
            RequestError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, text),
            RequestError::Unknown { asked, .. } => Self {
                leader: Some(asked.node),
                reason: Some(text),
                ..Self::new(StatusCode::GATEWAY_TIMEOUT, UNKNOWN)
            },
            RequestError::Failed { asked, .. } => Self {
                leader: Some(asked.node),
                ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            },
            RequestError::Overloaded { .. } | RequestError::Stopped { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            // A kind of a later version says nothing about what was done.
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
        .of(group)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = RefusalBody {
            error: &self.error,
            group: self.group,
            leader: self.leader,
            reason: self.reason.as_deref(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}
