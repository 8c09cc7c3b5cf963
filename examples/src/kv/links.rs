//! The transport as the HTTP front sees it, and what an operator may do with it there.

use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::NodeId;
use quicraft_transport::close::CloseCode;
use quicraft_transport::{LinkState, TransportHandle};

use super::calls::Counters;
use super::http::Network;
use super::status::{CredentialStatus, HandshakeStatus, LinkStatus, NetworkStatus};

/// The links of a node.
#[derive(Debug)]
pub(super) struct Links {
    transport: TransportHandle,
    calls: Option<Arc<Counters>>,
}

impl Links {
    pub(super) const fn new(transport: TransportHandle, calls: Option<Arc<Counters>>) -> Self {
        Self { transport, calls }
    }
}

impl Network for Links {
    fn status(&self) -> NetworkStatus {
        let own = self.transport.node_id().get();
        // Whoever was removed is no other node any more, although it was met.
        let links = self.transport.status().into_iter();
        let links = links.filter(|link| self.transport.roster().get(link.peer).is_some());
        let handshakes = self.transport.handshakes();
        let store = self.transport.credentials();
        let (generation, shown) = (store.generation(), store.current());
        let calls = self.calls.as_ref().map(|calls| calls.status());
        NetworkStatus {
            links: links.map(|link| link_status(own, link)).collect(),
            handshakes: HandshakeStatus {
                dialled: handshakes.dialled,
                accepted: handshakes.accepted,
            },
            credentials: CredentialStatus {
                generation,
                certificate: shown.certificate().serial().to_string(),
                ends: shown.not_after(),
            },
            calls: calls.unwrap_or_default(),
        }
    }

    fn forget(&self, peer: u64) -> bool {
        let known = NodeId::new(peer).ok();
        let known = known.filter(|&peer| self.transport.roster().get(peer).is_some());
        if let Some(peer) = known {
            self.transport.forget_peer(peer);
            // It may have been told for good that it is not wanted, and would not come by itself.
            self.transport.unpark(peer);
        }
        known.is_some()
    }
}

fn link_status(own: u64, link: quicraft_transport::LinkStatus) -> LinkStatus {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let peer = link.peer.get();
    LinkStatus {
        peer,
        connected: link.boot.is_some(),
        state: match link.state {
            LinkState::Up => "up",
            LinkState::Dialling => "dialling",
            LinkState::Parked(_) => "parked",
            _ => "down",
        },
        since_ms: millis(link.since),
        rtt_us: link.rtt.map(micros),
        boot: link.boot.map(|boot| format!("{boot:032x}")),
        epoch: link.epoch,
        bytes_sent: link.sent_bytes,
        bytes_received: link.received_bytes,
        dialled_by: link.boot.map(|_| if link.dialled { own } else { peer }),
        link_id: link.link_id.map(|id| format!("{id:032x}")),
        links: link.links,
        draining: link.draining,
        links_max: link.links_max,
        in_flight: link.in_flight,
        peer_streams: link.peer_streams,
        peer_sessions: link.peer_sessions,
        links_total: link.links_total,
        established_in_ms: link.established_in.map(millis),
        handshake_ms: link.handshake.map(millis),
        probes: link.probes,
        issuer: link.certificate.as_ref().map(|of| of.issuer().to_owned()),
        certificate: link.certificate.map(|of| of.serial().to_string()),
        certificate_ends: link.certificate_ends,
        last_problem: link.last_problem,
        last_code: link
            .last_close
            .and_then(|close| close.code)
            .map(CloseCode::label),
    }
}
