//! A remote node as callers hold it: a handle, and what can be asked of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "serde")]
use futures_util::FutureExt;
use quicraft_certs::NodeId;
use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::connection::{Connection, InFlight};
use super::local::{LocalNode, lock};
use super::peer_state::PeerState;
use super::session::{SessionReceiver, SessionSender};
use super::stats::LinkStatus;
use super::{call, control, session, transfer};
use crate::error::{CallError, UnreachableReason};
use crate::frame::Lane;
use crate::{GroupId, TraceContext};

/// The lane of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallLane {
    /// Small and urgent: at most 64 KiB, all groups on one stream. A call that is dropped is not
    /// cancelled at the peer, which forgets it at its deadline.
    Control,
    /// Everything else. Calls with a body of at most
    /// [`CALL_SHARED_BYTES_MAX`](crate::limits::CALL_SHARED_BYTES_MAX) share one stream, on which a
    /// large reply delays those behind it; a larger one has a stream of its own while it lasts. A call
    /// that is dropped is cancelled, and the peer stops at once.
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

/// A remote node, as this node sees it. A cheap handle that keeps nothing alive.
///
/// No method dials: that is the work of a task of its own, which the first call to a peer that is
/// dialled by need sets off. While the peer is down every call is [`CallError::Unreachable`] at once;
/// a call waits only for the first dial after a link was there.
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
        let in_flight = match self.begin_at_once() {
            Some(in_flight) => in_flight,
            None => self.begin(group, deadline).await?,
        };
        let link = &in_flight.0;
        let answer = match lane {
            CallLane::Control => {
                link.counters().called(Lane::Control);
                control::call(link, request, deadline).await
            }
            CallLane::Call => {
                link.counters().called(Lane::Call);
                call::call(link, request, deadline).await
            }
        };
        answer.map_err(|failure| failure.into_error(self, group, deadline - started))
    }

    /// An ordered stream of requests on the Append lane.
    ///
    /// No stream is opened before the first request, and an idle one is given back; both are
    /// invisible here. `stall_limit` is the longest time in which nothing moves while a request is
    /// in flight: neither an answer comes, nor a byte that the peer has taken.
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
        let in_flight = self.begin(group, Instant::now() + stall_limit).await?;
        let link = &in_flight.0;
        link.counters().called(Lane::Snapshot);
        let sent = transfer::transfer(&self.local, link, request, length, source, stall_limit);
        sent.await
            .map_err(|failure| failure.into_error(self, group, stall_limit))
    }

    /// Waits until there is a link that takes calls, through any number of dials. Returns whether
    /// there is one; `false` at the deadline. A peer that is dialled by need is dialled for it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; a dial in progress goes on.
    pub async fn back(&self, deadline: Instant) -> bool {
        self.state.back(&self.local, deadline).await
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

    /// Keeps a link to this peer also while no call needs it, until the guard is dropped: for a peer
    /// that the roster has as [`Dial::ByNeed`](crate::Dial::ByNeed).
    #[must_use = "dropping the guard gives the need up"]
    pub fn keep_link(&self) -> LinkNeed {
        if self.state.needs.fetch_add(1, Ordering::AcqRel) == 0 {
            self.local.update_need(&self.state);
        }
        LinkNeed { peer: self.clone() }
    }

    /// What status shows of this peer.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let state = &self.state;
        let phase = state.phase.borrow().clone();
        let link = state.usable();
        let link = link.as_deref();
        let stats = link.map(Connection::stats);
        let (draining, in_flight) = {
            let connections = lock(&state.connections);
            let draining = connections.iter().filter(|known| known.drains()).count();
            let in_flight = connections.iter().map(|known| known.in_flight()).sum();
            (draining, in_flight)
        };
        LinkStatus {
            peer: state.node,
            state: phase.state,
            since: phase.since.elapsed(),
            link_id: link.map(Connection::link_id),
            address: link
                .map(Connection::address)
                .or_else(|| *lock(&state.address)),
            dialled: link.is_some_and(Connection::dialled),
            boot: link.map(Connection::boot),
            epoch: link.map(Connection::epoch),
            rtt: link.map(Connection::rtt),
            congestion_window: stats.as_ref().map(|stats| stats.path.cwnd),
            datagram_bytes: stats.as_ref().map(|stats| stats.path.current_mtu),
            lost_packets: stats.as_ref().map_or(0, |stats| stats.path.lost_packets),
            sent_bytes: stats.as_ref().map_or(0, |stats| stats.udp_tx.bytes),
            received_bytes: stats.as_ref().map_or(0, |stats| stats.udp_rx.bytes),
            sent_datagrams: stats.as_ref().map_or(0, |stats| stats.udp_tx.datagrams),
            received_datagrams: stats.as_ref().map_or(0, |stats| stats.udp_rx.datagrams),
            lanes: state.counters.status(),
            in_flight,
            peer_streams: link.map_or(0, Connection::peer_streams),
            peer_sessions: link.map_or(0, Connection::peer_sessions),
            queued_frames: link.map_or(0, |link| link.control.queued_frames()),
            waiting: state.waiting.load(Ordering::Relaxed),
            links: state.live.load(Ordering::Acquire),
            draining,
            links_max: state.live_max.load(Ordering::Acquire),
            links_total: state.links_total.load(Ordering::Relaxed),
            handshakes: state.handshakes.load(Ordering::Relaxed),
            probes: state.counters.probes(),
            handshake: link.map(Connection::handshake),
            established_in: link.map(Connection::established_in),
            certificate_ends: link.map(Connection::certificate_ends),
            certificate: link.map(|link| link.certificate().clone()),
            last_problem: lock(&state.last_problem).clone(),
            last_close: lock(&state.last_close).clone(),
            last_refusal: lock(&state.last_refusal).clone(),
        }
    }

    /// A call counted on the link, where there is one and nothing to wait for. No look at quinn: every
    /// call passes here.
    fn begin_at_once(&self) -> Option<InFlight> {
        let link = self.state.link.load_full()?;
        if link.seems_open() && !self.local.is_closing() {
            link.begin()
        } else {
            None
        }
    }

    /// The link, and a call counted on it. A link that began to drain in between is passed over.
    pub(super) async fn begin(
        &self,
        group: GroupId,
        deadline: Instant,
    ) -> Result<InFlight, CallError> {
        loop {
            let link = self.link(group, deadline).await?;
            if let Some(in_flight) = link.begin() {
                return Ok(in_flight);
            }
            // It stopped being the link, and `usable` does not yield it again.
        }
    }

    async fn link(&self, group: GroupId, deadline: Instant) -> Result<Arc<Connection>, CallError> {
        let reason = if self.local.is_closing() {
            UnreachableReason::ShuttingDown
        } else if self.state.node == self.local.node {
            UnreachableReason::Myself
        } else {
            match self.state.wait_link(&self.local, deadline).await {
                Ok(link) => return Ok(link),
                Err(reason) => reason,
            }
        };
        Err(self.unreachable(group, reason))
    }

    /// Why a call would fail at once, if it would: without waiting, and without the network.
    #[cfg(feature = "serde")]
    pub(crate) fn fails_at_once(&self, group: GroupId, deadline: Instant) -> Option<CallError> {
        match self.link(group, deadline).now_or_never() {
            Some(Ok(_)) | None => None,
            Some(Err(error)) => Some(error),
        }
    }

    /// The address of the link, or of the last dial.
    #[cfg(feature = "serde")]
    pub(crate) fn address(&self) -> Option<std::net::SocketAddr> {
        let link = self.state.usable();
        link.map(|link| link.address())
            .or_else(|| *lock(&self.state.address))
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

/// Keeps a link to a peer, until it is dropped.
#[derive(Debug)]
pub struct LinkNeed {
    peer: Peer,
}

impl Drop for LinkNeed {
    fn drop(&mut self) {
        let Peer { local, state } = &self.peer;
        if state.needs.fetch_sub(1, Ordering::AcqRel) == 1 {
            local.update_need(state);
        }
    }
}
