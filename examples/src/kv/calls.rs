//! Calls to every other node at a steady rate, for drills: what an application would send beside
//! Raft on the same links. Each comes back as it was sent, or it has failed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use quicraft_certs::NodeId;
use quicraft_transport::link::{CallLane, Peer, Request};
use quicraft_transport::service::{CallContext, Service};
use quicraft_transport::{AlreadyRegistered, GroupId, Refusal, Registration, TransportHandle};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::status::CallStatus;

/// No Raft group has this id, those are numbered from 0; the two last of all are Quicraft's own.
const ECHO: GroupId = GroupId::new(u64::MAX - 2);

/// How long a call waits for its answer. Late is not lost: the slowest is in the status, and a call
/// that a link takes with it fails at once, whatever its deadline.
const DEADLINE: Duration = Duration::from_secs(30);

/// Calls in flight at most, or a node that does not answer would take all memory. One more fails.
const IN_FLIGHT: usize = 1024;

/// What became of the calls.
#[derive(Debug, Default)]
pub(super) struct Counters {
    answered: AtomicU64,
    failed: AtomicU64,
    slowest_ms: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl Counters {
    pub(super) fn status(&self) -> CallStatus {
        CallStatus {
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            slowest_ms: self.slowest_ms.load(Ordering::Relaxed),
            last_failure: self.last_failure().clone(),
        }
    }

    fn note(&self, result: Result<Duration, String>) {
        match result {
            Ok(took) => {
                let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                self.slowest_ms.fetch_max(took, Ordering::Relaxed);
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => {
                *self.last_failure() = Some(why);
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn last_failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // A text is whole, whoever panicked.
        let guard = self.last_failure.lock();
        guard.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls of this node. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Calls {
    counters: Arc<Counters>,
    _serving: Registration,
    _calling: JoinSet<()>,
}

impl Calls {
    /// Serves the calls of others, and makes `per_second` to `peers` in turn. Nothing at 0.
    ///
    /// # Errors
    ///
    /// [`AlreadyRegistered`], if something else is served as their group.
    pub(super) fn start(
        transport: &TransportHandle,
        per_second: u64,
        peers: impl Iterator<Item = u64>,
    ) -> Result<Option<Self>, AlreadyRegistered> {
        if per_second == 0 {
            return Ok(None);
        }
        let peers = peers.filter_map(|peer| NodeId::new(peer).ok());
        let peers = peers.map(|peer| transport.peer(peer)).collect();
        let counters = Arc::new(Counters::default());
        let serving = transport.register(ECHO, Arc::new(Echo))?;
        let mut calling = JoinSet::new();
        calling.spawn(call_all(peers, per_second, Arc::clone(&counters)));
        Ok(Some(Self {
            counters,
            _serving: serving,
            _calling: calling,
        }))
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

/// Calls the peers in turn, on both lanes. A turn that comes late is made up for.
async fn call_all(peers: Vec<Peer>, per_second: u64, counters: Arc<Counters>) {
    let mut ticks =
        interval(Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let turns = peers.iter().flat_map(|peer| {
        let lanes = [CallLane::Control, CallLane::Call];
        lanes.map(|lane| (peer, lane))
    });
    let mut calls = JoinSet::new();
    for (number, (peer, lane)) in (0_u64..).zip(turns.cycle()) {
        ticks.tick().await;
        while calls.try_join_next().is_some() {}
        if calls.len() >= IN_FLIGHT {
            counters.note(Err(format!("{IN_FLIGHT} calls are in flight")));
            continue;
        }
        let (peer, counters) = (peer.clone(), Arc::clone(&counters));
        calls.spawn(async move { counters.note(call(&peer, lane, number).await) });
    }
}

async fn call(peer: &Peer, lane: CallLane, number: u64) -> Result<Duration, String> {
    let started = Instant::now();
    let body = Bytes::copy_from_slice(&number.to_le_bytes());
    let request = Request::new(ECHO, 0, body.clone());
    let answer = peer.call(lane, request, started + DEADLINE).await;
    match answer {
        Ok(answer) if answer == body => Ok(started.elapsed()),
        Ok(answer) => Err(format!("{} other bytes came back", answer.len())),
        Err(error) => Err(super::process::one_line(&error)),
    }
}

/// Answers with what was sent.
struct Echo;

impl Service for Echo {
    fn call(&self, _: CallContext, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        std::future::ready(Ok(body)).boxed()
    }
}
