//! Bare quinn endpoints on a switch, without anything of Quicraft.
//!
//! What this room is for: test the switch with the real quinn and TLS, and be the ceiling that the
//! transport is compared with. It must not know the transport nor issue certificates: the server
//! proves itself with a raw public key (RFC 7250), which needs none. The key is written here, so
//! its handshake has the same length in every run; it protects nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::switch::Switch;

const ALPN: &[u8] = b"bare-quinn";

/// PKCS#8 of an Ed25519 key up to the 32 bytes of the key itself (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// An endpoint at `address` that accepts and dials, with `transport` for both.
///
/// # Panics
///
/// If the address is taken, or the fixed key is refused by rustls.
#[must_use]
pub fn endpoint(
    switch: &Switch,
    address: SocketAddr,
    transport: &Arc<quinn::TransportConfig>,
) -> quinn::Endpoint {
    let mut server = server_config();
    server.transport_config(Arc::clone(transport));
    let mut client = client_config();
    client.transport_config(Arc::clone(transport));
    let mut endpoint = endpoint_on(switch, address, server)
        .unwrap_or_else(|error| panic!("no endpoint at {address}: {error}"));
    endpoint.set_default_client_config(client);
    endpoint
}

fn endpoint_on(
    switch: &Switch,
    address: SocketAddr,
    server: quinn::ServerConfig,
) -> io::Result<quinn::Endpoint> {
    // Connection ids and the greasing of transport parameters come from this seed, so that
    // datagrams have the same lengths in every run. Other randomness of TLS has fixed lengths.
    let mut seed = [0; 32];
    seed[..2].copy_from_slice(&address.port().to_be_bytes());
    if let IpAddr::V4(host) = address.ip() {
        seed[2..6].copy_from_slice(&host.octets());
    }
    let mut config = quinn::EndpointConfig::default();
    config.rng_seed(Some(seed));
    quinn::Endpoint::new_with_abstract_socket(
        config,
        Some(server),
        switch.socket(address),
        switch.runtime(),
    )
}

/// Dials `to` and waits until both ends have the connection: theirs and ours, in this order.
///
/// # Panics
///
/// If the handshake fails or either endpoint is closed.
pub async fn connect(
    from: &quinn::Endpoint,
    to: &quinn::Endpoint,
) -> (quinn::Connection, quinn::Connection) {
    let address = to.local_addr().expect("a switch socket has an address");
    let dialled = async {
        from.connect(address, "bare.test")
            .expect("the endpoint is open")
            .await
            .expect("the handshake succeeds")
    };
    let accepted = async {
        let incoming = to.accept().await.expect("the endpoint is open");
        incoming.await.expect("the handshake succeeds")
    };
    let (dialled, accepted) = tokio::join!(dialled, accepted);
    (accepted, dialled)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn key() -> Arc<CertifiedKey> {
    let mut der = PKCS8_PREFIX.to_vec();
    der.extend([7; 32]);
    let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der))
        .expect("the fixed key is well-formed");
    let public = key.public_key().expect("ring tells the public key");
    let public = CertificateDer::from(public.as_ref().to_vec());
    Arc::new(CertifiedKey::new(vec![public], key))
}

fn server_config() -> quinn::ServerConfig {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key())));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // No session is resumed: tickets would only be datagrams that no test asked for.
    tls.send_tls13_tickets = 0;
    let quic = QuicServerConfig::try_from(tls).expect("ring has the suite of Initial packets");
    quinn::ServerConfig::with_crypto(Arc::new(quic))
}

fn client_config() -> quinn::ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OnlyTheFixedKey(provider())))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let quic = QuicClientConfig::try_from(tls).expect("ring has the suite of Initial packets");
    quinn::ClientConfig::new(Arc::new(quic))
}

/// Accepts the fixed key and no other.
#[derive(Debug)]
struct OnlyTheFixedKey(Arc<CryptoProvider>);

impl ServerCertVerifier for OnlyTheFixedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if key().cert.first() == Some(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("QUIC has no TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
