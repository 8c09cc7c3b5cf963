//! What an operator does with the cluster, on any node: nodes come and go, leaders move.
//!
//! Every change may be asked for again, here or elsewhere: it goes on where it stopped. How long a
//! change is waited for, the header `x-deadline-ms` says, or else it is two minutes. A node that was
//! started for it dies where the header `die-at` says.
//!
//! | answer | meaning |
//! | --- | --- |
//! | 200 | done, now or before; for `balance` and `drain` what became of each group |
//! | 403 | this node does not die on demand; nothing was changed |
//! | 400, 404, 415, 422 | a node that cannot be, no such group, a body that is none |
//! | 409 | the cluster cannot be changed so; nothing was changed |
//! | 503 with `Retry-After` | not done in time; ask again, here or elsewhere |

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use quicraft_manager::{
    ChangeOptions, ChangeReport, ClusterError, GroupName, GroupResult, GroupSelection, GroupView,
    LeaderMove, NodeView, OperationError, Problem,
};
use serde::{Deserialize, Serialize};

use super::deadline::deadline_of;
use super::refusal::Refusal;
use super::{Front, Shared, wrong_method};
use crate::kv::die_at::{DieAt, InvalidDieAt};
use crate::kv::process::one_line;
use crate::kv::types::KvNode;

/// How long a change is waited for. A thousand groups need about a minute on a busy machine.
const CHANGE: Duration = Duration::from_secs(120);

/// How long a move of a leader is waited for: two elections.
const TRANSFER: Duration = Duration::from_secs(10);

/// How long the other nodes are asked how they are.
const LOOK: Duration = Duration::from_secs(5);

/// Where the change is to kill this node, for drills: as [`DieAt`] is written.
const DIE_AT: &str = "die-at";

/// The paths of an operator.
pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/admin/nodes", post(add).fallback(wrong_method))
        .route("/admin/nodes/{node}", delete(remove).fallback(wrong_method))
        .route("/admin/transfer", post(transfer).fallback(wrong_method))
        .route("/admin/balance", post(balance).fallback(wrong_method))
        .route("/admin/drain", post(drain).fallback(wrong_method))
        .route("/admin/status", get(status).fallback(wrong_method))
        .route("/metrics", get(metrics).fallback(wrong_method))
}

/// A node that is to join.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNode {
    node: u64,
    raft: String,
    http: String,
}

/// What came of a change of a node.
#[derive(Serialize)]
struct Changed {
    node: u64,
    groups: usize,
    /// Groups in which this call had something to do.
    changed: usize,
    took_ms: u64,
}

impl Changed {
    fn of(report: &ChangeReport) -> Json<Self> {
        let groups = report.groups.values();
        Json(Self {
            node: report.node,
            groups: report.groups.len(),
            changed: groups.filter(|group| !group.steps.is_empty()).count(),
            took_ms: millis(report.took),
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn add(
    State(front): Shared,
    headers: HeaderMap,
    body: Result<Json<NewNode>, JsonRejection>,
) -> Result<Json<Changed>, Refusal> {
    let Json(new) = body.map_err(unreadable)?;
    let record = KvNode::new(new.raft, new.http).record(new.node);
    let options = change_options(&front, &headers)?;
    let manager = front.host.manager();
    let added = manager
        .add_node(record, GroupSelection::All, &options)
        .await;
    Ok(Changed::of(&added.map_err(|error| changing(&error))?))
}

async fn remove(
    State(front): Shared,
    node: Result<Path<u64>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Changed>, Refusal> {
    let Path(node) = node.map_err(|error| bad(error.body_text()))?;
    let options = change_options(&front, &headers)?;
    let removed = front.host.manager().remove_node(node, &options).await;
    Ok(Changed::of(&removed.map_err(|error| changing(&error))?))
}

/// How long a change is waited for, and whether this node dies in it.
fn change_options(front: &Front, headers: &HeaderMap) -> Result<ChangeOptions, Refusal> {
    let options = ChangeOptions::until(deadline_of(headers, CHANGE)?);
    let Some(at) = headers.get(DIE_AT) else {
        return Ok(options);
    };
    if !front.host.config().drill_changes {
        let error = "this node does not die on demand; start it with --drill-changes";
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    }
    let at = at.to_str().map_err(|error| bad(error.to_string()))?;
    let at: DieAt = at
        .parse()
        .map_err(|error: InvalidDieAt| bad(one_line(&error)))?;
    Ok(options.observed(at.observer()))
}

/// A leader that is to move.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Handover {
    group: GroupName,
    to: u64,
}

/// A leader that has moved.
#[derive(Serialize)]
struct Moved {
    group: GroupName,
    from: u64,
    to: u64,
    took_ms: u64,
}

async fn transfer(
    State(front): Shared,
    headers: HeaderMap,
    body: Result<Json<Handover>, JsonRejection>,
) -> Result<Json<Moved>, Refusal> {
    let Json(Handover { group, to }) = body.map_err(unreadable)?;
    let deadline = deadline_of(&headers, TRANSFER)?;
    let moved = front.host.manager().transfer(&group, to, deadline).await;
    let moved = moved.map_err(|error| operating(&error))?;
    Ok(Json(Moved {
        group,
        from: moved.from,
        to: moved.to,
        took_ms: millis(moved.took),
    }))
}

/// What became of a group's leader.
#[derive(Serialize)]
struct LeaderSeen {
    group: GroupName,
    /// Who leads now, as far as it is known.
    leader: Option<u64>,
    moved: bool,
    /// Why it did not move although it was to.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl LeaderSeen {
    fn all(results: Vec<GroupResult<LeaderMove>>) -> Json<Vec<Self>> {
        let seen = results
            .into_iter()
            .map(|GroupResult { group, result, .. }| {
                let (leader, moved, problem) = match result {
                    Ok(LeaderMove::Moved(moved)) => (Some(moved.to), true, None),
                    Ok(LeaderMove::Kept { leader }) => (leader, false, None),
                    Ok(_) => (None, false, None),
                    Err(error) => (None, false, Some(one_line(&error))),
                };
                Self {
                    group,
                    leader,
                    moved,
                    problem,
                }
            });
        Json(seen.collect())
    }
}

async fn balance(
    State(front): Shared,
    headers: HeaderMap,
) -> Result<Json<Vec<LeaderSeen>>, Refusal> {
    let deadline = deadline_of(&headers, CHANGE)?;
    let moved = front.host.manager().balance(deadline).await;
    Ok(LeaderSeen::all(moved))
}

/// A node that is to lead nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drained {
    node: u64,
}

async fn drain(
    State(front): Shared,
    headers: HeaderMap,
    body: Result<Json<Drained>, JsonRejection>,
) -> Result<Json<Vec<LeaderSeen>>, Refusal> {
    let Json(Drained { node }) = body.map_err(unreadable)?;
    let deadline = deadline_of(&headers, TRANSFER)?;
    let moved = front.host.manager().drain(node, deadline).await;
    Ok(LeaderSeen::all(moved))
}

/// The cluster, as its nodes report it now.
#[derive(Serialize)]
struct ClusterSeen {
    /// 32 hexadecimal digits: a number so large that JSON readers round it. All 0 until the cluster
    /// is founded.
    uid: String,
    /// Whether every node and every group is where it is to be, as the asked node sees it.
    formed: bool,
    nodes: Vec<NodeView>,
    groups: Vec<GroupView>,
    problems: Vec<Problem>,
}

async fn status(State(front): Shared, headers: HeaderMap) -> Result<Json<ClusterSeen>, Refusal> {
    let manager = front.host.manager();
    let formed = manager.formation().map_err(|error| changing(&error))?;
    let status = manager.status(deadline_of(&headers, LOOK)?).await;
    let status = status.map_err(|error| changing(&error))?;
    Ok(Json(ClusterSeen {
        uid: format!("{:032x}", status.uid),
        formed: formed.is_done(),
        nodes: status.nodes,
        groups: status.groups,
        problems: status.problems,
    }))
}

/// Everything that is counted and measured in this process, as Prometheus reads it.
async fn metrics() -> Result<String, Refusal> {
    let none = "another recorder of metrics was there before this one";
    let text = crate::kv::metrics::text();
    text.ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, none))
}

fn bad(error: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error)
}

fn unreadable(error: JsonRejection) -> Refusal {
    Refusal::new(error.status(), error.body_text())
}

/// A change of the cluster that did not come to its end.
fn changing(error: &ClusterError) -> Refusal {
    let status = match error {
        ClusterError::Node(_) | ClusterError::Name(_) => StatusCode::BAD_REQUEST,
        ClusterError::Refused(_) => StatusCode::CONFLICT,
        ClusterError::NotStarted | ClusterError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        error if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(status, one_line(error))
}

/// A leader that was not moved.
fn operating(error: &OperationError) -> Refusal {
    let status = match error {
        OperationError::UnknownGroup { .. } => StatusCode::NOT_FOUND,
        OperationError::Timeout { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    Refusal::new(status, one_line(error))
}
