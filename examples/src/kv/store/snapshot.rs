//! The snapshot file of a group, and which one is the current.
//!
//! ```text
//!  magic "QCKVSN01" | header length u32 LE | header (bincode) |
//!  { key length u32 LE | value length u32 LE | key | value } ... |
//!  0xFFFF_FFFF u32 | number of rows u64 LE | blake3 of all bytes before the hash
//! ```
//!
//! A file is written beside, synced and renamed, so one with a final name is whole. Lengths are
//! checked before a byte is allocated: the file may come from another node.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::limits::{KEY_BYTES, SNAPSHOT_HEADER_BYTES, VALUE_BYTES};
use super::schema::{decode, encode};
use crate::kv::types::{LogId, SnapshotMeta, StoredMembership};

const MAGIC: &[u8; 8] = b"QCKVSN01";
/// Stands where a key's length would: no key is so long.
const END: u32 = u32::MAX;
const SUFFIX: &str = ".snapshot";
const TEMPORARY: &str = ".part";

/// What stands before the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) group: u64,
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    pub(super) digest: [u8; 32],
}

impl Header {
    pub(super) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        }
    }
}

/// A whole snapshot file with its final name.
#[derive(Debug, Clone)]
pub(super) struct SnapshotFile {
    pub(super) meta: SnapshotMeta,
    pub(super) path: PathBuf,
}

impl SnapshotFile {
    /// Opens it for reading, from its start.
    pub(super) fn open(&self) -> Result<(SnapshotMeta, File), StoreError> {
        let file = File::open(&self.path).map_err(StoreError::file("open", &self.path))?;
        Ok((self.meta.clone(), file))
    }
}

/// The final name of the snapshot of `group` at `applied`.
pub(super) fn final_path(folder: &Path, group: u64, applied: Option<LogId>) -> PathBuf {
    let (index, term) = applied.map_or((0, 0), |applied| (applied.index, applied.leader_id.term));
    folder.join(format!("group-{group}-index-{index}-term-{term}{SUFFIX}"))
}

/// A name that no other snapshot of this run has.
pub(super) fn temporary_path(folder: &Path, group: u64, number: u64) -> PathBuf {
    folder.join(format!("group-{group}-{number}{TEMPORARY}"))
}

/// Gives a written and synced file its final name, for good.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::file("rename", from))?;
    let folder = to.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::file("sync", folder))
}

/// Makes `new` the current one if it is newer, and removes the file of the other.
pub(super) fn replace(current: &mut Option<SnapshotFile>, new: SnapshotFile) {
    let old = match current.take() {
        Some(old) if old.meta.last_log_id > new.meta.last_log_id => {
            let other = new;
            *current = Some(old);
            Some(other)
        }
        old => {
            let path = new.path.clone();
            *current = Some(new);
            old.filter(|old| old.path != path)
        }
    };
    if let Some(old) = old {
        remove(&old.path);
    }
}

/// A file that cannot be removed costs space and nothing else.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(
            target: "quicraft::kv", path = %path.display(), error = %error,
            "cannot remove an old snapshot"
        );
    }
}

/// The newest snapshot of every group in the folder. Older ones and unfinished ones are removed; a
/// file that is not a snapshot is left alone.
pub(super) fn find_all(folder: &Path) -> Result<BTreeMap<u64, SnapshotFile>, StoreError> {
    let mut found = BTreeMap::<u64, Option<SnapshotFile>>::new();
    let failed = || StoreError::file("read", folder);
    for file in fs::read_dir(folder).map_err(failed())? {
        let path = file.map_err(failed())?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if name.ends_with(TEMPORARY) {
            remove(&path);
        } else if name.ends_with(SUFFIX) {
            let file = File::open(&path).map_err(StoreError::file("open", &path))?;
            match SnapshotReader::open(io::BufReader::new(file)) {
                Ok(reader) => {
                    let header = reader.header;
                    let one = SnapshotFile {
                        meta: header.meta(),
                        path,
                    };
                    replace(found.entry(header.group).or_default(), one);
                }
                Err(error) => tracing::warn!(
                    target: "quicraft::kv", path = %path.display(), error = %error,
                    "a damaged snapshot is left alone"
                ),
            }
        }
    }
    Ok(found
        .into_iter()
        .filter_map(|(group, file)| Some((group, file?)))
        .collect())
}

/// Writes a snapshot, row by row.
pub(super) struct SnapshotWriter<W> {
    out: W,
    hasher: blake3::Hasher,
    rows: u64,
}

impl<W: Write> SnapshotWriter<W> {
    pub(super) fn create(out: W, header: &Header) -> Result<Self, WriteError> {
        let bytes = encode(header.group, "snapshot header", header)?;
        let mut writer = Self {
            out,
            hasher: blake3::Hasher::new(),
            rows: 0,
        };
        writer.put(MAGIC)?;
        writer.put_length(bytes.len())?;
        writer.put(&bytes)?;
        Ok(writer)
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.put_length(key.len())?;
        self.put_length(value.len())?;
        self.put(key)?;
        self.put(value)?;
        self.rows += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.put(&END.to_le_bytes())?;
        let rows = self.rows;
        self.put(&rows.to_le_bytes())?;
        let hash = self.hasher.finalize();
        self.out.write_all(hash.as_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put_length(&mut self, length: usize) -> io::Result<()> {
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.put(&length.to_le_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A key and its value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// Reads a snapshot, row by row; the last row is only trusted when `next_row` has returned `None`.
pub(super) struct SnapshotReader<R> {
    input: R,
    hasher: blake3::Hasher,
    rows: u64,
    pub(super) header: Header,
}

/// Why a file is not a whole snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("it ends too early or cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it does not begin as a snapshot")]
    Magic,
    #[error("its {what} of {length} bytes is over the limit of {limit}")]
    TooLong {
        what: &'static str,
        length: u32,
        limit: usize,
    },
    #[error("its header is damaged: {0}")]
    Header(StoreError),
    #[error("it says {said} rows and has {rows}")]
    Rows { said: u64, rows: u64 },
    #[error("its hash is wrong")]
    Hash,
    #[error("there are bytes after its end")]
    Longer,
}

impl<R: Read> SnapshotReader<R> {
    pub(super) fn open(input: R) -> Result<Self, ReadError> {
        let header = Header {
            group: 0,
            applied: None,
            membership: StoredMembership::default(),
            digest: [0; 32],
        };
        let mut reader = Self {
            input,
            hasher: blake3::Hasher::new(),
            rows: 0,
            header,
        };
        if reader.take::<8>()? != *MAGIC {
            return Err(ReadError::Magic);
        }
        let length = u32::from_le_bytes(reader.take()?);
        let bytes = reader.bytes("header", length, SNAPSHOT_HEADER_BYTES)?;
        reader.header = decode(0, "snapshot header", &bytes).map_err(ReadError::Header)?;
        Ok(reader)
    }

    /// The next row, or `None` after the last, when the whole file was checked.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, ReadError> {
        let key = u32::from_le_bytes(self.take()?);
        if key == END {
            self.check_end()?;
            return Ok(None);
        }
        let value = u32::from_le_bytes(self.take()?);
        let key = self.bytes("key", key, KEY_BYTES)?;
        let value = self.bytes("value", value, VALUE_BYTES)?;
        self.rows += 1;
        Ok(Some((key, value)))
    }

    fn check_end(&mut self) -> Result<(), ReadError> {
        let said = u64::from_le_bytes(self.take()?);
        if said != self.rows {
            return Err(ReadError::Rows {
                said,
                rows: self.rows,
            });
        }
        let hash = self.hasher.finalize();
        if self.take::<32>()? != *hash.as_bytes() {
            return Err(ReadError::Hash);
        }
        match self.input.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(ReadError::Longer),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn bytes(
        &mut self,
        what: &'static str,
        length: u32,
        limit: usize,
    ) -> Result<Vec<u8>, ReadError> {
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > limit {
            return Err(ReadError::TooLong {
                what,
                length,
                limit,
            });
        }
        let mut bytes = vec![0; size];
        self.input.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }
}

impl<R> SnapshotReader<R> {
    /// What was read from.
    pub(super) fn into_input(self) -> R {
        self.input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let membership = StoredMembership::default();
        Header {
            group: 3,
            applied: None,
            membership,
            digest: [9; 32],
        }
    }

    fn written(rows: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut writer = SnapshotWriter::create(Vec::new(), &header()).unwrap();
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Row>, ReadError> {
        let mut reader = SnapshotReader::open(bytes)?;
        assert_eq!(reader.header, header());
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&written(&[])).unwrap(), []);
        let rows = read(&written(&[(b"a", b""), (b"bc", b"value")])).unwrap();
        assert_eq!(
            rows,
            [(b"a".into(), b"".into()), (b"bc".into(), b"value".into())]
        );
    }

    #[test]
    fn lengths_are_checked_at_the_limit_and_one_past_it() {
        let (key, value) = (vec![1; KEY_BYTES], vec![2; VALUE_BYTES]);
        assert_eq!(read(&written(&[(&key, &value)])).unwrap().len(), 1);
        let long = vec![1; KEY_BYTES + 1];
        let error = read(&written(&[(&long, b"")])).unwrap_err();
        assert!(
            matches!(error, ReadError::TooLong { what: "key", .. }),
            "{error}"
        );
        let large = vec![1; VALUE_BYTES + 1];
        let error = read(&written(&[(b"k", &large)])).unwrap_err();
        assert!(
            matches!(error, ReadError::TooLong { what: "value", .. }),
            "{error}"
        );
        let past = u32::try_from(SNAPSHOT_HEADER_BYTES + 1).unwrap();
        let bytes = [MAGIC.as_slice(), &past.to_le_bytes()].concat();
        let error = read(&bytes).unwrap_err();
        assert!(
            matches!(error, ReadError::TooLong { what: "header", .. }),
            "{error}"
        );
    }

    #[test]
    fn every_single_flipped_bit_and_every_cut_is_noticed() {
        let whole = written(&[(b"key", b"value"), (b"other", b"another value")]);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                let same = SnapshotReader::open(bytes.as_slice()).and_then(|mut reader| {
                    while reader.next_row()?.is_some() {}
                    Ok(())
                });
                assert!(same.is_err(), "byte {at}, bit {bit}");
            }
            assert!(read(&whole[..at]).is_err(), "cut after {at} bytes");
        }
    }
}
