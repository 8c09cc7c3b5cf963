//! The task that dials one peer, and nothing else does.
//!
//! It starts when the roster learns of the peer and ends when the roster forgets it. Only the node
//! with the smaller id dials, so that a pair has one link by construction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep, timeout};

use super::failure::HandshakeFailure;
use super::handshake::{Unproven, dial_side};
use super::local::{LocalNode, lock};
use super::peer::PeerState;
use super::stats::LinkState;
use crate::address::dial_order;
use crate::close::{CloseClass, CloseCode};
use crate::event::{Event, Events};
use crate::life::Backoff;
use crate::limits::{
    DIAL_TARGETS_MAX, FORGEABLE_RETRY, HELLO_LIMIT, PARKED_RETRY, PROBE_LIMIT_MAX, RESOLVE_LIMIT,
    RETRY_AFTER,
};

impl PeerState {
    /// Stops ordinary dialling: the peer said that it cannot help.
    pub(crate) fn park(&self, code: CloseCode, events: &Events) {
        self.problem(&format!("refused by the peer: {code}"));
        self.enter(LinkState::Parked(format!("refused by the peer: {code}")));
        events.raise(Event::Parked {
            peer: self.node,
            code,
        });
    }
}

/// Keeps a link to `peer` for as long as the roster knows it.
pub(crate) async fn dial_loop(local: Arc<LocalNode>, peer: Arc<PeerState>) {
    let config = &local.config;
    let mut backoff = Backoff::new(config.dial_backoff_min, config.dial_backoff_max);
    let mut changes = local.roster.changes();
    let mut failed_before = false;
    loop {
        if local.roster.get(peer.node).is_none() {
            peer.enter(LinkState::Down("the roster does not know it".to_owned()));
            return;
        }
        if peer.usable().is_some() {
            backoff.reset();
            failed_before = false;
            // The end of the link wakes us; a change of the roster may have removed the peer.
            tokio::select! {
                () = peer.redial.notified() => {}
                _ = changes.changed() => {}
            }
            continue;
        }
        // Only the first dial is worth waiting for; while a peer is down its calls fail at once.
        if !failed_before && !matches!(peer.phase.borrow().state, LinkState::Parked(_)) {
            peer.enter(LinkState::Dialling);
        }
        let parked = matches!(peer.phase.borrow().state, LinkState::Parked(_));
        let wait = if parked && !failed_before {
            PARKED_RETRY
        } else {
            match dial(&local, &peer).await {
                Ok(()) => continue,
                Err(failure) => after_failure(&local, &peer, &failure, &mut backoff),
            }
        };
        failed_before = true;
        tokio::select! {
            () = sleep(wait) => {}
            // The peer came in by itself, or an operator changed something.
            () = peer.redial.notified() => {}
            _ = changes.changed() => {}
        }
    }
}

/// What a failed dial means for the peer, and how long to wait.
fn after_failure(
    local: &LocalNode,
    peer: &PeerState,
    failure: &DialFailure,
    backoff: &mut Backoff,
) -> Duration {
    let reason = failure.to_string();
    peer.problem(&reason);
    let drawn = backoff.next_wait(rand::rng().random());
    let (wait, parked) = match failure {
        DialFailure::Handshake(handshake) => {
            if let HandshakeFailure::ByPeer(code) = handshake {
                let (peer, code, class) = (peer.node, *code, code.class());
                local
                    .events
                    .raise(Event::RefusedByPeer { peer, code, class });
            }
            match (handshake.class(), handshake) {
                (CloseClass::Fatal, HandshakeFailure::ByPeer(code)) => (PARKED_RETRY, Some(*code)),
                (CloseClass::Retry, _) => (drawn, None),
                // C3: anyone on the path can forge this.
                (_, HandshakeFailure::Lost { .. }) => (FORGEABLE_RETRY.min(drawn * 60), None),
                (CloseClass::Fatal | CloseClass::RetryAfter, _) => (RETRY_AFTER.max(drawn), None),
            }
        }
        DialFailure::NoAddress(_) | DialFailure::Timeout => (drawn, None),
    };
    let address = *lock(&peer.address);
    match parked {
        Some(code) => peer.park(code, &local.events),
        None => {
            // A link that came in meanwhile stays up.
            if peer.usable().is_none() {
                peer.enter(LinkState::Down(reason.clone()));
            }
            let peer = peer.node;
            local.events.raise(Event::DialFailed {
                peer,
                address,
                reason,
                retry_in: wait,
            });
        }
    }
    wait
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

/// One round over all addresses of the peer.
async fn dial(local: &Arc<LocalNode>, peer: &Arc<PeerState>) -> Result<(), DialFailure> {
    let targets = resolve(local, peer).await?;
    let mut failure = DialFailure::NoAddress("none is usable".to_owned());
    for target in targets {
        if peer.usable().is_some() {
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
        match timeout(RESOLVE_LIMIT, local.resolver.resolve(address)).await {
            Ok(Ok(resolved)) => found.extend(resolved),
            Ok(Err(error)) => problem = format!("{text} does not resolve: {error}"),
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
    Ok(order)
}

async fn dial_one(
    local: &Arc<LocalNode>,
    peer: &Arc<PeerState>,
    target: SocketAddr,
) -> Result<(), DialFailure> {
    let started = Instant::now();
    let generation = lock(&peer.record).next_generation();
    let cluster = local.credentials.identity().cluster().clone();
    let name = quicraft_certs::server_name(&cluster, peer.node);
    let endpoint = local
        .endpoint()
        .ok_or_else(|| DialFailure::NoAddress("this node stops".to_owned()))?;
    let connecting = endpoint
        .connect_with(local.client.clone(), target, &name.to_str())
        .map_err(|error| DialFailure::NoAddress(error.to_string()))?;
    let quic = timeout(local.config.dial_limit, connecting)
        .await
        .map_err(|_| DialFailure::Timeout)?
        .map_err(|error| HandshakeFailure::ended(&error))?;
    let handshake = async {
        let unproven = Unproven::new(quic.clone(), started)?;
        dial_side(local, peer, unproven, generation).await
    };
    // Its messages have limits of their own; this one bounds their sum.
    match timeout(HELLO_LIMIT * 3 + PROBE_LIMIT_MAX * 2, handshake).await {
        Ok(result) => Ok(result?),
        Err(_) => {
            quic.close(CloseCode::HelloTimeout.varint(), b"");
            Err(DialFailure::Timeout)
        }
    }
}
