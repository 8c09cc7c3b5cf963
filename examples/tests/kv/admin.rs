//! What an operator does over HTTP, asked by a real client.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::front::{Front, GROUPS, check_error, json};
use crate::network::Wires;

#[tokio::test]
async fn an_operator_sees_and_moves_leaders() {
    let wires = Wires::new(2);
    let (one, two) = Front::two(&wires, 3_000, 30_000).await;
    let seen = json(one.get("/admin/status").await).await;
    assert_eq!(seen["uid"].as_str().map(str::len), Some(32));
    assert_eq!(seen["nodes"].as_array().map(Vec::len), Some(2));
    // Those of the keys, and the one that holds the cluster.
    assert_eq!(
        seen["groups"].as_array().map(|all| all.len() as u64),
        Some(GROUPS + 1)
    );
    let post = async |path: &str, body: Value| {
        let request = one.client.post(format!("{}{path}", one.url));
        request.json(&body).send().await.unwrap()
    };
    for to in [1, 2, 1] {
        let body = serde_json::json!({ "group": "kv/0", "to": to });
        let moved = post("/admin/transfer", body).await;
        assert_eq!(moved.status(), StatusCode::OK);
        assert_eq!(json(moved).await["to"].as_u64(), Some(to));
    }
    let drained = post("/admin/drain", serde_json::json!({ "node": 1 })).await;
    assert_eq!(drained.status(), StatusCode::OK);
    let drained = json(drained).await;
    let leads = |node: u64| {
        let all = drained.as_array().unwrap().iter();
        all.filter(|group| group["leader"].as_u64() == Some(node))
            .count() as u64
    };
    assert_eq!((leads(1), leads(2)), (0, GROUPS + 1), "{drained}");
    let balanced = post("/admin/balance", Value::Null).await;
    assert_eq!(balanced.status(), StatusCode::OK);
    for (path, body, status) in [
        (
            "/admin/transfer",
            serde_json::json!({ "group": "kv/9", "to": 1 }),
            404,
        ),
        (
            "/admin/transfer",
            serde_json::json!({ "group": "KV", "to": 1 }),
            422,
        ),
        (
            "/admin/nodes",
            serde_json::json!({ "node": 0, "raft": "h:1", "http": "h:2" }),
            400,
        ),
        (
            "/admin/nodes",
            serde_json::json!({ "node": 3, "raft": "none", "http": "h:2" }),
            400,
        ),
        ("/admin/drain", serde_json::json!({}), 422),
    ] {
        let refused = post(path, body).await;
        assert_eq!(refused.status().as_u16(), status, "{path}");
        check_error(refused, None, None).await;
    }
    let unknown = one.ask(Method::DELETE, "/admin/nodes/9", "").await;
    assert_eq!(unknown.status(), StatusCode::CONFLICT);
    check_error(unknown, None, None).await;
    // Nobody makes a node die that was not started for it.
    let dying = one.client.delete(format!("{}/admin/nodes/2", one.url));
    let dying = dying.header("die-at", "before,note-leaving").send();
    let refused = dying.await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let error = json(refused).await["error"].to_string();
    assert!(error.contains("--drill-changes"), "{error}");
    let seen = json(one.get("/admin/status").await).await;
    assert_eq!(seen["nodes"][1]["standing"], "Member", "{seen}");
    one.stop().await;
    two.stop().await;
}
