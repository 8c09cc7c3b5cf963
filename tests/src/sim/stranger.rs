//! A QUIC client with a certificate, and nothing of the transport above TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use quicraft_certs::CredentialStore;
use quicraft_transport::frame::{Frame, FrameAssembler};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::time::timeout;

use super::hello::{RawHello, confirm};
use super::spec::LIMIT;
use crate::switch::Switch;

/// Speaks raw bytes to a node, good or bad.
#[derive(Debug)]
pub struct Stranger {
    endpoint: quinn::Endpoint,
}

impl Stranger {
    /// A client at `address` that proves the node of these credentials.
    ///
    /// # Panics
    ///
    /// If the address is taken.
    #[must_use]
    pub fn new(switch: &Switch, address: SocketAddr, credentials: &Arc<CredentialStore>) -> Self {
        let socket = switch.socket(address);
        let config = quinn::EndpointConfig::default();
        let endpoint =
            quinn::Endpoint::new_with_abstract_socket(config, None, socket, switch.runtime());
        let mut endpoint = endpoint.unwrap_or_else(|error| panic!("no endpoint: {error}"));
        let tls = quicraft_certs::client_config(credentials);
        let tls = tls.unwrap_or_else(|error| panic!("no TLS: {error}"));
        let quic = QuicClientConfig::try_from(tls);
        let quic = quic.unwrap_or_else(|error| panic!("no TLS for QUIC: {error}"));
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(quic)));
        Self { endpoint }
    }

    /// A connection whose TLS is done, or what came instead.
    ///
    /// # Errors
    ///
    /// How the other end, or TLS, ended it.
    pub async fn connect(&self, to: SocketAddr) -> Result<Connection, ConnectionError> {
        // The name is not compared with the certificate; the node behind it is decided later.
        let connecting = self.endpoint.connect(to, "stranger.sim.example");
        let connecting = connecting.unwrap_or_else(|error| panic!("cannot dial: {error}"));
        within(connecting).await
    }

    /// Begins a connection and does not wait for it.
    ///
    /// # Panics
    ///
    /// If the endpoint cannot dial.
    pub fn begin(&self, to: SocketAddr) {
        let connecting = self.endpoint.connect(to, "stranger.sim.example");
        let connecting = connecting.unwrap_or_else(|error| panic!("cannot dial: {error}"));
        // It goes on as long as somebody waits for it.
        tokio::spawn(connecting);
    }

    /// A connection and its first stream, on which `bytes` were sent.
    ///
    /// # Panics
    ///
    /// If TLS fails.
    pub async fn say(&self, to: SocketAddr, bytes: &[u8]) -> (Connection, SendStream, RecvStream) {
        let connection = self.connect(to).await;
        let connection = connection.unwrap_or_else(|error| panic!("TLS fails: {error}"));
        let (mut send, recv) = within(connection.open_bi())
            .await
            .unwrap_or_else(|error| panic!("no stream: {error}"));
        if let Err(error) = send.write_all(bytes).await {
            panic!("the bytes are not taken: {error}");
        }
        (connection, send, recv)
    }

    /// A link: hello, welcome and confirm are exchanged, and the streams are those of Control.
    ///
    /// # Panics
    ///
    /// If it is not let in.
    pub async fn enter(
        &self,
        to: SocketAddr,
        hello: &RawHello,
    ) -> (Connection, SendStream, RecvStream) {
        let (connection, mut send, mut recv) = self.say(to, &hello.encode()).await;
        let mut prefix = [0; 8];
        if let Err(error) = within(recv.read_exact(&mut prefix)).await {
            let reason = connection.close_reason();
            panic!("no welcome: {error}, {reason:?}");
        }
        assert_eq!(prefix[..6], *b"QCFT\x02\0", "a welcome");
        let mut fields = vec![0; usize::from(u16::from_be_bytes([prefix[6], prefix[7]]))];
        if let Err(error) = within(recv.read_exact(&mut fields)).await {
            panic!("the welcome is cut: {error}");
        }
        if let Err(error) = send.write_all(&confirm(hello.generation)).await {
            panic!("the confirm is not taken: {error}");
        }
        (connection, send, recv)
    }

    /// The application close code with which the other end closes, whatever it says before.
    ///
    /// # Panics
    ///
    /// If it does not close, or without a code of its own.
    pub async fn closed(connection: &Connection) -> u64 {
        match within(connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("ended without a code: {other}"),
        }
    }

    /// The next frame of a stream.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn frame(recv: &mut RecvStream) -> Frame {
        let mut frames = FrameAssembler::new(8 << 20);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => return frame,
                Ok(None) => {}
                Err(error) => panic!("not a frame: {error}"),
            }
            match within(recv.read_chunk(64 << 10, true)).await {
                Ok(Some(chunk)) => frames.push(chunk.bytes),
                other => panic!("no frame: {other:?}"),
            }
        }
    }
}

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    match timeout(LIMIT, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("nothing within {LIMIT:?}"),
    }
}
