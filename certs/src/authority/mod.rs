//! Issuing: a certificate authority for one cluster, the certificates of its nodes, and its CRLs.
//! It must not know how certificates are checked, and only this folder names rcgen.

mod error;
mod issue;
mod node;
mod pem;

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
    RevokedCertParams, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use crate::clock::after;
use crate::{ClusterName, NodeId, Serial, WallClock};
use pem::pem_of;

pub use error::AuthorityError;
pub use issue::IssueOptions;
pub use node::{IssuedNode, WriteError};

/// How long an authority is valid: 5 years. A cluster usually outlives its machines, and trusted
/// CAs can be replaced without a restart.
const AUTHORITY_LIFE: Duration = Duration::from_secs(1825 * 24 * 60 * 60);

/// How far before now a certificate begins: the clocks of two nodes may differ by this.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// How long a CRL is current: a week.
const CRL_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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
    clock: WallClock,
}

impl Authority {
    /// Makes a new authority with a new P-256 key, valid for 5 years.
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
        let key = KeyPair::generate()?;
        // Path length 1: one intermediate, whose own path length is then 0.
        let params = authority_params(&cluster, 1, clock.now())?;
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            key_pem: Zeroizing::new(key.serialize_pem()),
            issuer: Issuer::new(params, key),
            chain_pem: String::new(),
            root_pem,
            cluster,
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
        let key = KeyPair::generate()?;
        let params = authority_params(&self.cluster, 0, self.clock.now())?;
        let chain_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Self {
            key_pem: Zeroizing::new(key.serialize_pem()),
            issuer: Issuer::new(params, key),
            chain_pem,
            root_pem: self.root_pem.clone(),
            cluster: self.cluster.clone(),
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
        let cluster = read_cluster(own, &key)?;
        let chain_pem = if chain.len() > 1 {
            pem_of(own)
        } else {
            String::new()
        };
        let root_pem = pem_of(root);
        let key_pem = Zeroizing::new(key.serialize_pem());
        Ok(Self {
            cluster,
            issuer: Issuer::from_ca_cert_der(own, key)?,
            chain_pem,
            root_pem,
            key_pem,
            clock: WallClock::system(),
        })
    }

    /// The cluster whose nodes this authority certifies.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.cluster
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

    /// Makes a CRL that revokes certificates of this authority, current for a week.
    ///
    /// It names only what is passed here: pass every serial number that is still to be refused,
    /// not only the new ones. Intermediates are revoked by the authority above them.
    ///
    /// # Errors
    ///
    /// As [`Authority::crl_with`].
    pub fn crl(&self, revoked: &[Serial]) -> Result<String, AuthorityError> {
        let now = self.clock.now();
        self.crl_with(revoked, now, after(now, CRL_LIFE))
    }

    /// Makes a CRL with its dates. Its number is `this_update` in seconds, so later ones count
    /// higher.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Dates`] if the dates are in the wrong order or outside the years 0 to
    /// 9999, and [`AuthorityError::Crypto`] if the cryptographic provider fails.
    pub fn crl_with(
        &self,
        revoked: &[Serial],
        this_update: UnixTime,
        next_update: UnixTime,
    ) -> Result<String, AuthorityError> {
        if next_update <= this_update {
            return Err(AuthorityError::Dates {
                first: this_update.as_secs(),
                last: next_update.as_secs(),
            });
        }
        let issued = date(this_update)?;
        let list = CertificateRevocationListParams {
            this_update: issued,
            next_update: date(next_update)?,
            crl_number: SerialNumber::from_slice(&this_update.as_secs().to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial.as_bytes()),
                    revocation_time: issued,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("cluster", &self.cluster.as_str())
            .field("key", &"[elided]")
            .finish_non_exhaustive()
    }
}

fn authority_params(
    cluster: &ClusterName,
    path_length: u8,
    now: UnixTime,
) -> Result<CertificateParams, AuthorityError> {
    /// The longest organization and common name of X.509, in characters.
    const NAME_LIMIT: usize = 64;

    let serial = random_serial();
    let mut name = DistinguishedName::new();
    let cut: String = cluster.as_str().chars().take(NAME_LIMIT).collect();
    name.push(DnType::OrganizationName, cut);
    // A part of the serial number makes the name the only one of its kind.
    let mark = Serial::from_der(&serial[..8]);
    name.push(DnType::CommonName, format!("Quicraft CA {mark}"));

    // Every field that matters is set: rcgen's own dates run from 1975 to 4096.
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(before(now, CLOCK_SKEW))?;
    params.not_after = date(after(now, AUTHORITY_LIFE))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(cluster.as_str().to_owned())],
        excluded_subtrees: Vec::new(),
    });
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Reads the cluster of an authority from its name constraint, and refuses a key that is not
/// its own: rcgen would sign with any key, and nobody would accept the result.
fn read_cluster(der: &CertificateDer<'_>, key: &KeyPair) -> Result<ClusterName, AuthorityError> {
    let malformed = |detail: String| AuthorityError::BadCertificate { detail };
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err(AuthorityError::KeyMismatch);
    }
    if !certificate.is_ca() {
        return Err(malformed("it is not that of an authority".to_owned()));
    }
    let constraints = certificate
        .name_constraints()
        .map_err(|error| malformed(error.to_string()))?;
    let mut names = constraints
        .iter()
        .flat_map(|constraints| constraints.value.permitted_subtrees.iter().flatten())
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        });
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(ClusterName::new(name)?),
        _ => Err(malformed(
            "it has no name constraint that names its one cluster".to_owned(),
        )),
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
