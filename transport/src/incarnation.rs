//! Which run of this node this is: the boot, the epoch, and what must stay the same across runs.
//!
//! Only files live here; what a boot or an epoch means for admission is decided there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fs4::FileExt;
use rand::RngExt;

const LOCK_FILE: &str = "incarnation.lock";
const EPOCH_FILE: &str = "epoch";
const SECRET_FILE: &str = "reset.key";
const UID_FILE: &str = "cluster.uid";

/// Why an incarnation cannot be taken from a folder. Nothing was bound then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncarnationError {
    /// Another process holds the folder.
    #[error("another process uses the data folder {0}; stop it, or give this node its own folder")]
    Locked(PathBuf),
    /// A file does not hold what belongs there.
    #[error("the file {path} holds {found:?} instead of {expected}; restore it from a backup")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it holds, cut short.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// The operating system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// One run of a node.
///
/// A persisted incarnation holds a lock on its folder; dropping it releases the lock.
#[derive(Debug)]
pub struct Incarnation {
    boot: u128,
    epoch: u64,
    secret: [u8; 32],
    cluster_uid: u128,
    folder: Option<(PathBuf, File)>,
}

impl Incarnation {
    /// A run that persists nothing: epoch 0, and keys that the next run will not have.
    ///
    /// Peers then learn of a crash only by their idle timeout, and cannot tell an old incarnation
    /// from a new one. For tests and for hosts without a disk.
    #[must_use]
    pub fn unordered() -> Self {
        let mut rng = rand::rng();
        Self {
            boot: rng.random(),
            epoch: 0,
            secret: rng.random(),
            cluster_uid: 0,
            folder: None,
        }
    }

    /// The next run of the node that owns `folder`: locks it, adds one to the epoch and syncs that
    /// to the disk before it returns, and so before any socket is bound.
    ///
    /// # Errors
    ///
    /// [`IncarnationError`]; the epoch on disk is unchanged unless the error is of the last sync.
    pub fn persisted(folder: &Path) -> Result<Self, IncarnationError> {
        fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        let lock = lock(folder)?;
        let epoch_path = folder.join(EPOCH_FILE);
        let epoch = match read_small(&epoch_path)? {
            Some(text) => parse(&epoch_path, &text, "a decimal epoch", |text| {
                text.parse().ok()
            })?,
            None => 0_u64,
        };
        let epoch = epoch
            .checked_add(1)
            .ok_or_else(|| IncarnationError::Malformed {
                path: epoch_path.clone(),
                found: epoch.to_string(),
                expected: "an epoch below 2^64 - 1",
            })?;
        let secret = read_or_make_secret(&folder.join(SECRET_FILE))?;
        let uid_path = folder.join(UID_FILE);
        let cluster_uid = match read_small(&uid_path)? {
            Some(text) => parse(&uid_path, &text, "32 hexadecimal digits", |text| {
                u128::from_str_radix(text, 16).ok()
            })?,
            None => 0,
        };
        replace(&epoch_path, &format!("{epoch}\n"))?;
        let folder = Some((folder.to_path_buf(), lock));
        Ok(Self {
            boot: rand::rng().random(),
            epoch,
            secret,
            cluster_uid,
            folder,
        })
    }

    /// Random per run.
    #[must_use]
    pub const fn boot(&self) -> u128 {
        self.boot
    }

    /// The count of runs; 0 where nothing is persisted.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The uid that was drawn when the cluster was founded; 0 before.
    #[must_use]
    pub const fn cluster_uid(&self) -> u128 {
        self.cluster_uid
    }

    /// Keeps the uid of the founded cluster, on disk where the incarnation is persisted.
    ///
    /// # Errors
    ///
    /// [`IncarnationError::Malformed`] if another uid is kept already, `Io` if it cannot be written.
    pub fn set_cluster_uid(&mut self, uid: u128) -> Result<(), IncarnationError> {
        if self.cluster_uid == uid {
            return Ok(());
        }
        if let Some((folder, _)) = &self.folder {
            let path = folder.join(UID_FILE);
            if self.cluster_uid != 0 {
                let found = format!("{:032x}", self.cluster_uid);
                let expected = "the uid of the cluster that this node is told to join";
                return Err(IncarnationError::Malformed {
                    path,
                    found,
                    expected,
                });
            }
            replace(&path, &format!("{uid:032x}\n"))?;
        }
        self.cluster_uid = uid;
        Ok(())
    }

    /// A key for one purpose that is the same in every run of this folder.
    pub(crate) fn key(&self, purpose: &'static str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.secret)
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IncarnationError {
    let path = path.to_path_buf();
    move |source| IncarnationError::Io {
        action,
        path,
        source,
    }
}

fn lock(folder: &Path) -> Result<File, IncarnationError> {
    let path = folder.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(IncarnationError::Locked(folder.to_path_buf())),
        Err(fs4::TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
    }
}

/// A file of a few bytes, or `None` if there is none.
fn read_small(path: &Path) -> Result<Option<String>, IncarnationError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(128)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn parse<T>(
    path: &Path,
    text: &str,
    expected: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, IncarnationError> {
    read(text.trim_end()).ok_or_else(|| IncarnationError::Malformed {
        path: path.to_path_buf(),
        found: text.chars().take(40).collect(),
        expected,
    })
}

/// Writes a file so that after a crash it holds either the old or the new text, whole.
fn replace(path: &Path, text: &str) -> Result<(), IncarnationError> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial).map_err(io_error("create", &partial))?;
    file.write_all(text.as_bytes())
        .map_err(io_error("write", &partial))?;
    file.sync_all().map_err(io_error("sync", &partial))?;
    fs::rename(&partial, path).map_err(io_error("rename", path))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), IncarnationError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    // Only where a folder can be opened as a file is there a way to sync it.
    if cfg!(unix) {
        let file = File::open(folder).map_err(io_error("open", folder))?;
        file.sync_all().map_err(io_error("sync", folder))?;
    }
    Ok(())
}

fn read_or_make_secret(path: &Path) -> Result<[u8; 32], IncarnationError> {
    if let Some(text) = read_small(path)? {
        return parse(path, &text, "64 hexadecimal digits", |text| {
            blake3::Hash::from_hex(text)
                .ok()
                .map(|hash| *hash.as_bytes())
        });
    }
    let secret: [u8; 32] = rand::rng().random();
    let partial = path.with_extension("partial");
    // A leftover of a crash may have other permissions than ours will have.
    match fs::remove_file(&partial) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("remove", &partial)(error)),
    }
    let mut file = crate::private_file::create(&partial).map_err(io_error("create", &partial))?;
    writeln!(file, "{}", blake3::Hash::from_bytes(secret)).map_err(io_error("write", &partial))?;
    file.sync_all().map_err(io_error("sync", &partial))?;
    fs::rename(&partial, path).map_err(io_error("rename", path))?;
    sync_folder(path)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_the_next_epoch_another_boot_and_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let first = Incarnation::persisted(folder.path()).unwrap();
        let (boot, key) = (first.boot(), first.key("a"));
        assert_eq!(first.epoch(), 1);
        drop(first);
        let second = Incarnation::persisted(folder.path()).unwrap();
        assert_eq!(second.epoch(), 2);
        assert_ne!(second.boot(), boot);
        assert_eq!(second.key("a"), key);
        assert_ne!(second.key("b"), key);
    }

    #[test]
    fn a_folder_in_use_is_refused_and_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let held = Incarnation::persisted(folder.path()).unwrap();
        let error = Incarnation::persisted(folder.path()).unwrap_err();
        assert!(matches!(error, IncarnationError::Locked(_)));
        drop(held);
        assert_eq!(Incarnation::persisted(folder.path()).unwrap().epoch(), 2);
    }

    #[test]
    fn a_broken_epoch_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(EPOCH_FILE), "seven").unwrap();
        let error = Incarnation::persisted(folder.path()).unwrap_err();
        assert!(matches!(&error, IncarnationError::Malformed { found, .. } if found == "seven"));
        assert_eq!(
            fs::read_to_string(folder.path().join(EPOCH_FILE)).unwrap(),
            "seven"
        );
    }

    #[test]
    fn the_last_epoch_is_an_error_not_a_wrap() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(EPOCH_FILE), u64::MAX.to_string()).unwrap();
        assert!(Incarnation::persisted(folder.path()).is_err());
    }

    #[test]
    fn the_cluster_uid_is_kept_and_never_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Incarnation::persisted(folder.path()).unwrap();
        assert_eq!(run.cluster_uid(), 0);
        run.set_cluster_uid(5).unwrap();
        assert!(run.set_cluster_uid(6).is_err());
        drop(run);
        assert_eq!(
            Incarnation::persisted(folder.path()).unwrap().cluster_uid(),
            5
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_secret_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let run = Incarnation::persisted(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join(SECRET_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(run);
    }
}
