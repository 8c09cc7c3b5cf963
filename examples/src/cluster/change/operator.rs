//! What an operator asks of the cluster: of any node, and of another one when that does not answer.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::client::{Backoff, Clients, in_words};
use crate::cluster::error::ClusterError;
use crate::cluster::limits::{ATTEMPT, CHANGE, OPERATION};
use crate::cluster::nodes::Nodes;
use crate::kv::die_at::DieAt;

/// Where the node that is asked is to die, as `kv` reads it.
const DIE_AT: &str = "die-at";

/// A request of an operator.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Request {
    method: Method,
    path: String,
    body: Value,
    /// The places of nodes that are not asked.
    except: Vec<usize>,
    /// Where the node that is asked is to die.
    die_at: Option<String>,
}

/// What came of one attempt.
pub(in crate::cluster) enum Attempt {
    Done(Value),
    /// The same request may be made again.
    Again(String),
    Refused(String),
}

impl Request {
    const fn new(method: Method, path: String, body: Value) -> Self {
        Self {
            method,
            path,
            body,
            except: Vec::new(),
            die_at: None,
        }
    }

    pub(in crate::cluster) fn post(path: &str, body: Value) -> Self {
        Self::new(Method::POST, path.to_owned(), body)
    }

    /// The node with this id is to be taken in.
    pub(in crate::cluster) fn to_add(nodes: &Nodes, id: u64) -> Self {
        let (raft, http) = nodes.layout().addresses(id).unwrap_or_default();
        let body = json!({ "node": id, "raft": raft, "http": http });
        Self::post("/admin/nodes", body)
    }

    /// The node with this id is to be taken out.
    pub(in crate::cluster) fn to_remove(id: u64) -> Self {
        Self::new(Method::DELETE, format!("/admin/nodes/{id}"), Value::Null)
    }

    /// The same, but the nodes at these places are not asked: it is about them, or they are gone.
    pub(in crate::cluster) fn except(mut self, places: impl IntoIterator<Item = usize>) -> Self {
        self.except.extend(places);
        self
    }

    /// The same, but the node that is asked dies there.
    pub(in crate::cluster) fn dying(mut self, at: &DieAt) -> Self {
        self.die_at = Some(at.to_string());
        self
    }

    /// Asks until it is done.
    pub(in crate::cluster) async fn ask(&self, clients: &Clients) -> Result<Value, ClusterError> {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        let nodes = (0..clients.nodes()).filter(|node| !self.except.contains(node));
        let nodes: Vec<_> = nodes.collect();
        let mut last = "there is no other node".to_owned();
        for &node in nodes.iter().cycle() {
            match self.attempt(clients, node).await {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Again(why) => last = why,
                Attempt::Refused(answer) => {
                    let what = format!("{} {}", self.method, self.path);
                    return Err(ClusterError::Refused { what, answer });
                }
            }
            if started.elapsed() >= CHANGE {
                break;
            }
            backoff.wait().await;
        }
        Err(ClusterError::NotInTime {
            what: "what an operator asked for",
            limit: CHANGE,
            missing: format!("{} {} ({last})", self.method, self.path),
        })
    }

    /// Asks one node once.
    pub(in crate::cluster) async fn attempt(&self, clients: &Clients, node: usize) -> Attempt {
        let url = format!("{}{}", clients.url(node), self.path);
        let asked = clients.http.request(self.method.clone(), url);
        let asked = match &self.die_at {
            Some(at) => asked.header(DIE_AT, at),
            None => asked,
        };
        let asked = asked
            .header("x-deadline-ms", OPERATION.as_millis().to_string())
            .timeout(OPERATION + ATTEMPT)
            .json(&self.body);
        let answer = match asked.send().await {
            Ok(answer) => answer,
            Err(error) => return Attempt::Again(in_words(error)),
        };
        let status = answer.status();
        if status == StatusCode::OK {
            return match answer.json().await {
                Ok(body) => Attempt::Done(body),
                Err(error) => Attempt::Again(in_words(error)),
            };
        }
        let text = format!("HTTP {status}: {}", answer.text().await.unwrap_or_default());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            Attempt::Again(text)
        } else {
            Attempt::Refused(text)
        }
    }
}
