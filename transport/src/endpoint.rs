//! The host's object: one UDP socket, one link to each peer, all groups of the process.
//!
//! This room builds and stops; what happens on a link is decided in `life` and `admission`.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::CredentialStore;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::config::{InvalidSetting, TransportConfig};
use crate::event::Event;
use crate::life::LifeEvent;
use crate::limits::TASKS_END_LIMIT;
use crate::link::quic;
use crate::link::udp::{self, CappedSocket};
use crate::link::{LocalNode, LocalParts, accept_loop, certificate_loop, roster_loop, shut_down};
use crate::socket;
use crate::{Incarnation, Resolver, Roster, SystemResolver, TransportHandle};

/// Why a transport did not start. Nothing is left bound or running then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The socket cannot be had.
    #[error("cannot bind the UDP socket to {address}; is another process there already?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket was bound but cannot be used.
    #[error("cannot use the UDP socket")]
    Socket(#[source] std::io::Error),
    /// The credentials make no TLS configuration.
    #[error("{0}")]
    Tls(String),
    /// `start` was called outside a tokio runtime and none was given.
    #[error("there is no tokio runtime: call `start` inside one, or give one to the builder")]
    NoRuntime,
}

/// What a shutdown had to cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Calls, requests and transfers of this node that were still in flight.
    pub calls_cut: usize,
    /// Links that were closed.
    pub links_closed: usize,
    /// Whether all tasks had ended before the deadline, and the socket was closed.
    pub tasks_ended: bool,
}

enum SocketChoice {
    Bind(SocketAddr),
    Std(UdpSocket),
    Abstract(Arc<dyn AsyncUdpSocket>, Arc<dyn Runtime>),
}

/// Builds a [`Transport`].
pub struct TransportBuilder {
    credentials: Arc<CredentialStore>,
    incarnation: Option<Incarnation>,
    config: TransportConfig,
    roster: Roster,
    resolver: Arc<dyn Resolver>,
    socket: SocketChoice,
    runtime: Option<tokio::runtime::Handle>,
}

impl std::fmt::Debug for TransportBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransportBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl TransportBuilder {
    /// Which run of this node this is; [`Incarnation::unordered`] unless it is set.
    #[must_use]
    pub fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    /// The settings; their defaults unless they are set.
    #[must_use]
    pub fn config(mut self, config: TransportConfig) -> Self {
        self.config = config;
        self
    }

    /// The nodes of the cluster; an empty, closed roster unless it is set.
    #[must_use]
    pub fn roster(mut self, roster: Roster) -> Self {
        self.roster = roster;
        self
    }

    /// How names become addresses; the operating system unless it is set.
    #[must_use]
    pub fn resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Where to bind the UDP socket; any IPv4 address and any port unless it is set. What is
    /// advertised to peers is the roster's business.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.socket = SocketChoice::Bind(address);
        self
    }

    /// A socket that the host has bound.
    #[must_use]
    pub fn udp_socket(mut self, socket: UdpSocket) -> Self {
        self.socket = SocketChoice::Std(socket);
        self
    }

    /// A socket of another kind, with the runtime that drives it: for simulation.
    #[must_use]
    pub fn abstract_socket(
        mut self,
        socket: Arc<dyn AsyncUdpSocket>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        self.socket = SocketChoice::Abstract(socket, runtime);
        self
    }

    /// The tokio runtime of all tasks; the current one unless it is set. A host whose runtime may
    /// be busy gives one of its own, so that heartbeats are never late.
    #[must_use]
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Binds the socket and starts to dial the roster's nodes.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left bound or running then.
    pub fn start(self) -> Result<Transport, StartError> {
        self.config.validate()?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?,
        };
        let tls = |error: quic::QuicSetupError| StartError::Tls(error.to_string());
        let quic = quic::QuicSetup::new(&self.credentials, &self.config).map_err(tls)?;
        let incarnation = self.incarnation.unwrap_or_else(Incarnation::unordered);
        let endpoint_config = quic::endpoint_config(&incarnation, &self.config);
        let entered = runtime.enter();
        let (socket, driver, shortage) = open_socket(self.socket, &self.config)?;
        let tasks = TaskTracker::new();
        let capped = CappedSocket::new(socket, self.config.datagram_bytes_max, tasks.token());
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            endpoint_config,
            Some(quic.endpoint_server()),
            Arc::new(capped),
            driver,
        )
        .map_err(StartError::Socket)?;
        drop(entered);
        let local = LocalNode::new(LocalParts {
            credentials: self.credentials,
            incarnation,
            config: self.config,
            roster: self.roster,
            resolver: self.resolver,
            endpoint,
            quic,
            runtime,
            tasks,
            codec: crate::raft::CODEC_ID,
            raft_wire: crate::raft::RAFT_WIRE_VERSION,
        });
        if let Some(event) = shortage {
            local.events.raise(event);
        }
        drop(local.spawn(accept_loop(Arc::clone(&local))));
        drop(local.spawn(roster_loop(Arc::clone(&local))));
        drop(local.spawn(certificate_loop(Arc::clone(&local))));
        #[cfg(feature = "serde")]
        let heartbeats = crate::raft::heartbeat::Heartbeats::start(&local);
        Ok(Transport {
            handle: TransportHandle {
                local,
                #[cfg(feature = "serde")]
                heartbeats,
            },
        })
    }
}

type OpenedSocket = (Arc<dyn AsyncUdpSocket>, Arc<dyn Runtime>, Option<Event>);

fn open_socket(choice: SocketChoice, config: &TransportConfig) -> Result<OpenedSocket, StartError> {
    let socket = match choice {
        SocketChoice::Abstract(socket, runtime) => return Ok((socket, runtime, None)),
        SocketChoice::Std(socket) => socket,
        SocketChoice::Bind(address) => {
            socket::bind(address).map_err(|source| StartError::Bind { address, source })?
        }
    };
    let wanted = config.socket_buffer_bytes;
    let granted = socket::enlarge_buffers(&socket, wanted).map_err(StartError::Socket)?;
    let shortage = (granted < wanted).then_some(Event::SocketBufferSmall { wanted, granted });
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime);
    let socket = runtime
        .wrap_udp_socket(socket)
        .map_err(StartError::Socket)?;
    Ok((socket, runtime, shortage))
}

/// A running transport. It owns every task that it started; dropping it stops them all at once and
/// closes the links with `SHUTDOWN`. [`Transport::shutdown`] does it in order.
///
/// It dereferences to its [`TransportHandle`], where the methods are.
#[derive(Debug)]
pub struct Transport {
    handle: TransportHandle,
}

impl Transport {
    /// Begins to build a transport for the node that `credentials` prove.
    #[must_use]
    pub fn builder(credentials: Arc<CredentialStore>) -> TransportBuilder {
        TransportBuilder {
            credentials,
            incarnation: None,
            config: TransportConfig::default(),
            roster: Roster::closed(),
            resolver: Arc::new(SystemResolver),
            socket: SocketChoice::Bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            runtime: None,
        }
    }

    /// A handle that can be cloned and that keeps nothing alive.
    #[must_use]
    pub fn handle(&self) -> TransportHandle {
        self.handle.clone()
    }

    /// Stops in order, within `limit`: new calls are refused, the peers are told, calls in flight
    /// may end, links are closed, all tasks are joined, and the port is free.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops everything at once, as dropping the transport does.
    pub async fn shutdown(self, limit: Duration) -> ShutdownReport {
        let deadline = Instant::now() + limit;
        let local = Arc::clone(&self.handle.local);
        let (calls_cut, links_closed) = shut_down(&local, deadline).await;
        let endpoint = local.endpoint();
        drop(self);
        local.tasks.close();
        // The close frames need a moment to leave.
        if let Some(endpoint) = endpoint {
            udp::wait_idle(&endpoint).await;
        }
        let joined = deadline.max(Instant::now() + TASKS_END_LIMIT);
        let tasks_ended = timeout_at(joined, local.tasks.wait()).await.is_ok();
        ShutdownReport {
            calls_cut,
            links_closed,
            tasks_ended,
        }
    }
}

impl Deref for Transport {
    type Target = TransportHandle;

    fn deref(&self) -> &TransportHandle {
        &self.handle
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.handle.local.stop();
    }
}

/// The socket of a running transport.
impl TransportHandle {
    /// Moves this node to another UDP socket, for the failover of a network path, and makes a new
    /// link to each peer from there. Until it stands the link before it is used; a peer that does
    /// not allow [`migration`](TransportConfig::migration) drops what comes on that one from the
    /// new address, so calls in flight may be cut.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the former socket stays in use then.
    pub fn rebind(&self, socket: UdpSocket) -> Result<(), StartError> {
        let entered = self.local.runtime.enter();
        let (socket, _, shortage) = open_socket(SocketChoice::Std(socket), &self.local.config)?;
        drop(entered);
        if let Some(event) = shortage {
            self.local.events.raise(event);
        }
        self.rebind_abstract(socket)
    }

    /// The same with a socket of another kind, for simulation.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the former socket stays in use then.
    pub fn rebind_abstract(&self, socket: Arc<dyn AsyncUdpSocket>) -> Result<(), StartError> {
        let datagram_bytes_max = self.local.config.datagram_bytes_max;
        let capped = CappedSocket::new(socket, datagram_bytes_max, self.local.tasks.token());
        if let Some(endpoint) = self.local.endpoint() {
            endpoint
                .rebind_abstract(Arc::new(capped))
                .map_err(StartError::Socket)?;
        }
        for peer in self.local.peers() {
            peer.feed(&self.local, LifeEvent::Renew);
        }
        Ok(())
    }

    /// Runs a task that ends when the transport stops.
    #[cfg(feature = "serde")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.local.spawn(task));
    }

    /// One of the bounded places for sending snapshots, once there is one.
    #[cfg(feature = "serde")]
    pub(crate) async fn snapshot_slot(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.local.snapshot_slots);
        slots.acquire_owned().await.ok()
    }
}
