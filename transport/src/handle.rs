//! The handle on a running transport, and what a host does with it.
//!
//! This room hands on; what happens on a link is decided in `life` and `admission`.

use std::net::SocketAddr;
use std::sync::Arc;

use quicraft_certs::{CredentialFiles, CredentialSettings, CredentialStore, NodeId};
use tokio::sync::broadcast;

use crate::config::TransportConfig;
use crate::credential_files::{self, ReloadError};
use crate::event::Event;
use crate::life::LifeEvent;
use crate::limits::EVENTS_KEPT_MAX;
use crate::link::{LinkStatus, LocalNode, Peer, lock};
use crate::service::Service;
use crate::{GroupId, IncarnationError, Roster};

/// A group has a service already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("group {group} has a service already; drop its registration first")]
#[non_exhaustive]
pub struct AlreadyRegistered {
    /// The group.
    pub group: GroupId,
}

/// Keeps a service registered. Dropping it takes the service out, and later calls of the group are
/// refused with `UnknownGroup`; calls that run go on.
#[derive(Debug)]
#[must_use = "dropping the registration takes the service out"]
pub struct Registration {
    local: Arc<LocalNode>,
    group: GroupId,
}

impl Registration {
    /// The group that is served.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.group
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.local.remove_service(self.group);
    }
}

/// How many QUIC handshakes a node has begun, whatever became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeStatus {
    /// As the one that dialled.
    pub dialled: u64,
    /// As the one that was dialled, up to the point where TLS may begin.
    pub accepted: u64,
}

/// A handle on a transport. A cheap clone that does not keep it running.
#[derive(Clone, Debug)]
pub struct TransportHandle {
    pub(crate) local: Arc<LocalNode>,
    /// Those of all groups, which leave together.
    #[cfg(feature = "serde")]
    pub(crate) heartbeats: Arc<crate::raft::heartbeat::Heartbeats>,
}

impl TransportHandle {
    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.local.node
    }

    /// The address that the socket is bound to; `None` once this node has stopped.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local.local_addr()
    }

    /// The nodes of the cluster. Feed it at any time.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.local.roster
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &TransportConfig {
        &self.local.config
    }

    /// The credentials. Replace them at any time; new handshakes use the new ones.
    #[must_use]
    pub fn credentials(&self) -> &Arc<CredentialStore> {
        &self.local.credentials
    }

    /// Reads credentials from files and uses them from now on, live links included. They are checked
    /// whole before that.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; the former credentials stay in use.
    pub async fn reload_credentials(
        &self,
        files: &CredentialFiles,
        settings: &CredentialSettings,
    ) -> Result<(), ReloadError> {
        credential_files::read(&self.local.credentials, files, settings).await
    }

    /// Reads the files now and whenever one of them has changed, until this transport stops. Each
    /// time is a [`CredentialsRead`](Event::CredentialsRead) event.
    pub fn follow_credentials(&self, files: CredentialFiles, settings: CredentialSettings) {
        let (store, events) = (
            Arc::clone(&self.local.credentials),
            self.local.events.clone(),
        );
        let following = credential_files::follow(store, files, settings, events);
        drop(self.local.spawn(following));
    }

    /// The runtime that this transport's tasks run on.
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.local.runtime
    }

    /// Random per start of this node.
    #[must_use]
    pub fn boot(&self) -> u128 {
        self.local.boot
    }

    /// The persisted count of this node's starts.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.local.epoch
    }

    /// Serves the calls of a group, until the registration is dropped.
    ///
    /// # Errors
    ///
    /// [`AlreadyRegistered`] if the group has a service. Group 2^64 - 2 has one from the start: the
    /// node's own, for the heartbeats of all groups.
    pub fn register(
        &self,
        group: GroupId,
        service: Arc<dyn Service>,
    ) -> Result<Registration, AlreadyRegistered> {
        if !self.local.add_service(group, &service) {
            return Err(AlreadyRegistered { group });
        }
        Ok(Registration {
            local: Arc::clone(&self.local),
            group,
        })
    }

    /// A handle on a peer. It is never refused here: a peer that the roster does not know is
    /// `Unreachable` at each call.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> Peer {
        Peer::new(Arc::clone(&self.local), self.local.peer(node))
    }

    /// Everything that happens from now on, up to [`EVENTS_KEPT_MAX`] events behind.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        const { assert!(EVENTS_KEPT_MAX > 0) };
        self.local.events.subscribe()
    }

    /// The status of every peer of the roster and of every peer that was met, by id.
    #[must_use]
    pub fn status(&self) -> Vec<LinkStatus> {
        let peers = self
            .local
            .peers()
            .into_iter()
            .filter(|peer| peer.node != self.local.node);
        peers
            .map(|peer| Peer::new(Arc::clone(&self.local), peer).status())
            .collect()
    }

    /// QUIC handshakes since the start, whatever became of them. All 0 once the transport stops.
    #[must_use]
    pub fn handshakes(&self) -> HandshakeStatus {
        let stats = self.local.endpoint().map(|endpoint| endpoint.stats());
        stats.map_or_else(HandshakeStatus::default, |stats| HandshakeStatus {
            dialled: stats.outgoing_handshakes,
            accepted: stats.accepted_handshakes,
        })
    }

    /// The uid of the founded cluster that this node keeps; 0 before.
    #[must_use]
    pub fn cluster_uid(&self) -> u128 {
        self.local.cluster_uid()
    }

    /// Keeps the uid of the founded cluster; handshakes carry it from now on.
    ///
    /// # Errors
    ///
    /// [`IncarnationError`] if another uid is kept already, or it cannot be written.
    pub fn set_cluster_uid(&self, uid: u128) -> Result<(), IncarnationError> {
        self.local.set_cluster_uid(uid)
    }

    /// Cuts a peer off for a drill, until [`TransportHandle::resume_peer`]. Returns whether the
    /// roster knows it.
    #[must_use = "an unknown peer is not suspended"]
    pub fn suspend_peer(&self, node: NodeId) -> bool {
        self.local.roster.suspend(node)
    }

    /// Ends a drill. Returns whether the roster knows the peer.
    #[must_use = "an unknown peer is not resumed"]
    pub fn resume_peer(&self, node: NodeId) -> bool {
        self.local.roster.resume(node)
    }

    /// Dials a parked peer again at once.
    pub fn unpark(&self, node: NodeId) {
        if let Some(peer) = self.local.known_peer(node) {
            peer.feed(&self.local, LifeEvent::Changed);
        }
    }

    /// Makes a new link to a peer and lets the one before it finish its calls: with credentials that
    /// were replaced, or on a path that is better now. Nothing is cut if the dial fails.
    pub fn renew_link(&self, node: NodeId) {
        if let Some(peer) = self.local.known_peer(node) {
            peer.feed(&self.local, LifeEvent::Renew);
        }
    }

    /// Forgets the epochs of a peer, so that one restored from a backup may enter. The operator
    /// takes the responsibility that no newer incarnation of it is alive.
    pub fn forget_peer(&self, node: NodeId) {
        if let Some(peer) = self.local.known_peer(node) {
            lock(&peer.life).forget();
        }
    }

    /// Raises an event of a room above the link.
    #[cfg(feature = "serde")]
    pub(crate) fn raise(&self, event: Event) {
        self.local.events.raise(event);
    }
}
