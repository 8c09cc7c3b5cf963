//! Follows the credentials and the clock: a link does not outlive what let its peer in, and a link
//! that shows a certificate of ours which was replaced is renewed before the peer has to end it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::{CertificateRefusal, PeerRole};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::certificate_metrics;
use super::connection::{Connection, OwnCertificate};
use super::crl_watch::CrlWatch;
use super::local::{LocalNode, lock};
use super::peer_state::{PeerState, random};
use crate::close::CloseCode;
use crate::event::Event;
use crate::life::LifeEvent;
use crate::limits::{CERTIFICATE_METRICS_INTERVAL, CERTIFICATE_SWEEP, RENEWAL_SPREAD};

/// Runs until this node stops.
pub(crate) async fn certificate_loop(local: Arc<LocalNode>) {
    let replaced = Arc::new(Notify::new());
    let told = Arc::downgrade(&replaced);
    local.credentials.on_replace(move || {
        let told = told.upgrade();
        told.inspect(|replaced| replaced.notify_one()).is_some()
    });
    let mut issuers = BTreeMap::new();
    let mut lists = CrlWatch::default();
    let mut published = None::<Instant>;
    loop {
        // With other trust everything is checked again; else only dates can have changed.
        let trust_changed = tokio::select! {
            () = replaced.notified() => true,
            () = sleep(CERTIFICATE_SWEEP) => false,
        };
        let (trust, now) = (local.credentials.current(), local.credentials.now());
        if let Some(event) = lists.look(trust.trust(), now) {
            local.events.raise(event);
        }
        let shown = local.own_certificate();
        for peer in local.peers() {
            if trust_changed {
                // Whoever refused the former certificate may take the new one.
                peer.feed(&local, LifeEvent::Changed);
            }
            end_invalid(&local, &peer, trust_changed);
            renew_outdated(&local, &peer, shown);
        }
        if trust_changed || published.is_none_or(|at| at.elapsed() >= CERTIFICATE_METRICS_INTERVAL)
        {
            published = Some(Instant::now());
            certificate_metrics::publish(&local, &mut issuers);
        }
    }
}

/// Ends what may not be there any more.
fn end_invalid(local: &LocalNode, peer: &PeerState, trust_changed: bool) {
    let connections = lock(&peer.connections).clone();
    for connection in connections {
        if let Err(refusal) = check(local, &connection, trust_changed) {
            evict(local, &connection, &refusal);
        }
    }
}

/// Renews a link that shows another certificate of ours than new links do.
fn renew_outdated(local: &Arc<LocalNode>, peer: &Arc<PeerState>, shown: OwnCertificate) {
    let outdated = peer
        .usable()
        .is_some_and(|link| link.own_certificate() != shown);
    let now = Instant::now();
    let due = {
        let mut renewal = lock(&peer.renewal_at);
        // All links of all nodes are renewed after a rotation, but not all at the same moment.
        let spread = || RENEWAL_SPREAD.mul_f64(random());
        let due = match *renewal {
            Some(due) if outdated => due,
            _ if outdated => *renewal.insert(now + spread()),
            _ => {
                *renewal = None;
                return;
            }
        };
        if due <= now {
            // Once more, if this dial fails.
            *renewal = Some(now + RENEWAL_SPREAD);
        }
        due
    };
    if due <= now {
        peer.feed(local, LifeEvent::Renew);
    }
}

fn check(
    local: &LocalNode,
    connection: &Connection,
    trust_changed: bool,
) -> Result<(), CertificateRefusal> {
    let (certificate, now) = (connection.certificate(), local.credentials.now());
    let last = certificate.valid_until();
    if !trust_changed && now.as_secs() <= last {
        return Ok(());
    }
    let role = if connection.dialled() {
        PeerRole::Acceptor
    } else {
        PeerRole::Dialer
    };
    let credentials = local.credentials.current();
    certificate
        .recheck(role, credentials.trust(), now)
        .map(drop)
}

/// Closes a connection whose certificate is not valid any more.
fn evict(local: &LocalNode, connection: &Connection, refusal: &CertificateRefusal) {
    let code = match refusal {
        CertificateRefusal::Revoked => CloseCode::Revoked,
        CertificateRefusal::Expired { .. } => CloseCode::CertificateExpired,
        _ => CloseCode::Untrusted,
    };
    local.events.raise(Event::Evicted {
        peer: connection.peer.node,
        address: connection.address(),
        code,
        detail: refusal.to_string(),
    });
    connection.close(code, "");
}

const _: () = assert!(
    CERTIFICATE_SWEEP.as_millis() < Duration::from_secs(1).as_millis(),
    "a link ends within a second of its certificate"
);
