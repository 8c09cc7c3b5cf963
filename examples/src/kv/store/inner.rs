//! What all parts of a store share: the database to read, the queue to write, the groups.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::{Database, ReadTransaction, ReadableDatabase as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::error::StoreError;
use super::group::{Group, lock};
use super::limits::{COMMIT_DEADLINE, GROUPS, QUEUE_BYTES};
use super::operation::{Done, Message, Operation, Queued};
use super::schema::{DATA, LOG, MACHINE, META, MachineState, data_key, decode};
use super::snapshot::{SnapshotFile, remove};
use super::sweep::Garbage;
use super::writer::Counters;
use crate::kv::folder::DataFolder;

/// The shared part of a store.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) db: Arc<Database>,
    pub(super) sender: mpsc::Sender<Message>,
    /// The queue's budget, in KiB.
    pub(super) budget: Arc<Semaphore>,
    pub(super) groups: Mutex<BTreeMap<u64, Arc<Group>>>,
    pub(super) found: Mutex<BTreeMap<u64, SnapshotFile>>,
    pub(super) snapshots: PathBuf,
    pub(super) builds: Semaphore,
    pub(super) temporary: AtomicU64,
    pub(super) counters: Arc<Counters>,
    pub(super) writer: Mutex<Option<JoinHandle<()>>>,
    pub(super) _folder: Arc<DataFolder>,
}

impl Inner {
    pub(super) fn group(&self, id: u64) -> Result<Arc<Group>, StoreError> {
        let mut groups = lock(&self.groups);
        if let Some(group) = groups.get(&id) {
            return Ok(Arc::clone(group));
        }
        if groups.len() >= GROUPS {
            return Err(StoreError::TooManyGroups {
                group: id,
                limit: GROUPS,
            });
        }
        let snapshot = lock(&self.found).remove(&id);
        let (group, leftover) = Group::load(&self.db, id, snapshot)?;
        let group = Arc::new(group);
        for garbage in leftover.garbage(id) {
            self.remove_later(&group, garbage);
        }
        groups.insert(id, Arc::clone(&group));
        Ok(group)
    }

    /// Forgets everything of a group. Nobody may run it, or open it meanwhile.
    pub(super) async fn erase(&self, id: u64) -> Result<(), StoreError> {
        let group = self.group(id)?;
        // First: a snapshot that is found later must not stand beside an empty log.
        if let Some(snapshot) = lock(&group.snapshot).take() {
            remove(&snapshot.path);
        }
        let generation = group.new_generation();
        self.call(&group, 0, |done| Operation::Erase { generation, done })
            .await?;
        lock(&self.groups).remove(&id);
        Ok(())
    }

    /// Rows that a crash left are removed when there is room in the queue, or by a later start.
    pub(super) fn remove_later(&self, group: &Arc<Group>, garbage: Garbage) {
        let Ok(permit) = Arc::clone(&self.budget).try_acquire_owned() else {
            return;
        };
        let queued = Queued {
            group: Arc::clone(group),
            operation: Operation::Remove { garbage },
            bytes: 0,
            _permit: permit,
        };
        drop(self.sender.try_send(Message::Work(queued)));
    }

    pub(super) fn get(&self, group: u64, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let tx = self.read()?;
        let meta = tx
            .open_table(META)
            .map_err(StoreError::database("open the records"))?;
        let state = meta
            .get((group, MACHINE))
            .map_err(StoreError::database("read a record"))?;
        let Some(state) = state else { return Ok(None) };
        let state: MachineState = decode(group, "machine state", state.value())?;
        let data = tx
            .open_table(DATA)
            .map_err(StoreError::database("open the data"))?;
        let value = data
            .get(data_key(group, state.generation, key).as_slice())
            .map_err(StoreError::database("read a key"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    /// A view of everything that is committed now, synced or not.
    pub(super) fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.db
            .begin_read()
            .map_err(StoreError::database("begin reading"))
    }

    /// Waits for room in the queue. What is sent with it cannot fail any more, except when the
    /// writer has ended; it is then dropped, and its waiter is told so.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Slot<'_>, StoreError> {
        // An operation that is larger than the whole queue takes all of it.
        let cost = u32::try_from((bytes / 1024 + 1).min(QUEUE_BYTES / 1024)).unwrap_or(u32::MAX);
        let wait = async {
            let permit = Arc::clone(&self.budget)
                .acquire_many_owned(cost)
                .await
                .map_err(|_| StoreError::Closed)?;
            let place = self
                .sender
                .reserve()
                .await
                .map_err(|_| StoreError::Closed)?;
            Ok(Slot {
                place,
                permit,
                bytes,
            })
        };
        timeout(COMMIT_DEADLINE, wait)
            .await
            .unwrap_or(Err(StoreError::Stalled {
                waited: COMMIT_DEADLINE,
            }))
    }

    /// Sends one operation and waits for its commit.
    pub(super) async fn call<T>(
        &self,
        group: &Arc<Group>,
        bytes: usize,
        operation: impl FnOnce(Done<T>) -> Operation,
    ) -> Result<T, StoreError> {
        let (done, committed) = oneshot::channel();
        self.reserve(bytes).await?.send(group, operation(done));
        timeout(COMMIT_DEADLINE, committed)
            .await
            .map_err(|_| StoreError::Stalled {
                waited: COMMIT_DEADLINE,
            })?
            .unwrap_or(Err(StoreError::Closed))
    }
}

/// Room for one operation in the queue.
pub(super) struct Slot<'a> {
    place: mpsc::Permit<'a, Message>,
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Slot<'_> {
    pub(super) fn send(self, group: &Arc<Group>, operation: Operation) {
        self.place.send(Message::Work(Queued {
            group: Arc::clone(group),
            operation,
            bytes: self.bytes,
            _permit: self.permit,
        }));
    }
}

/// A reader must find every table, also in a database that was never written.
pub(super) fn create_tables(db: &Database) -> Result<(), StoreError> {
    let tx = db
        .begin_write()
        .map_err(StoreError::database("begin writing"))?;
    tx.open_table(LOG)
        .map(drop)
        .map_err(StoreError::database("create the log"))?;
    tx.open_table(META)
        .map(drop)
        .map_err(StoreError::database("create the records"))?;
    tx.open_table(DATA)
        .map(drop)
        .map_err(StoreError::database("create the data"))?;
    tx.commit().map_err(StoreError::database("commit"))
}

/// Runs what blocks on the disk beside the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(StoreError::Closed))
}
