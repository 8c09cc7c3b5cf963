//! Follows the roster: starts a dialer for each node that is new, ends the links of those that left.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::dial::dial_loop;
use super::local::{LocalNode, lock};
use super::peer::PeerState;
use super::stats::LinkState;
use crate::admission::Standing;
use crate::close::CloseCode;

/// Runs until this node stops.
pub(crate) async fn roster_loop(local: Arc<LocalNode>) {
    let mut changes = local.roster.changes();
    let mut dialers = HashMap::new();
    loop {
        changes.borrow_and_update();
        for node in local.roster.members() {
            if node == local.node {
                continue;
            }
            let peer = local.peer(node);
            // A11: the smaller id dials.
            if local.node > node {
                await_dial(&peer);
                continue;
            }
            let running = dialers
                .get(&node)
                .is_some_and(|task: &tokio::task::JoinHandle<()>| !task.is_finished());
            if !running {
                let task = local.spawn(dial_loop(Arc::clone(&local), peer));
                dialers.insert(node, task);
            }
        }
        for peer in local.peers() {
            end_links(&local, &peer);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The peer dials, because its id is smaller; until it does it is down.
fn await_dial(peer: &PeerState) {
    if peer.usable().is_none() {
        peer.enter(LinkState::Down("waiting for the peer to dial".to_owned()));
    }
}

/// Closes what a peer that may not enter any more still has.
fn end_links(local: &LocalNode, peer: &PeerState) {
    // A9: who may not be here loses what it has.
    let code = match local.roster.standing(peer.node) {
        Standing::Removed => CloseCode::Removed,
        Standing::Suspended => CloseCode::Suspended,
        Standing::Member { .. } | Standing::Unknown => return,
    };
    for connection in lock(&peer.connections).iter() {
        connection.close(code, "");
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
