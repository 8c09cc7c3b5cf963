//! The HTTP front, asked by a real client.

use std::sync::Arc;
use std::time::Duration;

use openraft::RaftMetrics;
use quicraft_examples::kv::http::{Network, router, serve};
use quicraft_examples::kv::shard::group_of;
use quicraft_examples::kv::store::limits::{KEY_BYTES, VALUE_BYTES};
use quicraft_examples::kv::{
    Config, KvGroup, KvHost, LinkStatus, NetworkStatus, Settings, StoreOptions, TypeConfig,
};
use quicraft_transport::raft::FileSnapshots;
use redb::backends::InMemoryBackend;
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::entries::{CLUSTER, folder_of};
use crate::network::Wires;

pub(crate) const GROUPS: u64 = 2;
const REQUESTS: usize = 2;
const LONG: Duration = Duration::from_secs(120);
const WAIT: Option<Duration> = Some(LONG);

/// A network with one peer.
struct OnePeer;

impl Network for OnePeer {
    fn status(&self) -> NetworkStatus {
        NetworkStatus::new(vec![LinkStatus::new(9)])
    }

    fn forget(&self, peer: u64) -> bool {
        peer == 9
    }
}

pub(crate) struct Front {
    host: Arc<KvHost>,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
    _folder: TempDir,
    /// Only of the node that was started alone.
    _wires: Option<Wires>,
}

impl Front {
    /// Node 1 with the given peers, of which none is there.
    async fn start(peers: &[u64], request_timeout_ms: u64) -> Self {
        let wires = Wires::new(1);
        let peers: Vec<_> = peers
            .iter()
            .map(|id| format!("{id}=n{id}:1@n{id}:2"))
            .collect();
        let front = Self::on(&wires, 1, &peers, 1_000, request_timeout_ms).await;
        Self {
            _wires: Some(wires),
            ..front
        }
    }

    /// Nodes 1 and 2 in a cluster.
    pub(crate) async fn two(
        wires: &Wires,
        election_ms: u64,
        request_timeout_ms: u64,
    ) -> (Self, Self) {
        let on = async |node: u64, other: u64| {
            let peer = format!("{other}={}@n{other}:2", wires.address(other));
            Self::on(wires, node, &[peer], election_ms, request_timeout_ms).await
        };
        let (one, two) = (on(1, 2).await, on(2, 1).await);
        for front in [&one, &two] {
            front.formed().await;
        }
        (one, two)
    }

    async fn on(
        wires: &Wires,
        node: u64,
        peers: &[String],
        election_ms: u64,
        request_timeout_ms: u64,
    ) -> Self {
        let (parent, folder) = folder_of(node);
        let settings = Settings::from_toml(&format!(
            "cluster = {CLUSTER:?}
            node = {node}
            data = {:?}
            listen = '{}'
            http = '127.0.0.1:2'
            peers = {peers:?}
            ca = 'ca.pem'
            cert = 'cert.pem'
            key = 'key.pem'
            groups = {GROUPS}
            election-min-ms = {election_ms}
            election-max-ms = {}
            max-requests = {REQUESTS}
            request-timeout-ms = {request_timeout_ms}",
            folder.path(),
            wires.address(node),
            2 * election_ms,
        ));
        let config = Config::new(settings.unwrap()).unwrap();
        let snapshots = FileSnapshots::new(folder.path());
        let backend = InMemoryBackend::new();
        let store = quicraft_examples::kv::Store::open_on(folder, backend, StoreOptions::default())
            .unwrap();
        let host = KvHost::start(config, store, wires.handle(node), snapshots)
            .await
            .unwrap();
        let host = Arc::new(host);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let server = tokio::spawn(serve(
            listener,
            router(Arc::clone(&host), Box::new(OnePeer)),
            stopped,
        ));
        let redirect = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder()
            .redirect(redirect)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            host,
            url,
            client,
            stop,
            server,
            _folder: parent,
            _wires: None,
        }
    }

    async fn formed(&self) {
        let formed = self.host.manager().wait_for_cluster_formation(LONG);
        formed.await.unwrap();
    }

    async fn with_leaders(self) -> Self {
        self.formed().await;
        for group in self.host.groups().values() {
            settle(group).await;
        }
        self
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let url = format!("{}{path}", self.url);
        self.client
            .request(method, url)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, "").await
    }

    pub(crate) async fn stop(self) {
        self.host.shutdown().await.unwrap();
        self.stop.send(()).unwrap();
        self.server.await.unwrap().unwrap();
    }
}

pub(crate) async fn json(response: Response) -> Value {
    response.json().await.unwrap()
}

/// The body of every error.
pub(crate) async fn check_error(response: Response, group: Option<u64>, leader: Option<u64>) {
    let body = json(response).await;
    assert!(!body["error"].as_str().unwrap().is_empty());
    assert_eq!(body["group"].as_u64(), group, "{body}");
    assert_eq!(body["leader"].as_u64(), leader, "{body}");
    let unknown = body["error"] == "unknown";
    assert_eq!(body["reason"].is_string(), unknown, "{body}");
    assert_eq!(body.as_object().unwrap().len(), 3 + usize::from(unknown));
}

#[tokio::test]
async fn keys_are_put_read_and_deleted() {
    let front = Front::start(&[], 30_000).await.with_leaders().await;
    let group = group_of("ä/b".as_bytes(), GROUPS);
    let path = "/kv/%C3%A4%2Fb";
    let missing = front.get(path).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    check_error(missing, Some(group), None).await;

    let written = json(front.ask(Method::PUT, path, "one").await).await;
    assert_eq!(
        (written["existed"].as_bool(), written["group"].as_u64()),
        (Some(false), Some(group))
    );
    let again = json(front.ask(Method::PUT, path, vec![0, 255]).await).await;
    assert_eq!(again["existed"].as_bool(), Some(true));
    assert!(again["index"].as_u64() > written["index"].as_u64());
    for query in ["", "?consistency=local", "?consistency=linearizable"] {
        let read = front.get(&format!("{path}{query}")).await;
        assert_eq!(read.status(), StatusCode::OK);
        assert_eq!(read.headers()["content-type"], "application/octet-stream");
        assert_eq!(read.bytes().await.unwrap().as_ref(), [0, 255]);
    }
    let deleted = json(front.ask(Method::DELETE, path, "").await).await;
    assert_eq!(deleted["existed"].as_bool(), Some(true));
    assert_eq!(front.get(path).await.status(), StatusCode::NOT_FOUND);
    let deleted = json(front.ask(Method::DELETE, path, "").await).await;
    assert_eq!(deleted["existed"].as_bool(), Some(false));
    front.stop().await;
}

#[tokio::test]
async fn limits_hold_at_the_limit_and_one_past_it() {
    let front = Front::start(&[], 30_000).await.with_leaders().await;
    let put = async |path: &str, length: usize| front.ask(Method::PUT, path, vec![7; length]).await;
    assert_eq!(put("/kv/k", VALUE_BYTES).await.status(), StatusCode::OK);
    let too_large = put("/kv/k", VALUE_BYTES + 1).await;
    assert_eq!(too_large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    check_error(too_large, Some(group_of(b"k", GROUPS)), None).await;
    assert_eq!(put("/kv/empty", 0).await.status(), StatusCode::OK);
    let key = |length| format!("/kv/{}", "k".repeat(length));
    assert_eq!(put(&key(KEY_BYTES), 1).await.status(), StatusCode::OK);
    let too_long = put(&key(KEY_BYTES + 1), 1).await;
    assert_eq!(too_long.status(), StatusCode::BAD_REQUEST);
    check_error(too_long, None, None).await;

    for (method, path, status) in [
        (Method::GET, "/kv/%FF", StatusCode::BAD_REQUEST),
        (
            Method::GET,
            "/kv/k?consistency=none",
            StatusCode::BAD_REQUEST,
        ),
        (Method::GET, "/kv/k?local", StatusCode::BAD_REQUEST),
        (Method::GET, "/kv/", StatusCode::NOT_FOUND),
        (Method::GET, "/elsewhere", StatusCode::NOT_FOUND),
        (Method::POST, "/kv/k", StatusCode::METHOD_NOT_ALLOWED),
        (Method::PUT, "/status", StatusCode::METHOD_NOT_ALLOWED),
        (
            Method::GET,
            "/peers/9/forget",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (Method::POST, "/peers/nine/forget", StatusCode::BAD_REQUEST),
        (Method::POST, "/peers/8/forget", StatusCode::NOT_FOUND),
    ] {
        let response = front.ask(method, path, "").await;
        assert_eq!(response.status(), status, "{path}");
        check_error(response, None, None).await;
    }
    front.stop().await;
}

#[tokio::test]
async fn status_and_health_tell_what_there_is() {
    let front = Front::start(&[], 30_000).await.with_leaders().await;
    let health = front.get("/healthz").await;
    assert_eq!(health.status(), StatusCode::OK);
    assert_eq!(
        json(health).await["groups_with_leader"].as_u64(),
        Some(GROUPS)
    );

    let before = json(front.get("/status").await).await;
    assert_eq!(
        (before["node"].as_u64(), before["cluster"].as_str()),
        (Some(1), Some(CLUSTER))
    );
    assert_eq!(before["links"][0]["peer"].as_u64(), Some(9));
    let index = json(front.ask(Method::PUT, "/kv/k", "v").await).await["index"].as_u64();
    let after = json(front.get("/status").await).await;
    let changed = group_of(b"k", GROUPS);
    for group in 0..GROUPS {
        let at = usize::try_from(group).unwrap();
        let (before, after) = (&before["groups"][at], &after["groups"][at]);
        assert_eq!(after["group"].as_u64(), Some(group));
        assert_eq!(
            (after["state"].as_str(), after["leader"].as_u64()),
            (Some("leader"), Some(1))
        );
        assert_eq!(after["digest"].as_str().unwrap().len(), 64);
        assert_eq!(
            before["digest"] != after["digest"],
            group == changed,
            "group {group}"
        );
        if group == changed {
            assert_eq!(after["applied"].as_u64(), index);
        }
    }
    let host = Arc::clone(&front.host);
    host.refuse_requests();
    for path in ["/healthz", "/kv/k"] {
        let stopping = front.get(path).await;
        assert_eq!(stopping.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(stopping.headers()[RETRY_AFTER], "1");
    }
    front.stop().await;
}

#[tokio::test]
async fn an_operator_makes_a_node_forget_a_peer() {
    let front = Front::start(&[], 30_000).await;
    let forgotten = front.ask(Method::POST, "/peers/9/forget", "").await;
    assert_eq!(forgotten.status(), StatusCode::OK);
    assert_eq!(json(forgotten).await, serde_json::json!({ "forgotten": 9 }));
    front.stop().await;
}

#[tokio::test]
async fn without_a_leader_clients_are_told_to_come_again() {
    let front = Front::start(&[2, 3], 50).await;
    let group = group_of(b"k", GROUPS);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let response = front.ask(method, "/kv/k", "").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        check_error(response, Some(group), None).await;
    }
    let local = front.get("/kv/k?consistency=local").await;
    assert_eq!(
        local.status(),
        StatusCode::NOT_FOUND,
        "a local read needs no leader"
    );
    front.stop().await;
}

#[tokio::test]
async fn any_node_takes_any_request() {
    let wires = Wires::new(2);
    let (one, two) = Front::two(&wires, 3_000, 30_000).await;
    for group in 0..GROUPS {
        let path = path_in_group(group);
        for (writer, reader) in [(&one, &two), (&two, &one)] {
            let written = writer.ask(Method::PUT, &path, writer.url.clone()).await;
            assert_eq!(written.status(), StatusCode::OK);
            assert_eq!(json(written).await["group"].as_u64(), Some(group));
            let read = reader.get(&path).await;
            assert_eq!(read.status(), StatusCode::OK);
            assert_eq!(read.text().await.unwrap(), writer.url);
            let deleted = reader.ask(Method::DELETE, &path, "").await;
            assert_eq!(json(deleted).await["existed"].as_bool(), Some(true));
            assert_eq!(writer.get(&path).await.status(), StatusCode::NOT_FOUND);
        }
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_client_says_how_long_it_waits() {
    let wires = Wires::new(2);
    let (front, two) = Front::two(&wires, 3_000, 600_000).await;
    two.stop().await;
    let ask = async |deadline: &str| {
        let request = front.client.put(format!("{}/kv/k", front.url));
        let answer = request.header("x-deadline-ms", deadline).send().await;
        answer.unwrap()
    };
    // Without a majority it waits for as long as it may.
    assert!(ask("20").await.status().is_server_error());
    for wrong in ["0", "600001", "soon"] {
        let bad = ask(wrong).await;
        assert_eq!(bad.status(), StatusCode::BAD_REQUEST, "{wrong}");
        check_error(bad, None, None).await;
    }
    front.stop().await;
}

/// Waits until this node leads, with a lease and its own first entry committed; returns the index.
async fn settle(group: &KvGroup) -> u64 {
    let settled = |m: &RaftMetrics<TypeConfig>| {
        let applied = m.last_applied.map(|id| id.index);
        m.last_quorum_acked.is_some() && applied.is_some() && applied == m.last_log_index
    };
    let raft = group.raft();
    let metrics = raft.wait(WAIT).metrics(settled, "this node leads").await;
    metrics.unwrap().last_log_index.unwrap()
}

/// A group that is led by one of two nodes, and which of them leads it.
async fn led<'a>(one: &'a Front, two: &'a Front) -> (u64, &'a Front) {
    let raft = one.host.groups()[&0].raft().clone();
    let known = |m: &RaftMetrics<TypeConfig>| m.current_leader.is_some();
    let metrics = raft.wait(WAIT).metrics(known, "a leader").await.unwrap();
    match metrics.current_leader {
        Some(1) => (1, one),
        _ => (2, two),
    }
}

/// A key of a group.
fn path_in_group(group: u64) -> String {
    let key = (0..)
        .map(|i| format!("k{i}"))
        .find(|k| group_of(k.as_bytes(), GROUPS) == group);
    format!("/kv/{}", key.unwrap())
}

#[tokio::test]
async fn a_write_that_no_majority_takes_ends_as_unknown() {
    let wires = Wires::new(2);
    let (one, two) = Front::two(&wires, 10_000, 2_000).await;
    let (leader, front) = led(&one, &two).await;
    settle(&front.host.groups()[&0]).await;
    wires.cut(1);
    for method in [Method::PUT, Method::DELETE] {
        let response = front.ask(method.clone(), &path_in_group(0), "v").await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT, "{method}");
        check_error(response, Some(0), Some(leader)).await;
    }
    // A read has no fate: it may be made again.
    let read = front.get(&path_in_group(0)).await;
    assert_eq!(read.status(), StatusCode::SERVICE_UNAVAILABLE);
    check_error(read, Some(0), Some(leader)).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn one_request_too_many_is_refused() {
    let wires = Wires::new(2);
    let (one, two) = Front::two(&wires, 10_000, 30_000).await;
    let (_, front) = led(&one, &two).await;
    let group = front.host.groups()[&0].clone();
    let (path, before) = (path_in_group(0), settle(&group).await);
    wires.cut(1);
    // As many as there may be are in, and hang for want of a majority.
    let hanging: Vec<_> = (0..REQUESTS)
        .map(|_| {
            front
                .client
                .put(format!("{}{path}", front.url))
                .body("v")
                .send()
        })
        .map(tokio::spawn)
        .collect();
    let all = Some(before + REQUESTS as u64);
    let raft = group.raft();
    raft.wait(WAIT)
        .log_index_at_least(all, "all are in")
        .await
        .unwrap();
    let refused = front.ask(Method::PUT, &path, "v").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[RETRY_AFTER], "1");
    check_error(refused, None, None).await;
    assert_eq!(
        front.get("/healthz").await.status(),
        StatusCode::OK,
        "health is always served"
    );
    for one in hanging {
        one.abort();
    }
    one.stop().await;
    two.stop().await;
}
