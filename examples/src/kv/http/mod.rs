//! The HTTP front: keys, status, health, and what only an operator can decide. It knows HTTP and
//! the host, and of links only what [`Network`] says.
//!
//! | answer | meaning |
//! | --- | --- |
//! | 200 | done; for `PUT` and `DELETE` applied by the leader and durable on a majority |
//! | 400, 404, 405, 413 | a bad key, query or deadline, no such key or path, no such method, too large a value |
//! | 503 with `Retry-After` | no leader before the deadline, or this node is busy or stopping; nothing was done |
//! | 504 with `"error": "unknown"` | **whether the write happened is unknown**; `reason` says why |
//! | 500 | the group has failed at the leader; whether a write happened is unknown |
//!
//! Any node takes any request: it asks the leader of the key's group. A client may say how long it
//! waits, in the header `x-deadline-ms`; without it `--request-timeout-ms` is how long.
//!
//! Every error has the body `{"error": ..., "group": ..., "leader": ...}`.

mod admin;
mod deadline;
mod refusal;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver as _;
use quicraft_manager::RequestOptions;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::deadline::deadline_of;
use self::refusal::Refusal;
use super::groups::KvGroup;
use super::host::KvHost;
use super::status::{NetworkStatus, NodeStatus};
use super::store::limits::{KEY_BYTES, VALUE_BYTES};
use super::types::Command;

/// How long requests are still taken when the server stops, to be refused: time for clients to learn
/// that they must go elsewhere, before their connections end under them.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long open requests may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The links to the other nodes, as far as the front has to do with them. Nothing here may block.
pub trait Network: Send + Sync {
    /// What they are like now.
    fn status(&self) -> NetworkStatus;

    /// Forgets which run of a peer was seen last, so that one that was restored from a backup may
    /// enter. Returns whether there is such a peer.
    fn forget(&self, peer: u64) -> bool;
}

struct Front {
    host: Arc<KvHost>,
    network: Box<dyn Network>,
    requests: Semaphore,
}

type Shared = State<Arc<Front>>;

/// All paths of the store, on `host`.
pub fn router(host: Arc<KvHost>, network: Box<dyn Network>) -> Router {
    let requests = host.config().max_requests;
    let front = Arc::new(Front {
        host,
        network,
        requests: Semaphore::new(requests),
    });
    let keys = get(read).put(write).delete(remove).fallback(wrong_method);
    Router::new()
        .route("/kv/{key}", keys)
        .layer(middleware::from_fn_with_state(Arc::clone(&front), admit))
        .route("/status", get(status).fallback(wrong_method))
        .route("/peers/{peer}/forget", post(forget).fallback(wrong_method))
        .route("/healthz", get(health).fallback(wrong_method))
        .merge(admin::routes())
        .fallback(no_such_path)
        .layer(DefaultBodyLimit::max(VALUE_BYTES))
        .with_state(front)
}

/// Serves `router` until `stop`, and for another half second in which the router is to refuse; open
/// requests then have 5 seconds to end.
///
/// # Errors
///
/// What the listener says, if it fails.
///
/// # Cancel safety
///
/// Dropping it closes the listener and every connection.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let stop_server = async move {
        // An error means that the wait below is gone, and that is a stop as well.
        drop(stopped.wait_for(|&stop| stop).await);
    };
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(stop_server)
        .into_future();
    let cut = async {
        stop.await;
        // Whoever asks now is told to go elsewhere, and to close his connection.
        tokio::time::sleep(FAREWELL).await;
        stopping.send_replace(true);
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = server => result,
        () = cut => Ok(()),
    }
}

/// What a write answers.
#[derive(Serialize)]
struct Written {
    group: u64,
    index: u64,
    existed: bool,
    leader: u64,
}

/// Lets a bounded number of requests in, and none when the node is stopping.
async fn admit(State(front): Shared, request: Request<Body>, next: Next) -> Response {
    let unavailable = |why| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why);
    if front.host.is_stopping() {
        return (
            [(CONNECTION, "close")],
            unavailable("this node is stopping"),
        )
            .into_response();
    }
    match front.requests.try_acquire() {
        Ok(_turn) => {
            let mut response = next.run(request).await;
            if front.host.is_stopping() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            response
        }
        Err(_) => unavailable("this node serves as many requests as it can").into_response(),
    }
}

/// The checked key with the number of its group.
fn locate(
    front: &Front,
    key: Result<Path<String>, PathRejection>,
) -> Result<(Bytes, u64), Refusal> {
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let Path(key) = key.map_err(|error| bad(error.body_text()))?;
    if key.is_empty() || key.len() > KEY_BYTES {
        let error = format!(
            "a key has 1 to {KEY_BYTES} bytes, this one has {}",
            key.len()
        );
        return Err(bad(error));
    }
    let group = front.host.group_of(key.as_bytes());
    Ok((Bytes::from(key), group))
}

/// The group, if it runs here.
fn open(front: &Front, group: u64) -> Result<KvGroup, Refusal> {
    let closed = "the group does not run on this node, or not yet";
    let missing = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, closed).of(group);
    front.host.group(group).ok_or_else(missing)
}

async fn read(
    State(front): Shared,
    key: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (key, group) = locate(&front, key)?;
    if is_linearizable(&uri)? {
        let deadline = deadline_of(&headers, front.host.config().request_timeout)?;
        let open = open(&front, group)?;
        let read = open.read(ReadPolicy::ReadIndex, deadline).await;
        read.map_err(|error| Refusal::request(group, &error))?;
    }
    let value = front.host.store().get(group, key).await;
    let failed = |error: super::store::StoreError| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).of(group)
    };
    match value.map_err(failed)? {
        Some(value) => Ok(([(CONTENT_TYPE, "application/octet-stream")], value).into_response()),
        None => Err(Refusal::new(StatusCode::NOT_FOUND, "no such key").of(group)),
    }
}

/// Reads `?consistency=`; without it a read is linearizable.
fn is_linearizable(uri: &Uri) -> Result<bool, Refusal> {
    let mut linearizable = true;
    for part in uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.is_empty())
    {
        linearizable = match part {
            "consistency=local" => false,
            "consistency=linearizable" => true,
            _ => {
                let error = format!(
                    "{part:?} is no query of this path; consistency=local or \
                     consistency=linearizable is"
                );
                return Err(Refusal::new(StatusCode::BAD_REQUEST, error));
            }
        };
    }
    Ok(linearizable)
}

async fn write(
    State(front): Shared,
    key: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    value: Result<Bytes, BytesRejection>,
) -> Result<Json<Written>, Refusal> {
    let (key, group) = locate(&front, key)?;
    let value = value.map_err(|error| Refusal::new(error.status(), error.body_text()).of(group))?;
    propose(&front, group, Command::put(key, value), &headers).await
}

async fn remove(
    State(front): Shared,
    key: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Written>, Refusal> {
    let (key, group) = locate(&front, key)?;
    propose(&front, group, Command::delete(key), &headers).await
}

async fn propose(
    front: &Front,
    group: u64,
    command: Command,
    headers: &HeaderMap,
) -> Result<Json<Written>, Refusal> {
    let deadline = deadline_of(headers, front.host.config().request_timeout)?;
    let open = open(front, group)?;
    let proposed = open.propose(command, RequestOptions::until(deadline)).await;
    let proposed = proposed.map_err(|error| Refusal::request(group, &error))?;
    Ok(Json(Written {
        group,
        index: proposed.log_id.index,
        existed: proposed.response.existed,
        leader: proposed.leader,
    }))
}

async fn status(State(front): Shared) -> Result<Json<NodeStatus>, Refusal> {
    NodeStatus::of(&front.host, front.network.status())
        .map(Json)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// What became of a peer whose runs an operator has told this node to forget.
#[derive(Serialize)]
struct Forgotten {
    forgotten: u64,
}

/// Lets a peer enter again that was restored from a backup. Whoever asks for it has made sure that
/// no newer run of the peer is alive.
async fn forget(
    State(front): Shared,
    peer: Result<Path<u64>, PathRejection>,
) -> Result<Json<Forgotten>, Refusal> {
    let bad = |error: PathRejection| Refusal::new(StatusCode::BAD_REQUEST, error.body_text());
    let Path(peer) = peer.map_err(bad)?;
    if front.network.forget(peer) {
        tracing::warn!(target: "quicraft::kv", peer, "its former runs were forgotten");
        return Ok(Json(Forgotten { forgotten: peer }));
    }
    let error = format!("{peer} is no other node of this cluster");
    Err(Refusal::new(StatusCode::NOT_FOUND, error))
}

/// What health answers: fine while every group runs, with or without a leader.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    groups: usize,
    groups_with_leader: usize,
}

async fn health(State(front): Shared) -> Result<Json<Health>, Refusal> {
    let unhealthy = |error: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error);
    if front.host.is_stopping() {
        return Err(unhealthy("this node is stopping".to_owned()));
    }
    let mut groups_with_leader = 0;
    let open = front.host.groups();
    for (&group, open) in &open {
        let metrics = open.raft().metrics().borrow_watched().clone();
        if let Err(error) = metrics.running_state {
            return Err(unhealthy(error.to_string()).of(group));
        }
        groups_with_leader += usize::from(metrics.current_leader.is_some());
    }
    let groups = open.len();
    Ok(Json(Health {
        status: "ok",
        groups,
        groups_with_leader,
    }))
}

async fn no_such_path(uri: Uri) -> Refusal {
    let error = format!(
        "there is no {}; /kv/KEY, /status, /healthz, /metrics, /peers/ID/forget and /admin/... are",
        uri.path()
    );
    Refusal::new(StatusCode::NOT_FOUND, error)
}

async fn wrong_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "GET, or for /kv/KEY also PUT and DELETE; POST for /peers/ID/forget and /admin/..., \
         DELETE for /admin/nodes/ID",
    )
}
