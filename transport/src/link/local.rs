//! What all links of this node share: who it is, what it serves, and what stops it.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use quicraft_certs::{CredentialStore, NodeId};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PeerState;
use super::connection::OwnCertificate;
use super::peer_state::random;
use super::quic::QuicSetup;
use super::transfer::SendRate;
use crate::admission::{ConnectionId, KnownAddresses, Learned, LocalFacts};
use crate::close::CloseCode;
use crate::event::Events;
use crate::life::{LifeEvent, LifeSettings};
use crate::service::Service;
use crate::{Dial, GroupId, Incarnation, IncarnationError, Resolver, Roster, TransportConfig};

type Services = HashMap<GroupId, Arc<dyn Service>>;

/// The parts that the endpoint brings.
pub(crate) struct LocalParts {
    pub(crate) credentials: Arc<CredentialStore>,
    pub(crate) incarnation: Incarnation,
    pub(crate) config: TransportConfig,
    pub(crate) roster: Roster,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) quic: QuicSetup,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) tasks: TaskTracker,
    pub(crate) codec: u8,
    pub(crate) raft_wire: u16,
}

/// This node, as its links see it.
pub(crate) struct LocalNode {
    pub(crate) node: NodeId,
    pub(crate) credentials: Arc<CredentialStore>,
    pub(crate) incarnation: Mutex<Incarnation>,
    pub(crate) boot: u128,
    pub(crate) epoch: u64,
    pub(crate) config: TransportConfig,
    pub(crate) roster: Roster,
    pub(crate) resolver: Arc<dyn Resolver>,
    /// Until this node stops: a handle on it would keep the socket bound and its driver running.
    endpoint: Mutex<Option<quinn::Endpoint>>,
    pub(crate) quic: QuicSetup,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) events: Events,
    pub(crate) started: Instant,
    /// Ends every task of this node.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Set at the start of a shutdown: no new calls from here on.
    closing: AtomicBool,
    /// Turns of dials under way.
    pub(crate) dials: Semaphore,
    pub(crate) snapshot_slots: Arc<Semaphore>,
    pub(crate) snapshot_rate: SendRate,
    codec: u8,
    raft_wire: u16,
    services: ArcSwap<Services>,
    peers: Mutex<HashMap<NodeId, Arc<PeerState>>>,
    /// Where peers are, for the reserve of handshakes.
    known: Mutex<KnownAddresses>,
    next_connection: AtomicU64,
}

impl LocalNode {
    pub(crate) fn new(parts: LocalParts) -> Arc<Self> {
        let node = parts.credentials.identity().node();
        let config = parts.config;
        Arc::new(Self {
            node,
            boot: parts.incarnation.boot(),
            epoch: parts.incarnation.epoch(),
            incarnation: Mutex::new(parts.incarnation),
            credentials: parts.credentials,
            roster: parts.roster,
            resolver: parts.resolver,
            endpoint: Mutex::new(Some(parts.endpoint)),
            quic: parts.quic,
            runtime: parts.runtime,
            events: Events::new(node),
            started: Instant::now(),
            stop: CancellationToken::new(),
            tasks: parts.tasks,
            closing: AtomicBool::new(false),
            dials: Semaphore::new(config.dials_max),
            snapshot_slots: Arc::new(Semaphore::new(config.snapshots_sent_max)),
            snapshot_rate: SendRate::new(config.snapshot_bytes_per_second),
            codec: parts.codec,
            raft_wire: parts.raft_wire,
            services: ArcSwap::default(),
            peers: Mutex::default(),
            known: Mutex::default(),
            next_connection: AtomicU64::new(1),
            config,
        })
    }

    /// What admission compares.
    pub(crate) fn facts(&self) -> LocalFacts {
        LocalFacts {
            node: self.node,
            cluster: self.credentials.identity().cluster().clone(),
            cluster_uid: self.cluster_uid(),
            codec: self.codec,
            raft_wire: self.raft_wire,
        }
    }

    pub(crate) fn cluster_uid(&self) -> u128 {
        match self.config.cluster_uid {
            0 => lock(&self.incarnation).cluster_uid(),
            uid => uid,
        }
    }

    /// The certificate that the next handshake shows.
    pub(crate) fn own_certificate(&self) -> OwnCertificate {
        let current = self.credentials.current();
        let der = current.chain().first();
        der.map_or([0; 32], |der| *blake3::hash(der).as_bytes())
    }

    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId::new(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn start_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Runs a task that ends when this node stops.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let task = async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled_owned() => {}
            }
        };
        self.tasks.spawn_on(task, &self.runtime)
    }

    // --- services -------------------------------------------------------------------------------

    pub(crate) fn service(&self, group: GroupId) -> Option<Arc<dyn Service>> {
        self.services.load().get(&group).map(Arc::clone)
    }

    /// Adds a service; `false` if the group has one.
    pub(crate) fn add_service(&self, group: GroupId, service: &Arc<dyn Service>) -> bool {
        let mut added = false;
        self.services.rcu(|services| {
            let mut services = Services::clone(services);
            added = !services.contains_key(&group);
            services.entry(group).or_insert_with(|| Arc::clone(service));
            services
        });
        added
    }

    pub(crate) fn remove_service(&self, group: GroupId) {
        self.services.rcu(|services| {
            let mut services = Services::clone(services);
            services.remove(&group);
            services
        });
    }

    // --- peers ----------------------------------------------------------------------------------

    /// The state of a peer, made at the first question.
    pub(crate) fn peer(self: &Arc<Self>, node: NodeId) -> Arc<PeerState> {
        if let Some(peer) = lock(&self.peers).get(&node) {
            return Arc::clone(peer);
        }
        let settings = LifeSettings::of(&self.config, self.node < node);
        let made = Arc::new(PeerState::new(node, settings));
        let peer = {
            let mut peers = lock(&self.peers);
            Arc::clone(peers.entry(node).or_insert(made))
        };
        // Behind the insertion, so that the roster's follower finds it if the roster changes now.
        self.update_standing(&peer);
        peer
    }

    /// Tells a peer's life what the roster says of it.
    pub(crate) fn update_standing(self: &Arc<Self>, peer: &Arc<PeerState>) {
        if peer.node == self.node {
            return;
        }
        self.update_need(peer);
        self.update_listed(peer.node);
        peer.step(self, |life, now| {
            // Read under the lock of the life: an older answer never comes behind a newer one.
            let event = match self.roster.standing(peer.node).bars() {
                None => LifeEvent::Admitted,
                Some(code) => LifeEvent::Barred(code),
            };
            life.handle(event, now, random())
        });
    }

    /// Takes note of where the roster lists a node.
    fn update_listed(&self, node: NodeId) {
        // The roster is asked under the lock: an older answer never comes behind a newer one.
        let mut known = lock(&self.known);
        if !self.is_member(node) {
            return known.forget(node);
        }
        let listed = self.roster.get(node);
        let addresses = listed.map(|entry| entry.addresses).unwrap_or_default();
        let numbers = addresses
            .iter()
            .filter_map(|address| address.host().parse().ok());
        known.learn(node, Learned::Listed, numbers);
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.roster.standing(node).bars().is_none()
    }

    /// Tells a peer's life whether a link is kept without calls.
    pub(crate) fn update_need(self: &Arc<Self>, peer: &Arc<PeerState>) {
        peer.step(self, |life, now| {
            // Read under the lock of the life, as the standing is: a need that ends while another
            // begins must not be told of last.
            let listed = self.roster.get(peer.node);
            let eager = listed.is_some_and(|entry| entry.dial == Dial::Eager);
            let needed = peer.needs.load(Ordering::Acquire) > 0;
            life.handle(LifeEvent::Eager(eager || needed), now, random())
        });
    }

    /// All peers that were ever asked for or met, in the order of their ids.
    pub(crate) fn peers(&self) -> Vec<Arc<PeerState>> {
        let mut peers: Vec<_> = lock(&self.peers).values().map(Arc::clone).collect();
        peers.sort_by_key(|peer| peer.node);
        peers
    }

    /// A peer that was met, if it was.
    pub(crate) fn known_peer(&self, node: NodeId) -> Option<Arc<PeerState>> {
        lock(&self.peers).get(&node).map(Arc::clone)
    }

    /// Takes note of where a peer was found, unless it may not enter any more.
    pub(crate) fn found(
        &self,
        node: NodeId,
        learned: Learned,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) {
        let mut known = lock(&self.known);
        if self.is_member(node) {
            let addresses = addresses.into_iter().map(|address| address.ip());
            known.learn(node, learned, addresses);
        }
    }

    /// Whether a peer is known to be at an address.
    pub(crate) fn knows(&self, address: IpAddr) -> bool {
        lock(&self.known).contains(address)
    }

    pub(crate) fn set_cluster_uid(&self, uid: u128) -> Result<(), IncarnationError> {
        lock(&self.incarnation).set_cluster_uid(uid)
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.endpoint()?.local_addr().ok()
    }

    /// The socket's endpoint, until this node stops.
    pub(crate) fn endpoint(&self) -> Option<quinn::Endpoint> {
        lock(&self.endpoint).clone()
    }

    /// Stops every task, closes every connection, and lets go of them: they hold this node as it
    /// holds them, so that handles of the host would keep all of it alive for ever.
    pub(crate) fn stop(&self) {
        self.start_closing();
        self.stop.cancel();
        if let Some(endpoint) = lock(&self.endpoint).take() {
            endpoint.close(CloseCode::Shutdown.varint(), b"");
        }
        for peer in self.peers() {
            peer.release();
        }
    }
}

/// Locks a mutex whose holders never panic half way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for LocalNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalNode")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
