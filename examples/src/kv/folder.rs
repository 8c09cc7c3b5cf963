//! The data folder of a node: whose it is, and that only one process has it.
//!
//! A stamp, written at the first start, names cluster and node. Mounting another node's folder
//! would make this node forget its votes and speak with another's log, so a folder with another
//! stamp is refused before anything in it is changed. What lies in the database is not known here.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The layout of the folder; a later layout raises it, and an older program then refuses.
const FORMAT: u32 = 1;
const STAMP: &str = "identity.toml";
const LOCK: &str = "lock";
const DATABASE: &str = "kv.redb";
const SNAPSHOTS: &str = "snapshots";

/// Why a data folder was refused. Nothing in it was changed, except for [`FolderError::Io`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The folder belongs to another node or cluster.
    #[error(
        "data folder {} belongs to node {found_node} of cluster {found_cluster:?}, but this is \
         node {node} of cluster {cluster:?}; give this node a folder of its own (--data)",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The cluster that it was stamped for.
        found_cluster: String,
        /// The node that it was stamped for.
        found_node: u64,
        /// The cluster that asked for it.
        cluster: String,
        /// The node that asked for it.
        node: u64,
    },
    /// There is something in the folder, but no stamp that says whose it is.
    #[error(
        "data folder {} is not empty and has no {STAMP}; give an empty folder or a node's own \
         (--data)",
        path.display()
    )]
    Unstamped {
        /// The folder.
        path: PathBuf,
    },
    /// The folder was written by a version with another layout.
    #[error(
        "data folder {} has layout {found}, this program knows {FORMAT}; use the version that \
         wrote it",
        path.display()
    )]
    Format {
        /// The folder.
        path: PathBuf,
        /// The layout that its stamp names.
        found: u32,
    },
    /// The stamp cannot be read as one.
    #[error("{} is damaged; restore it, or give this node an empty folder", path.display())]
    Damaged {
        /// The stamp's file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Another process has the folder open.
    #[error("data folder {} is in use by another process; stop it first", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    format: u32,
    cluster: String,
    node: u64,
}

/// A data folder that is this node's own and that no other process has open.
///
/// Dropping it gives the lock back; keep it as long as anything in the folder is open.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Opens `path` for `node` of `cluster`; creates and stamps it if it is missing or empty.
    ///
    /// Blocks on the file system.
    ///
    /// # Errors
    ///
    /// [`FolderError`]; a folder that is not this node's is left as it was.
    pub fn open(path: &Path, cluster: &str, node: u64) -> Result<Self, FolderError> {
        let wanted = Stamp {
            format: FORMAT,
            cluster: cluster.to_owned(),
            node,
        };
        // Looked at before the lock file is touched: a foreign folder must not change at all.
        let stamped = check(path, &wanted)?;
        if !stamped {
            refuse_unstamped(path)?;
            fs::create_dir_all(path).map_err(failed("create", path))?;
        }
        let lock = take_lock(path)?;
        // Once more under the lock: another process may have stamped it in between.
        if !check(path, &wanted)? {
            write_stamp(path, &wanted)?;
        }
        let snapshots = path.join(SNAPSHOTS);
        fs::create_dir_all(&snapshots).map_err(failed("create", &snapshots))?;
        sync_folder(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder itself; a host may keep files of its own in a folder below it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database of all groups.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The folder of the snapshot files of all groups.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path.join(SNAPSHOTS)
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io {
        action,
        path,
        source,
    }
}

/// Whether the folder has a stamp; one of another owner is an error.
fn check(folder: &Path, wanted: &Stamp) -> Result<bool, FolderError> {
    let path = folder.join(STAMP);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let found: Stamp = toml::from_str(&text).map_err(|source| FolderError::Damaged {
        path,
        source: Box::new(source),
    })?;
    if found.format != wanted.format {
        return Err(FolderError::Format {
            path: folder.to_owned(),
            found: found.format,
        });
    }
    if found != *wanted {
        return Err(FolderError::Foreign {
            path: folder.to_owned(),
            found_cluster: found.cluster,
            found_node: found.node,
            cluster: wanted.cluster.clone(),
            node: wanted.node,
        });
    }
    Ok(true)
}

/// Without a stamp only a lock file may be there: a first start may have died right after it.
fn refuse_unstamped(folder: &Path) -> Result<(), FolderError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", folder)(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed("read", folder))?.file_name();
        if name != LOCK && name != temporary_stamp().as_str() {
            return Err(FolderError::Unstamped {
                path: folder.to_owned(),
            });
        }
    }
    Ok(())
}

fn take_lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

fn temporary_stamp() -> String {
    format!("{STAMP}.new")
}

/// Written beside and renamed, so that a crash leaves either no stamp or a whole one.
fn write_stamp(folder: &Path, stamp: &Stamp) -> Result<(), FolderError> {
    let path = folder.join(STAMP);
    let temporary = folder.join(temporary_stamp());
    let text =
        toml::to_string(stamp).map_err(|error| failed("write", &path)(io::Error::other(error)))?;
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().map_err(failed("write", &path))?;
    sync_folder(folder)
}

/// A renamed or new file survives a power failure only when its folder was synced as well.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FolderError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync", path))
}
