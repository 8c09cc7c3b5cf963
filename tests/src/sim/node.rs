//! One running node of a simulated cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use quicraft_transport::link::{CallLane, Peer, Request};
use quicraft_transport::{
    CallError, Event, GroupId, LinkState, LinkStatus, NodeId, Registration, Transport,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

use super::spec::LIMIT;
use crate::raft::{InMemory, RaftNode};

/// A group on a node.
#[derive(Debug)]
pub struct SimGroup {
    /// Its Raft, log and state machine.
    pub node: RaftNode<InMemory>,
    /// Peers reach the Raft as long as this lives.
    pub serving: Registration,
}

/// A running node: its transport and its groups.
#[derive(Debug)]
pub struct SimNode {
    /// Its id.
    pub id: u64,
    /// Its transport.
    pub transport: Transport,
    /// Its groups, by id.
    pub groups: BTreeMap<u64, SimGroup>,
    /// Its sink is served as long as this lives, where the spec says `echo`.
    pub serving: Option<Registration>,
}

impl SimNode {
    /// A handle on another node.
    ///
    /// # Panics
    ///
    /// If `node` is 0.
    #[must_use]
    pub fn peer(&self, node: u64) -> Peer {
        match NodeId::new(node) {
            Ok(id) => self.transport.peer(id),
            Err(error) => panic!("{error}"),
        }
    }

    /// The status of the link to another node.
    #[must_use]
    pub fn link(&self, node: u64) -> LinkStatus {
        self.peer(node).status()
    }

    /// One of its groups.
    ///
    /// # Panics
    ///
    /// If the node has no such group.
    #[must_use]
    pub fn group(&self, group: u64) -> &RaftNode<InMemory> {
        match self.groups.get(&group) {
            Some(group) => &group.node,
            None => panic!("node {} has no group {group}", self.id),
        }
    }

    /// A call to another node, and the answer.
    ///
    /// # Errors
    ///
    /// What the transport says.
    pub async fn call(
        &self,
        to: u64,
        lane: CallLane,
        group: GroupId,
        method: u16,
        body: impl Into<Bytes> + Send,
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        let request = Request::new(group, method, body.into());
        self.peer(to)
            .call(lane, request, Instant::now() + limit)
            .await
    }

    /// Waits until the link to another node is as it is asked to be.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`LIMIT`].
    pub async fn link_until(&self, node: u64, mut wanted: impl FnMut(&LinkStatus) -> bool) {
        let mut events = self.transport.events();
        let waiting = async {
            while !wanted(&self.link(node)) {
                match events.recv().await {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => panic!("the transport of node {} ended", self.id),
                }
            }
        };
        if timeout(LIMIT, waiting).await.is_err() {
            panic!("node {}: {:?}", self.id, self.link(node));
        }
    }

    /// Waits until there is a link to another node.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`LIMIT`].
    pub async fn link_up(&self, node: u64) {
        self.link_until(node, |link| link.state == LinkState::Up)
            .await;
    }

    /// Waits for an event, among those that come from now on, and returns it.
    ///
    /// # Panics
    ///
    /// If none comes within [`LIMIT`].
    pub async fn event(&self, wanted: impl FnMut(&Event) -> bool) -> Event {
        let events = self.transport.events();
        event(events, wanted).await
    }

    /// The leader of a group, as this node knows it.
    #[must_use]
    pub fn current_leader(&self, group: u64) -> Option<u64> {
        self.group(group)
            .raft
            .metrics()
            .borrow_watched()
            .current_leader
    }

    /// The term of a group.
    #[must_use]
    pub fn term(&self, group: u64) -> u64 {
        self.group(group)
            .raft
            .metrics()
            .borrow_watched()
            .current_term
    }
}

/// Waits for an event of a subscription. Subscribe before the cause, or it may be missed.
///
/// # Panics
///
/// If none comes within [`LIMIT`].
pub(super) async fn event(
    mut events: tokio::sync::broadcast::Receiver<Event>,
    mut wanted: impl FnMut(&Event) -> bool,
) -> Event {
    let waiting = async {
        loop {
            match events.recv().await {
                Ok(event) if wanted(&event) => return event,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => panic!("the transport ended"),
            }
        }
    };
    match timeout(LIMIT, waiting).await {
        Ok(event) => event,
        Err(_) => panic!("no such event within {LIMIT:?}"),
    }
}
