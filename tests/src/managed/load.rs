//! Writers and readers of all groups through whatever node is alive, and what became of each request.
//!
//! It must not know why nodes come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ReadPolicy;
use quicraft_manager::{GroupName, RequestError, RequestOptions};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::node::{Door, Hosted};
use crate::raft::Command;
use crate::sim::MS;

/// The nodes that serve clients now. Clones are the same nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Doors {
    open: Arc<Mutex<BTreeMap<u64, Door>>>,
}

impl Doors {
    pub(super) fn open(&self, node: u64, door: Door) {
        self.doors().insert(node, door);
    }

    pub(super) fn close(&self, node: u64) {
        self.doors().remove(&node);
    }

    /// A node that has the group, drawn by `rng`.
    fn draw(
        &self,
        group: &GroupName,
        rng: &mut SmallRng,
    ) -> Option<(Hosted, watch::Receiver<bool>)> {
        let doors = self.doors();
        let mut having: Vec<_> = doors
            .values()
            .filter_map(|door| Some((door.opened.get(group)?, door.down.clone())))
            .collect();
        if having.is_empty() {
            return None;
        }
        let drawn = rng.random_range(0..having.len());
        Some(having.swap_remove(drawn))
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<u64, Door>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of all requests.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// The bodies of acknowledged writes of each group, in the order in which each writer was told.
    pub acknowledged: BTreeMap<GroupName, Vec<String>>,
    /// Writes that failed though the node that was asked lived, in words. `Unknown` is among them.
    pub failed_writes: Vec<String>,
    /// Requests whose node died under them: any fate is theirs.
    pub cut: u64,
    /// Reads that saw all that was acknowledged before.
    pub reads: u64,
    /// Reads that failed though the node that was asked lived, in words.
    pub failed_reads: Vec<String>,
    /// Reads that missed a write that was acknowledged before, in words.
    pub stale_reads: Vec<String>,
}

impl Requests {
    /// How many writes were acknowledged.
    #[must_use]
    pub fn count(&self) -> usize {
        self.acknowledged.values().map(Vec::len).sum()
    }
}

/// A writer and a reader of each group: one request after the other, each through a node that is
/// drawn anew among those that are alive and have the group.
#[derive(Debug)]
pub struct Load {
    requests: Arc<Mutex<Requests>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// How often a writer writes and a reader reads: ten times a second, so that requests are under way
/// through every step of a change, and a minute of virtual time is still cheap.
const PERIOD: Duration = Duration::from_millis(100);

impl Load {
    pub(super) fn start(doors: &Doors, groups: &[GroupName], seed: u64, limit: Duration) -> Self {
        let requests = Arc::default();
        let (stop, _) = watch::channel(false);
        let mut tasks = Vec::new();
        for (number, group) in (0..).zip(groups) {
            let client = |role: u64| Client {
                doors: doors.clone(),
                group: group.clone(),
                rng: SmallRng::seed_from_u64(seed ^ (number << 8) ^ role),
                requests: Arc::clone(&requests),
                limit,
            };
            tasks.push(tokio::spawn(client(0).write(stop.subscribe())));
            tasks.push(tokio::spawn(client(1).read(stop.subscribe())));
        }
        Self {
            requests,
            stop,
            tasks,
        }
    }

    /// How many writes were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        lock(&self.requests).count()
    }

    /// Waits until so many more writes are acknowledged.
    ///
    /// # Panics
    ///
    /// If that takes longer than `limit`.
    pub async fn more(&self, count: usize, limit: Duration) {
        let (wanted, deadline) = (self.acknowledged() + count, Instant::now() + limit);
        while self.acknowledged() < wanted {
            assert!(
                Instant::now() < deadline,
                "not {count} writes more within {limit:?}: {:?}",
                lock(&self.requests).failed_writes
            );
            sleep(10 * MS).await;
        }
    }

    /// Ends the load after the requests that are under way, and says what became of all.
    ///
    /// # Panics
    ///
    /// If a client panicked.
    pub async fn finish(self) -> Requests {
        self.stop.send_replace(true);
        for ended in join_all(self.tasks).await {
            if let Err(error) = ended {
                panic!("a client: {error}");
            }
        }
        lock(&self.requests).clone()
    }
}

struct Client {
    doors: Doors,
    group: GroupName,
    rng: SmallRng,
    requests: Arc<Mutex<Requests>>,
    limit: Duration,
}

impl Client {
    async fn write(mut self, stopped: watch::Receiver<bool>) {
        for number in 0_u64.. {
            if *stopped.borrow() {
                return;
            }
            sleep(PERIOD).await;
            let Some((hosted, mut down)) = self.doors.draw(&self.group, &mut self.rng) else {
                continue;
            };
            let body = format!("{} {number}", self.group);
            let options = RequestOptions::until(Instant::now() + self.limit);
            let command = Command::new(body.clone());
            let result = tokio::select! {
                _ = down.wait_for(|&down| down) => None,
                result = hosted.group.propose(command, options) => Some(result),
            };
            let mut requests = lock(&self.requests);
            match result {
                None => requests.cut += 1,
                Some(Ok(_)) => {
                    let group = self.group.clone();
                    requests.acknowledged.entry(group).or_default().push(body);
                }
                Some(Err(error)) => requests.failed_writes.push(told(&body, &error)),
            }
        }
    }

    async fn read(mut self, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            sleep(PERIOD).await;
            let Some((hosted, mut down)) = self.doors.draw(&self.group, &mut self.rng) else {
                continue;
            };
            let last = {
                let requests = lock(&self.requests);
                let acknowledged = requests.acknowledged.get(&self.group);
                acknowledged.and_then(|bodies| bodies.last().cloned())
            };
            let deadline = Instant::now() + self.limit;
            let result = tokio::select! {
                _ = down.wait_for(|&down| down) => None,
                result = hosted.group.read(ReadPolicy::ReadIndex, deadline) => Some(result),
            };
            let mut requests = lock(&self.requests);
            match result {
                None => requests.cut += 1,
                Some(Ok(_)) if last.as_ref().is_none_or(|body| hosted.has(body)) => {
                    requests.reads += 1;
                }
                Some(Ok(at)) => {
                    let stale = format!("{}: no {last:?} at {at}", self.group);
                    requests.stale_reads.push(stale);
                }
                Some(Err(error)) => requests.failed_reads.push(told("a read", &error)),
            }
        }
    }
}

impl Hosted {
    fn has(&self, body: &str) -> bool {
        let applied = self.machine.applied();
        let mut newest_first = applied.iter().rev();
        newest_first.any(|entry| entry.command == body.as_bytes())
    }

    /// The bodies of all that was applied here, in order.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        let applied = self.machine.applied();
        let bodies = applied
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.command));
        bodies.map(Into::into).collect()
    }
}

fn told(what: &str, error: &RequestError) -> String {
    format!("{:?} {what}: {error}", Instant::now())
}

fn lock(requests: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until all machines of a group have applied the same, and checks that each acknowledged
/// write is there once, and no write twice.
pub(super) async fn assert_kept(
    group: &GroupName,
    members: &BTreeMap<u64, Hosted>,
    acknowledged: &[String],
    deadline: Instant,
) {
    let same = async {
        loop {
            let all: Vec<_> = members.values().map(Hosted::bodies).collect();
            if all.windows(2).all(|pair| pair[0] == pair[1]) {
                return all.into_iter().next().unwrap_or_default();
            }
            sleep(10 * MS).await;
        }
    };
    let Ok(applied) = timeout_at(deadline, same).await else {
        let counts = members
            .iter()
            .map(|(node, hosted)| (node, hosted.bodies().len()));
        panic!("{group}: members differ: {:?}", counts.collect::<Vec<_>>());
    };
    let once: BTreeSet<_> = applied.iter().collect();
    assert_eq!(
        once.len(),
        applied.len(),
        "{group}: a write was applied twice"
    );
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|body| !once.contains(body))
        .collect();
    assert!(
        lost.is_empty(),
        "{group} lost acknowledged writes: {lost:?}"
    );
}
