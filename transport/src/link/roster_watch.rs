//! Follows the roster: tells each peer's life who may enter and who is needed, and ends the links of
//! those that left.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::local::{LocalNode, lock};
use super::peer_state::PeerState;
use crate::close::CloseCode;
use crate::event::Event;
use crate::life::LifeEvent;

/// Runs until this node stops.
pub(crate) async fn roster_loop(local: Arc<LocalNode>) {
    let mut changes = local.roster.changes();
    let mut entries = HashMap::new();
    loop {
        changes.borrow_and_update();
        for node in local.roster.members() {
            if node != local.node {
                drop(local.peer(node));
            }
        }
        for peer in local.peers() {
            evict(&local, &peer);
            let entry = local.roster.get(peer.node);
            let before = entries.insert(peer.node, entry.clone());
            // Whoever was not reached where it was may be where it is now.
            if before.is_some_and(|before| before != entry) {
                peer.feed(&local, LifeEvent::Changed);
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the peer's life how the roster stands to it, and closes what may not be there any more.
fn evict(local: &Arc<LocalNode>, peer: &Arc<PeerState>) {
    // A9: who may not be here loses what it has.
    let standing = local.roster.standing(peer.node);
    let refused = |connection: &Arc<Connection>| {
        let code = standing.refuses(connection.certificate().key_hash());
        code.map(|code| (Arc::clone(connection), code))
    };
    let evicted: Vec<_> = lock(&peer.connections).iter().filter_map(refused).collect();
    for (connection, code) in &evicted {
        local.events.raise(Event::Evicted {
            peer: peer.node,
            address: connection.address(),
            code: *code,
            detail: "the roster has changed".to_owned(),
        });
    }
    // Closes all that a barred peer has; what is left has the wrong key.
    local.update_standing(peer);
    for (connection, code) in evicted {
        connection.close(code, "");
    }
}

/// The first steps of a shutdown: no new calls, tell the peers, let calls end, close the links.
/// Returns the calls that were cut and the links that were closed.
pub(crate) async fn shut_down(local: &Arc<LocalNode>, deadline: Instant) -> (usize, usize) {
    local.start_closing();
    let peers = local.peers();
    let links = peers.iter().filter_map(|peer| peer.link.load_full());
    let links = links.inspect(|link| link.control.send_going_away()).count();
    // Those that drain carry calls as well.
    let connections = peers
        .iter()
        .flat_map(|peer| lock(&peer.connections).clone());
    let connections: Vec<_> = connections.collect();
    let mut calls_cut = 0;
    for connection in &connections {
        if timeout_at(deadline, connection.wait_idle()).await.is_err() {
            calls_cut += connection.in_flight();
        }
    }
    for connection in &connections {
        connection.close(CloseCode::Shutdown, "");
    }
    (calls_cut, links)
}
