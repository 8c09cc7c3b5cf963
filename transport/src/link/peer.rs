//! A remote node as this node sees it: its record, its link, and the handle that callers hold.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use quicraft_certs::NodeId;
use tokio::io::AsyncRead;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::local::{LocalNode, lock};
use super::session::{SessionReceiver, SessionSender};
use super::stats::{LinkState, LinkStatus};
use super::{call, control, session, transfer};
use crate::admission::PeerRecord;
use crate::error::{CallError, UnreachableReason};
use crate::{GroupId, TraceContext};

/// The lane of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallLane {
    /// Small and urgent: at most 64 KiB, all groups on one stream. A call that is dropped is not
    /// cancelled at the peer, which forgets it at its deadline.
    Control,
    /// Everything else: a stream of its own while it lasts. A call that is dropped resets it, and
    /// the peer stops at once.
    Call,
}

/// One call in bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The group that it is for.
    pub group: GroupId,
    /// The method of the group's service.
    pub method: u16,
    /// The body.
    pub body: Bytes,
    /// The caller's trace, if there is one.
    pub trace: Option<TraceContext>,
}

impl Request {
    /// A request without a trace.
    #[must_use]
    pub const fn new(group: GroupId, method: u16, body: Bytes) -> Self {
        Self {
            group,
            method,
            body,
            trace: None,
        }
    }

    /// The same request as a part of a trace.
    #[must_use]
    pub const fn traced(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }
}

/// How this node stands to a peer, as callers wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) state: LinkState,
    pub(crate) since: Instant,
}

/// Everything about one peer.
#[derive(Debug)]
pub(crate) struct PeerState {
    pub(crate) node: NodeId,
    pub(crate) record: Mutex<PeerRecord>,
    /// The link. Readers take no lock.
    pub(crate) link: ArcSwapOption<Connection>,
    /// All adopted connections that are not closed yet: the link and those that drain.
    pub(crate) connections: Mutex<Vec<Arc<Connection>>>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Wakes the dialer before its wait is over.
    pub(crate) redial: Notify,
    pub(crate) address: Mutex<Option<SocketAddr>>,
    pub(crate) last_problem: Mutex<Option<String>>,
    pub(crate) live: AtomicU32,
    pub(crate) live_max: AtomicU32,
    pub(crate) links_total: AtomicU64,
    /// When the last link was lost.
    pub(crate) lost_at: Mutex<Option<Instant>>,
}

impl PeerState {
    pub(crate) fn new(node: NodeId) -> Self {
        let state = LinkState::Down("no dial yet".to_owned());
        let (phase, _) = watch::channel(Phase {
            state,
            since: Instant::now(),
        });
        Self {
            node,
            record: Mutex::default(),
            link: ArcSwapOption::empty(),
            connections: Mutex::default(),
            phase,
            redial: Notify::new(),
            address: Mutex::default(),
            last_problem: Mutex::default(),
            live: AtomicU32::new(0),
            live_max: AtomicU32::new(0),
            links_total: AtomicU64::new(0),
            lost_at: Mutex::default(),
        }
    }

    /// Changes how this node stands to the peer; an unchanged state keeps its time.
    pub(crate) fn enter(&self, state: LinkState) {
        self.phase.send_if_modified(|phase| {
            if phase.state == state {
                return false;
            }
            *phase = Phase {
                state,
                since: Instant::now(),
            };
            true
        });
    }

    /// Remembers why there is no link.
    pub(crate) fn problem(&self, text: &str) {
        *lock(&self.last_problem) = Some(text.to_owned());
    }

    /// Counts a connection as a live link. Raised where admission adopts.
    pub(crate) fn count_live(&self) {
        let live = self.live.fetch_add(1, Ordering::AcqRel) + 1;
        self.live_max.fetch_max(live, Ordering::AcqRel);
        self.links_total.fetch_add(1, Ordering::Relaxed);
    }

    /// The link, once there is one. Waits for a first dial in progress, never for a later one.
    pub(crate) async fn wait_link(
        &self,
        deadline: Instant,
    ) -> Result<Arc<Connection>, UnreachableReason> {
        if let Some(link) = self.usable() {
            return Ok(link);
        }
        let mut phase = self.phase.subscribe();
        loop {
            let state = phase.borrow_and_update().state.clone();
            match state {
                LinkState::Up => match self.usable() {
                    Some(link) => return Ok(link),
                    None => return Err(UnreachableReason::Down("the link has just ended".into())),
                },
                LinkState::Down(reason) | LinkState::Parked(reason) => {
                    return Err(UnreachableReason::Down(reason));
                }
                LinkState::Dialling => {}
            }
            match timeout_at(deadline, phase.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(UnreachableReason::ShuttingDown),
                Err(_) => return Err(UnreachableReason::Dialling),
            }
        }
    }

    /// Lets go of all connections, because this node stops. No other is adopted from then on.
    pub(crate) fn release(&self) {
        let record = lock(&self.record);
        let link = self.link.swap(None);
        let connections = std::mem::take(&mut *lock(&self.connections));
        drop(record);
        drop((link, connections));
    }

    /// The link, if new calls may go to it.
    pub(crate) fn usable(&self) -> Option<Arc<Connection>> {
        self.link.load_full().filter(|link| link.takes_calls())
    }
}

/// A remote node, as this node sees it. A cheap handle that keeps nothing alive.
///
/// No method dials: that is the work of a task of its own. While the peer is down every call is
/// [`CallError::Unreachable`] at once; a call waits only for the first dial after a link was there.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(crate) local: Arc<LocalNode>,
    pub(crate) state: Arc<PeerState>,
}

impl Peer {
    pub(crate) const fn new(local: Arc<LocalNode>, state: Arc<PeerState>) -> Self {
        Self { local, state }
    }

    /// The peer's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.state.node
    }

    /// One call and its reply. The body of a call on Control is at most 64 KiB, on Call at most
    /// [`Peer::frame_bytes_max`].
    ///
    /// # Errors
    ///
    /// [`CallError`], sorted by what to do next.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the call up; the peer may still have run it. On the Call lane the
    /// peer stops at once, on Control it forgets the call at its deadline.
    pub async fn call(
        &self,
        lane: CallLane,
        request: Request,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let group = request.group;
        let started = Instant::now();
        let link = self.link(group, deadline).await?;
        let answer = match lane {
            CallLane::Control => control::call(&link, request, deadline).await,
            CallLane::Call => call::call(&link, request, deadline).await,
        };
        answer.map_err(|failure| failure.into_error(self, group, deadline - started))
    }

    /// An ordered stream of requests on the Append lane.
    ///
    /// No stream is opened before the first request, and an idle one is given back; both are
    /// invisible here. `stall_limit` is the longest time without an answer while a request is in
    /// flight.
    #[must_use]
    pub fn session(
        &self,
        group: GroupId,
        method: u16,
        stall_limit: Duration,
    ) -> (SessionSender, SessionReceiver) {
        session::session(self.clone(), group, method, stall_limit)
    }

    /// Sends exactly `length` bytes of `source` on the Snapshot lane behind `request`, and waits
    /// for the answer. `stall_limit` is the longest time in which nothing moves, the wait for one
    /// of the bounded transfer slots included.
    ///
    /// # Errors
    ///
    /// [`CallError`]; `Source` if the source fails or ends early.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream, and the receiver stops at once.
    pub async fn transfer<R>(
        &self,
        request: Request,
        length: u64,
        source: R,
        stall_limit: Duration,
    ) -> Result<Bytes, CallError>
    where
        R: AsyncRead + Send + Unpin,
    {
        let group = request.group;
        let link = self.link(group, Instant::now() + stall_limit).await?;
        let sent = transfer::transfer(&self.local, &link, request, length, source, stall_limit);
        sent.await
            .map_err(|failure| failure.into_error(self, group, stall_limit))
    }

    /// The smoothed round trip of the link, if there is one.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.state.usable().map(|link| link.rtt())
    }

    /// Bytes of the largest body that both ends take in one frame.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        self.state
            .usable()
            .map_or(self.local.config.frame_bytes_max, |link| {
                link.frame_bytes_max()
            })
    }

    /// Bytes of the largest log entry that both ends take.
    #[must_use]
    pub fn entry_bytes_max(&self) -> usize {
        self.state
            .usable()
            .map_or(self.local.config.entry_bytes_max, |link| {
                link.entry_bytes_max()
            })
    }

    /// What status shows of this peer.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let phase = self.state.phase.borrow().clone();
        let link = self.state.usable();
        let link = link.as_deref();
        let stats = link.map(Connection::stats);
        LinkStatus {
            peer: self.state.node,
            state: phase.state,
            since: phase.since.elapsed(),
            address: link
                .map(Connection::address)
                .or_else(|| *lock(&self.state.address)),
            dialled: link.is_some_and(Connection::dialled),
            boot: link.map(Connection::boot),
            epoch: link.map(Connection::epoch),
            rtt: link.map(Connection::rtt),
            congestion_window: stats.as_ref().map(|stats| stats.path.cwnd),
            lost_packets: stats.as_ref().map_or(0, |stats| stats.path.lost_packets),
            sent_bytes: stats.as_ref().map_or(0, |stats| stats.udp_tx.bytes),
            received_bytes: stats.as_ref().map_or(0, |stats| stats.udp_rx.bytes),
            lanes: link
                .map(|link| link.counters().status())
                .unwrap_or_default(),
            in_flight: link.map_or(0, Connection::in_flight),
            links: self.state.live.load(Ordering::Acquire),
            links_max: self.state.live_max.load(Ordering::Acquire),
            links_total: self.state.links_total.load(Ordering::Relaxed),
            handshake: link.map(Connection::handshake),
            established_in: link.map(Connection::established_in),
            certificate_ends: link.map(Connection::certificate_ends),
            last_problem: lock(&self.state.last_problem).clone(),
        }
    }

    async fn link(&self, group: GroupId, deadline: Instant) -> Result<Arc<Connection>, CallError> {
        let reason = if self.local.is_closing() {
            UnreachableReason::ShuttingDown
        } else if self.state.node == self.local.node {
            UnreachableReason::Myself
        } else {
            match self.state.wait_link(deadline).await {
                Ok(link) => return Ok(link),
                Err(reason) => reason,
            }
        };
        Err(self.unreachable(group, reason))
    }

    pub(crate) fn unreachable(&self, group: GroupId, reason: UnreachableReason) -> CallError {
        let address = *lock(&self.state.address);
        CallError::Unreachable {
            peer: self.state.node,
            group,
            address,
            reason,
        }
    }
}
