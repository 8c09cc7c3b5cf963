//! The certificate of a peer after a finished handshake: what it says, and the chain to check
//! again later. It must not decide who may enter.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::check::{PeerRole, read_identity, recheck};
use crate::clock::from_timestamp;
use crate::crypto::sha256;
use crate::refusal::excerpt;
use crate::{CertificateRefusal, NodeIdentity, Serial, Trust};

/// What the certificate of a node says.
///
/// It is read from a chain that TLS has already verified; reading verifies nothing. A clone
/// shares the chain.
#[derive(Clone)]
pub struct PeerCertificate {
    identity: NodeIdentity,
    serial: Serial,
    issuer: Arc<str>,
    not_before: UnixTime,
    not_after: UnixTime,
    valid_until: UnixTime,
    key_hash: [u8; 32],
    chain: Arc<[CertificateDer<'static>]>,
}

impl PeerCertificate {
    /// Reads the chain that a peer presented, its own certificate first.
    ///
    /// # Errors
    ///
    /// [`CertificateRefusal`] if there is no certificate, or it is malformed, or its names are
    /// not those of a node. None of this happens to a chain that [`check`](crate::check()) let
    /// through.
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Result<Self, CertificateRefusal> {
        let der = chain.first().ok_or(CertificateRefusal::NoCertificate)?;
        let certificate = EndEntityCert::try_from(der)?;
        let identity = read_identity(der, &certificate)?;
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|error| CertificateRefusal::BadEncoding {
                detail: error.to_string(),
            })?;
        let validity = parsed.validity();
        let not_after = from_timestamp(validity.not_after.timestamp());
        Ok(Self {
            identity,
            serial: Serial::from_der(certificate.serial()),
            issuer: Arc::from(excerpt(&parsed.issuer().to_string())),
            not_before: from_timestamp(validity.not_before.timestamp()),
            not_after,
            valid_until: chain_end(not_after, chain),
            key_hash: sha256(&certificate.subject_public_key_info()),
            chain: chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
        })
    }

    /// Who the certificate says that the peer is.
    #[must_use]
    pub const fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// The serial number, as a CRL would name it.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The name of the CA that issued it, quoted, escaped and cut to 128 characters.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The first second of validity, since 1970.
    #[must_use]
    pub const fn not_before(&self) -> u64 {
        self.not_before.as_secs()
    }

    /// The last second of validity, since 1970.
    #[must_use]
    pub const fn not_after(&self) -> u64 {
        self.not_after.as_secs()
    }

    /// The last second in which the whole presented chain is valid, since 1970: no later than
    /// [`PeerCertificate::not_after`]. The CA of the trust may end before.
    #[must_use]
    pub const fn valid_until(&self) -> u64 {
        self.valid_until.as_secs()
    }

    /// SHA-256 of the public key (`SubjectPublicKeyInfo`, DER): what a roster pins.
    ///
    /// The same as `openssl x509 -in node.crt -noout -pubkey | openssl pkey -pubin -outform DER |
    /// openssl dgst -sha256`. It survives a renewed certificate with the same key.
    #[must_use]
    pub const fn key_hash(&self) -> [u8; 32] {
        self.key_hash
    }

    /// The chain as the peer presented it.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Checks the chain again; see [`recheck`](crate::recheck()).
    ///
    /// # Errors
    ///
    /// [`CertificateRefusal`], and the link must end.
    pub fn recheck(
        &self,
        role: PeerRole,
        trust: &Trust,
        now: UnixTime,
    ) -> Result<NodeIdentity, CertificateRefusal> {
        recheck(role, &self.chain, trust, now)
    }
}

/// The earliest last second of a chain. What does not parse was refused before.
fn chain_end(not_after: UnixTime, chain: &[CertificateDer<'_>]) -> UnixTime {
    let ends = chain.iter().skip(1).filter_map(|der| {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some(from_timestamp(parsed.validity().not_after.timestamp()))
    });
    ends.fold(not_after, |first, end| {
        if end.as_secs() < first.as_secs() {
            end
        } else {
            first
        }
    })
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("identity", &self.identity.uri())
            .field("serial", &self.serial)
            .field("issuer", &self.issuer)
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}
