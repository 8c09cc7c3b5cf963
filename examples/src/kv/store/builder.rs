//! Building a snapshot: one view of the database is streamed into a file.
//!
//! The view is consistent and takes no lock, so the group goes on applying. While it is open redb
//! keeps the pages that it sees, so a long build makes the file larger, not slower.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::storage::{RaftSnapshotBuilder, Snapshot};

use super::error::StoreError;
use super::group::{Group, lock};
use super::inner::{Inner, blocking};
use super::machine::GroupSnapshot;
use super::schema::{
    DATA, MACHINE, MEMBERSHIP, META, MachineState, data_end, data_key, decode, user_key,
};
use super::snapshot::{
    Header, SnapshotFile, SnapshotWriter, WriteError, final_path, remove, rename, replace,
    temporary_path,
};
use crate::kv::types::TypeConfig;

/// The buffer in front of the file; the rows are small and the disk likes large writes.
const BUFFER: usize = 256 * 1024;

/// Builds snapshots of one group.
#[derive(Debug)]
pub struct GroupSnapshotBuilder {
    store: Arc<Inner>,
    group: Arc<Group>,
}

impl GroupSnapshotBuilder {
    pub(super) const fn new(store: Arc<Inner>, group: Arc<Group>) -> Self {
        Self { store, group }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for GroupSnapshotBuilder {
    type SnapshotData = tokio::fs::File;

    async fn build_snapshot(&mut self) -> Result<GroupSnapshot, io::Error> {
        let _turn = self
            .store
            .builds
            .acquire()
            .await
            .map_err(|_| StoreError::Closed)?;
        let (store, group) = (Arc::clone(&self.store), Arc::clone(&self.group));
        let (meta, file) = blocking(move || build(&store, &group)).await?;
        Ok(Snapshot {
            meta,
            snapshot: tokio::fs::File::from_std(file),
        })
    }
}

fn build(
    store: &Inner,
    group: &Group,
) -> Result<(crate::kv::types::SnapshotMeta, File), StoreError> {
    let number = store.temporary.fetch_add(1, Ordering::Relaxed);
    let part = temporary_path(&store.snapshots, group.id, number);
    let written = write(store, group.id, &part);
    let header = match written {
        Ok(header) => header,
        Err(error) => {
            remove(&part);
            return Err(match error {
                WriteError::Io(error) => StoreError::file("write", &part)(error),
                WriteError::Store(error) => error,
            });
        }
    };
    let path = final_path(&store.snapshots, group.id, header.applied);
    // The lock is held over the rename, so that the file of a newer one is not replaced.
    let mut current = lock(&group.snapshot);
    rename(&part, &path)?;
    let new = SnapshotFile {
        meta: header.meta(),
        path,
    };
    let opened = new.open()?;
    replace(&mut current, new);
    Ok(opened)
}

fn write(store: &Inner, group: u64, part: &Path) -> Result<Header, WriteError> {
    let tx = store.read()?;
    let meta = tx
        .open_table(META)
        .map_err(StoreError::database("open the records"))?;
    let field = |field: u8| {
        meta.get((group, field))
            .map_err(StoreError::database("read a record"))
    };
    let state: MachineState = field(MACHINE)?
        .map(|row| decode(group, "machine state", row.value()))
        .transpose()?
        .unwrap_or_default();
    let membership = field(MEMBERSHIP)?
        .map(|row| decode(group, "membership", row.value()))
        .transpose()?
        .unwrap_or_default();
    let header = Header {
        group,
        applied: state.applied,
        membership,
        digest: state.digest,
    };

    let file = BufWriter::with_capacity(BUFFER, File::create(part)?);
    let mut writer = SnapshotWriter::create(file, &header)?;
    let data = tx
        .open_table(DATA)
        .map_err(StoreError::database("open the data"))?;
    let start = data_key(group, state.generation, &[]);
    let rows = match data_end(group, Some(state.generation)) {
        Some(end) => data.range(start.as_slice()..end.as_slice()),
        None => data.range(start.as_slice()..),
    };
    for row in rows.map_err(StoreError::database("read the data"))? {
        let row = row.map_err(StoreError::database("read the data"))?;
        writer.row(user_key(row.0.value()), row.1.value())?;
    }
    let file = writer
        .finish()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(header)
}
