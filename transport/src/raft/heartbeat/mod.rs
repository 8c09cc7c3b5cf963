//! Heartbeats of all groups travel together: one frame out, one frame back.
//!
//! We ask: a group's client hands its heartbeat to the [`gatherer`](Gatherer) of the peer, whose
//! keeper sends what was gathered as one call on Control. They answer: the service of the node takes
//! the frame apart, hands each heartbeat to its group's own service, and sends back together what is
//! answered together. An idle group so costs a few bytes of a frame that leaves anyway.
//!
//! This room must not know what a heartbeat says; that is between a group's client and its service.

mod answering;
mod client;
mod gatherer;
mod keeper;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use self::gatherer::Gatherer;
use super::limits::HEARTBEATS_ANSWERED_MAX;
use crate::link::{LocalNode, lock};
use crate::{GroupId, NodeId};

pub(crate) use self::client::HeartbeatClient;

/// Where frames of heartbeats go: to the node, by a number that no group may have. The one above it
/// is the manager's.
pub(crate) const HEARTBEATS: GroupId = GroupId::new(u64::MAX - 1);

/// What all groups of a node share for their heartbeats.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    window: Duration,
    first_number: u64,
    /// One for each peer that was asked for or that has asked, as long as the node runs: the roster
    /// bounds them.
    peers: Mutex<HashMap<NodeId, Arc<PeerHeartbeats>>>,
}

impl Heartbeats {
    /// Those of a node, which is ready to answer from now on.
    pub(crate) fn start(local: &Arc<LocalNode>) -> Arc<Self> {
        // 48 bits of the boot: an answer to an earlier run names none of this run's frames, and
        // their numbers still travel in seven bytes.
        let first_number = u64::try_from(local.boot & 0xffff_ffff_ffff).unwrap_or(0);
        let heartbeats = Arc::new(Self {
            window: local.config.heartbeat_window,
            first_number,
            peers: Mutex::default(),
        });
        let service = answering::service(Arc::clone(&heartbeats), local);
        // Nobody was here before: the node has only just been made.
        local.add_service(HEARTBEATS, &service);
        heartbeats
    }

    /// Those to and from one peer.
    fn peer(&self, node: NodeId) -> Arc<PeerHeartbeats> {
        let mut peers = lock(&self.peers);
        let peer = peers.entry(node).or_insert_with(|| {
            let gatherer = Gatherer::new(self.window, self.first_number);
            Arc::new(PeerHeartbeats {
                gatherer: Mutex::new(gatherer),
                wake: Notify::new(),
                answering: AtomicUsize::new(0),
            })
        });
        Arc::clone(peer)
    }
}

/// The heartbeats between this node and one peer.
#[derive(Debug)]
struct PeerHeartbeats {
    gatherer: Mutex<Gatherer>,
    /// Tells the keeper that it has something to do.
    wake: Notify,
    /// Heartbeats of the peer that are not answered yet.
    answering: AtomicUsize,
}

impl PeerHeartbeats {
    /// Does something with what is gathered, and wakes whoever it concerns afterwards.
    fn with<T>(&self, act: impl FnOnce(&mut Gatherer, &mut Vec<Waker>) -> T) -> T {
        let mut woken = Vec::new();
        let result = act(&mut lock(&self.gatherer), &mut woken);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    /// Counts a heartbeat of the peer, until the guard is dropped; `None` if there are too many.
    fn answer_one(self: &Arc<Self>) -> Option<Answering> {
        if self.answering.fetch_add(1, Ordering::Relaxed) >= HEARTBEATS_ANSWERED_MAX {
            self.answering.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Answering(Arc::clone(self)))
    }
}

/// Counts as one heartbeat of the peer that is not answered, until it is dropped.
#[derive(Debug)]
struct Answering(Arc<PeerHeartbeats>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}
