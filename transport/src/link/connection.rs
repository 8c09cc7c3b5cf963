//! One admitted connection: the link while it is the newest, draining when a newer one took its
//! place. What it becomes is decided by the peer's [`PeerLife`](crate::life::PeerLife).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use quicraft_certs::PeerCertificate;
use quinn::ConnectionError;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use super::Budget;
use super::call::Calls;
use super::control::ControlLane;
use super::local::{LocalNode, lock};
use super::peer::Peer;
use super::peer_state::PeerState;
use super::stats::Counters;
use crate::admission::{Candidate, ConnectionId, ProvenNode};
use crate::close::CloseCode;
use crate::error::{CallError, LinkEnd};
use crate::event::Event;
use crate::life::{Ending, LifeEvent};
use crate::limits::{
    APPEND_BUDGET_BYTES, APPEND_STREAMS_MAX, CALL_BUDGET_BYTES, SNAPSHOT_BUDGET_BYTES,
    SNAPSHOT_STREAMS_MAX,
};
use crate::{GroupId, Refusal, RefusalCode, UnreachableReason};

/// What a lane could not do, without the names that only the peer's handle knows.
#[derive(Debug)]
pub(crate) enum Failure {
    Unreachable(UnreachableReason),
    Cut { end: LinkEnd, reason: String },
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
            Self::Cut { end, reason } => CallError::Cut {
                peer: peer_id,
                group,
                address,
                end,
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
    /// The same number at both ends.
    pub(crate) link_id: u128,
    /// Which of our certificates the peer was shown.
    pub(crate) own_certificate: OwnCertificate,
}

/// The hash of a certificate of this node.
pub(crate) type OwnCertificate = [u8; 32];

/// One admitted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) quic: quinn::Connection,
    pub(crate) local: Arc<LocalNode>,
    pub(crate) peer: Arc<PeerState>,
    settled: Settled,
    pub(crate) control: ControlLane,
    pub(crate) calls: Calls,
    pub(crate) append_budget: Budget,
    pub(crate) append_streams: Arc<Semaphore>,
    pub(crate) call_budget: Budget,
    pub(crate) snapshot_budget: Budget,
    pub(crate) snapshot_streams: Arc<Semaphore>,
    /// Whether a snapshot has not moved for too long; Append and Call then step aside for a moment.
    pub(crate) starving: watch::Sender<bool>,
    in_flight: AtomicUsize,
    /// Streams of the peer that are open; those of idle calls among them, which it keeps for later.
    peer_streams: AtomicUsize,
    /// Those of them that carry appends.
    peer_sessions: AtomicUsize,
    idle: Notify,
    /// Whether new calls start here: while it is the link.
    live: AtomicBool,
    going_away: AtomicBool,
    closed_with: OnceLock<CloseCode>,
    /// Calls of the peer that run here.
    serving: AtomicUsize,
    /// The frames of the peer when its use was looked at, and the last time that they had grown.
    use_mark: Mutex<(u64, Instant)>,
}

impl Connection {
    pub(crate) fn new(
        local: Arc<LocalNode>,
        peer: Arc<PeerState>,
        quic: quinn::Connection,
        settled: Settled,
    ) -> Arc<Self> {
        let (starving, _) = watch::channel(false);
        let use_mark = Mutex::new((peer.counters.frames(), Instant::now()));
        Arc::new(Self {
            quic,
            local,
            peer,
            settled,
            control: ControlLane::new(),
            calls: Calls::new(),
            append_budget: Budget::new(APPEND_BUDGET_BYTES),
            append_streams: Arc::new(Semaphore::new(APPEND_STREAMS_MAX)),
            call_budget: Budget::new(CALL_BUDGET_BYTES),
            snapshot_budget: Budget::new(SNAPSHOT_BUDGET_BYTES),
            snapshot_streams: Arc::new(Semaphore::new(SNAPSHOT_STREAMS_MAX)),
            starving,
            in_flight: AtomicUsize::new(0),
            peer_streams: AtomicUsize::new(0),
            peer_sessions: AtomicUsize::new(0),
            idle: Notify::new(),
            live: AtomicBool::new(false),
            going_away: AtomicBool::new(false),
            closed_with: OnceLock::new(),
            serving: AtomicUsize::new(0),
            use_mark,
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

    pub(crate) const fn link_id(&self) -> u128 {
        self.settled.link_id
    }

    pub(crate) const fn handshake(&self) -> Duration {
        self.settled.handshake
    }

    pub(crate) const fn established_in(&self) -> Duration {
        self.settled.established_in
    }

    pub(crate) const fn certificate(&self) -> &PeerCertificate {
        &self.settled.certificate
    }

    pub(crate) const fn certificate_ends(&self) -> u64 {
        self.settled.certificate.not_after()
    }

    pub(crate) const fn own_certificate(&self) -> OwnCertificate {
        self.settled.own_certificate
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

    pub(crate) fn counters(&self) -> &Counters {
        &self.peer.counters
    }

    /// Whether new calls may start here.
    pub(crate) fn takes_calls(&self) -> bool {
        self.seems_open() && self.quic.close_reason().is_none()
    }

    /// The same without the lock of quinn, under which packets are made. One that has just been lost
    /// seems open until `watch_end` has heard of it; it fails the calls of that moment as it fails
    /// those that are under way.
    pub(crate) fn seems_open(&self) -> bool {
        self.live.load(Ordering::Acquire) && !self.going_away.load(Ordering::Acquire)
    }

    /// Whether it finishes its calls: adopted, not closed, and not the link.
    pub(crate) fn drains(&self) -> bool {
        !self.live.load(Ordering::Acquire) && self.quic.close_reason().is_none()
    }

    pub(crate) fn peer_streams(&self) -> usize {
        self.peer_streams.load(Ordering::Relaxed)
    }

    pub(crate) fn set_peer_streams(&self, open: usize) {
        self.peer_streams.store(open, Ordering::Relaxed);
    }

    pub(crate) fn peer_sessions(&self) -> usize {
        self.peer_sessions.load(Ordering::Relaxed)
    }

    /// Calls, sessions with requests in flight, and transfers that this end has under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Counts one of them, until the guard is dropped. `None` when the connection takes no new
    /// calls: a call that began after this end has said `Done` would be cut by the peer.
    pub(crate) fn begin(self: Arc<Self>) -> Option<InFlight> {
        // Counting and looking on this side, leaving and looking on the other, in one order for
        // both: one of the two sees the other.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let guard = InFlight(self);
        guard.0.live.load(Ordering::SeqCst).then_some(guard)
    }

    /// Waits until none of them is under way.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Counts a call of the peer, until the guard is dropped.
    pub(crate) fn serve_one(self: &Arc<Self>) -> Serving {
        Serving::new(self, |link| &link.serving)
    }

    /// Counts a session of the peer, until the guard is dropped.
    pub(crate) fn serve_session(self: &Arc<Self>) -> Serving {
        Serving::new(self, |link| &link.peer_sessions)
    }

    /// When a call was last seen here, as far as looks at it tell.
    pub(crate) fn used_last(&self) -> Instant {
        let frames = self.peer.counters.frames();
        let busy = self.in_flight() > 0 || self.serving.load(Ordering::Relaxed) > 0;
        let mut mark = lock(&self.use_mark);
        if busy || mark.0 != frames {
            *mark = (frames, Instant::now());
        }
        mark.1
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
            self.peer.feed(&self.local, LifeEvent::Leaving(self.id()));
            let peer = self.peer.node;
            self.local.events.raise(Event::GoingAway { peer });
        }
    }

    /// The peer has no call of its own in flight on this connection, and begins none.
    pub(crate) fn peer_is_done(&self) {
        self.peer.feed(&self.local, LifeEvent::PeerDone(self.id()));
    }

    /// Becomes the live link of its peer.
    pub(crate) fn enter_live(&self) {
        if !self.live.swap(true, Ordering::SeqCst) {
            self.peer.count_live();
        }
    }

    /// Stops being a live link.
    pub(crate) fn leave_live(&self) {
        if self.live.swap(false, Ordering::SeqCst) {
            self.peer.live.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Starts no new call; says so to the peer's life when no call is in flight any more.
    pub(crate) fn drain(self: &Arc<Self>) {
        self.leave_live();
        let peer = self.peer.node;
        self.local.events.raise(Event::LinkDraining { peer });
        let connection = Arc::clone(self);
        drop(self.local.spawn(async move {
            tokio::select! {
                () = connection.wait_idle() => {
                    let rested = LifeEvent::Rested(connection.id());
                    connection.peer.feed(&connection.local, rested);
                }
                _ = connection.quic.closed() => {}
            }
        }));
    }

    /// Ends the connection with a code that the peer will see.
    pub(crate) fn close(&self, code: CloseCode, text: &str) {
        self.leave_live();
        // The first one counts, as it does for the peer.
        self.closed_with.get_or_init(|| code);
        self.quic.close(code.varint(), text.as_bytes());
    }

    /// How the connection ended, and the same in words.
    pub(crate) fn ending(&self, error: &ConnectionError) -> (Ending, String) {
        match (close_code(error), self.closed_with.get()) {
            (Some(code), _) => (Ending::ByPeer(code), describe(error)),
            (None, Some(code)) if *error == ConnectionError::LocallyClosed => {
                (Ending::Ours(*code), format!("closed by this node: {code}"))
            }
            (None, _) => (Ending::Lost, describe(error)),
        }
    }

    /// A failure of a call whose stream broke: the link's end, or only the stream's.
    pub(crate) fn cut(&self, stream: &dyn std::fmt::Display) -> Failure {
        let Some(error) = self.quic.close_reason() else {
            let (end, reason) = (LinkEnd::StreamOnly, stream.to_string());
            return Failure::Cut { end, reason };
        };
        // Whatever it ended with, a link that goes on makes it a replaced one. Its code says so too,
        // where the end is heard of before the adoption.
        let another = self.peer.usable();
        let another = another.is_some_and(|link| link.id() != self.id());
        let (ending, reason) = self.ending(&error);
        let in_order = match ending {
            Ending::ByPeer(code) | Ending::Ours(code) => matches!(
                code,
                CloseCode::Retired | CloseCode::Superseded | CloseCode::Idle
            ),
            Ending::Lost => false,
        };
        let end = if another || in_order {
            LinkEnd::Replaced
        } else {
            LinkEnd::Lost
        };
        Failure::Cut { end, reason }
    }
}

/// Counts as one call in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(pub(super) Arc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Counts as one call or session of the peer that runs here, until it is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    link: Arc<Connection>,
    counter: fn(&Connection) -> &AtomicUsize,
}

impl Serving {
    fn new(link: &Arc<Connection>, counter: fn(&Connection) -> &AtomicUsize) -> Self {
        counter(link).fetch_add(1, Ordering::Relaxed);
        let link = Arc::clone(link);
        Self { link, counter }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        (self.counter)(&self.link).fetch_sub(1, Ordering::Relaxed);
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
    if let Some(code) = close_code(error) {
        return format!("closed by the peer: {code}");
    }
    // Whoever is there has chosen the text, and may not have proven anything.
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let (code, text) = (close.error_code, excerpt(&close.reason));
            format!("closed by the peer: code {code}{text}")
        }
        ConnectionError::ConnectionClosed(close) => {
            let (code, text) = (close.error_code, excerpt(&close.reason));
            format!("closed by the peer: {code}{text}")
        }
        other => other.to_string(),
    }
}

/// A text of a peer for logs and status: quoted, escaped, and cut to 128 characters.
fn excerpt(text: &[u8]) -> String {
    const LIMIT: usize = 128;
    if text.is_empty() {
        return String::new();
    }
    let text = String::from_utf8_lossy(text);
    let cut: String = text.chars().take(LIMIT).collect();
    let ellipsis = if cut.len() < text.len() { "..." } else { "" };
    format!(": {cut:?}{ellipsis}")
}
