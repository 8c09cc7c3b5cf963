//! One dial of one peer: all its addresses, one after the other.
//!
//! It is a task of its own that outlives the call which set it off. Whether and when to dial again
//! is decided by the peer's [`PeerLife`](crate::life::PeerLife), which is told how it ended.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use quicraft_certs::{PeerRole, RefusalNote};
use tokio::time::{Instant, timeout};

use super::failure::HandshakeFailure;
use super::handshake::{Begun, Unproven, dial_side};
use super::local::{LocalNode, lock};
use super::peer_state::PeerState;
use crate::address::dial_order;
use crate::admission::Learned;
use crate::close::CloseCode;
use crate::event::Event;
use crate::life::{DialEnd, LifeEvent, LifeState, Setback};
use crate::limits::{DIAL_TARGETS_MAX, PROBE_LIMIT_MAX, RESOLVE_LIMIT};

/// Dials `peer` and tells its life how that ended.
pub(crate) async fn dial(local: Arc<LocalNode>, peer: Arc<PeerState>) {
    let failure = match dial_targets(&local, &peer).await {
        Ok(()) => return peer.feed(&local, LifeEvent::DialEnded(DialEnd::Linked)),
        Err(failure) => failure,
    };
    let reason = failure.to_string();
    peer.problem(&reason);
    if let DialFailure::Handshake(failure) = &failure {
        tell_refusal(&local, &peer, failure);
    }
    peer.feed(
        &local,
        LifeEvent::DialEnded(DialEnd::Failed(failure.setback())),
    );
    tell(&local, &peer, reason);
}

/// A refusal, by either end, is an event of its own.
fn tell_refusal(local: &LocalNode, peer: &PeerState, failure: &HandshakeFailure) {
    let address = *lock(&peer.address);
    let role = PeerRole::Acceptor;
    match (failure, address) {
        (HandshakeFailure::ByPeer { code, .. }, _) => peer.refused_us(local, *code),
        // Dials that cross are nothing to look at; the acceptor says which of them it was.
        (HandshakeFailure::Refused(refusal), _) if refusal.code == CloseCode::Superseded => {}
        (HandshakeFailure::Refused(refusal), Some(address)) => {
            peer.was_refused(local, address, refusal);
        }
        (HandshakeFailure::Certificate(refusal), Some(address)) => {
            peer.note_refusal(false, refusal.label(), &refusal.to_string());
            let event = Event::certificate_refused(address, role, refusal);
            local.events.raise(event);
        }
        _ => {}
    }
}

/// Raises the event that fits what follows from a failed dial.
fn tell(local: &LocalNode, peer: &PeerState, reason: String) {
    let state = *lock(&peer.life).state();
    let address = *lock(&peer.address);
    let (peer, now) = (peer.node, Instant::now());
    let event = match state {
        LifeState::Parked { code, .. } => Event::Parked { peer, code },
        LifeState::Down { due } | LifeState::Grace { due } => Event::DialFailed {
            peer,
            address,
            reason,
            retry_in: due.saturating_duration_since(now),
        },
        // It came in by itself, it is dialled again at once, or nobody wants it any more.
        LifeState::Up { .. }
        | LifeState::Leaving
        | LifeState::Idle
        | LifeState::Dialling
        | LifeState::Redialling
        | LifeState::Barred
        | LifeState::Stopped => return,
    };
    local.events.raise(event);
}

/// Why a dial made no link.
#[derive(Debug, thiserror::Error)]
enum DialFailure {
    #[error(transparent)]
    Handshake(#[from] HandshakeFailure),
    #[error("no address: {0}")]
    NoAddress(String),
    #[error("no answer")]
    Timeout,
}

impl DialFailure {
    fn setback(&self) -> Setback {
        match self {
            Self::Handshake(failure) => failure.setback(),
            Self::NoAddress(_) | Self::Timeout => Setback::Retry,
        }
    }
}

/// One round over all addresses of the peer. It ends early when the peer came in by itself.
async fn dial_targets(local: &Arc<LocalNode>, peer: &Arc<PeerState>) -> Result<(), DialFailure> {
    let link = |peer: &PeerState| peer.usable().map(|link| link.id());
    let before = link(peer);
    let targets = resolve(local, peer).await?;
    let mut failure = DialFailure::NoAddress("none is usable".to_owned());
    for target in targets {
        if link(peer).is_some_and(|now| Some(now) != before) {
            return Ok(());
        }
        *lock(&peer.address) = Some(target);
        match dial_one(local, peer, target).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// All socket addresses of the peer, as they are now.
async fn resolve(local: &LocalNode, peer: &PeerState) -> Result<Vec<SocketAddr>, DialFailure> {
    let entry = local.roster.get(peer.node);
    let addresses = entry.map(|entry| entry.addresses).unwrap_or_default();
    let mut found = Vec::new();
    let mut problem = "the roster has none".to_owned();
    for address in addresses {
        let text = address.to_string();
        // The resolver is the host's. Its panic must not end the task without an end of the dial.
        let resolving = async { local.resolver.resolve(address).await };
        let resolving = AssertUnwindSafe(resolving).catch_unwind();
        match timeout(RESOLVE_LIMIT, resolving).await {
            Ok(Ok(Ok(resolved))) => found.extend(resolved),
            Ok(Ok(Err(error))) => problem = format!("{text} does not resolve: {error}"),
            Ok(Err(_)) => problem = format!("the resolver panicked over {text}"),
            Err(_) => problem = format!("{text} did not resolve within {RESOLVE_LIMIT:?}"),
        }
    }
    let v6 = local.local_addr().is_some_and(|address| address.is_ipv6());
    let order = dial_order(&found, v6, DIAL_TARGETS_MAX);
    if order.is_empty() {
        if !found.is_empty() {
            local
                .events
                .raise(Event::FamilyMismatch { peer: peer.node });
            problem = "the socket is IPv4 and the peer has only IPv6 addresses; \
                       bind the socket to [::]"
                .to_owned();
        }
        return Err(DialFailure::NoAddress(problem));
    }
    local.found(peer.node, Learned::Resolved, order.iter().copied());
    Ok(order)
}

async fn dial_one(
    local: &Arc<LocalNode>,
    peer: &Arc<PeerState>,
    target: SocketAddr,
) -> Result<(), DialFailure> {
    let stops = || DialFailure::NoAddress("this node stops".to_owned());
    // After a power cut everybody dials everybody; the turns keep that to what a node accepts.
    let _turn = local.dials.acquire().await.map_err(|_| stops())?;
    let begun = Begun::now(local);
    peer.handshakes.fetch_add(1, Ordering::Relaxed);
    let generation = lock(&peer.life).next_generation();
    let cluster = local.credentials.identity().cluster().clone();
    let name = quicraft_certs::server_name(&cluster, peer.node);
    let endpoint = local.endpoint().ok_or_else(stops)?;
    let note = RefusalNote::new();
    let no_dial = |error: &dyn std::fmt::Display| DialFailure::NoAddress(error.to_string());
    let client = local.quic.client(&note).map_err(|error| no_dial(&error))?;
    let connecting = endpoint
        .connect_with(client, target, &name.to_str())
        .map_err(|error| no_dial(&error))?;
    let quic = timeout(local.config.dial_limit, connecting)
        .await
        .map_err(|_| DialFailure::Timeout)?
        .map_err(|error| HandshakeFailure::in_tls(&error, &note))?;
    let handshake = async {
        let unproven = Unproven::new(quic.clone(), begun)?;
        dial_side(local, peer, unproven, generation).await
    };
    // Its messages have limits of their own; this one bounds their sum.
    let limit = local.config.hello_limit * 3 + PROBE_LIMIT_MAX * 2;
    match timeout(limit, handshake).await {
        Ok(result) => Ok(result?),
        Err(_) => {
            quic.close(CloseCode::HelloTimeout.varint(), b"");
            Err(DialFailure::Timeout)
        }
    }
}
