//! Clients of the cluster: one request, repeated until it is answered, over plain HTTP.
//!
//! A client knows the nodes' URLs and remembers who led a group last. It knows nothing of how the
//! nodes are started or killed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode};
use tokio::time::{Instant, sleep};

use super::error::ClusterError;
use super::limits::{ATTEMPT, BACKOFF, CONNECT, READ, REDIRECTS, WRITE};
use super::status::Status;
use super::workload::Workload;

/// What became of one attempt to write.
enum Attempt {
    Acknowledged,
    /// Another node leads; nothing was done.
    Elsewhere(usize),
    /// Nothing was done.
    Refused(String),
    /// Nobody knows whether it was done.
    Unknown(String),
}

/// What one acknowledged write took.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Written {
    /// When the attempt that was acknowledged began.
    pub attempted: Instant,
    /// When it was acknowledged.
    pub acknowledged: Instant,
    /// From the first attempt to the acknowledgement.
    pub took: Duration,
    /// Attempts that were refused or had no answer.
    pub retries: u64,
    /// Of these, attempts whose fate is unknown.
    pub unknown: u64,
    /// Redirects that were followed.
    pub redirects: u64,
}

/// What a node has under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
    /// Exactly the bytes that were written.
    Same,
    /// Something else, or nothing.
    Other(String),
}

/// All clients together: they share connections and what they know of leaders.
#[derive(Debug)]
pub struct Clients {
    http: reqwest::Client,
    /// `http://host:port` of each node.
    urls: Vec<String>,
    /// For each group the place in `urls` of who led it last.
    leaders: Vec<AtomicUsize>,
    workload: Workload,
}

impl Clients {
    /// Clients of the nodes at `urls`, of which at most `connections` to each node are kept open.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Http`].
    pub fn new(
        urls: Vec<String>,
        groups: u64,
        connections: usize,
        workload: Workload,
    ) -> Result<Self, ClusterError> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(ATTEMPT)
            .pool_max_idle_per_host(connections)
            .build()?;
        let nodes = urls.len().max(1);
        Ok(Self {
            http,
            urls,
            leaders: (0..groups)
                .map(|group| AtomicUsize::new(usize::try_from(group).unwrap_or(0) % nodes))
                .collect(),
            workload,
        })
    }

    /// What is written.
    #[must_use]
    pub const fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The status of the node at place `node`, or why there is none.
    ///
    /// # Errors
    ///
    /// In words, for a message about what is missing.
    pub async fn status(&self, node: usize) -> Result<Status, String> {
        let url = format!("{}/status", self.url(node));
        let answer = self.http.get(url).send().await.map_err(in_words)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("HTTP {}", answer.status()));
        }
        answer.json().await.map_err(in_words)
    }

    /// Writes key and value `number` until they are acknowledged.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotAcknowledged`] after [`WRITE`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, nobody knows whether the write happened.
    pub async fn write(&self, number: u64) -> Result<Written, ClusterError> {
        let key = self.workload.key(number);
        let value = self.workload.value(number);
        let group = self.workload.group(&key);
        let started = Instant::now();
        let mut backoff = Backoff::new();
        let (mut retries, mut unknown, mut redirects) = (0, 0, 0);
        let mut node = self.leader(group);
        loop {
            let attempted = Instant::now();
            let last = match self.attempt(node, &key, &value).await {
                Attempt::Acknowledged => {
                    self.remember(group, node);
                    return Ok(Written {
                        attempted,
                        acknowledged: Instant::now(),
                        took: started.elapsed(),
                        retries,
                        unknown,
                        redirects,
                    });
                }
                Attempt::Elsewhere(leader) => {
                    redirects += 1;
                    node = leader;
                    if backoff.may_follow() {
                        continue;
                    }
                    format!("a redirect to {}", self.url(leader))
                }
                Attempt::Refused(why) => {
                    node = self.after(node);
                    retries += 1;
                    why
                }
                Attempt::Unknown(why) => {
                    node = self.after(node);
                    retries += 1;
                    unknown += 1;
                    why
                }
            };
            if started.elapsed() >= WRITE {
                return Err(ClusterError::NotAcknowledged {
                    number,
                    group,
                    limit: WRITE,
                    last,
                });
            }
            backoff.wait().await;
        }
    }

    async fn attempt(&self, node: usize, key: &str, value: &[u8]) -> Attempt {
        let url = format!("{}/kv/{key}", self.url(node));
        let answer = match self.http.put(url).body(value.to_vec()).send().await {
            Ok(answer) => answer,
            // Not a byte of the request was sent.
            Err(error) if error.is_connect() => return Attempt::Refused(in_words(error)),
            Err(error) => return Attempt::Unknown(in_words(error)),
        };
        let status = answer.status();
        let location = self.location(&answer);
        // Read to its end, so that the connection can be used again.
        let body = answer.text().await;
        match (status, body) {
            // The answer may be half, but it says that the write was done.
            (StatusCode::OK, _) => Attempt::Acknowledged,
            (StatusCode::TEMPORARY_REDIRECT, _) => location.map_or_else(
                || Attempt::Refused("a redirect to nobody".to_owned()),
                Attempt::Elsewhere,
            ),
            (StatusCode::SERVICE_UNAVAILABLE, body) => {
                Attempt::Refused(format!("HTTP {status}: {}", body.unwrap_or_default()))
            }
            (_, body) => Attempt::Unknown(format!("HTTP {status}: {}", body.unwrap_or_default())),
        }
    }

    /// Looks at what `node` itself has under key `number`.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotInTime`], when the node does not answer.
    pub async fn read(&self, node: usize, number: u64) -> Result<Held, ClusterError> {
        let key = self.workload.key(number);
        let url = format!("{}/kv/{key}?consistency=local", self.url(node));
        let started = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            let missing = match self.http.get(&url).send().await {
                Ok(answer) if answer.status() == StatusCode::OK => match answer.bytes().await {
                    Ok(bytes) if bytes == self.workload.value(number) => return Ok(Held::Same),
                    Ok(bytes) => return Ok(Held::Other(format!("{} other bytes", bytes.len()))),
                    Err(error) => in_words(error),
                },
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {
                    return Ok(Held::Other("nothing".to_owned()));
                }
                Ok(answer) => format!("HTTP {} for {key}", answer.status()),
                Err(error) => in_words(error),
            };
            if started.elapsed() >= READ {
                return Err(ClusterError::NotInTime {
                    what: "the answer to a read",
                    limit: READ,
                    missing: format!("{url} ({missing})"),
                });
            }
            backoff.wait().await;
        }
    }

    /// Remembers who leads a group.
    pub fn remember(&self, group: u64, node: usize) {
        if let Some(leader) = usize::try_from(group)
            .ok()
            .and_then(|group| self.leaders.get(group))
        {
            leader.store(node, Ordering::Relaxed);
        }
    }

    fn leader(&self, group: u64) -> usize {
        usize::try_from(group)
            .ok()
            .and_then(|group| self.leaders.get(group))
            .map_or(0, |leader| leader.load(Ordering::Relaxed))
    }

    fn after(&self, node: usize) -> usize {
        (node + 1) % self.urls.len().max(1)
    }

    fn url(&self, node: usize) -> &str {
        self.urls.get(node).map_or("", String::as_str)
    }

    /// The place of the node that a redirect names.
    fn location(&self, answer: &Response) -> Option<usize> {
        let location = answer.headers().get(LOCATION)?.to_str().ok()?;
        self.urls.iter().position(|url| {
            location
                .strip_prefix(url.as_str())
                .is_some_and(|path| path.starts_with('/'))
        })
    }
}

/// Waits between attempts: each twice as long as the one before, and jittered, so that clients
/// that failed together do not come back together.
struct Backoff {
    next: Duration,
    followed: u32,
}

impl Backoff {
    const fn new() -> Self {
        Self {
            next: BACKOFF.0,
            followed: 0,
        }
    }

    /// Whether one more redirect is followed without a wait.
    const fn may_follow(&mut self) -> bool {
        self.followed += 1;
        self.followed <= REDIRECTS
    }

    async fn wait(&mut self) {
        self.followed = 0;
        let wait = self.next.mul_f64(rand::rng().random_range(0.5..1.0));
        self.next = (self.next * 2).min(BACKOFF.1);
        sleep(wait).await;
    }
}

/// An error of the HTTP client with all its reasons; the outermost only says that it failed.
fn in_words(error: reqwest::Error) -> String {
    crate::kv::process::one_line(&error.without_url())
}
