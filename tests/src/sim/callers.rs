//! Calls between all nodes of a cluster, the whole time, and what became of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use quicraft_transport::link::{CallLane, Request};
use quicraft_transport::{CallError, NodeId, TransportHandle};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};

use super::cluster::SimCluster;
use super::sink::{ECHO, Sink};
use super::spec::MS;

/// One call, and what became of it.
#[derive(Debug, Clone)]
pub struct Called {
    /// Who called.
    pub from: u64,
    /// Whom.
    pub to: u64,
    /// On which lane.
    pub lane: CallLane,
    /// The body, which no other call has.
    pub body: Bytes,
    /// When.
    pub at: Instant,
    /// How long the caller waited.
    pub took: Duration,
    /// The answer, or why there is none.
    pub answer: Result<Bytes, CallError>,
}

/// The nodes that can call at present.
type Running = Arc<Mutex<BTreeMap<u64, TransportHandle>>>;

/// Callers at every node, for every other: one call each period, on Control and Call in turn, none
/// waiting for the one before. They hold nothing of a node but while a call is in flight, so that a
/// crash takes all of it.
#[derive(Debug)]
pub struct Callers {
    running: Running,
    limit: Duration,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Vec<Called>>>,
}

impl Callers {
    /// Starts to call between the nodes of a cluster whose nodes serve sinks; each call has `limit`.
    #[must_use]
    pub fn start(cluster: &SimCluster, period: Duration, limit: Duration) -> Self {
        let running = Running::default();
        let (stop, stopped) = watch::channel(false);
        let nodes = 1..=cluster.spec().nodes;
        let pairs = nodes.clone().flat_map(|from| {
            let others = nodes.clone().filter(move |&to| to != from);
            others.map(move |to| (from, to))
        });
        let tasks = pairs.map(|(from, to)| {
            let caller = Caller {
                running: Arc::clone(&running),
                from,
                to,
                limit,
            };
            tokio::spawn(caller.call_until(period, stopped.clone()))
        });
        let callers = Self {
            tasks: tasks.collect(),
            running,
            limit,
            stop,
        };
        callers.follow(cluster);
        callers
    }

    /// Calls from the nodes that run now.
    pub fn follow(&self, cluster: &SimCluster) {
        let mut running = lock(&self.running);
        running.clear();
        for node in cluster.nodes() {
            running.insert(node.id, node.transport.handle());
        }
    }

    /// Calls no more from a node that is about to end.
    pub fn leave(&self, node: u64) {
        lock(&self.running).remove(&node);
    }

    /// Ends all callers, waits for their last calls, and returns all that was called.
    ///
    /// # Panics
    ///
    /// If a caller panicked.
    pub async fn finish(self) -> Calls {
        self.stop.send_replace(true);
        let mut all = Vec::new();
        for ended in join_all(self.tasks).await {
            match ended {
                Ok(called) => all.extend(called),
                Err(error) => panic!("a caller: {error}"),
            }
        }
        all.sort_by_key(|called| called.at);
        Calls {
            all,
            limit: self.limit,
        }
    }
}

struct Caller {
    running: Running,
    from: u64,
    to: u64,
    limit: Duration,
}

impl Caller {
    async fn call_until(self, period: Duration, mut stopped: watch::Receiver<bool>) -> Vec<Called> {
        let mut ticks = interval(period);
        let mut in_flight = FuturesUnordered::new();
        let mut all = Vec::new();
        for number in 0.. {
            loop {
                tokio::select! {
                    biased;
                    Some(called) = in_flight.next() => all.push(called),
                    _ = stopped.changed() => {
                        all.extend(in_flight.collect::<Vec<_>>().await);
                        return all;
                    }
                    _ = ticks.tick() => break,
                }
            }
            let handle = lock(&self.running).get(&self.from).cloned();
            if let Some(handle) = handle {
                in_flight.push(self.call(handle, number));
            }
        }
        all
    }

    async fn call(&self, handle: TransportHandle, number: u32) -> Called {
        let (from, to, at) = (self.from, self.to, Instant::now());
        let body = Bytes::from(format!("{from} to {to}: {number}"));
        let lane = if number.is_multiple_of(2) {
            CallLane::Control
        } else {
            CallLane::Call
        };
        let node = NodeId::new(to).unwrap_or_else(|error| panic!("{error}"));
        let request = Request::new(ECHO, 0, body.clone());
        let answer = handle.peer(node).call(lane, request, at + self.limit).await;
        Called {
            from,
            to,
            lane,
            body,
            at,
            took: at.elapsed(),
            answer,
        }
    }
}

/// All that was called.
#[derive(Debug, Clone)]
pub struct Calls {
    all: Vec<Called>,
    limit: Duration,
}

impl Calls {
    /// All calls, in the order in which they began.
    #[must_use]
    pub fn all(&self) -> &[Called] {
        &self.all
    }

    /// Those that were not answered.
    #[must_use]
    pub fn failed(&self) -> Vec<&Called> {
        let failed = self.all.iter().filter(|called| called.answer.is_err());
        failed.collect()
    }

    /// The first call that broke a promise, in words: each is answered by its peer exactly once or
    /// fails with an error, never runs twice, and never waits past its deadline.
    #[must_use]
    pub fn broken(&self, sink: impl Fn(u64) -> Sink) -> Option<String> {
        self.all.iter().find_map(|called| {
            let given = sink(called.to).given(&called.body);
            let wrong = match &called.answer {
                _ if given > 1 => format!("ran {given} times"),
                Ok(answer) if *answer != called.body => format!("got {answer:?}"),
                Ok(_) if given == 0 => "was answered by nobody".to_owned(),
                // A timer of tokio fires up to a millisecond late.
                _ if called.took > self.limit + MS => format!("took {:?}", called.took),
                _ => return None,
            };
            Some(format!("{called:?} {wrong}"))
        })
    }
}

fn lock(running: &Running) -> MutexGuard<'_, BTreeMap<u64, TransportHandle>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
