//! What an authority has issued and revoked: the record beside its key. Without it nothing can be
//! revoked by a node's id, and a new CRL would forgive what an older one had revoked.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use fs4::FileExt;
use quicraft_certs::{Audience, NodeCertificate, NodeId, Overwrite, Serial, StagedFiles};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::pem::hex;

/// The version of the file that this command writes, and the newest that it reads.
const VERSION: u32 = 1;

/// The record of an authority, locked against other commands until it is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    content: Content,
    /// Held for its lock.
    _lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    cluster: String,
    /// The SHA-256 of the authority's public key, so that no other authority uses this record.
    authority: String,
    /// The number of the newest CRL; 0 before the first.
    crl_number: u64,
    certificates: Vec<Entry>,
}

/// A certificate that the authority has issued, or that it has revoked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) serial: String,
    /// 0 where only the serial number is known.
    pub(crate) node: u64,
    /// Seconds since 1970, as all times here.
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) key_hash: String,
    pub(crate) revoked: Option<u64>,
}

impl Record {
    /// Where the record of an authority lies if nothing else is said: beside its key, with which
    /// it is kept and backed up.
    pub(crate) fn beside(key: &Path) -> PathBuf {
        key.with_extension("record.json")
    }

    /// The text of a new, empty record.
    pub(crate) fn empty(cluster: &str, authority: &[u8; 32]) -> Result<String, Failure> {
        Content {
            version: VERSION,
            cluster: cluster.to_owned(),
            authority: hex(authority),
            crl_number: 0,
            certificates: Vec::new(),
        }
        .to_text()
    }

    /// Opens a record and locks it.
    pub(crate) fn open(path: &Path, authority: &[u8; 32]) -> Result<Self, Failure> {
        let name = path.display();
        if !path.exists() {
            return Err(Failure::new(
                "no_record",
                format!(
                    "{name} is missing, so it is not known what was issued and revoked; restore it \
                     from a backup, give its place with --record, or start a new one from crl.pem \
                     with `quicraft-certs ca adopt`"
                ),
            ));
        }
        let lock = lock(path)?;
        let text = fs::read(path)
            .map_err(|error| Failure::new("read", format!("{name} cannot be read: {error}")))?;
        let content: Content = serde_json::from_slice(&text).map_err(|error| {
            Failure::new(
                "bad_record",
                format!("{name} is damaged ({error}); restore it from a backup"),
            )
        })?;
        if content.version > VERSION {
            return Err(Failure::new(
                "bad_record",
                format!(
                    "{name} was written by a newer quicraft-certs (version {} of the record, this \
                     one knows {VERSION}); use that one",
                    content.version
                ),
            ));
        }
        if content.authority != hex(authority) {
            return Err(Failure::new(
                "bad_record",
                format!(
                    "{name} is the record of another CA of cluster {}; give the right one with \
                     --record",
                    content.cluster
                ),
            ));
        }
        Ok(Self {
            path: path.to_path_buf(),
            content,
            _lock: lock,
        })
    }

    /// Takes down a certificate before it is handed out: what is not in the record cannot be
    /// revoked by the node's id.
    pub(crate) fn add(&mut self, certificate: &NodeCertificate) {
        self.content.certificates.push(Entry {
            serial: certificate.serial().to_string(),
            node: certificate.identity().node().get(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            key_hash: hex(&certificate.key_hash()),
            revoked: None,
        });
    }

    /// Takes down a revoked certificate that the record did not know.
    pub(crate) fn add_entry(&mut self, entry: Entry) {
        self.content.certificates.push(entry);
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.content.certificates
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.content.certificates
    }

    pub(crate) fn find(&self, serial: &Serial) -> Option<&Entry> {
        let serial = serial.to_string();
        self.entries().iter().find(|entry| entry.serial == serial)
    }

    /// The certificates of a node that would be accepted at a time.
    pub(crate) fn valid_of(&self, node: NodeId, now: u64) -> impl Iterator<Item = &Entry> {
        self.entries().iter().filter(move |entry| {
            entry.node == node.get() && entry.revoked.is_none() && entry.not_after >= now
        })
    }

    /// Whether a certificate with this key was revoked: the key may be in wrong hands.
    pub(crate) fn revoked_key(&self, key_hash: &[u8; 32]) -> Option<&Entry> {
        let key_hash = hex(key_hash);
        self.entries()
            .iter()
            .find(|entry| entry.revoked.is_some() && entry.key_hash == key_hash)
    }

    /// The number of the next CRL, which is more than that of any before.
    pub(crate) fn next_crl_number(&mut self, at_least: u64) -> u64 {
        let next = self.content.crl_number.max(at_least).saturating_add(1);
        self.content.crl_number = next;
        next
    }

    /// Learns the number of a CRL that was made without this record.
    pub(crate) fn seen_crl_number(&mut self, number: u64) {
        self.content.crl_number = self.content.crl_number.max(number);
    }

    /// Makes the changes durable.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let mut files = StagedFiles::new(Overwrite::Replace);
        files.add(&self.path, &self.content.to_text()?, Audience::Owner)?;
        files.commit()?;
        Ok(())
    }
}

impl Content {
    fn to_text(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|error| Failure::new("write", format!("the record: {error}")))
    }
}

/// Locks a record against other commands. The lock lies beside it, because the record itself is
/// replaced as a whole.
fn lock(record: &Path) -> Result<File, Failure> {
    let path = record.with_extension("lock");
    let failed = |error: io::Error| {
        Failure::new(
            "write",
            format!("{} cannot be locked: {error}", path.display()),
        )
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(Failure::new(
            "busy",
            "another quicraft-certs works with this CA; try again when it has finished",
        )),
        Err(fs4::TryLockError::Error(error)) => Err(failed(error)),
    }
}
