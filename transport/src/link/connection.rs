//! One admitted connection: the link while it is the newest, draining when a newer one took its place.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quicraft_certs::PeerCertificate;
use quinn::ConnectionError;
use tokio::sync::{Notify, Semaphore, watch};

use super::Budget;
use super::call::CallLaneState;
use super::control::ControlLane;
use super::local::{LocalNode, lock};
use super::peer::{Peer, PeerState};
use super::stats::Counters;
use crate::admission::{Candidate, ConnectionId, ProvenNode};
use crate::close::CloseCode;
use crate::error::CallError;
use crate::event::Event;
use crate::limits::{
    APPEND_BUDGET_BYTES, APPEND_STREAMS_MAX, CALL_BUDGET_BYTES, DRAIN_LIMIT, SNAPSHOT_BUDGET_BYTES,
    SNAPSHOT_STREAMS_MAX,
};
use crate::{GroupId, Refusal, RefusalCode, UnreachableReason};

/// What a lane could not do, without the names that only the peer's handle knows.
#[derive(Debug)]
pub(crate) enum Failure {
    Unreachable(UnreachableReason),
    Cut(String),
    Timeout,
    Refused(Refusal),
    TooLarge { size: usize, limit: usize },
    Source(String),
}

impl Failure {
    pub(crate) fn into_error(self, peer: &Peer, group: GroupId, limit: Duration) -> CallError {
        let address = *lock(&peer.state.address);
        let peer_id = peer.id();
        match self {
            Self::Unreachable(reason) => peer.unreachable(group, reason),
            Self::Cut(reason) => CallError::Cut {
                peer: peer_id,
                group,
                address,
                reason,
            },
            Self::Timeout => CallError::Timeout {
                peer: peer_id,
                group,
                address,
                limit,
            },
            // Whose clock saw the deadline first makes no difference to the caller.
            Self::Refused(refusal) if refusal.code == RefusalCode::DeadlinePassed => {
                CallError::Timeout {
                    peer: peer_id,
                    group,
                    address,
                    limit,
                }
            }
            Self::Refused(refusal) => CallError::Refused {
                peer: peer_id,
                group,
                refusal,
            },
            Self::TooLarge { size, limit } => CallError::TooLarge {
                peer: peer_id,
                group,
                size,
                limit,
            },
            Self::Source(reason) => CallError::Source {
                peer: peer_id,
                group,
                reason,
            },
        }
    }
}

/// What the handshake has settled about a connection.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) proven: ProvenNode,
    pub(crate) candidate: Candidate,
    pub(crate) dialled: bool,
    pub(crate) frame_bytes_max: usize,
    pub(crate) entry_bytes_max: usize,
    pub(crate) certificate: PeerCertificate,
    pub(crate) handshake: Duration,
    pub(crate) established_in: Duration,
}

/// One admitted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) quic: quinn::Connection,
    pub(crate) local: Arc<LocalNode>,
    pub(crate) peer: Arc<PeerState>,
    settled: Settled,
    pub(crate) control: ControlLane,
    pub(crate) calls: CallLaneState,
    pub(crate) append_budget: Budget,
    pub(crate) append_streams: Arc<Semaphore>,
    pub(crate) call_budget: Budget,
    pub(crate) snapshot_budget: Budget,
    pub(crate) snapshot_streams: Arc<Semaphore>,
    /// Whether a snapshot has not moved for too long; Append and Call then step aside for a moment.
    pub(crate) starving: watch::Sender<bool>,
    counters: Counters,
    in_flight: AtomicUsize,
    idle: Notify,
    live: AtomicBool,
    going_away: AtomicBool,
    peer_done: Notify,
}

impl Connection {
    pub(crate) fn new(
        local: Arc<LocalNode>,
        peer: Arc<PeerState>,
        quic: quinn::Connection,
        settled: Settled,
        control: ControlLane,
    ) -> Arc<Self> {
        let (starving, _) = watch::channel(false);
        Arc::new(Self {
            quic,
            local,
            peer,
            settled,
            control,
            calls: CallLaneState::new(),
            append_budget: Budget::new(APPEND_BUDGET_BYTES),
            append_streams: Arc::new(Semaphore::new(APPEND_STREAMS_MAX)),
            call_budget: Budget::new(CALL_BUDGET_BYTES),
            snapshot_budget: Budget::new(SNAPSHOT_BUDGET_BYTES),
            snapshot_streams: Arc::new(Semaphore::new(SNAPSHOT_STREAMS_MAX)),
            starving,
            counters: Counters::default(),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            live: AtomicBool::new(true),
            going_away: AtomicBool::new(false),
            peer_done: Notify::new(),
        })
    }

    pub(crate) const fn id(&self) -> ConnectionId {
        self.settled.candidate.connection
    }

    pub(crate) const fn proven(&self) -> ProvenNode {
        self.settled.proven
    }

    pub(crate) const fn dialled(&self) -> bool {
        self.settled.dialled
    }

    pub(crate) const fn boot(&self) -> u128 {
        self.settled.candidate.boot
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.settled.candidate.epoch
    }

    pub(crate) const fn frame_bytes_max(&self) -> usize {
        self.settled.frame_bytes_max
    }

    pub(crate) const fn entry_bytes_max(&self) -> usize {
        self.settled.entry_bytes_max
    }

    pub(crate) const fn handshake(&self) -> Duration {
        self.settled.handshake
    }

    pub(crate) const fn established_in(&self) -> Duration {
        self.settled.established_in
    }

    pub(crate) const fn certificate_ends(&self) -> u64 {
        self.settled.certificate.not_after()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    pub(crate) fn stats(&self) -> quinn::ConnectionStats {
        self.quic.stats()
    }

    pub(crate) const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether new calls may start here.
    pub(crate) fn takes_calls(&self) -> bool {
        self.live.load(Ordering::Acquire)
            && !self.going_away.load(Ordering::Acquire)
            && self.quic.close_reason().is_none()
    }

    /// Calls, sessions with requests in flight, and transfers that this end has under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Counts one of them, until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    /// Waits until none of them is under way.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Lets a starved snapshot go first, for as long as it takes but at most `limit`.
    pub(crate) async fn step_aside(&self, limit: Duration) {
        if *self.starving.borrow() {
            let mut starving = self.starving.subscribe();
            let moved = starving.wait_for(|starving| !starving);
            // Late or early: the snapshot had its turn.
            drop(tokio::time::timeout(limit, moved).await);
        }
    }

    /// The peer shuts down: no new calls, from now on.
    pub(crate) fn peer_goes_away(&self) {
        if !self.going_away.swap(true, Ordering::AcqRel) {
            self.local.events.raise(Event::GoingAway {
                peer: self.peer.node,
            });
        }
    }

    /// The peer has no call of its own in flight on this draining connection.
    pub(crate) fn peer_is_done(&self) {
        self.peer_done.notify_one();
    }

    /// Stops being a live link. Returns whether it was one.
    pub(crate) fn leave_live(&self) -> bool {
        let was_live = self.live.swap(false, Ordering::AcqRel);
        if was_live {
            self.peer.live.fetch_sub(1, Ordering::AcqRel);
        }
        was_live
    }

    /// A newer connection is the link: finish what is in flight, then retire.
    pub(crate) fn drain(self: &Arc<Self>) {
        if !self.leave_live() {
            return;
        }
        self.local.events.raise(Event::LinkDraining {
            peer: self.peer.node,
        });
        let connection = Arc::clone(self);
        drop(self.local.spawn(async move {
            let both_done = async {
                connection.wait_idle().await;
                connection.control.send_done();
                connection.peer_done.notified().await;
            };
            tokio::select! {
                () = both_done => {}
                () = tokio::time::sleep(DRAIN_LIMIT) => {}
                _ = connection.quic.closed() => {}
            }
            connection.close(CloseCode::Retired, "");
        }));
    }

    /// Ends the connection with a code that the peer will see.
    pub(crate) fn close(&self, code: CloseCode, text: &str) {
        self.leave_live();
        self.quic.close(code.varint(), text.as_bytes());
    }

    /// A failure of a call whose stream broke: the link's end, or only the stream's.
    pub(crate) fn cut(&self, stream: &dyn std::fmt::Display) -> Failure {
        match self.quic.close_reason() {
            Some(error) => Failure::Cut(describe(&error)),
            None => Failure::Cut(stream.to_string()),
        }
    }
}

/// Counts as one call in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// The code that one of the two ends closed with, if it is one of ours.
pub(crate) fn close_code(error: &ConnectionError) -> Option<CloseCode> {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            CloseCode::from_wire(close.error_code.into_inner())
        }
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => None,
    }
}

/// The end of a connection in words: who ended it, and why.
pub(crate) fn describe(error: &ConnectionError) -> String {
    match close_code(error) {
        Some(code) => format!("closed by the peer: {code}"),
        None => error.to_string(),
    }
}

/// Locks, for the few who keep a list of connections.
pub(crate) fn forget(list: &Mutex<Vec<Arc<Connection>>>, id: ConnectionId) {
    lock(list).retain(|connection| connection.id() != id);
}
