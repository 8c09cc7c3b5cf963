//! The task that takes connections in, and what an unproven peer may cost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quicraft_certs::{NodeId, PeerRole, RefusalNote};
use quinn::Incoming;
use tokio::time::{sleep, timeout};

use super::connection::describe;
use super::failure::HandshakeFailure;
use super::handshake::{Begun, Unproven, accept_side};
use super::local::{LocalNode, lock};
use crate::admission::{Hellos, Knock, Place, Places, Reception};
use crate::close::CloseCode;
use crate::event::Event;

/// Accepts connections until the endpoint is closed.
pub(crate) async fn accept_loop(local: Arc<LocalNode>) {
    let places = Arc::new(Mutex::new(Places::new(local.config.places())));
    let hellos = {
        let config = &local.config;
        Hellos::new(config.hellos_pending_max, config.hellos_per_node_max)
    };
    let hellos = Arc::new(Mutex::new(hellos));
    let Some(endpoint) = local.endpoint() else {
        return;
    };
    while let Some(incoming) = endpoint.accept().await {
        if local.is_closing() {
            incoming.refuse();
            continue;
        }
        let address = incoming.remote_address().ip().to_canonical();
        let knock = Knock {
            address,
            validated: incoming.remote_address_validated(),
            known: local.knows(address),
        };
        let (reception, place) = lock(&places).receive(&knock);
        let counted = match reception {
            Reception::Accept => "accepted",
            Reception::Retry => "retried",
            Reception::Ignore => "ignored",
            Reception::Refuse => "refused",
        };
        metrics::counter!("quicraft_handshakes_received_total", "reception" => counted)
            .increment(1);
        match (reception, place) {
            (Reception::Accept, Some(place)) => {
                let place = TakenPlace {
                    places: Arc::clone(&places),
                    place: Some(place),
                };
                let hellos = Arc::clone(&hellos);
                drop(local.spawn(admit(Arc::clone(&local), incoming, place, hellos)));
            }
            // It fails for an address that is validated, and that is not asked to come again.
            (Reception::Retry, _) => drop(incoming.retry()),
            (Reception::Refuse, _) => incoming.refuse(),
            // Not even an answer: it would cost us more than it cost the stranger.
            (Reception::Ignore | Reception::Accept, _) => incoming.ignore(),
        }
    }
}

/// A place of an unproven peer; dropping it gives it back.
struct TakenPlace {
    places: Arc<Mutex<Places>>,
    place: Option<Place>,
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            lock(&self.places).give_back(place);
        }
    }
}

/// A hello that is owed; dropping it gives its place back.
struct OwedHello<'a> {
    hellos: &'a Mutex<Hellos>,
    node: NodeId,
}

impl Drop for OwedHello<'_> {
    fn drop(&mut self) {
        lock(self.hellos).give_back(self.node);
    }
}

async fn admit(
    local: Arc<LocalNode>,
    incoming: Incoming,
    place: TakenPlace,
    hellos: Arc<Mutex<Hellos>>,
) {
    let begun = Begun::now(&local);
    let address = incoming.remote_address();
    let limit = local.config.handshake_limit;
    let failed = |reason: String| {
        local
            .events
            .raise(Event::HandshakeFailed { address, reason });
    };
    let note = RefusalNote::new();
    let server = match local.quic.server(&note) {
        Ok(server) => server,
        Err(error) => return failed(error.to_string()),
    };
    let connecting = match incoming.accept_with(server) {
        Ok(connecting) => connecting,
        Err(error) => return failed(describe(&error)),
    };
    let reason = match timeout(limit, connecting).await {
        Ok(Ok(quic)) => {
            // TLS has proven a certificate of the cluster; the bound on strangers is for strangers.
            drop(place);
            return greet(&local, quic, begun, &hellos, failed).await;
        }
        Ok(Err(error)) => {
            let failure = HandshakeFailure::in_tls(&error, &note);
            if let HandshakeFailure::Certificate(refusal) = &failure {
                let event = Event::certificate_refused(address, PeerRole::Dialer, refusal);
                local.events.raise(event);
            }
            failure.to_string()
        }
        Err(_) => format!("TLS took longer than {limit:?}"),
    };
    failed(reason);
    // The place is taken as long as quinn remembers the connection, or a flood that goes on would
    // cost the memory of all that have failed lately beside that of those under way.
    sleep(closing_time(local.config.initial_rtt)).await;
}

/// How long quinn keeps a connection after its end, whose round trip was never measured: three
/// probe timeouts (RFC 9000, section 10.2), each of three round trips and the acknowledgement delay.
fn closing_time(initial_rtt: Duration) -> Duration {
    const ACK_DELAY: Duration = Duration::from_millis(25);
    3 * (3 * initial_rtt + ACK_DELAY)
}

/// Goes on with a connection whose peer has shown a certificate of the cluster.
async fn greet(
    local: &Arc<LocalNode>,
    quic: quinn::Connection,
    begun: Begun,
    hellos: &Mutex<Hellos>,
    failed: impl Fn(String),
) {
    let handshake = async {
        let unproven = Unproven::new(quic, begun)?;
        let node = unproven.certificate.identity().node();
        if !lock(hellos).take(node) {
            unproven.quic.close(CloseCode::Overloaded.varint(), b"");
            failed(format!("too many hellos are pending, or of node {node}"));
            return Ok(());
        }
        let _owed = OwedHello { hellos, node };
        accept_side(local, unproven).await
    };
    match handshake.await {
        // A refusal has raised an event of its own.
        Ok(()) | Err(HandshakeFailure::Refused(_)) => {}
        Err(error) => failed(error.to_string()),
    }
}
