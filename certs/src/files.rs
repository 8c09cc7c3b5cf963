//! Credentials in files: which files, and how they are read. It must not know what a certificate
//! says.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::CredentialError;
use crate::permissions;

/// The largest key file, in bytes. An RSA-8192 key takes 6.5 KiB; the rest is room for comments.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// The largest certificate file or CA bundle, in bytes: some hundred certificates.
const MAX_CERTIFICATE_BYTES: usize = 1024 * 1024;

/// The largest CRL file, in bytes: about 400,000 revoked certificates.
const MAX_CRL_BYTES: usize = 16 * 1024 * 1024;

/// Where the credentials of a node lie, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CredentialFiles {
    /// The trusted CAs, one or more.
    pub ca: PathBuf,
    /// The certificate of the node, and after it its intermediates.
    pub cert: PathBuf,
    /// The private key of the certificate: PKCS#8, SEC1 or PKCS#1, not encrypted.
    pub key: PathBuf,
    /// The CRLs, one for every CA of every chain. Default none: nothing is checked for
    /// revocation.
    pub crl: Option<PathBuf>,
    /// Accepts a key file that other users of this machine can read or change. Default no.
    ///
    /// It has no effect where files have no Unix permissions.
    pub allow_insecure_key_permissions: bool,
}

impl CredentialFiles {
    /// The three files that are needed; no CRL, and only a private key file is accepted.
    pub fn new(ca: impl Into<PathBuf>, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            ca: ca.into(),
            cert: cert.into(),
            key: key.into(),
            crl: None,
            allow_insecure_key_permissions: false,
        }
    }

    /// Adds the file with the CRLs.
    #[must_use]
    pub fn with_crl(mut self, crl: impl Into<PathBuf>) -> Self {
        self.crl = Some(crl.into());
        self
    }

    /// What the files look like now: their sizes and the times of their last change. A file that
    /// cannot be looked at differs from one that can.
    #[must_use]
    pub fn stamp(&self) -> FileStamp {
        let paths = [&self.ca, &self.cert, &self.key]
            .into_iter()
            .chain(&self.crl);
        let look = |path: &PathBuf| {
            let data = fs::metadata(path).ok()?;
            Some((data.len(), data.modified().ok()?))
        };
        FileStamp(paths.map(look).collect())
    }

    /// Accepts a key file that others can read, or refuses it again.
    #[must_use]
    pub const fn allow_insecure_key_permissions(mut self, allow: bool) -> Self {
        self.allow_insecure_key_permissions = allow;
        self
    }
}

/// What the files looked like at some time: whether one has changed since, without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStamp(Vec<Option<(u64, SystemTime)>>);

/// The bytes of all files. All are wiped, because nobody knows what else an operator put beside a
/// certificate.
pub(crate) struct CredentialBytes {
    pub(crate) ca: Zeroizing<Vec<u8>>,
    pub(crate) cert: Zeroizing<Vec<u8>>,
    pub(crate) key: Zeroizing<Vec<u8>>,
    pub(crate) crl: Zeroizing<Vec<u8>>,
}

pub(crate) fn read(files: &CredentialFiles) -> Result<CredentialBytes, CredentialError> {
    // The key first: a key that others can read is the worst of what can be wrong.
    let key = read_key(&files.key, files.allow_insecure_key_permissions)?;
    Ok(CredentialBytes {
        ca: read_file(&files.ca, MAX_CERTIFICATE_BYTES)?,
        cert: read_file(&files.cert, MAX_CERTIFICATE_BYTES)?,
        key,
        crl: match &files.crl {
            Some(path) => read_file(path, MAX_CRL_BYTES)?,
            None => Zeroizing::default(),
        },
    })
}

/// Reads the file of a private key, in PEM. The buffer is wiped when it is dropped.
///
/// # Errors
///
/// [`CredentialError`] if it cannot be read, is no regular file, is larger than 64 KiB, or if
/// others on this machine can read or change it.
pub fn read_private_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    read_key(path, false)
}

/// Reads a file of certificates, requests or CRLs, in PEM. The buffer is wiped when it is dropped,
/// because nobody knows what else an operator put into it.
///
/// # Errors
///
/// [`CredentialError`] if it cannot be read, is no regular file, or is larger than 16 MiB.
pub fn read_public(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    read_file(path, MAX_CRL_BYTES)
}

pub(crate) fn read_certificates(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    read_file(path, MAX_CERTIFICATE_BYTES)
}

fn read_key(path: &Path, allow_insecure: bool) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let file = open(path)?;
    // The permissions of the open file, so that nobody can swap it in between.
    let metadata = file.metadata().map_err(|source| failed(path, source))?;
    if let Some(mode) = permissions::exposed(&metadata)
        && !allow_insecure
    {
        return Err(CredentialError::ExposedKey {
            file: path.display().to_string(),
            mode,
        });
    }
    read_open(path, file, MAX_KEY_BYTES)
}

fn read_file(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    read_open(path, open(path)?, limit)
}

/// Opens a regular file. Anything else is refused before it is opened: a pipe would block.
fn open(path: &Path) -> Result<File, CredentialError> {
    let metadata = fs::metadata(path).map_err(|source| failed(path, source))?;
    if !metadata.is_file() {
        return Err(CredentialError::NotAFile {
            file: path.display().to_string(),
        });
    }
    File::open(path).map_err(|source| failed(path, source))
}

/// Reads at most `limit` bytes. The buffer is as large as the file from the start: a buffer that
/// grows leaves copies of a key behind.
fn read_open(path: &Path, file: File, limit: usize) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let length = file
        .metadata()
        .map_err(|source| failed(path, source))?
        .len();
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(limit);
    // One byte more than the file has, so that the end is seen without growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| failed(path, source))?;
    if bytes.len() > limit {
        return Err(CredentialError::FileTooLarge {
            file: path.display().to_string(),
            limit,
        });
    }
    Ok(bytes)
}

fn failed(path: &Path, source: io::Error) -> CredentialError {
    CredentialError::Read {
        file: path.display().to_string(),
        source,
    }
}
