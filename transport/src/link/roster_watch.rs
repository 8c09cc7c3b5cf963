//! Follows the roster: tells each peer's life who may enter and who is needed, and ends the links of
//! those that left.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::local::{LocalNode, lock};
use super::peer_state::PeerState;
use crate::admission::Standing;
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
            local.update_standing(&peer);
            end_links(&local, &peer);
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

/// Closes what a peer that may not enter any more still has.
fn end_links(local: &LocalNode, peer: &PeerState) {
    // A9: who may not be here loses what it has.
    let (code, pin) = match local.roster.standing(peer.node) {
        Standing::Removed => (CloseCode::Removed, None),
        Standing::Suspended => (CloseCode::Suspended, None),
        Standing::Member { pin: Some(pin) } => (CloseCode::KeyNotPinned, Some(pin)),
        Standing::Unknown => (CloseCode::NotMember, None),
        Standing::Member { pin: None } => return,
    };
    let connections = lock(&peer.connections).clone();
    for connection in connections {
        if pin != Some(connection.certificate().key_hash()) {
            local.events.raise(Event::Evicted {
                peer: peer.node,
                address: connection.address(),
                code,
                detail: "the roster has changed".to_owned(),
            });
            connection.close(code, "");
        }
    }
}

/// The first steps of a shutdown: no new calls, tell the peers, let calls end, close the links.
/// Returns the calls that were cut and the links that were closed.
pub(crate) async fn shut_down(local: &Arc<LocalNode>, deadline: Instant) -> (usize, usize) {
    local.start_closing();
    let links: Vec<_> = local
        .peers()
        .iter()
        .filter_map(|peer| peer.link.load_full())
        .collect();
    for link in &links {
        link.control.send_going_away();
    }
    let mut calls_cut = 0;
    for link in &links {
        if timeout_at(deadline, link.wait_idle()).await.is_err() {
            calls_cut += link.in_flight();
        }
    }
    for link in &links {
        link.close(CloseCode::Shutdown, "");
    }
    (calls_cut, links.len())
}
