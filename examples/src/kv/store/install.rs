//! Installing a snapshot: its rows go into a generation that nobody reads, then one transaction
//! makes that the state. A crash before leaves the old state, one after it the new.
//!
//! The received file is copied into the snapshot folder first, and checked to its last byte while
//! it is copied: nothing is loaded from a file that is not whole, and the copy is what this node
//! sends on when it leads. It is on the disk before the switch, so a node whose log was cut can
//! always send a snapshot.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::error::StoreError;
use super::group::{Group, cluster, lock};
use super::inner::{Inner, blocking};
use super::limits::INSTALL_BYTES;
use super::machine::GroupMachine;
use super::operation::Operation;
use super::schema::{Machine, MachineState};
use super::snapshot::{
    Header, ReadError, SnapshotFile, SnapshotReader, final_path, remove, rename, replace,
    temporary_path,
};
use super::sweep::Garbage;
use crate::kv::types::SnapshotMeta;

/// Batches that are read ahead of the one that is being written.
const READ_AHEAD: usize = 1;

type Rows = Vec<(Bytes, Bytes)>;

impl GroupMachine {
    /// Replaces the state of this group by the one in `snapshot`.
    pub(super) async fn install(
        &self,
        meta: &SnapshotMeta,
        snapshot: tokio::fs::File,
    ) -> Result<(), StoreError> {
        let source = snapshot.into_std().await;
        let (store, group, wanted) = (
            Arc::clone(&self.store),
            Arc::clone(&self.group),
            meta.clone(),
        );
        let (header, path) = blocking(move || keep(&store, &group, &wanted, source)).await?;

        let generation = self.group.new_generation();
        if let Err(error) = self.load(&path, generation).await {
            let garbage = Garbage::Generation {
                group: self.group.id,
                generation,
            };
            self.store.remove_later(&self.group, garbage);
            return Err(error);
        }
        let machine = Machine {
            state: MachineState {
                applied: header.applied,
                digest: header.digest,
                generation,
            },
            membership: header.membership,
        };
        let (store, id) = (Arc::clone(&self.store), self.group.id);
        let cluster = blocking(move || cluster(&store.read()?, id, generation)).await?;
        self.store
            .call(&self.group, 0, |done| Operation::Switch { machine, done })
            .await?;
        if let Some(cluster) = cluster {
            self.group.cluster.install(cluster);
        }
        Ok(())
    }

    /// Reads on one thread, writes on the writer's; never more than a few batches in memory.
    async fn load(&self, path: &Path, generation: u64) -> Result<(), StoreError> {
        let (sender, mut batches) = mpsc::channel(READ_AHEAD);
        let (id, path) = (self.group.id, path.to_owned());
        let reading = tokio::spawn(blocking(move || read_batches(id, &path, &sender)));
        while let Some((rows, bytes)) = batches.recv().await {
            self.store
                .call(&self.group, bytes, |done| Operation::Load {
                    generation,
                    rows,
                    done,
                })
                .await?;
        }
        reading.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Copies a received snapshot into the folder and makes it the group's current one.
fn keep(
    store: &Inner,
    group: &Group,
    meta: &SnapshotMeta,
    source: File,
) -> Result<(Header, PathBuf), StoreError> {
    let number = store.temporary.fetch_add(1, Ordering::Relaxed);
    let part = temporary_path(&store.snapshots, group.id, number);
    let header = copy(group.id, meta, source, &part).inspect_err(|_| remove(&part))?;
    let path = final_path(&store.snapshots, group.id, header.applied);
    let mut current = lock(&group.snapshot);
    rename(&part, &path)?;
    replace(
        &mut current,
        SnapshotFile {
            meta: header.meta(),
            path: path.clone(),
        },
    );
    Ok((header, path))
}

/// Copies `source` to `part` while it is checked.
fn copy(
    group: u64,
    meta: &SnapshotMeta,
    mut source: File,
    part: &Path,
) -> Result<Header, StoreError> {
    source.rewind().map_err(StoreError::file("read", part))?;
    let target = File::create(part).map_err(StoreError::file("create", part))?;
    let target = BufWriter::with_capacity(INSTALL_BYTES, target);
    let copying = Copying {
        from: BufReader::with_capacity(INSTALL_BYTES, source),
        to: target,
    };
    let refused = |error: ReadError| StoreError::Snapshot {
        group,
        reason: error.to_string(),
    };
    let mut reader = SnapshotReader::open(copying).map_err(refused)?;
    let header = reader.header.clone();
    if header.group != group {
        let reason = format!("it is of group {}", header.group);
        return Err(StoreError::Snapshot { group, reason });
    }
    if header.meta() != *meta {
        let reason = format!("it holds {}, announced was {meta}", header.meta());
        return Err(StoreError::Snapshot { group, reason });
    }
    while reader.next_row().map_err(refused)?.is_some() {}
    reader
        .into_input()
        .to
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::file("write", part))?;
    Ok(header)
}

/// A reader that writes everything it reads to a second file.
struct Copying {
    from: BufReader<File>,
    to: BufWriter<File>,
}

impl Read for Copying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.to
            .write_all(buffer.get(..length).unwrap_or_default())?;
        Ok(length)
    }
}

fn read_batches(
    group: u64,
    path: &Path,
    sender: &mpsc::Sender<(Rows, usize)>,
) -> Result<(), StoreError> {
    let refused = |error: ReadError| StoreError::Snapshot {
        group,
        reason: error.to_string(),
    };
    let file = File::open(path).map_err(StoreError::file("open", path))?;
    let file = BufReader::with_capacity(INSTALL_BYTES, file);
    let mut reader = SnapshotReader::open(file).map_err(refused)?;
    let (mut rows, mut bytes) = (Rows::new(), 0);
    while let Some((key, value)) = reader.next_row().map_err(refused)? {
        bytes += key.len() + value.len();
        rows.push((Bytes::from(key), Bytes::from(value)));
        if bytes >= INSTALL_BYTES
            && sender
                .blocking_send((std::mem::take(&mut rows), std::mem::take(&mut bytes)))
                .is_err()
        {
            // Nobody loads any more; whoever stopped knows why.
            return Ok(());
        }
    }
    // A closed channel: as above.
    drop(sender.blocking_send((rows, bytes)));
    Ok(())
}
