//! The storage of a node: log, vote and state machine of all its Raft groups in one database.
//!
//! ```text
//!  openraft --GroupLog-----\                             /--> redb (one file, one fsync for all)
//!  openraft --GroupMachine--+--> bounded queue --> writer
//!  another group -----------/                            \--> IOFlushed, answers
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `log`, `reader` | openraft's log storage and log reader of a group |
//! | `machine`, `builder`, `install` | openraft's state machine, its snapshots out and in |
//! | `snapshot` | the snapshot file |
//! | `inner` | what all parts share: the database, the queue, the groups |
//! | `group`, `tail` | what is known of a group in memory |
//! | `writer`, `operation`, `tables`, `sweep` | the one thread that writes, and what it does |
//! | `schema`, `digest`, `limits`, `error` | bytes, the digest, every bound, every failure |
//!
//! It knows no network and no HTTP. `save_committed` is not stored: an applied index that a crash
//! takes back is applied again as soon as the leader says what is committed, and a linearizable
//! read waits for that.

mod builder;
mod digest;
mod error;
mod group;
mod inner;
mod install;
pub mod limits;
mod log;
mod machine;
mod operation;
mod reader;
mod schema;
mod snapshot;
mod sweep;
mod tables;
mod tail;
mod writer;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quicraft_manager::Meta;
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use self::group::lock;
use self::inner::{Inner, blocking, create_tables};
use self::limits::{CACHE_BYTES, COMMIT_DEADLINE, QUEUE_BYTES, QUEUE_OPERATIONS, SNAPSHOT_BUILDS};
use self::operation::Message;
use self::writer::{Counters, Writer};
use super::folder::DataFolder;

pub use self::builder::GroupSnapshotBuilder;
pub use self::error::StoreError;
pub use self::log::GroupLog;
pub use self::machine::GroupMachine;
pub use self::reader::GroupLogReader;
pub use self::schema::AppliedState;

/// What can be set when a store is opened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Memory that the database may use as its cache, in bytes; 32 MiB by default.
    pub cache_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
        }
    }
}

/// How much the store has written since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Commits that were synced to the disk.
    pub synced_commits: u64,
    /// Commits that were not: applies, whose entries are durable in the log.
    pub unsynced_commits: u64,
    /// Appends that are durable, over all groups.
    pub appends: u64,
}

/// The storage of all groups of one node; cheap to clone, all clones are one store.
///
/// When the last clone and the last group's parts are dropped, the writer finishes what is queued
/// and ends by itself, and the data folder is free then; [`Store::close`] waits for the writer.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens the database in `folder`; creates it if there is none.
    ///
    /// Blocks: after a crash redb checks the whole file.
    ///
    /// # Errors
    ///
    /// [`StoreError`], when the database or a snapshot folder cannot be opened.
    pub fn open(folder: DataFolder, options: StoreOptions) -> Result<Self, StoreError> {
        let path = folder.database();
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StoreError::file("open", &path))?;
        let backend = FileBackend::new(file).map_err(StoreError::database("open the file"))?;
        Self::open_on(folder, backend, options)
    }

    /// Opens a database on `backend` instead of a file; snapshot files still go to `folder`.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_on(
        folder: DataFolder,
        backend: impl StorageBackend,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let db = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create_with_backend(backend)
            .map_err(StoreError::database("open the database"))?;
        create_tables(&db)?;
        let db = Arc::new(db);
        let snapshots = folder.snapshots();
        let found = snapshot::find_all(&snapshots)?;
        let garbage = VecDeque::new();
        let folder = Arc::new(folder);
        let (sender, receiver) = mpsc::channel(QUEUE_OPERATIONS);
        let counters = Arc::new(Counters::default());
        let writer = Writer {
            db: Arc::clone(&db),
            receiver,
            counters: Arc::clone(&counters),
            garbage,
            unsynced: 0,
            unsynced_bytes: 0,
            _folder: Arc::clone(&folder),
        };
        let thread = std::thread::Builder::new()
            .name("kv-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(StoreError::file("start the writer of", folder.path()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                sender,
                budget: Arc::new(Semaphore::new(QUEUE_BYTES / 1024)),
                groups: Mutex::default(),
                found: Mutex::new(found),
                snapshots,
                builds: Semaphore::new(SNAPSHOT_BUILDS),
                temporary: AtomicU64::new(0),
                counters,
                writer: Mutex::new(Some(thread)),
                _folder: folder,
            }),
        })
    }

    /// Log and state machine of group `id`, as openraft wants them. Asking twice for a group gives
    /// the same one; only one Raft may run on it.
    ///
    /// Blocks on the database.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooManyGroups`], or the database failed or is damaged.
    pub fn group(&self, id: u64) -> Result<(GroupLog, GroupMachine), StoreError> {
        let group = self.inner.group(id)?;
        Ok((
            GroupLog::new(Arc::clone(&self.inner), Arc::clone(&group)),
            GroupMachine::new(Arc::clone(&self.inner), group),
        ))
    }

    /// The value of `key` in the state machine of `group` on this node, as it is now: a local read.
    ///
    /// # Errors
    ///
    /// [`StoreError`], when the database failed.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens when it is dropped.
    pub async fn get(&self, group: u64, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.get(group, &key)).await
    }

    /// What `group` has applied, and the digest over it; both belong together.
    ///
    /// # Errors
    ///
    /// [`StoreError`], when the group is not open yet and cannot be.
    pub fn state(&self, group: u64) -> Result<AppliedState, StoreError> {
        let state = self.inner.group(group)?.state();
        Ok(AppliedState {
            applied: state.applied,
            digest: state.digest,
        })
    }

    /// The cluster, as `group` has applied it; only of use for the group that holds it.
    ///
    /// Blocks on the database if the group is not open yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`], when the group is not open yet and cannot be.
    pub fn cluster(&self, group: u64) -> Result<Meta, StoreError> {
        Ok(self.inner.group(group)?.cluster.clone())
    }

    /// Forgets log, vote, keys and snapshots of `group`, for good. Shut its Raft down before, and
    /// do not open it until this is done. A group that there is not is forgotten already.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; whether the group is forgotten is not known then.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the group may be forgotten or not; call it again.
    pub async fn erase(&self, group: u64) -> Result<(), StoreError> {
        self.inner.erase(group).await
    }

    /// How much was written since the store was opened.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let counters = &self.inner.counters;
        StoreStats {
            synced_commits: counters.synced.load(Ordering::Relaxed),
            unsynced_commits: counters.unsynced.load(Ordering::Relaxed),
            appends: counters.appends.load(Ordering::Relaxed),
        }
    }

    /// Writes what is queued, syncs, and ends the writer. Later operations are refused with
    /// [`StoreError::Closed`]. Closing twice is no error. Shut every Raft down before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stalled`], when the disk does not answer in time.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the writer may or may not have been told to end; close again.
    pub async fn close(&self) -> Result<(), StoreError> {
        let stop = self.inner.sender.send(Message::Stop);
        match timeout(COMMIT_DEADLINE, stop).await {
            // The writer has ended already.
            Ok(Ok(()) | Err(_)) => {}
            Err(_) => {
                return Err(StoreError::Stalled {
                    waited: COMMIT_DEADLINE,
                });
            }
        }
        let thread = lock(&self.inner.writer).take();
        let Some(thread) = thread else { return Ok(()) };
        let joined = timeout(COMMIT_DEADLINE, blocking(move || Ok(thread.join().is_ok()))).await;
        match joined {
            Ok(Ok(true)) => Ok(()),
            Ok(_) => Err(StoreError::Closed),
            Err(_) => Err(StoreError::Stalled {
                waited: COMMIT_DEADLINE,
            }),
        }
    }
}
