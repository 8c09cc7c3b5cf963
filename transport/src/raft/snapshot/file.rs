//! Snapshots that a host keeps in files.

use std::fs::File as StdFile;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeekExt, AsyncWriteExt, ReadBuf};
use tokio::task::JoinHandle;

use super::super::limits::{FILE_READ_BYTES, FILE_SNAPSHOT_BYTES_MAX};
use super::memory::check_length;
use super::read_at::read_at;
use super::{SnapshotIo, SnapshotSink};

/// Snapshots in files: the `SnapshotData` is an open `tokio::fs::File`.
///
/// A file that is sent is read from its beginning to its length, wherever its cursor stands, and
/// without moving it, so that clones of one handle can be sent to several nodes at once.
///
/// A file is received in the given folder under the name `snapshot-<random>.partial`. When it is
/// whole and verified, its name is removed and the state machine gets the open file, at its
/// beginning: nothing is left behind when that is closed, even if the process is killed. A state
/// machine that wants to keep the bytes copies them. When receiving fails, the file is removed;
/// after a crash in the middle, [`FileSnapshots::remove_partial`] does.
#[derive(Clone, Debug)]
pub struct FileSnapshots {
    folder: PathBuf,
    bytes_max: u64,
}

impl FileSnapshots {
    /// Receives snapshots of at most 1 TiB in `folder`, which must exist.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            bytes_max: FILE_SNAPSHOT_BYTES_MAX,
        }
    }

    /// Refuses snapshots of more than `bytes_max` bytes before they are received.
    #[must_use]
    pub const fn with_bytes_max(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Removes the partial files that a crash has left in the folder, and says how many. Call it
    /// before the node starts; it would take the file from under a snapshot that is being received.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or a file in it not removed.
    pub fn remove_partial(&self) -> io::Result<usize> {
        let mut removed = 0;
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if is_partial(Path::new(&entry.file_name())) {
                std::fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

const PREFIX: &str = "snapshot-";
const EXTENSION: &str = "partial";

fn is_partial(name: &Path) -> bool {
    name.extension()
        .is_some_and(|extension| extension == EXTENSION)
        && name.to_str().is_some_and(|name| name.starts_with(PREFIX))
}

impl SnapshotIo for FileSnapshots {
    type Data = File;
    type Source = FileSnapshotReader;
    type Sink = FileSnapshotSink;

    async fn open(&self, data: File) -> io::Result<(u64, FileSnapshotReader)> {
        let length = data.metadata().await?.len();
        let file = Arc::new(data.into_std().await);
        Ok((length, FileSnapshotReader::new(file)))
    }

    async fn receive(&self, length: u64) -> io::Result<FileSnapshotSink> {
        check_length(length, self.bytes_max)?;
        let name = format!("{PREFIX}{:032x}.{EXTENSION}", rand::random::<u128>());
        let path = self.folder.join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .await?;
        Ok(FileSnapshotSink {
            file: Some(file),
            name: PartialName(Some(path)),
        })
    }
}

/// Receives a snapshot into a file. Dropping it removes the file.
#[derive(Debug)]
pub struct FileSnapshotSink {
    /// `None` only after `finish`.
    file: Option<File>,
    name: PartialName,
}

impl SnapshotSink for FileSnapshotSink {
    type Data = File;

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn finish(mut self) -> io::Result<File> {
        let mut file = self.file.take().ok_or(io::ErrorKind::NotConnected)?;
        // A write of tokio's file ends in the background; its error comes with the next operation.
        file.flush().await?;
        file.rewind().await?;
        self.name.remove()?;
        Ok(file)
    }
}

/// The name of a file that is being received; dropping it removes the file.
#[derive(Debug)]
struct PartialName(Option<PathBuf>);

impl PartialName {
    fn remove(&mut self) -> io::Result<()> {
        self.0.take().map_or(Ok(()), std::fs::remove_file)
    }
}

impl Drop for PartialName {
    fn drop(&mut self) {
        let path = self.0.clone();
        // Removing a name takes no waiting worth a task of its own.
        if let Err(error) = self.remove() {
            tracing::warn!(
                target: "quicraft::snapshot",
                ?path, %error, "a partial snapshot could not be removed"
            );
        }
    }
}

/// Reads a file from its beginning, chunk by chunk, on the threads for blocking calls, and one chunk
/// ahead of what is taken.
///
/// Dropping it lets a read that is under way (at most one chunk) end by itself.
#[derive(Debug)]
pub struct FileSnapshotReader {
    file: Arc<StdFile>,
    /// Where the next chunk begins.
    offset: u64,
    /// What was read and is not taken yet.
    chunk: Chunk,
    /// The read of the chunk behind it.
    ahead: Option<JoinHandle<io::Result<Chunk>>>,
}

/// Bytes that were read; those before `taken` were handed out.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    filled: usize,
    taken: usize,
}

impl Chunk {
    const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            filled: 0,
            taken: 0,
        }
    }

    fn read_at(mut self, file: &StdFile, offset: u64) -> io::Result<Self> {
        self.bytes.resize(FILE_READ_BYTES, 0);
        self.taken = 0;
        loop {
            match read_at(file, &mut self.bytes, offset) {
                Ok(filled) => {
                    self.filled = filled;
                    return Ok(self);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl FileSnapshotReader {
    const fn new(file: Arc<StdFile>) -> Self {
        Self {
            file,
            offset: 0,
            chunk: Chunk::new(),
            ahead: None,
        }
    }

    /// Begins to read the next chunk into the memory of `free`.
    fn read_ahead(&self, free: Chunk) -> JoinHandle<io::Result<Chunk>> {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        tokio::task::spawn_blocking(move || free.read_at(&file, offset))
    }
}

impl AsyncRead for FileSnapshotReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.chunk.taken == this.chunk.filled {
            let mut ahead = match this.ahead.take() {
                Some(ahead) => ahead,
                None => this.read_ahead(Chunk::new()),
            };
            let Poll::Ready(read) = Pin::new(&mut ahead).poll(cx) else {
                this.ahead = Some(ahead);
                return Poll::Pending;
            };
            let read = read.map_err(io::Error::other)??;
            let free = std::mem::replace(&mut this.chunk, read);
            this.offset += this.chunk.filled as u64;
            if this.chunk.filled > 0 {
                this.ahead = Some(this.read_ahead(free));
            }
        }
        let chunk = &mut this.chunk;
        let count = buffer.remaining().min(chunk.filled - chunk.taken);
        buffer.put_slice(&chunk.bytes[chunk.taken..chunk.taken + count]);
        chunk.taken += count;
        Poll::Ready(Ok(()))
    }
}
