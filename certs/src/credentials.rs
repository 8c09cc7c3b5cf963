//! Our own credentials: certificate, key and trust, judged as a peer would judge them. It must
//! not know which handshakes use them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use zeroize::Zeroize;

use crate::check::{PeerRole, check};
use crate::crypto::signing_key;
use crate::files::{CredentialFiles, read};
use crate::trust::{InvalidTrust, Trust, TrustLimits};
use crate::{
    CertificateRefusal, ClusterName, CredentialError, NodeId, NodeIdentity, PeerCertificate,
    WallClock,
};

/// How credentials are judged when they are loaded.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CredentialSettings {
    /// The limits of a chain, our own and those of peers. Default: one intermediate, and a day of
    /// grace for CRLs.
    pub limits: TrustLimits,
    /// The cluster that the certificate must belong to. Default: whichever it names.
    pub expected_cluster: Option<ClusterName>,
    /// The node that the certificate must belong to. Default: whichever it names.
    pub expected_node: Option<NodeId>,
    /// The clock that dates are compared with. Default: that of the system.
    pub clock: WallClock,
}

/// Credentials as PEM text in memory.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct CredentialPem<'a> {
    /// The trusted CAs, one or more.
    pub ca: &'a [u8],
    /// The certificate of the node, and after it its intermediates.
    pub cert: &'a [u8],
    /// The private key. The caller wipes it; our own copies are wiped here.
    pub key: &'a [u8],
    /// The CRLs; empty means that nothing is checked for revocation.
    pub crl: &'a [u8],
}

impl<'a> CredentialPem<'a> {
    /// The three texts that are needed, without CRLs.
    #[must_use]
    pub const fn new(ca: &'a [u8], cert: &'a [u8], key: &'a [u8]) -> Self {
        Self {
            ca,
            cert,
            key,
            crl: &[],
        }
    }

    /// Adds CRLs.
    #[must_use]
    pub const fn with_crl(mut self, crl: &'a [u8]) -> Self {
        self.crl = crl;
        self
    }
}

impl fmt::Debug for CredentialPem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialPem").finish_non_exhaustive()
    }
}

/// The credentials of a node: what it shows to peers, and whom it believes.
///
/// A value of this type was valid when it was made: the key belongs to the certificate, and a
/// peer with the same trust would have accepted the certificate in both roles. So a mistake is
/// found where the files are read, not at the first handshake.
///
/// `Debug` shows no key.
pub struct Credentials {
    certificate: PeerCertificate,
    key: Arc<CertifiedKey>,
    trust: Arc<Trust>,
    clock: WallClock,
    /// The path of the certificate, for errors.
    origin: String,
}

/// The names of the four texts, for errors.
struct Origins {
    ca: String,
    cert: String,
    key: String,
    crl: String,
}

impl Credentials {
    /// Reads and checks the credentials in files.
    ///
    /// It reads files and verifies signatures, so it blocks for some milliseconds.
    ///
    /// A CRL that is stale beyond its grace is refused here too: with it this node would let
    /// nobody in. Within the grace it is taken, and [`Trust::crl_staleness`] tells.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] names the file, what is wrong with it, and what to do.
    pub fn load(
        files: &CredentialFiles,
        settings: &CredentialSettings,
    ) -> Result<Self, CredentialError> {
        let bytes = read(files)?;
        let name = |path: &Path| path.display().to_string();
        let origins = Origins {
            ca: name(&files.ca),
            cert: name(&files.cert),
            key: name(&files.key),
            crl: files.crl.as_deref().map(name).unwrap_or_default(),
        };
        // In memory an empty text means "no CRL". A file that was named and is empty is a mistake.
        if files.crl.is_some() && bytes.crl.is_empty() {
            return Err(CredentialError::Trust {
                file: origins.crl,
                problem: InvalidTrust::NoCrl,
            });
        }
        let pem = CredentialPem::new(&bytes.ca, &bytes.cert, &bytes.key).with_crl(&bytes.crl);
        Self::build(&pem, settings, &origins)
    }

    /// Checks the credentials in memory.
    ///
    /// # Errors
    ///
    /// [`CredentialError`]; where a path would stand, it says which text is meant.
    pub fn from_pem(
        pem: &CredentialPem<'_>,
        settings: &CredentialSettings,
    ) -> Result<Self, CredentialError> {
        let origins = Origins {
            ca: "the CA bundle (in memory)".to_owned(),
            cert: "the certificate (in memory)".to_owned(),
            key: "the key (in memory)".to_owned(),
            crl: "the CRL (in memory)".to_owned(),
        };
        Self::build(pem, settings, &origins)
    }

    fn build(
        pem: &CredentialPem<'_>,
        settings: &CredentialSettings,
        origins: &Origins,
    ) -> Result<Self, CredentialError> {
        let chain = read_chain(pem.cert, &origins.cert)?;
        let refused = |role, refusal| CredentialError::Refused {
            file: origins.cert.clone(),
            role,
            refusal,
        };
        let certificate = PeerCertificate::from_chain(&chain)
            .map_err(|refusal| refused(PeerRole::Acceptor, refusal))?;
        expect_identity(certificate.identity(), settings, origins)?;
        let key = CertifiedKey::new(chain, read_key(pem.key, &origins.key)?);
        // A key whose public half is not known counts as foreign: nothing could vouch for it.
        key.keys_match().map_err(|_| CredentialError::KeyMismatch {
            key: origins.key.clone(),
            certificate: origins.cert.clone(),
        })?;
        let cluster = certificate.identity().cluster().clone();
        let trust =
            Trust::from_pem(cluster, pem.ca, pem.crl, settings.limits).map_err(|problem| {
                CredentialError::Trust {
                    file: match problem {
                        InvalidTrust::NoCrl | InvalidTrust::Crl { .. } => origins.crl.clone(),
                        _ => origins.ca.clone(),
                    },
                    problem,
                }
            })?;
        let credentials = Self {
            certificate,
            key: Arc::new(key),
            trust: Arc::new(trust),
            clock: settings.clock.clone(),
            origin: origins.cert.clone(),
        };
        credentials.verify(settings.clock.now())?;
        Ok(credentials)
    }

    /// Judges the own certificate as a peer with the same trust would, in both roles.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Refused`] with the role and the reason.
    pub fn verify(&self, now: UnixTime) -> Result<(), CredentialError> {
        for role in [PeerRole::Acceptor, PeerRole::Dialer] {
            self.verify_as(role, now)
                .map_err(|refusal| CredentialError::Refused {
                    file: self.origin.clone(),
                    role,
                    refusal,
                })?;
        }
        Ok(())
    }

    fn verify_as(&self, role: PeerRole, now: UnixTime) -> Result<(), CertificateRefusal> {
        let (end_entity, intermediates) = self
            .chain()
            .split_first()
            .ok_or(CertificateRefusal::NoCertificate)?;
        check(role, end_entity, intermediates, &self.trust, now)?;
        Ok(())
    }

    /// Who we are.
    #[must_use]
    pub const fn identity(&self) -> &NodeIdentity {
        self.certificate.identity()
    }

    /// What our certificate says: its dates, serial number and key hash.
    #[must_use]
    pub const fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    /// The chain that peers get, our own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        self.certificate.chain()
    }

    /// Whom we believe.
    #[must_use]
    pub const fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The last second at which our certificate is valid, since 1970.
    #[must_use]
    pub const fn not_after(&self) -> u64 {
        self.certificate.not_after()
    }

    /// When the certificate should be renewed, in seconds since 1970: after two thirds of its
    /// life, so that a renewal that fails can be repaired at leisure.
    #[must_use]
    pub const fn renewal_due(&self) -> u64 {
        let life = self
            .certificate
            .not_after()
            .saturating_sub(self.certificate.not_before());
        self.certificate.not_before().saturating_add(life / 3 * 2)
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    pub(crate) const fn clock(&self) -> &WallClock {
        &self.clock
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("certificate", &self.certificate)
            .field("trust", &self.trust)
            .field("key", &"[elided]")
            .finish_non_exhaustive()
    }
}

fn read_chain(pem: &[u8], file: &str) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CredentialError::BadPem {
            file: file.to_owned(),
            detail: error.to_string(),
        })?;
    if chain.is_empty() {
        return Err(CredentialError::NoCertificate {
            file: file.to_owned(),
        });
    }
    Ok(chain)
}

fn expect_identity(
    identity: &NodeIdentity,
    settings: &CredentialSettings,
    origins: &Origins,
) -> Result<(), CredentialError> {
    if let Some(expected) = &settings.expected_cluster
        && expected != identity.cluster()
    {
        return Err(CredentialError::OtherCluster {
            file: origins.cert.clone(),
            found: identity.cluster().clone(),
            expected: expected.clone(),
        });
    }
    if let Some(expected) = settings.expected_node
        && expected != identity.node()
    {
        return Err(CredentialError::OtherNode {
            file: origins.cert.clone(),
            found: identity.node(),
            expected,
        });
    }
    Ok(())
}

/// Reads the one private key. Every copy that we make is wiped; the signing key keeps its own.
pub(crate) fn read_key(
    pem: &[u8],
    file: &str,
) -> Result<Arc<dyn rustls::sign::SigningKey>, CredentialError> {
    let file = || file.to_owned();
    let mut keys = Vec::new();
    let mut broken = None;
    for key in PrivateKeyDer::pem_slice_iter(pem) {
        match key {
            Ok(key) => keys.push(key),
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    let signing_key = match (keys.as_slice(), broken) {
        (_, Some(error)) => Err(CredentialError::BadPem {
            file: file(),
            detail: error.to_string(),
        }),
        ([], None) if is_encrypted(pem) => Err(CredentialError::EncryptedKey { file: file() }),
        ([], None) => Err(CredentialError::NoKey { file: file() }),
        ([key], None) => signing_key(key).map_err(|error| CredentialError::BadKey {
            file: file(),
            detail: error.to_string(),
        }),
        (several, None) => Err(CredentialError::ManyKeys {
            file: file(),
            found: several.len(),
        }),
    };
    for key in &mut keys {
        key.zeroize();
    }
    signing_key
}

/// Whether a key is there, but behind a pass phrase (PKCS#8, or the older form with a header).
fn is_encrypted(pem: &[u8]) -> bool {
    let mark = b"ENCRYPTED";
    pem.windows(mark.len()).any(|window| window == mark)
}
