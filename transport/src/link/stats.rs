//! What is counted of a link, and what status shows of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quicraft_certs::NodeId;

use crate::frame::Lane;

/// Counters of one lane of one connection.
#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    sent_frames: AtomicU64,
    sent_bytes: AtomicU64,
    received_frames: AtomicU64,
    received_bytes: AtomicU64,
}

/// Counters of all lanes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    lanes: [LaneCounters; 4],
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

    pub(crate) fn status(&self) -> Vec<LaneStatus> {
        let read = |lane: Lane| {
            let counters = &self.lanes[lane.index()];
            LaneStatus {
                lane,
                sent_frames: counters.sent_frames.load(Ordering::Relaxed),
                sent_bytes: counters.sent_bytes.load(Ordering::Relaxed),
                received_frames: counters.received_frames.load(Ordering::Relaxed),
                received_bytes: counters.received_bytes.load(Ordering::Relaxed),
            }
        };
        Lane::ALL.into_iter().map(read).collect()
    }
}

/// What a lane of the current link has carried.
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
}

/// How this node stands to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// There is a link.
    Up,
    /// A dial is on its way, the first since there was a link.
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
    /// Packets lost on this link.
    pub lost_packets: u64,
    /// UDP bytes sent on this link.
    pub sent_bytes: u64,
    /// UDP bytes received on this link.
    pub received_bytes: u64,
    /// What each lane carried.
    pub lanes: Vec<LaneStatus>,
    /// Calls, requests and transfers of ours in flight.
    pub in_flight: usize,
    /// Live links to this identity right now; draining connections are not counted.
    pub links: u32,
    /// The most live links that there ever were at once to this identity.
    pub links_max: u32,
    /// Links established since this transport started.
    pub links_total: u64,
    /// How long the handshake of the current link took, from its first packet here to admission.
    pub handshake: Option<Duration>,
    /// Time from the start of this transport, or from the loss of the last link, to the link.
    pub established_in: Option<Duration>,
    /// When the peer's certificate ends, seconds since 1970.
    pub certificate_ends: Option<u64>,
    /// Why the last link ended or the last dial failed.
    pub last_problem: Option<String>,
}
