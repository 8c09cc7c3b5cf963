//! What an operator asks of the cluster: of any node, and of another one when that does not answer.

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::client::{Backoff, Clients, in_words};
use crate::cluster::error::ClusterError;
use crate::cluster::limits::{ATTEMPT, CHANGE, OPERATION};

/// A request of an operator.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Value,
    /// The place of a node that is not asked: it is what the request is about.
    pub(super) except: Option<usize>,
}

/// What came of one attempt.
enum Attempt {
    Done(Value),
    /// The same request may be made again.
    Again(String),
    Refused(String),
}

impl Request<'_> {
    /// Asks until it is done.
    pub(super) async fn ask(&self, clients: &Clients) -> Result<Value, ClusterError> {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        let nodes = (0..clients.nodes()).filter(|&node| Some(node) != self.except);
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

    async fn attempt(&self, clients: &Clients, node: usize) -> Attempt {
        let url = format!("{}{}", clients.url(node), self.path);
        let asked = clients.http.request(self.method.clone(), url);
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
