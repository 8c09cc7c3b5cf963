//! What is counted of a link, and what status shows of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quicraft_certs::{NodeId, PeerCertificate};
use tokio::time::Instant;

use crate::close::CloseCode;
use crate::frame::{Frame, Lane};

/// Counters of one lane to one peer, over all its connections.
#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    sent_frames: AtomicU64,
    sent_bytes: AtomicU64,
    received_frames: AtomicU64,
    received_bytes: AtomicU64,
    calls: AtomicU64,
    served: AtomicU64,
}

/// Counters of all lanes to one peer, over all its connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    lanes: [LaneCounters; 4],
    probes: AtomicU64,
}

impl Counters {
    pub(crate) fn sent(&self, lane: Lane, frames: u64, bytes: usize) {
        let counters = &self.lanes[lane.index()];
        counters.sent_frames.fetch_add(frames, Ordering::Relaxed);
        counters
            .sent_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, lane: Lane, frames: u64, bytes: usize) {
        let counters = &self.lanes[lane.index()];
        counters
            .received_frames
            .fetch_add(frames, Ordering::Relaxed);
        counters
            .received_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Frames that came together.
    pub(crate) fn received_all<'a>(&self, lane: Lane, frames: impl Iterator<Item = &'a Frame>) {
        let (mut count, mut bytes) = (0, 0);
        for frame in frames {
            count += 1;
            bytes += frame.encoded_bytes();
        }
        self.received(lane, count, bytes);
    }

    /// A call, a request of a session, or a transfer of ours begins.
    pub(crate) fn called(&self, lane: Lane) {
        self.lanes[lane.index()]
            .calls
            .fetch_add(1, Ordering::Relaxed);
    }

    /// A call, a request or a transfer of the peer was handed to its service.
    pub(crate) fn served(&self, lane: Lane) {
        self.lanes[lane.index()]
            .served
            .fetch_add(1, Ordering::Relaxed);
    }

    /// The peer asked whether this node is there.
    pub(crate) fn probed(&self) {
        self.probes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn probes(&self) -> u64 {
        self.probes.load(Ordering::Relaxed)
    }

    /// All frames in both directions.
    pub(crate) fn frames(&self) -> u64 {
        let frames = |lane: &LaneCounters| {
            lane.sent_frames.load(Ordering::Relaxed) + lane.received_frames.load(Ordering::Relaxed)
        };
        self.lanes.iter().map(frames).sum()
    }

    pub(crate) fn status(&self) -> Vec<LaneStatus> {
        let read = |lane: Lane| {
            let counters = &self.lanes[lane.index()];
            LaneStatus {
                lane,
                sent_frames: counters.sent_frames.load(Ordering::Relaxed),
                sent_bytes: counters.sent_bytes.load(Ordering::Relaxed),
                received_frames: counters.received_frames.load(Ordering::Relaxed),
                received_bytes: counters.received_bytes.load(Ordering::Relaxed),
                calls: counters.calls.load(Ordering::Relaxed),
                served: counters.served.load(Ordering::Relaxed),
            }
        };
        Lane::ALL.into_iter().map(read).collect()
    }
}

/// What a lane has carried since this transport started, over all links to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStatus {
    /// The lane.
    pub lane: Lane,
    /// Frames sent.
    pub sent_frames: u64,
    /// Bytes of them, headers included.
    pub sent_bytes: u64,
    /// Frames received.
    pub received_frames: u64,
    /// Bytes of them, headers included.
    pub received_bytes: u64,
    /// Calls, requests and transfers that this node began.
    pub calls: u64,
    /// Calls, requests and transfers of the peer that were handed to a service here.
    pub served: u64,
}

/// How the last connection to a peer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastClose {
    /// The code, where one of the two ends gave one.
    pub code: Option<CloseCode>,
    /// Who ended it and why, in words.
    pub reason: String,
    /// When.
    pub at: Instant,
}

/// A handshake that one of its two ends refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastRefusal {
    /// Whether the peer refused us; if not, this node refused whoever showed the peer's identity,
    /// or answered at its address.
    pub by_peer: bool,
    /// The name of the close code, or of what is wrong with the certificate.
    pub reason: &'static str,
    /// What only the refusing end knows; empty if that was the peer.
    pub detail: String,
    /// When.
    pub at: Instant,
}

/// How this node stands to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// No link, and nobody needs one: the first call dials, and waits for it.
    Idle,
    /// There is a link.
    Up,
    /// A dial of this node or of the peer is on its way, the first since there was a link.
    Dialling,
    /// No link; calls are `Unreachable` at once until a dial succeeds.
    Down(String),
    /// The peer refused for good; only an operator's change or a rare retry ends it.
    Parked(String),
}

/// Status of one peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkStatus {
    /// The peer.
    pub peer: NodeId,
    /// How this node stands to it.
    pub state: LinkState,
    /// How long it has been so.
    pub since: Duration,
    /// The same number at both ends of one link, derived from the keys of its connection.
    pub link_id: Option<u128>,
    /// The address of the link, or of the last dial.
    pub address: Option<SocketAddr>,
    /// Whether this node dialled the link.
    pub dialled: bool,
    /// The boot of the peer.
    pub boot: Option<u128>,
    /// The epoch of the peer.
    pub epoch: Option<u64>,
    /// The smoothed round trip.
    pub rtt: Option<Duration>,
    /// The congestion window, bytes.
    pub congestion_window: Option<u64>,
    /// Bytes of the largest datagram that the path is known to carry; it grows as larger ones arrive,
    /// up to [`TransportConfig::datagram_bytes_max`](crate::TransportConfig::datagram_bytes_max) of both
    /// ends.
    pub datagram_bytes: Option<u16>,
    /// Packets lost on this link.
    pub lost_packets: u64,
    /// UDP bytes sent on this link.
    pub sent_bytes: u64,
    /// UDP bytes received on this link.
    pub received_bytes: u64,
    /// UDP datagrams sent on this link.
    pub sent_datagrams: u64,
    /// UDP datagrams received on this link.
    pub received_datagrams: u64,
    /// What each lane carried.
    pub lanes: Vec<LaneStatus>,
    /// Calls, requests and transfers of ours in flight, on the link and on what drains.
    pub in_flight: usize,
    /// Streams of the peer that are open on the link, each with a task here: sessions, transfers and
    /// calls. Those of calls stay open between two of them: the one that small calls share, and at most
    /// [`CALL_STREAMS_IDLE_MAX`](crate::limits::CALL_STREAMS_IDLE_MAX) of large ones.
    pub peer_streams: usize,
    /// Those of them that carry appends: one for each group that the peer leads here and that was
    /// written to lately.
    pub peer_sessions: usize,
    /// Frames that wait to be written on Control.
    pub queued_frames: usize,
    /// Calls that wait for a dial.
    pub waiting: usize,
    /// Live links to this identity right now; draining connections are not counted.
    pub links: u32,
    /// Connections that finish their calls because a newer one is the link.
    pub draining: usize,
    /// The most live links that there ever were at once to this identity.
    pub links_max: u32,
    /// Links established since this transport started.
    pub links_total: u64,
    /// Handshakes with this peer since this transport started, whatever became of them: those that
    /// it dialled, and those whose Hello it judged.
    pub handshakes: u64,
    /// How often the peer has probed this node, because another process came to it under this
    /// node's name: at most once a second.
    pub probes: u64,
    /// How long the handshake of the current link took, from its first packet here to admission.
    pub handshake: Option<Duration>,
    /// Time from the start of this transport, or from the loss of the last link, to the link.
    pub established_in: Option<Duration>,
    /// When the peer's certificate ends, seconds since 1970.
    pub certificate_ends: Option<u64>,
    /// The certificate that the peer has shown on this link: when a rotation is through, every link
    /// shows new ones, and an old CA can go when none is of it.
    pub certificate: Option<PeerCertificate>,
    /// Why the last link ended or the last dial failed.
    pub last_problem: Option<String>,
    /// How the last connection ended, drained ones included.
    pub last_close: Option<LastClose>,
    /// The last handshake with this peer that one of the two ends refused.
    pub last_refusal: Option<LastRefusal>,
}
