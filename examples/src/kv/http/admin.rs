//! What an operator does with the cluster, on any node: nodes come and go, leaders move.
//!
//! Every change may be asked for again, here or elsewhere: it goes on where it stopped. How long a
//! change is waited for, the header `x-deadline-ms` says, or else it is two minutes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use quicraft_manager::{
    ChangeOptions, ChangeReport, ClusterError, GroupName, GroupSelection, OperationError,
};
use serde::{Deserialize, Serialize};

use super::deadline::deadline_of;
use super::refusal::Refusal;
use super::{Front, Shared, wrong_method};
use crate::kv::process::one_line;
use crate::kv::types::KvNode;

/// How long a change is waited for. A thousand groups need about a minute on a busy machine.
const CHANGE: Duration = Duration::from_secs(120);

/// How long a move of a leader is waited for: two elections.
const TRANSFER: Duration = Duration::from_secs(10);

/// The paths of an operator.
pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/admin/nodes", post(add).fallback(wrong_method))
        .route("/admin/nodes/{node}", delete(remove).fallback(wrong_method))
        .route("/admin/transfer", post(transfer).fallback(wrong_method))
        .route("/admin/status", get(status).fallback(wrong_method))
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
    let Json(new) = body.map_err(|error| bad(error.body_text()))?;
    let record = KvNode::new(new.raft, new.http).record(new.node);
    let options = ChangeOptions::until(deadline_of(&headers, CHANGE)?);
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
    let options = ChangeOptions::until(deadline_of(&headers, CHANGE)?);
    let removed = front.host.manager().remove_node(node, &options).await;
    Ok(Changed::of(&removed.map_err(|error| changing(&error))?))
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
    let Json(Handover { group, to }) = body.map_err(|error| bad(error.body_text()))?;
    let deadline = deadline_of(&headers, TRANSFER)?;
    let open = front.host.manager().operations(&group);
    let open = open.map_err(|error| operating(&error))?;
    let moved = open.transfer(to, deadline).await;
    let moved = moved.map_err(|error| operating(&error))?;
    Ok(Json(Moved {
        group,
        from: moved.from,
        to: moved.to,
        took_ms: millis(moved.took),
    }))
}

/// The cluster, as this node has applied it.
#[derive(Serialize)]
struct ClusterStatus {
    /// 32 hexadecimal digits; absent until the cluster is founded.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// Whether every node and every group is where it is to be.
    formed: bool,
    nodes: BTreeMap<u64, NodeSeen>,
    groups: BTreeMap<String, GroupSeen>,
}

#[derive(Serialize)]
struct NodeSeen {
    raft: Vec<String>,
    http: String,
    /// `joining`, `member`, `leaving` or `removed`.
    standing: String,
    seated: bool,
    /// `done`, or what is missing and why.
    formation: String,
}

#[derive(Serialize)]
struct GroupSeen {
    id: u64,
    voters: Vec<u64>,
    learners: Vec<u64>,
    leader: Option<u64>,
    formation: String,
}

async fn status(State(front): Shared) -> Result<Json<ClusterStatus>, Refusal> {
    let manager = front.host.manager();
    let report = manager.formation().map_err(|error| changing(&error))?;
    let state = front.host.cluster().state();
    let open = manager.group_status().into_iter();
    let leaders: BTreeMap<_, _> = open.map(|group| (group.name, group.leader)).collect();
    let nodes = state.nodes.iter().map(|(&node, entry)| {
        let seen = NodeSeen {
            raft: entry.record.addresses.clone(),
            http: entry.record.data.clone(),
            standing: entry.standing.to_string(),
            seated: entry.seated,
            formation: text(report.nodes.get(&node)),
        };
        (node, seen)
    });
    let groups = state.groups.iter().map(|(name, group)| {
        let seen = GroupSeen {
            id: group.id,
            voters: group.voters.iter().copied().collect(),
            learners: group.learners.iter().copied().collect(),
            leader: leaders.get(name).copied().flatten(),
            formation: text(report.groups.get(name)),
        };
        (name.to_string(), seen)
    });
    Ok(Json(ClusterStatus {
        uid: report.uid.map(|uid| format!("{uid:032x}")),
        formed: report.is_done(),
        nodes: nodes.collect(),
        groups: groups.collect(),
    }))
}

fn text(state: Option<&quicraft_manager::FormationState>) -> String {
    state.map_or_else(|| "done".to_owned(), ToString::to_string)
}

fn bad(error: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error)
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
