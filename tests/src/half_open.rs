//! Clients that begin a handshake and go silent, without a socket and without tasks.
//!
//! What this room is for: attack a node with first packets that are valid in every byte: TLS hellos
//! with keys of their own, in Initial packets with connection ids of their own. The caller carries
//! the datagrams, over the switch or over the kernel's sockets. It must not know what the node does
//! with them, nor the transport above TLS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use quicraft_certs::CredentialStore;
use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::{Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointEvent};

/// Makes such clients, all of one address.
pub struct HalfOpen {
    endpoint: Endpoint,
    config: quinn::ClientConfig,
    /// Those that will answer a Retry.
    waiting: HashMap<ConnectionHandle, Connection>,
}

impl std::fmt::Debug for HalfOpen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HalfOpen")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl HalfOpen {
    /// Clients with these credentials. None of them comes so far that they are looked at.
    ///
    /// # Panics
    ///
    /// If TLS does not take the credentials.
    #[must_use]
    pub fn new(credentials: &Arc<CredentialStore>) -> Self {
        let tls = quicraft_certs::client_config(credentials);
        let tls = tls.unwrap_or_else(|error| panic!("no TLS: {error}"));
        let quic = QuicClientConfig::try_from(tls);
        let quic = quic.unwrap_or_else(|error| panic!("no TLS for QUIC: {error}"));
        Self {
            endpoint: Endpoint::new(Arc::default(), None, false, None),
            config: quinn::ClientConfig::new(Arc::new(quic)),
            waiting: HashMap::new(),
        }
    }

    /// The first packet of a client that says nothing more.
    pub fn silent(&mut self, to: SocketAddr) -> Vec<u8> {
        let (handle, _, initial) = self.begin(to);
        self.forget(handle);
        initial
    }

    /// The first packet of a client that answers a Retry, and then says nothing more.
    pub fn validated(&mut self, to: SocketAddr) -> Vec<u8> {
        let (handle, connection, initial) = self.begin(to);
        self.waiting.insert(handle, connection);
        initial
    }

    /// What a client answers to a datagram of the node: to a Retry its first packet with the token, to
    /// anything else nothing.
    pub fn answer(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        if !is_retry(datagram) {
            return None;
        }
        let (now, data, mut unused) = (Instant::now(), BytesMut::from(datagram), Vec::new());
        let event = self
            .endpoint
            .handle(now, from, None, None, data, &mut unused)?;
        let DatagramEvent::ConnectionEvent(handle, event) = event else {
            return None;
        };
        let mut connection = self.waiting.remove(&handle)?;
        connection.handle_event(event);
        let initial = first_packet(&mut connection);
        self.forget(handle);
        initial
    }

    /// How many clients have neither seen a Retry nor were given up.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn begin(&mut self, to: SocketAddr) -> (ConnectionHandle, Connection, Vec<u8>) {
        let config = self.config.clone();
        let begun = self
            .endpoint
            .connect(Instant::now(), config, to, "half-open.example");
        let (handle, mut connection) = begun.unwrap_or_else(|error| panic!("cannot dial: {error}"));
        let Some(initial) = first_packet(&mut connection) else {
            panic!("a client that dials has a first packet");
        };
        (handle, connection, initial)
    }

    fn forget(&mut self, handle: ConnectionHandle) {
        self.endpoint.handle_event(handle, EndpointEvent::drained());
    }
}

fn first_packet(connection: &mut Connection) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    let sent = connection.poll_transmit(Instant::now(), 1, &mut packet);
    sent.map(|_| packet)
}

/// A long header of type 3 (RFC 9000, section 17.2.5).
fn is_retry(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0xf0 == 0xf0)
}
