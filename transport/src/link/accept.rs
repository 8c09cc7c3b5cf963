//! The task that takes connections in, and what an unproven peer may cost.

use std::sync::Arc;

use quicraft_certs::{PeerRole, RefusalNote};
use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::describe;
use super::failure::HandshakeFailure;
use super::handshake::{Begun, Unproven, accept_side};
use super::local::LocalNode;
use crate::close::CloseCode;
use crate::event::Event;
use crate::limits::{
    HANDSHAKE_LIMIT, HANDSHAKES_HARD_MAX, HANDSHAKES_SOFT_MAX, HELLOS_PENDING_MAX,
};

/// Accepts connections until the endpoint is closed.
pub(crate) async fn accept_loop(local: Arc<LocalNode>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES_HARD_MAX));
    let hellos = Arc::new(Semaphore::new(HELLOS_PENDING_MAX));
    let Some(endpoint) = local.endpoint() else {
        return;
    };
    while let Some(incoming) = endpoint.accept().await {
        if local.is_closing() {
            incoming.refuse();
            continue;
        }
        // T6: who may not even have an answer, and who proves its address first.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            // Not even an answer: it would cost us more than it cost the stranger.
            incoming.ignore();
            continue;
        };
        let pending = HANDSHAKES_HARD_MAX - slots.available_permits();
        if pending > HANDSHAKES_SOFT_MAX && !incoming.remote_address_validated() {
            // One round trip more, and the stranger has to own its address.
            drop(incoming.retry());
            continue;
        }
        drop(local.spawn(admit(
            Arc::clone(&local),
            incoming,
            slot,
            Arc::clone(&hellos),
        )));
    }
}

async fn admit(
    local: Arc<LocalNode>,
    incoming: Incoming,
    slot: OwnedSemaphorePermit,
    hellos: Arc<Semaphore>,
) {
    let begun = Begun::now(&local);
    let address = incoming.remote_address();
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
    let quic = match timeout(HANDSHAKE_LIMIT, connecting).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => {
            let failure = HandshakeFailure::in_tls(&error, &note);
            if let HandshakeFailure::Certificate(refusal) = &failure {
                let event = Event::certificate_refused(address, PeerRole::Dialer, refusal);
                local.events.raise(event);
            }
            return failed(failure.to_string());
        }
        Err(_) => return failed(format!("TLS took longer than {HANDSHAKE_LIMIT:?}")),
    };
    // TLS has proven a certificate of the cluster; the bound on strangers is for strangers.
    drop(slot);
    let Ok(_pending) = hellos.try_acquire() else {
        quic.close(CloseCode::Overloaded.varint(), b"");
        return failed(format!("{HELLOS_PENDING_MAX} hellos are pending"));
    };
    let handshake = async {
        let unproven = Unproven::new(quic, begun)?;
        accept_side(&local, unproven).await
    };
    match handshake.await {
        // A refusal has raised an event of its own.
        Ok(()) | Err(HandshakeFailure::Refused(_)) => {}
        Err(error) => failed(error.to_string()),
    }
}
