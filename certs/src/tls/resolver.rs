//! Our own certificate for a handshake: always the current one.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::CredentialStore;

#[derive(Debug)]
pub(super) struct StoreResolver(Arc<CredentialStore>);

impl StoreResolver {
    pub(super) const fn new(store: Arc<CredentialStore>) -> Self {
        Self(store)
    }
}

impl ResolvesClientCert for StoreResolver {
    /// Ignores the acceptor's hints about CAs: a node has one certificate, and while a CA is
    /// being replaced the hints are wrong.
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for StoreResolver {
    /// Ignores the name that the dialer asks for: a wrong target is answered after TLS, with a
    /// code of its own.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().certified_key())
    }
}
