//! What a node gets from its authority, and how it is written to disk.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use super::Authority;
use crate::permissions;
use crate::{
    CredentialError, CredentialFiles, CredentialPem, CredentialSettings, Credentials, NodeIdentity,
    Serial, WallClock,
};

/// The certificate and the key of a node, as its authority issued them.
///
/// The key is wiped from memory when this is dropped. `Debug` does not show it.
pub struct IssuedNode {
    pub(super) identity: NodeIdentity,
    pub(super) serial: Serial,
    pub(super) certificate_pem: String,
    pub(super) key_pem: Zeroizing<String>,
    pub(super) root_pem: String,
    pub(super) clock: WallClock,
}

impl IssuedNode {
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

    /// The certificate and after it its intermediates, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
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
            self.certificate_pem.as_bytes(),
            self.key_pem.as_bytes(),
        );
        Credentials::from_pem(&pem.with_crl(crl_pem.as_bytes()), settings)
    }

    /// Writes `ca.crt`, `node-<id>.crt` and `node-<id>.key` into a folder, and returns where they
    /// are.
    ///
    /// The folder is created if needed. Nothing is overwritten; a `ca.crt` with the same content
    /// is left as it is, so that several nodes can share a folder. The key file is private to its
    /// owner (0600) from the moment that it exists. If something fails, the files that this call
    /// had created are removed again.
    ///
    /// # Errors
    ///
    /// [`WriteError`] names the file.
    pub fn write(&self, folder: &Path) -> Result<CredentialFiles, WriteError> {
        let name = format!("node-{}", self.identity.node());
        let files = CredentialFiles::new(
            folder.join("ca.crt"),
            folder.join(format!("{name}.crt")),
            folder.join(format!("{name}.key")),
        );
        permissions::create_folder(folder).map_err(|source| failed(folder, source))?;
        let mut created = Created::default();
        if !holds(&files.ca, &self.root_pem) {
            created.write(&files.ca, &self.root_pem, Audience::Everybody)?;
        }
        created.write(&files.cert, &self.certificate_pem, Audience::Everybody)?;
        created.write(&files.key, &self.key_pem, Audience::Owner)?;
        permissions::sync_folder(folder).map_err(|source| failed(folder, source))?;
        created.keep();
        Ok(files)
    }
}

impl fmt::Debug for IssuedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedNode")
            .field("identity", &self.identity.uri())
            .field("serial", &self.serial)
            .field("key", &"[elided]")
            .finish_non_exhaustive()
    }
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes())
}

/// Who may read a new file.
enum Audience {
    Owner,
    Everybody,
}

/// The files that were created so far; dropping it removes them.
#[derive(Default)]
struct Created(Vec<PathBuf>);

impl Created {
    fn write(&mut self, path: &Path, text: &str, audience: Audience) -> Result<(), WriteError> {
        let opened = match audience {
            Audience::Owner => permissions::create_private(path),
            Audience::Everybody => fs::File::create_new(path),
        };
        let mut file = opened.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists {
                file: path.to_path_buf(),
            },
            _ => failed(path, source),
        })?;
        self.0.push(path.to_path_buf());
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|source| failed(path, source))
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(
                    target: "quicraft::link",
                    file = %path.display(),
                    "a file of a failed issue is left behind: {error}"
                );
            }
        }
    }
}

fn failed(path: &Path, source: io::Error) -> WriteError {
    WriteError::Io {
        file: path.to_path_buf(),
        source,
    }
}

/// Why the files of a node cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file exists; it may be the key that a node uses.
    #[error("{} exists and is not overwritten; move it away first", file.display())]
    Exists {
        /// The path.
        file: PathBuf,
    },
    /// The file cannot be written.
    #[error("{} cannot be written", file.display())]
    Io {
        /// The path.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}
