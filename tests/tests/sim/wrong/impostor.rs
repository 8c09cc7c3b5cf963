//! A QUIC end that shows what it is given, believes whatever it is shown, and dials and accepts. It
//! must not know what is wrong with it.

use std::net::SocketAddr;
use std::sync::Arc;

use quicraft_tests::sim::{LIMIT, RawHello, confirm};
use quicraft_tests::switch::Switch;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tokio::time::timeout;

use super::forge::Shown;

/// How an end is set up, if not as it should be.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    /// What it shows; nothing at all if there is nothing.
    pub(super) shown: Option<Shown>,
    /// Whether it asks a dialer for a certificate.
    pub(super) asks: bool,
    /// What it has against every certificate; nothing if there is nothing.
    pub(super) refuses: Option<CertificateError>,
    /// Its protocol names.
    pub(super) alpn: Vec<Vec<u8>>,
}

impl Manners {
    pub(super) fn showing(shown: Shown) -> Self {
        Self {
            shown: Some(shown),
            asks: true,
            refuses: None,
            alpn: vec![quicraft_certs::ALPN.to_vec()],
        }
    }
}

#[derive(Debug)]
pub(super) struct Impostor {
    endpoint: quinn::Endpoint,
}

/// How the other end refused, as the refused end sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Inside TLS: the alert, and the text beside it.
    Alert(u8, String),
    /// After it: the close code, and the text beside it.
    Code(u64, String),
}

impl Refused {
    pub(super) fn by(error: &ConnectionError) -> Self {
        let text = |reason: &[u8]| String::from_utf8(reason.to_vec()).expect("a text");
        match error {
            ConnectionError::ConnectionClosed(close) => {
                let code = u64::from(close.error_code);
                assert!((0x100..0x200).contains(&code), "no alert: {error}");
                Self::Alert((code & 0xff) as u8, text(&close.reason))
            }
            ConnectionError::ApplicationClosed(close) => {
                Self::Code(close.error_code.into_inner(), text(&close.reason))
            }
            other => panic!("not refused: {other}"),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Alert(_, text) | Self::Code(_, text) => text,
        }
    }
}

impl Impostor {
    pub(super) fn new(switch: &Switch, address: SocketAddr, manners: &Manners) -> Self {
        let shown = Arc::new(Shows(manners.shown.as_ref().map(|shown| {
            Arc::new(CertifiedKey::new(
                shown.chain.clone(),
                Arc::clone(&shown.key),
            ))
        })));
        let mut endpoint = quinn::Endpoint::new_with_abstract_socket(
            quinn::EndpointConfig::default(),
            Some(server_config(&shown, manners)),
            switch.socket(address),
            switch.runtime(),
        )
        .expect("an endpoint");
        endpoint.set_default_client_config(client_config(&shown, manners));
        Self { endpoint }
    }

    /// A connection of ours; TLS may yet refuse it.
    pub(super) async fn dial(&self, to: SocketAddr) -> Result<Connection, ConnectionError> {
        let connecting = self.endpoint.connect(to, "node-1.sim.example");
        within(connecting.expect("an open endpoint")).await
    }

    /// The next connection of the other end.
    pub(super) async fn accept(&self) -> Result<Connection, ConnectionError> {
        let incoming = within(self.endpoint.accept()).await;
        within(incoming.expect("an open endpoint").into_future()).await
    }

    /// Waits until every connection has ended, and what was said at its end is sent.
    pub(super) async fn idle(&self) {
        self.endpoint.wait_idle().await;
    }

    /// Waits for the next attempt of the other end, for ever, and leaves it without an answer.
    pub(super) async fn next(&self) {
        let incoming = self.endpoint.accept().await;
        incoming.expect("an open endpoint").ignore();
    }

    /// The next attempt of the other end, before anything is answered.
    pub(super) async fn incoming(&self) -> quinn::Incoming {
        within(self.endpoint.accept())
            .await
            .expect("an open endpoint")
    }
}

/// Sends on a first stream of ours. It may be refused while it speaks.
pub(super) async fn greet(connection: &Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = within(connection.open_bi()).await.expect("a stream");
    drop(send.write_all(bytes).await);
    (send, recv)
}

/// The same, and how the connection ended, before or after.
pub(super) async fn say(connection: &Connection, bytes: &[u8]) -> ConnectionError {
    let kept = match within(connection.open_bi()).await {
        Ok((mut send, recv)) => {
            drop(send.write_all(bytes).await);
            Some((send, recv))
        }
        Err(_) => None,
    };
    let error = within(connection.closed()).await;
    drop(kept);
    error
}

/// Sends a good hello, reads the welcome and confirms: the streams are those of Control then.
pub(super) async fn enter(connection: &Connection, hello: &RawHello) -> (SendStream, RecvStream) {
    let (mut send, mut recv) = greet(connection, &hello.encode()).await;
    welcome(&mut recv).await;
    let confirmed = confirm(hello.generation);
    send.write_all(&confirmed).await.expect("sent");
    (send, recv)
}

/// Reads a welcome.
pub(super) async fn welcome(recv: &mut RecvStream) {
    let welcome = message(recv).await;
    assert_eq!(welcome[..6], *b"QCFT\x02\0", "a welcome");
}

async fn message(recv: &mut RecvStream) -> Vec<u8> {
    let mut message = vec![0; 8];
    within(recv.read_exact(&mut message))
        .await
        .expect("a prefix");
    let length = usize::from(u16::from_be_bytes([message[6], message[7]]));
    message.resize(8 + length, 0);
    let fields = within(recv.read_exact(&mut message[8..])).await;
    fields.expect("a whole message");
    message
}

/// Takes the other end's first stream, reads its hello, and returns the generation of it.
pub(super) async fn hear(
    connection: &Connection,
) -> Result<(SendStream, RecvStream, u64), ConnectionError> {
    let (send, mut recv) = within(connection.accept_bi()).await?;
    let hello = message(&mut recv).await;
    // Behind the prefix, the versions, two ids, the uid, the boot and the epoch (PROTOCOL.md, H1).
    let generation = hello[8 + 4 + 8 + 16 + 8 + 16 + 8..][..8].try_into();
    Ok((send, recv, u64::from_be_bytes(generation.expect("8 bytes"))))
}

pub(super) async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(LIMIT, waiting).await.expect("within the limit")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_config(shown: &Arc<Shows>, manners: &Manners) -> quinn::ServerConfig {
    let builder = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3");
    let builder = if manners.asks {
        builder.with_client_cert_verifier(Arc::new(Believes::new(manners)))
    } else {
        builder.with_no_client_auth()
    };
    let mut tls = builder.with_cert_resolver(Arc::<Shows>::clone(shown));
    tls.alpn_protocols = manners.alpn.clone();
    let quic = QuicServerConfig::try_from(tls).expect("ring has the suite of Initial packets");
    quinn::ServerConfig::with_crypto(Arc::new(quic))
}

fn client_config(shown: &Arc<Shows>, manners: &Manners) -> quinn::ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believes::new(manners)))
        .with_client_cert_resolver(Arc::<Shows>::clone(shown));
    tls.alpn_protocols = manners.alpn.clone();
    let quic = QuicClientConfig::try_from(tls).expect("ring has the suite of Initial packets");
    quinn::ClientConfig::new(Arc::new(quic))
}

/// Shows one certificate to everybody.
#[derive(Debug)]
struct Shows(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

/// Believes every certificate and every signature, or has the same against all.
#[derive(Debug)]
struct Believes(Arc<CryptoProvider>, Option<CertificateError>);

impl Believes {
    fn new(manners: &Manners) -> Self {
        Self(provider(), manners.refuses.clone())
    }

    fn verdict(&self) -> Result<(), Error> {
        match &self.1 {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }
}

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verdict().map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Believes {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verdict().map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
