//! A node of the key-value store as one process runs it: the checked configuration, the sockets,
//! the data folder, the transport, the groups and the HTTP front, started and stopped in order.
//!
//! Of the store only this room, `links` and `calls` know the transport. What an exit code or a line of
//! output looks like is not known here.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::{
    ClusterName, CredentialError, CredentialFiles, CredentialSettings, CredentialStore,
    Credentials, InvalidClusterName, InvalidNodeId, NodeId,
};
use quicraft_transport::raft::{FileSnapshots, RaftTiming};
use quicraft_transport::{
    AlreadyRegistered, Incarnation, IncarnationError, InvalidAddress, Roster, RosterEntry,
    RosterError, StartError, Transport, TransportConfig,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinError;

use super::calls::Calls;
use super::config::Config;
use super::folder::{DataFolder, FolderError};
use super::host::{HostError, KvHost, raft_config};
use super::http;
use super::links::Links;
use super::store::{Store, StoreError, StoreOptions};

/// Below the data folder: what the transport keeps of this node's runs.
const RUNS: &str = "runs";

/// Below the data folder: snapshots that are being received.
const RECEIVED: &str = "received";

/// How long the transport may take to end what is in flight and to say goodbye. Nobody calls any
/// more by then, so this is time for packets only.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a node did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The cluster's name cannot stand in a certificate.
    #[error("cluster = {name:?} is no name of a cluster; choose DNS labels in lower case")]
    ClusterName {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: InvalidClusterName,
    },
    /// A node id that nobody can have.
    #[error("a node id is wrong; number the nodes from 1")]
    NodeId(#[from] InvalidNodeId),
    /// A peer cannot be dialled where the configuration says.
    #[error("the peer {peer} has no usable address; correct its --peer")]
    PeerAddress {
        /// The peer.
        peer: u64,
        /// What is wrong with it.
        #[source]
        source: InvalidAddress,
    },
    /// The transport does not take a peer.
    #[error("the peers do not fit; list fewer with --peer")]
    Roster(#[from] RosterError),
    /// Certificate, key or authority cannot be used.
    #[error("the certificate files cannot be used (--ca, --cert, --key)")]
    Credentials(#[from] CredentialError),
    /// A socket cannot be bound.
    #[error("cannot take {address} ({protocol}); stop what uses it, or give another --{setting}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// `TCP` or `UDP`.
        protocol: &'static str,
        /// The setting that it came from.
        setting: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The count of this node's runs cannot be read or kept.
    #[error("the count of this node's runs cannot be kept")]
    Incarnation(#[from] IncarnationError),
    /// The folder for snapshots that come in cannot be prepared.
    #[error("the folder {} cannot be prepared; check its permissions", path.display())]
    Received {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store does not open.
    #[error("the store does not open")]
    Store(#[from] StoreError),
    /// The transport did not start.
    #[error("the transport does not start")]
    Transport(#[from] StartError),
    /// The groups did not start or stop.
    #[error("the groups failed")]
    Host(#[from] HostError),
    /// A group is served already: two groups have one number.
    #[error("a group is served twice")]
    Registered(#[from] AlreadyRegistered),
    /// The HTTP server ended by itself.
    #[error("the HTTP server failed")]
    Http(#[source] io::Error),
    /// A part of the start panicked.
    #[error("a part of the node panicked")]
    Panicked(#[from] JoinError),
}

impl NodeError {
    /// Whether another process has an address that this node wants, so that other ports may help.
    #[must_use]
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// The sockets of a node. They are bound before anything on the disk is changed.
struct Sockets {
    udp: UdpSocket,
    http: TcpListener,
}

/// What runs of a node, beside its HTTP front.
struct Running {
    host: Arc<KvHost>,
    transport: Transport,
    calls: Option<Calls>,
}

/// A started node. [`Node::run`] serves until it is told to stop.
///
/// Dropping it stops the transport and closes the sockets; the Rafts end with their last handle.
pub struct Node {
    running: Running,
    http: TcpListener,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("node", &self.running.host.config().node)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a node.
    ///
    /// Everything that can be wrong without a look at the data is found first: certificates, peers
    /// and the two sockets. Only then is the data folder opened, which refuses a folder of another
    /// node or cluster untouched.
    ///
    /// # Errors
    ///
    /// [`NodeError`] says what to do; nothing runs then. The disk is unchanged unless the error is
    /// of the store, the transport or the groups.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops what was started.
    pub async fn start(config: Config) -> Result<Self, NodeError> {
        let (files, settings) = credentials(&config)?;
        let credentials = CredentialStore::new(Credentials::load(&files, &settings)?);
        let roster = roster(&config)?;
        let transport_config = transport_config(&config)?;
        let sockets = bind(&config).await?;

        let disk = config.clone();
        let (store, incarnation, snapshots) =
            tokio::task::spawn_blocking(move || open_disk(&disk)).await??;
        let transport = Transport::builder(credentials)
            .incarnation(incarnation)
            .config(transport_config)
            .roster(roster)
            .udp_socket(sockets.udp)
            .start()?;
        // A rotation, and a revocation, is a matter of writing files.
        transport.follow_credentials(files, settings);
        let running = Running::start(config, store, transport, snapshots).await?;
        Ok(Self {
            running,
            http: sockets.http,
        })
    }

    /// Serves until `stop`, then stops in order: no new requests, open requests end (5 s), the
    /// groups leave the peers' reach and shut down (10 s), the store closes, the links say goodbye
    /// (2 s).
    ///
    /// # Errors
    ///
    /// [`NodeError`], when the HTTP server fails or something does not end in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the transport and the HTTP server at once. Nothing acknowledged is lost.
    pub async fn run(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), NodeError> {
        self.running.tell_where();
        let calls = self.running.calls.as_ref().map(Calls::counters);
        let links = Links::new(self.running.transport.handle(), calls);
        let host = Arc::clone(&self.running.host);
        let router = http::router(Arc::clone(&host), Box::new(links));
        let (refused, why) = oneshot::channel();
        let refuse = async move {
            tokio::select! {
                () = stop => {}
                // Whoever waits for it takes it before this node is gone.
                error = host.refused() => drop(refused.send(error)),
            }
            host.refuse_requests();
        };
        let served = http::serve(self.http, router, refuse).await;
        let stopped = self.running.stop().await;
        if let Ok(error) = why.await {
            return Err(HostError::from(error).into());
        }
        served.map_err(NodeError::Http)?;
        stopped
    }
}

impl Running {
    /// Starts the groups: each is reachable by peers before it may campaign.
    async fn start(
        config: Config,
        store: Store,
        transport: Transport,
        snapshots: FileSnapshots,
    ) -> Result<Self, NodeError> {
        let handle = transport.handle();
        let peers = config.nodes.keys().filter(|&&id| id != config.node);
        let calls = Calls::start(&handle, config.calls_per_second, peers.copied())?;
        let host = KvHost::start(config, store, handle, snapshots).await?;
        Ok(Self {
            host: Arc::new(host),
            transport,
            calls,
        })
    }

    /// The first line of the log of a start that went well.
    fn tell_where(&self) {
        let config = self.host.config();
        let (node, groups) = (config.node, config.groups);
        let (listen, http) = (config.listen, config.http);
        let peers = config.nodes.len() - 1;
        tracing::info!(
            target: "quicraft::kv",
            node, groups, peers, %listen, %http, "the node has started"
        );
    }

    async fn stop(self) -> Result<(), NodeError> {
        drop(self.calls);
        let stopped = self.host.shutdown().await;
        let report = self.transport.shutdown(GOODBYE).await;
        tracing::info!(target: "quicraft::kv", ?report, "the node has stopped");
        Ok(stopped?)
    }
}

/// Where the credentials are, and whose they must be.
fn credentials(config: &Config) -> Result<(CredentialFiles, CredentialSettings), NodeError> {
    let cluster = ClusterName::new(&config.cluster).map_err(|source| NodeError::ClusterName {
        name: config.cluster.clone(),
        source,
    })?;
    let of_config = &config.certificates;
    let mut files = CredentialFiles::new(&of_config.ca, &of_config.cert, &of_config.key);
    if let Some(crl) = &of_config.crl {
        files = files.with_crl(crl);
    }
    let mut settings = CredentialSettings::default();
    settings.expected_cluster = Some(cluster);
    settings.expected_node = Some(NodeId::new(config.node)?);
    Ok((files, settings))
}

/// Who may enter: exactly the nodes of the configuration.
fn roster(config: &Config) -> Result<Roster, NodeError> {
    let roster = Roster::closed();
    for (&peer, node) in config.nodes.iter().filter(|&(&id, _)| id != config.node) {
        let address = node
            .raft
            .parse()
            .map_err(|source| NodeError::PeerAddress { peer, source })?;
        roster.insert(RosterEntry::new(NodeId::new(peer)?, vec![address]))?;
    }
    Ok(roster)
}

/// The links follow Raft's times: a peer is given up after it was elected around, and is back
/// before the next election.
fn transport_config(config: &Config) -> Result<TransportConfig, NodeError> {
    let timing = RaftTiming::derive(&raft_config(config)?);
    Ok(TransportConfig::default().with_timing(timing))
}

async fn bind(config: &Config) -> Result<Sockets, NodeError> {
    let refused = |address, protocol, setting| {
        move |source| NodeError::Bind {
            address,
            protocol,
            setting,
            source,
        }
    };
    Ok(Sockets {
        udp: UdpSocket::bind(config.listen).map_err(refused(config.listen, "UDP", "listen"))?,
        http: TcpListener::bind(config.http)
            .await
            .map_err(refused(config.http, "TCP", "http"))?,
    })
}

/// Opens what lies on the disk; blocks.
fn open_disk(config: &Config) -> Result<(Store, Incarnation, FileSnapshots), NodeError> {
    let folder = DataFolder::open(&config.data, &config.cluster, config.node)?;
    let received = folder.path().join(RECEIVED);
    let snapshots = FileSnapshots::new(&received);
    std::fs::create_dir_all(&received)
        .and_then(|()| snapshots.remove_partial())
        .map_err(|source| NodeError::Received {
            path: received,
            source,
        })?;
    let incarnation = Incarnation::persisted(&folder.path().join(RUNS))?;
    let options = StoreOptions {
        cache_bytes: config.cache_bytes,
    };
    Ok((Store::open(folder, options)?, incarnation, snapshots))
}
