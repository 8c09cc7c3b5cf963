//! TLS for both ends of a link: one provider, one version, one protocol name, mutual proof, no
//! resumption. It must not know QUIC, sockets or rosters.

mod note;
mod resolver;
mod verifier;

use std::sync::Arc;

use rustls::KeyLog;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::ServerName;
use thiserror::Error;

use crate::crypto::provider;
use crate::identity::dns_name;
use crate::{ClusterName, CredentialStore, NodeId};
pub use note::RefusalNote;
use resolver::StoreResolver;
use verifier::StoreVerifier;

/// The protocol name in the TLS handshake (ALPN). Another version of the wire that cannot speak
/// with this one gets another name.
pub const ALPN: &[u8] = b"quicraft/1";

/// The name that a dialer asks for: `node-<id>.<cluster>`.
///
/// It is sent in the clear (SNI). The answer is not compared with it: which node answered is
/// decided after TLS, from the URI of its certificate.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "cluster names are DNS labels and short enough, which a property test checks"
)]
pub fn server_name(cluster: &ClusterName, node: NodeId) -> ServerName<'static> {
    ServerName::try_from(dns_name(cluster, node)).expect("a cluster name makes a DNS name")
}

/// The TLS configuration of the dialing end.
///
/// Own certificate, trust and clock are read from the store at each handshake, so one
/// configuration serves all peers and survives every rotation.
///
/// # Errors
///
/// [`TlsError`] if the cryptographic provider cannot do TLS 1.3 for QUIC.
pub fn client_config(store: &Arc<CredentialStore>) -> Result<rustls::ClientConfig, TlsError> {
    let config = client_config_noting(store, &RefusalNote::new())?;
    let name = server_name(store.identity().cluster(), store.identity().node());
    rustls::quic::ClientConnection::new(
        Arc::new(config.clone()),
        rustls::quic::Version::V1,
        name,
        Vec::new(),
    )?;
    Ok(config)
}

/// The same for one dial, with a note of why it refuses the certificate of the other end.
///
/// # Errors
///
/// As [`client_config`].
pub fn client_config_noting(
    store: &Arc<CredentialStore>,
    note: &RefusalNote,
) -> Result<rustls::ClientConfig, TlsError> {
    let verifier = StoreVerifier::new(Arc::clone(store), note.clone());
    let builder =
        rustls::ClientConfig::builder_with_details(Arc::clone(provider()), store.time_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(StoreResolver::new(Arc::clone(store))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session skips the check of the certificate, on either end.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Features of rustls that another library turns on must not change what a peer can send.
    config.cert_compressors = Vec::new();
    config.cert_decompressors = Vec::new();
    config.enable_sni = true;
    config.key_log = key_log();
    Ok(config)
}

/// The TLS configuration of the accepting end. A dialer without a certificate is refused.
///
/// Own certificate, trust and clock are read from the store at each handshake.
///
/// # Errors
///
/// [`TlsError`] if the cryptographic provider cannot do TLS 1.3 for QUIC. It is found here,
/// because QUIC libraries find it with a panic when the first peer connects.
pub fn server_config(store: &Arc<CredentialStore>) -> Result<rustls::ServerConfig, TlsError> {
    let config = server_config_noting(store, &RefusalNote::new())?;
    rustls::quic::ServerConnection::new(
        Arc::new(config.clone()),
        rustls::quic::Version::V1,
        Vec::new(),
    )?;
    Ok(config)
}

/// The same for one connection that comes in, with a note of why it refuses the certificate of the
/// dialer.
///
/// # Errors
///
/// As [`server_config`], after which it cannot fail.
pub fn server_config_noting(
    store: &Arc<CredentialStore>,
    note: &RefusalNote,
) -> Result<rustls::ServerConfig, TlsError> {
    let verifier = StoreVerifier::new(Arc::clone(store), note.clone());
    let builder =
        rustls::ServerConfig::builder_with_details(Arc::clone(provider()), store.time_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = builder
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(StoreResolver::new(Arc::clone(store))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session skips the check of the certificate, so there is nothing to resume.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    // Features of rustls that another library turns on must not change what a peer can send.
    config.cert_compressors = Vec::new();
    config.cert_decompressors = Vec::new();
    config.key_log = key_log();
    Ok(config)
}

/// Nothing is logged: whoever has the secrets of a handshake reads all that follows.
#[cfg(not(feature = "dangerous-key-log"))]
fn key_log() -> Arc<dyn KeyLog> {
    Arc::new(rustls::NoKeyLog)
}

/// The file that the environment variable SSLKEYLOGFILE names, if it is set.
#[cfg(feature = "dangerous-key-log")]
fn key_log() -> Arc<dyn KeyLog> {
    tracing::warn!(
        target: "quicraft::link",
        "built with dangerous-key-log: who reads the file that SSLKEYLOGFILE names can read all traffic"
    );
    Arc::new(rustls::KeyLogFile::new())
}

/// Why a TLS configuration cannot be made.
#[derive(Debug, Error)]
#[error("TLS cannot be set up")]
#[non_exhaustive]
pub struct TlsError(#[from] rustls::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_is_a_server_name() {
        let label = "a".repeat(59);
        let cluster = ClusterName::new(&format!("{label}.{label}.{label}")).unwrap();
        let name = server_name(&cluster, NodeId::new(u64::MAX).unwrap());
        assert_eq!(
            name.to_str(),
            format!("node-18446744073709551615.{cluster}").as_str()
        );
    }
}
