//! The peer's certificate in a handshake, for both ends.
//!
//! A certificate is checked before its owner has proven that it holds the key, and certificates
//! are public. So nothing here changes what we know about a node.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::note::RefusalNote;
use crate::crypto::provider;
use crate::{CertificateRefusal, CredentialStore, PeerRole, check};

#[derive(Debug)]
pub(super) struct StoreVerifier {
    store: Arc<CredentialStore>,
    note: RefusalNote,
}

impl StoreVerifier {
    pub(super) const fn new(store: Arc<CredentialStore>, note: RefusalNote) -> Self {
        Self { store, note }
    }

    fn verify(
        &self,
        role: PeerRole,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let credentials = self.store.current();
        match check(role, end_entity, intermediates, credentials.trust(), now) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.refuse(role, refusal)),
        }
    }

    /// The signature of the handshake. Its errors name algorithms; the peer gets none of that.
    fn verify_signature(
        &self,
        role: PeerRole,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
            .map_err(|_| self.refuse(role, CertificateRefusal::BadSignature))
    }

    fn refuse(&self, role: PeerRole, refusal: CertificateRefusal) -> Error {
        self.note.write(&refusal);
        self.store.tell(role, &refusal);
        refusal.into()
    }
}

/// TLS 1.2 is not offered, so this is never asked.
const fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
}

fn schemes() -> Vec<SignatureScheme> {
    provider()
        .signature_verification_algorithms
        .supported_schemes()
}

impl ServerCertVerifier for StoreVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(PeerRole::Acceptor, end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(PeerRole::Acceptor, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for StoreVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None: the names of our CAs would go to whoever connects.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(PeerRole::Dialer, end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(PeerRole::Dialer, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
