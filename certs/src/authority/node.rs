//! What a node gets from its authority, and how it is written to disk.

use std::fmt;
use std::fs;
use std::path::Path;

use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use super::Authority;
use crate::staged::{Audience, Overwrite, StagedFiles, WriteError};
use crate::{
    CredentialError, CredentialFiles, CredentialPem, CredentialSettings, Credentials, NodeIdentity,
    Serial, WallClock,
};

/// The certificate of a node, as its authority issued it: without the key, which the node may
/// never have shown to anybody.
#[derive(Clone, Debug)]
pub struct NodeCertificate {
    pub(super) identity: NodeIdentity,
    pub(super) serial: Serial,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    pub(super) key_hash: [u8; 32],
    pub(super) certificate_pem: String,
    pub(super) root_pem: String,
}

impl NodeCertificate {
    /// Whom the certificate names.
    #[must_use]
    pub const fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// The serial number, for a CRL. Keep it: it is needed to revoke the certificate.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        &self.serial
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

    /// SHA-256 of the public key, as [`PeerCertificate::key_hash`](crate::PeerCertificate::key_hash):
    /// what a roster pins.
    #[must_use]
    pub const fn key_hash(&self) -> [u8; 32] {
        self.key_hash
    }

    /// The certificate and after it its intermediates, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate that nodes trust, in PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}

/// The certificate and the key of a node, as its authority issued them.
///
/// The key is wiped from memory when this is dropped. `Debug` does not show it.
pub struct IssuedNode {
    pub(super) certificate: NodeCertificate,
    pub(super) key_pem: Zeroizing<String>,
    pub(super) clock: WallClock,
}

impl IssuedNode {
    /// Whom the certificate names.
    #[must_use]
    pub const fn identity(&self) -> &NodeIdentity {
        self.certificate.identity()
    }

    /// The serial number, for a CRL. Keep it: it is needed to revoke the certificate.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        self.certificate.serial()
    }

    /// The certificate without the key: its dates, its key hash.
    #[must_use]
    pub const fn certificate(&self) -> &NodeCertificate {
        &self.certificate
    }

    /// The certificate and after it its intermediates, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        self.certificate.certificate_pem()
    }

    /// The private key, in PEM (PKCS#8).
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The credentials of the node, with `authority` as its only trusted CA and no CRL: for tests
    /// and examples, where nothing is written to disk.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if the node was issued by another authority, or outside its dates.
    pub fn credentials(&self, authority: &Authority) -> Result<Credentials, CredentialError> {
        let settings = CredentialSettings {
            clock: self.clock.clone(),
            ..CredentialSettings::default()
        };
        self.credentials_with(authority.root_pem(), "", &settings)
    }

    /// The credentials of the node, with a CA bundle, CRLs (or an empty text) and settings.
    ///
    /// # Errors
    ///
    /// [`CredentialError`], as [`Credentials::from_pem`].
    pub fn credentials_with(
        &self,
        ca_pem: &str,
        crl_pem: &str,
        settings: &CredentialSettings,
    ) -> Result<Credentials, CredentialError> {
        let pem = CredentialPem::new(
            ca_pem.as_bytes(),
            self.certificate_pem().as_bytes(),
            self.key_pem.as_bytes(),
        );
        Credentials::from_pem(&pem.with_crl(crl_pem.as_bytes()), settings)
    }

    /// Writes `ca.crt`, `node-<id>.crt` and `node-<id>.key` into a folder, and returns where they
    /// are.
    ///
    /// The folder is created if needed. Nothing is overwritten; a `ca.crt` with the same content
    /// is left as it is, so that several nodes can share a folder. The key file is private to its
    /// owner (0600) from the moment that it exists. A crash leaves each file complete or not
    /// there; if something fails, the files that this call had created are removed again.
    ///
    /// # Errors
    ///
    /// [`WriteError`] names the file.
    pub fn write(&self, folder: &Path) -> Result<CredentialFiles, WriteError> {
        let name = format!("node-{}", self.identity().node());
        let files = CredentialFiles::new(
            folder.join("ca.crt"),
            folder.join(format!("{name}.crt")),
            folder.join(format!("{name}.key")),
        );
        let mut staged = StagedFiles::new(Overwrite::Never);
        if !holds(&files.ca, self.certificate.root_pem()) {
            staged.add(&files.ca, self.certificate.root_pem(), Audience::Everybody)?;
        }
        staged.add(&files.cert, self.certificate_pem(), Audience::Everybody)?;
        staged.add(&files.key, &self.key_pem, Audience::Owner)?;
        staged.commit()?;
        Ok(files)
    }
}

impl fmt::Debug for IssuedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedNode")
            .field("identity", &self.identity().uri())
            .field("serial", self.serial())
            .field("key", &"[elided]")
            .finish_non_exhaustive()
    }
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes())
}
