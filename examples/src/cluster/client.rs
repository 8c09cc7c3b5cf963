//! Clients of the cluster: one request, repeated until it is answered, over plain HTTP.
//!
//! A client knows the nodes' URLs and remembers who answered for a group last; any node does. It knows
//! nothing of how the nodes are started or killed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rand::RngExt as _;
use reqwest::StatusCode;
use reqwest::header::CONNECTION;
use tokio::time::{Instant, sleep};

use super::error::ClusterError;
use super::limits::{ATTEMPT, BACKOFF, CONNECT, IDLE, READ, RESTING, SERVED, WRITE};
use super::status::Status;
use super::workload::Workload;

/// What became of one attempt to write.
enum Attempt {
    Acknowledged,
    /// Nothing was done.
    Refused(String),
    /// Nobody knows whether it was done.
    Unknown(String),
}

/// What one acknowledged write took.
#[derive(Debug, Clone)]
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
    /// Why the last attempt that failed did.
    pub last: Option<String>,
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
    pub(super) http: reqwest::Client,
    /// `http://host:port` of each node.
    urls: RwLock<Vec<String>>,
    /// For each group the place in `urls` of who answered for it last.
    leaders: Vec<AtomicUsize>,
    /// Until when nodes are not asked that said they are stopping, by their URLs.
    resting: RwLock<BTreeMap<String, Instant>>,
    /// Whether each write begins at another node than the one before.
    spread: AtomicBool,
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
            .pool_idle_timeout(IDLE)
            .build()?;
        let nodes = urls.len().max(1);
        Ok(Self {
            http,
            urls: RwLock::new(urls),
            resting: RwLock::default(),
            spread: AtomicBool::new(false),
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
        let (mut retries, mut unknown) = (0, 0);
        let mut node = self.first(group, number);
        let mut last = None;
        loop {
            let attempted = Instant::now();
            let why = match self.attempt(node, &key, &value).await {
                Attempt::Acknowledged => {
                    self.remember(group, node);
                    return Ok(Written {
                        attempted,
                        acknowledged: Instant::now(),
                        took: started.elapsed(),
                        retries,
                        unknown,
                        last,
                    });
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
                    last: why,
                });
            }
            last = Some(why);
            backoff.wait().await;
        }
    }

    async fn attempt(&self, node: usize, key: &str, value: &[u8]) -> Attempt {
        let base = self.url(node);
        let url = format!("{base}/kv/{key}");
        let answer = match self.http.put(url).body(value.to_vec()).send().await {
            Ok(answer) => self.heard(&base, answer),
            // Not a byte of the request was sent.
            Err(error) if error.is_connect() => return Attempt::Refused(in_words(error)),
            Err(error) => return Attempt::Unknown(in_words(error)),
        };
        let status = answer.status();
        // Read to its end, so that the connection can be used again.
        let body = answer.text().await;
        match (status, body) {
            // The answer may be half, but it says that the write was done.
            (StatusCode::OK, _) => Attempt::Acknowledged,
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

    /// Reads key `number` at any node and looks whether it is what was written.
    ///
    /// # Errors
    ///
    /// What the last answer was, after [`SERVED`].
    pub async fn read_anywhere(&self, number: u64) -> Result<(), String> {
        let key = self.workload.key(number);
        let started = Instant::now();
        let mut backoff = Backoff::new();
        // Another node than the one that took the write.
        let mut node = self.first(self.workload.group(&key), number + 1);
        loop {
            let base = self.url(node);
            let url = format!("{base}/kv/{key}");
            let answer = self.http.get(url).send().await;
            let last = match answer.map(|answer| self.heard(&base, answer)) {
                Ok(answer) if answer.status() == StatusCode::OK => match answer.bytes().await {
                    Ok(bytes) if bytes == self.workload.value(number) => return Ok(()),
                    Ok(bytes) => return Err(format!("{} other bytes", bytes.len())),
                    Err(error) => in_words(error),
                },
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {
                    return Err(format!("{key} is gone"));
                }
                Ok(answer) => format!("HTTP {} for {key}", answer.status()),
                Err(error) => in_words(error),
            };
            if started.elapsed() >= SERVED {
                return Err(last);
            }
            node = self.after(node);
            backoff.wait().await;
        }
    }

    /// From now on each write begins at another node than the one before.
    pub fn spread(&self) {
        self.spread.store(true, Ordering::Relaxed);
    }

    /// One more node, at the last place.
    pub fn add(&self, url: String) {
        self.urls_mut().push(url);
    }

    /// The node at place `node` is asked no more; those behind it move up by one place.
    pub fn remove(&self, node: usize) {
        let mut urls = self.urls_mut();
        if node < urls.len() {
            urls.remove(node);
        }
    }

    /// How many nodes are asked.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.urls().len()
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

    fn first(&self, group: u64, number: u64) -> usize {
        let node = if self.spread.load(Ordering::Relaxed) {
            usize::try_from(number).unwrap_or(0)
        } else {
            self.leader(group)
        };
        self.awake(node)
    }

    fn after(&self, node: usize) -> usize {
        self.awake((node + 1) % self.nodes().max(1))
    }

    /// The node itself or the next one that has not said it is stopping; itself if all have.
    fn awake(&self, node: usize) -> usize {
        let resting = self.resting.read().unwrap_or_else(PoisonError::into_inner);
        if resting.is_empty() {
            return node;
        }
        let now = Instant::now();
        let rests = |node: &usize| {
            let until = resting.get(&self.url(*node));
            until.is_some_and(|until| *until > now)
        };
        let mut nodes = node..node + self.nodes();
        nodes.find(|node| !rests(node)).unwrap_or(node)
    }

    /// Notes that a node is stopping, if its answer says so: it refuses and closes its connection.
    fn heard(&self, base: &str, answer: reqwest::Response) -> reqwest::Response {
        let closes = answer
            .headers()
            .get(CONNECTION)
            .is_some_and(|it| it == "close");
        if closes {
            let until = Instant::now() + RESTING;
            let mut resting = self.resting.write().unwrap_or_else(PoisonError::into_inner);
            resting.insert(base.to_owned(), until);
        }
        answer
    }

    /// Where a node serves; a place beyond the last begins again with the first.
    pub(super) fn url(&self, node: usize) -> String {
        let urls = self.urls();
        let place = node.checked_rem(urls.len()).unwrap_or(0);
        urls.get(place).cloned().unwrap_or_default()
    }

    /// No code panics while it holds this lock, so a poisoned one is still whole.
    fn urls(&self) -> std::sync::RwLockReadGuard<'_, Vec<String>> {
        self.urls.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn urls_mut(&self) -> std::sync::RwLockWriteGuard<'_, Vec<String>> {
        self.urls.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits between attempts: each twice as long as the one before, and jittered, so that clients
/// that failed together do not come back together.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: BACKOFF.0 }
    }

    pub(super) async fn wait(&mut self) {
        let wait = self.next.mul_f64(rand::rng().random_range(0.5..1.0));
        self.next = (self.next * 2).min(BACKOFF.1);
        sleep(wait).await;
    }
}

/// An error of the HTTP client with all its reasons; the outermost only says that it failed.
pub(super) fn in_words(error: reqwest::Error) -> String {
    crate::kv::process::one_line(&error.without_url())
}
