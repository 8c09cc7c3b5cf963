//! The step that makes a judged connection the link, and the one that ends it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::{RecvStream, SendStream};
use tokio::time::Instant;

use super::call_shared::share_loop;
use super::connection::{Connection, Settled};
use super::control::{read_loop, write_loop};
use super::failure::{HandshakeFailure, refusal};
use super::handshake::Unproven;
use super::local::{LocalNode, lock};
use super::peer_state::PeerState;
use super::quic;
use super::serve::accept_streams;
use super::stats::LastClose;
use crate::admission::{Candidate, ProvenNode};
use crate::close::CloseCode;
use crate::event::Event;
use crate::frame::Introduction;
use crate::life::{Adoption, Ending, LifeAction, LifeEvent, LifeState};

/// A connection that was adopted, as the link or to drain, and whose tasks do not run yet.
pub(super) struct Adopted {
    pub(super) link: Arc<Connection>,
    is_link: bool,
}

/// Makes a judged connection the link, under the lock of the peer's life.
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
    let settled = settle(local, peer, &unproven, proven, candidate, said, dialled);
    let link = Connection::new(
        Arc::clone(local),
        Arc::clone(peer),
        unproven.quic.clone(),
        settled,
    );
    let (is_link, actions) = {
        let mut life = lock(&peer.life);
        // What was true at Hello may not be any more.
        check_standing(local, &link)?;
        let (is_link, actions) = match life.adopt(&candidate, dialled, now) {
            Adoption::Link(actions) => (true, actions),
            Adoption::Loser(actions) => (false, actions),
            Adoption::Refused(refusal) => return Err(refusal.into()),
        };
        lock(&peer.connections).push(Arc::clone(&link));
        if is_link {
            replace(peer, &link, &actions);
        }
        peer.show(&life);
        (is_link, actions)
    };
    // From here on somebody counts it off again, whatever becomes of the handshake.
    drop(local.spawn(watch_end(Arc::clone(&link))));
    quic::open_windows(&unproven.quic, dialled);
    peer.act(local, actions);
    pin_first(local, &link);
    Ok(Adopted { link, is_link })
}

fn settle(
    local: &LocalNode,
    peer: &PeerState,
    unproven: &Unproven,
    proven: ProvenNode,
    candidate: Candidate,
    said: &Introduction,
    dialled: bool,
) -> Settled {
    let now = Instant::now();
    let config = &local.config;
    let absent_since = lock(&peer.lost_at).unwrap_or(local.started);
    Settled {
        proven,
        candidate,
        dialled,
        frame_bytes_max: config.frame_bytes_max.min(said.frame_bytes_max as usize),
        entry_bytes_max: config.entry_bytes_max.min(said.entry_bytes_max as usize),
        certificate: unproven.certificate.clone(),
        handshake: now - unproven.begun.at,
        established_in: now - absent_since,
        link_id: quic::link_id(&unproven.quic),
        own_certificate: unproven.begun.own_certificate,
    }
}

/// Whether the connection may (still) be adopted.
fn check_standing(local: &LocalNode, link: &Connection) -> Result<(), HandshakeFailure> {
    if local.stop.is_cancelled() {
        return Err(refusal(CloseCode::Shutdown, "this node stops"));
    }
    let standing = local.roster.standing(link.peer.node);
    match standing.refuses(link.certificate().key_hash()) {
        None => Ok(()),
        Some(code) => Err(refusal(code, "the roster has changed")),
    }
}

/// Remembers the key of a peer that is here for the first time, where the host wants that.
fn pin_first(local: &LocalNode, link: &Connection) {
    let (peer, key_hash) = (link.peer.node, link.certificate().key_hash());
    if local.config.pin_first_key && local.roster.pin_first(peer, key_hash) {
        local.events.raise(Event::KeyPinned { peer, key_hash });
    }
}

/// New calls go to `link` from now on, and no other connection is live.
fn replace(peer: &PeerState, link: &Arc<Connection>, actions: &[LifeAction]) {
    for action in actions {
        if let LifeAction::Drain(previous) = action
            && let Some(previous) = peer.connection(*previous)
        {
            previous.leave_live();
        }
    }
    link.enter_live();
    peer.link.store(Some(Arc::clone(link)));
    *lock(&peer.address) = Some(link.address());
}

/// Starts the tasks of an adopted connection; each ends with it.
pub(super) fn start(adopted: Adopted, send: SendStream, recv: RecvStream) {
    let Adopted { link, is_link } = adopted;
    let local = Arc::clone(&link.local);
    if is_link {
        // Whoever waits for this event finds the state that it tells of.
        local.events.raise(Event::LinkUp {
            peer: link.peer.node,
            address: link.address(),
            dialled: link.dialled(),
            boot: link.boot(),
            took: link.handshake(),
        });
    }
    drop(local.spawn(write_loop(Arc::clone(&link), send)));
    drop(local.spawn(read_loop(Arc::clone(&link), recv)));
    drop(local.spawn(share_loop(Arc::clone(&link))));
    drop(local.spawn(accept_streams(link)));
}

/// Fails every call on a connection when it is dropped: at its end, and when the node stops.
struct EndCalls(Arc<Connection>);

impl Drop for EndCalls {
    fn drop(&mut self) {
        self.0.control.end();
        self.0.calls.end();
    }
}

/// Waits for the end of a connection and tells everybody who has to know; until then the calls on it
/// end at their deadlines.
async fn watch_end(link: Arc<Connection>) {
    let calls = EndCalls(Arc::clone(&link));
    let deadlines = async { tokio::join!(link.control.sweep(), link.calls.sweep()) };
    let error = tokio::select! {
        error = link.quic.closed() => error,
        _ = deadlines => return,
    };
    link.leave_live();
    drop(calls);
    let (peer, local) = (&link.peer, &link.local);
    let was_link = peer.forget(&link);
    let (ending, reason) = link.ending(&error);
    let code = match ending {
        Ending::ByPeer(code) | Ending::Ours(code) => Some(code),
        Ending::Lost => None,
    };
    let now = Instant::now();
    peer.problem(&reason);
    *lock(&peer.last_close) = Some(LastClose {
        code,
        reason: reason.clone(),
        at: now,
    });
    if was_link {
        *lock(&peer.lost_at) = Some(now);
    }
    let connection = link.id();
    peer.feed(local, LifeEvent::Lost { connection, ending });
    let state = *lock(&peer.life).state();
    if let LifeState::Parked { code, .. } = state
        && matches!(ending, Ending::ByPeer(_))
    {
        // As loud as at a dial: it is the only word that this node gets.
        let peer = peer.node;
        local.events.raise(Event::Parked { peer, code });
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
