//! The step that makes a judged connection the link, and the one that ends it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::{RecvStream, SendStream};
use tokio::time::Instant;

use super::connection::{Connection, Settled, close_code, describe, forget};
use super::control::{ControlLane, ControlQueue, read_loop, write_loop};
use super::failure::{HandshakeFailure, refusal};
use super::handshake::Unproven;
use super::local::{LocalNode, lock};
use super::peer::PeerState;
use super::quic;
use super::serve::accept_streams;
use super::stats::LinkState;
use crate::admission::{Candidate, ProbeOutcome, ProvenNode, Verdict};
use crate::close::{CloseClass, CloseCode};
use crate::event::Event;
use crate::frame::Introduction;

/// A connection that was adopted and whose tasks do not run yet.
pub(super) struct Adopted {
    pub(super) link: Arc<Connection>,
    queue: ControlQueue,
}

/// Makes a judged connection the link, under the lock of the peer's record.
pub(super) fn adopt(
    local: &Arc<LocalNode>,
    peer: &Arc<PeerState>,
    unproven: Unproven,
    proven: ProvenNode,
    candidate: Candidate,
    said: &Introduction,
    dialled: bool,
) -> Result<Adopted, HandshakeFailure> {
    let now = Instant::now();
    let absent_since = lock(&peer.lost_at).unwrap_or(local.started);
    let settled = Settled {
        proven,
        candidate,
        dialled,
        frame_bytes_max: local
            .config
            .frame_bytes_max
            .min(said.frame_bytes_max as usize),
        entry_bytes_max: local
            .config
            .entry_bytes_max
            .min(said.entry_bytes_max as usize),
        certificate: unproven.certificate,
        handshake: now - unproven.started,
        established_in: now - absent_since,
    };
    let (control, queue) = ControlLane::new();
    let link = Connection::new(
        Arc::clone(local),
        Arc::clone(peer),
        unproven.quic.clone(),
        settled,
        control,
    );
    let mut record = lock(&peer.record);
    if local.stop.is_cancelled() {
        return Err(refusal(CloseCode::Shutdown, "this node stops"));
    }
    match record.judge(&candidate, now) {
        Verdict::Admit => {}
        Verdict::Refuse(refusal) => return Err(refusal.into()),
        Verdict::Probe { .. } => {
            // Another boot was adopted since this one was judged; it comes back and is probed for.
            drop(record.probe_ended(ProbeOutcome::Answered, now));
            return Err(refusal(CloseCode::Busy, "another boot came first"));
        }
    }
    let previous = record.adopt(&candidate);
    let overflow = record.overflow();
    let previous = {
        let mut connections = lock(&peer.connections);
        let previous = connections
            .iter()
            .find(|known| Some(known.id()) == previous)
            .cloned();
        if let Some(known) = connections
            .iter()
            .find(|known| Some(known.id()) == overflow)
        {
            known.close(CloseCode::Retired, "too many connections drain");
        }
        connections.push(Arc::clone(&link));
        previous
    };
    if let Some(previous) = previous {
        previous.drain();
    }
    peer.count_live();
    peer.link.store(Some(Arc::clone(&link)));
    drop(record);
    // From here on somebody counts it off again, whatever becomes of the handshake.
    drop(local.spawn(watch_end(Arc::clone(&link))));
    quic::open_windows(&unproven.quic);
    Ok(Adopted { link, queue })
}

/// Starts the tasks of an adopted connection; each ends with it.
pub(super) fn start(adopted: Adopted, send: SendStream, recv: RecvStream) {
    let Adopted { link, queue } = adopted;
    let (local, peer) = (Arc::clone(&link.local), Arc::clone(&link.peer));
    *lock(&peer.address) = Some(link.address());
    peer.enter(LinkState::Up);
    // Whoever waits for this event finds the state that it tells of.
    local.events.raise(Event::LinkUp {
        peer: peer.node,
        address: link.address(),
        dialled: link.dialled(),
        boot: link.boot(),
        took: link.handshake(),
    });
    drop(local.spawn(write_loop(Arc::clone(&link), queue, send)));
    drop(local.spawn(read_loop(Arc::clone(&link), recv)));
    drop(local.spawn(accept_streams(link)));
}

/// Waits for the end of a connection and tells everybody who has to know.
async fn watch_end(link: Arc<Connection>) {
    let error = link.quic.closed().await;
    link.leave_live();
    link.control.fail_all();
    let (peer, local) = (&link.peer, &link.local);
    let was_link = lock(&peer.record).lost(link.id());
    forget(&peer.connections, link.id());
    let same = |current: &Option<Arc<Connection>>| {
        current
            .as_ref()
            .is_some_and(|current| current.id() == link.id())
    };
    if same(&peer.link.load_full()) {
        peer.link
            .rcu(|current| if same(current) { None } else { current.clone() });
    }
    let reason = describe(&error);
    peer.problem(&reason);
    let code = close_code(&error);
    if was_link || peer.link.load().is_none() {
        *lock(&peer.lost_at) = Some(Instant::now());
        if peer.link.load().is_none() {
            // A node that dials is about to try; one that is dialled has to wait for the peer.
            let dials = local.node < peer.node && local.roster.get(peer.node).is_some();
            let fatal = code.is_some_and(|code| code.class() == CloseClass::Fatal);
            match code {
                Some(code) if fatal && dials => peer.park(code, &local.events),
                _ if dials && !local.is_closing() => peer.enter(LinkState::Dialling),
                _ => peer.enter(LinkState::Down(reason.clone())),
            }
        }
        peer.redial.notify_one();
    }
    if peer.live.load(Ordering::Acquire) == 0 {
        let address = link.address();
        local.events.raise(Event::LinkDown {
            peer: peer.node,
            address,
            reason,
            code,
        });
    }
}
