//! Every answer that is not 200: its status, its headers and its body.

use axum::Json;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use openraft::errors::ForwardToLeader;
use serde::Serialize;

use crate::kv::types::TypeConfig;

/// Seconds after which a refused client should ask again: about an election.
const RETRY_AFTER_SECONDS: &str = "1";

/// An answer that is not 200.
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
    group: Option<u64>,
    leader: Option<u64>,
    location: Option<String>,
}

#[derive(Serialize)]
struct RefusalBody<'a> {
    error: &'a str,
    group: Option<u64>,
    leader: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            group: None,
            leader: None,
            location: None,
        }
    }

    pub(super) fn of(mut self, group: u64) -> Self {
        self.group = Some(group);
        self
    }

    /// The leader is elsewhere, or nobody knows where; nothing was done.
    pub(super) fn forward(
        group: u64,
        to: &ForwardToLeader<TypeConfig>,
        uri: &Uri,
        own: u64,
    ) -> Self {
        let at = to
            .leader_node
            .as_ref()
            .filter(|_| to.leader_id != Some(own));
        let Some(at) = at else {
            let error = "the group has no leader now; ask again";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, error).of(group);
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Self {
            leader: to.leader_id,
            location: Some(format!("http://{}{path}", at.http)),
            ..Self::new(
                StatusCode::TEMPORARY_REDIRECT,
                "another node leads the group",
            )
            .of(group)
        }
    }

    pub(super) fn unknown(group: u64, leader: Option<u64>, why: &str) -> Self {
        Self {
            leader,
            ..Self::new(StatusCode::GATEWAY_TIMEOUT, why).of(group)
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = RefusalBody {
            error: &self.error,
            group: self.group,
            leader: self.leader,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(location) = self.location.and_then(|location| location.parse().ok()) {
            headers.insert(LOCATION, location);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}
