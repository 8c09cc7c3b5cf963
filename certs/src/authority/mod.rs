//! Issuing: a certificate authority for one cluster, the certificates of its nodes, and its CRLs.
//! It must not know how certificates are checked, and only this folder names rcgen.

mod crl;
mod error;
mod issue;
mod node;
mod own;
mod request;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::check::read_identity;
use crate::files;
use crate::pem::pem_text;
use crate::{CertificateRefusal, ClusterName, NodeId, NodeIdentity, Serial, WallClock};
use own::{Life, authority_params, expect_above, read_own};

pub use crl::{CrlOptions, Revocation};
pub use error::AuthorityError;
pub use issue::IssueOptions;
pub use node::{IssuedNode, NodeCertificate};
pub use request::{CertificateRequest, NodeRequest};

/// How far before now a certificate begins: the clocks of two nodes may differ by this.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A certificate authority for the nodes of one cluster.
///
/// Its key decides who is a member of the cluster's trust, so it belongs on no node. Its
/// certificate may sign certificates and CRLs, has a path length of 1, and is constrained to DNS
/// names of the cluster. URIs are not covered by such a constraint, so use one authority per
/// cluster.
///
/// Every authority has a name of its own, also among those of one cluster: CRLs are found by the
/// name of their CA, and while an old authority is replaced by a new one both are trusted.
///
/// ```
/// use quicraft_certs::{Authority, ClusterName, NodeId};
///
/// let authority = Authority::new(ClusterName::new("prod.example")?)?;
/// let node = authority.issue(NodeId::new(1)?)?;
/// let credentials = node.credentials(&authority)?;
/// assert_eq!(credentials.identity().uri(), "spiffe://prod.example/node/1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Authority {
    cluster: ClusterName,
    issuer: Issuer<'static, KeyPair>,
    /// The own certificate, and after it the authorities above it, without the trusted one.
    chain_pem: String,
    /// The certificate that nodes trust.
    root_pem: String,
    key_pem: Zeroizing<String>,
    not_before: UnixTime,
    not_after: UnixTime,
    clock: WallClock,
}

/// What is different about an authority.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AuthorityOptions {
    /// The last second of validity. Default: 10 years from now.
    pub not_after: Option<UnixTime>,
    /// The clock of its certificates. Default: that of the system.
    pub clock: WallClock,
}

impl Authority {
    /// Makes a new authority with a new P-256 key, valid for 10 years.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Crypto`] if the cryptographic provider fails.
    pub fn new(cluster: ClusterName) -> Result<Self, AuthorityError> {
        Self::with_clock(cluster, WallClock::system())
    }

    /// Makes a new authority by a clock of your own: for tests and for simulated time.
    ///
    /// # Errors
    ///
    /// As [`Authority::new`].
    pub fn with_clock(cluster: ClusterName, clock: WallClock) -> Result<Self, AuthorityError> {
        let options = AuthorityOptions {
            clock,
            ..AuthorityOptions::default()
        };
        Self::with_options(cluster, options)
    }

    /// Makes a new authority with options.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Dates`] or [`AuthorityError::Date`] if its last date is not possible, and
    /// [`AuthorityError::Crypto`].
    pub fn with_options(
        cluster: ClusterName,
        options: AuthorityOptions,
    ) -> Result<Self, AuthorityError> {
        let AuthorityOptions { not_after, clock } = options;
        let life = Life::starting(clock.now(), not_after)?;
        let key = KeyPair::generate()?;
        // Path length 1: one intermediate, whose own path length is then 0.
        let params = authority_params(&cluster, 1, life)?;
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            key_pem: Zeroizing::new(key.serialize_pem()),
            issuer: Issuer::new(params, key),
            chain_pem: String::new(),
            root_pem,
            cluster,
            not_before: life.first,
            not_after: life.last,
            clock,
        })
    }

    /// Makes an intermediate authority below this one, so that this one's key can be locked away.
    ///
    /// Nodes still trust this authority's certificate; those issued by the intermediate carry its
    /// certificate along. Both need a CRL if any is used.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Crypto`] if the cryptographic provider fails, and
    /// [`AuthorityError::TooDeep`] below an intermediate.
    pub fn intermediate(&self) -> Result<Self, AuthorityError> {
        if !self.chain_pem.is_empty() {
            return Err(AuthorityError::TooDeep);
        }
        let life = Life::starting(self.clock.now(), None)?;
        let key = KeyPair::generate()?;
        let params = authority_params(&self.cluster, 0, life)?;
        let chain_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Self {
            key_pem: Zeroizing::new(key.serialize_pem()),
            issuer: Issuer::new(params, key),
            chain_pem,
            root_pem: self.root_pem.clone(),
            cluster: self.cluster.clone(),
            not_before: life.first,
            not_after: life.last,
            clock: self.clock.clone(),
        })
    }

    /// Takes an authority that was made before, from [`Authority::certificate_pem`] and
    /// [`Authority::key_pem`].
    ///
    /// For an intermediate, `certificate` also holds the certificate of the authority above it,
    /// last.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] if the texts are no PEM, the key is not that of the first certificate,
    /// or the certificate is not that of an authority of exactly one cluster.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| AuthorityError::BadCertificate {
                detail: error.to_string(),
            })?;
        let (Some(own), Some(root)) = (chain.first(), chain.last()) else {
            return Err(AuthorityError::BadCertificate {
                detail: "there is no PEM certificate in it".to_owned(),
            });
        };
        if chain.len() > 2 {
            return Err(AuthorityError::TooDeep);
        }
        let key = KeyPair::from_pem(key).map_err(|error| AuthorityError::BadKey {
            detail: error.to_string(),
        })?;
        let (cluster, life) = read_own(own, &key)?;
        if chain.len() > 1 {
            expect_above(own, root)?;
        }
        let chain_pem = if chain.len() > 1 {
            pem_text("CERTIFICATE", own)
        } else {
            String::new()
        };
        let root_pem = pem_text("CERTIFICATE", root);
        let key_pem = Zeroizing::new(key.serialize_pem());
        Ok(Self {
            cluster,
            issuer: Issuer::from_ca_cert_der(own, key)?,
            chain_pem,
            root_pem,
            key_pem,
            not_before: life.first,
            not_after: life.last,
            clock: WallClock::system(),
        })
    }

    /// Reads an authority from its files, as [`Authority::from_pem`] does from their texts.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::File`] if a file cannot be read, or others can read the key; and those of
    /// [`Authority::from_pem`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, AuthorityError> {
        let certificate = files::read_certificates(certificate)?;
        let key = files::read_private_key(key)?;
        let text = |bytes| str::from_utf8(bytes).map_err(|error| error.to_string());
        let certificate =
            text(&certificate).map_err(|detail| AuthorityError::BadCertificate { detail })?;
        let key = text(&key).map_err(|detail| AuthorityError::BadKey { detail })?;
        Self::from_pem(certificate, key)
    }

    /// The cluster whose nodes this authority certifies.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The first second of validity of its own certificate, since 1970.
    #[must_use]
    pub const fn not_before(&self) -> u64 {
        self.not_before.as_secs()
    }

    /// The last second of validity of its own certificate, since 1970. What it has issued ends
    /// then too, whatever its dates say.
    #[must_use]
    pub const fn not_after(&self) -> u64 {
        self.not_after.as_secs()
    }

    /// The time by which it issues.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The certificate, in PEM; for an intermediate, also that of the authority above it.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        format!("{}{}", self.chain_pem, self.root_pem)
    }

    /// The certificate that nodes trust, in PEM: what belongs into their CA bundle.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The private key, in PEM (PKCS#8). Whoever has it can make nodes of this cluster.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Certifies a node: a new P-256 key, valid from 5 minutes ago for 90 days.
    ///
    /// # Errors
    ///
    /// As [`Authority::issue_with`].
    pub fn issue(&self, node: NodeId) -> Result<IssuedNode, AuthorityError> {
        self.issue_with(node, &IssueOptions::default())
    }

    /// Certifies a node with options.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] if a date or a name of the options cannot be certified, or the
    /// cryptographic provider fails.
    pub fn issue_with(
        &self,
        node: NodeId,
        options: &IssueOptions,
    ) -> Result<IssuedNode, AuthorityError> {
        issue::issue(self, node, options)
    }

    /// Certifies the key of a request for a node. Nothing but the key is taken from the request.
    ///
    /// # Errors
    ///
    /// As [`Authority::issue_with`].
    pub fn sign(
        &self,
        node: NodeId,
        request: &CertificateRequest,
        options: &IssueOptions,
    ) -> Result<NodeCertificate, AuthorityError> {
        issue::certify(self, node, options, &request.key)
    }

    /// Certifies the key of a certificate of this authority again: the same node, the same key,
    /// new dates, and the names that `options` give.
    ///
    /// The dates and the revocation of the old certificate are not looked at.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::NotIssuedHere`] if this authority has not issued the certificate, and
    /// those of [`Authority::issue_with`].
    pub fn reissue(
        &self,
        certificate: &CertificateDer<'_>,
        options: &IssueOptions,
    ) -> Result<NodeCertificate, AuthorityError> {
        let (node, key) = self.read_issued(certificate)?;
        issue::certify(self, node.node(), options, &request::read_key(&key)?)
    }

    /// Whom a certificate names that this authority has issued. Its dates and its revocation are
    /// not looked at.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::NotIssuedHere`] if this authority has not signed it, and
    /// [`AuthorityError::NotANode`] if it is not that of a node.
    pub fn issued(&self, certificate: &CertificateDer<'_>) -> Result<NodeIdentity, AuthorityError> {
        Ok(self.read_issued(certificate)?.0)
    }

    /// The identity and the public key of a certificate that this authority has signed.
    fn read_issued(
        &self,
        der: &CertificateDer<'_>,
    ) -> Result<(NodeIdentity, Vec<u8>), AuthorityError> {
        let own = self.issuer.key().subject_public_key_info();
        let (_, own) = SubjectPublicKeyInfo::from_der(&own).map_err(|error| {
            CertificateRefusal::BadEncoding {
                detail: error.to_string(),
            }
        })?;
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| CertificateRefusal::BadEncoding {
                detail: error.to_string(),
            })?;
        certificate
            .verify_signature(Some(&own))
            .map_err(|_| AuthorityError::NotIssuedHere)?;
        let parsed = EndEntityCert::try_from(der).map_err(CertificateRefusal::from)?;
        let identity = read_identity(der, &parsed)?;
        if identity.cluster() != &self.cluster {
            let found = identity.cluster().clone();
            return Err(CertificateRefusal::WrongCluster { found }.into());
        }
        Ok((identity, certificate.public_key().raw.to_vec()))
    }

    /// Makes a CRL that revokes certificates of this authority, current for a week.
    ///
    /// It names only what is passed here: pass every serial number that is still to be refused,
    /// not only the new ones. Intermediates are revoked by the authority above them.
    ///
    /// # Errors
    ///
    /// As [`Authority::crl_with`].
    pub fn crl(&self, revoked: &[Serial]) -> Result<String, AuthorityError> {
        self.crl_of(
            &revoked_at(revoked, self.clock.now()),
            &CrlOptions::default(),
        )
    }

    /// Makes a CRL with its dates. Its number is `this_update` in seconds, so later ones count
    /// higher.
    ///
    /// # Errors
    ///
    /// As [`Authority::crl_of`].
    pub fn crl_with(
        &self,
        revoked: &[Serial],
        this_update: UnixTime,
        next_update: UnixTime,
    ) -> Result<String, AuthorityError> {
        let options = CrlOptions {
            number: None,
            this_update: Some(this_update),
            next_update: Some(next_update),
        };
        self.crl_of(&revoked_at(revoked, this_update), &options)
    }

    /// Makes a CRL of certificates that were revoked at different times, with options.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Dates`] if the dates are in the wrong order,
    /// [`AuthorityError::Date`] if one is outside the years 0 to 9999, and
    /// [`AuthorityError::Crypto`] if the cryptographic provider fails.
    pub fn crl_of(
        &self,
        revoked: &[Revocation],
        options: &CrlOptions,
    ) -> Result<String, AuthorityError> {
        crl::issue(self, revoked, options)
    }
}

fn revoked_at(serials: &[Serial], time: UnixTime) -> Vec<Revocation> {
    serials
        .iter()
        .map(|serial| Revocation::new(serial.clone(), time))
        .collect()
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("cluster", &self.cluster.as_str())
            .field("key", &"[elided]")
            .finish_non_exhaustive()
    }
}

/// 128 bits for a serial number: positive, not 0, always of the same length, and 126 of the bits
/// random, so that nobody can guess the next one.
fn random_serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::random();
    serial[0] = (serial[0] & 0x3f) | 0x40;
    serial
}

fn date(time: UnixTime) -> Result<OffsetDateTime, AuthorityError> {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(AuthorityError::Date {
            seconds: time.as_secs(),
        })
}

fn before(time: UnixTime, by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        time.as_secs().saturating_sub(by.as_secs()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_positive_and_differ() {
        let first = random_serial();
        assert_eq!(first[0] & 0xc0, 0x40);
        assert_ne!(first, random_serial());
    }
}
