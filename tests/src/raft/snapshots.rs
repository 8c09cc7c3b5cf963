//! Where the snapshots of a [`Machine`](super::Machine) are kept: in memory or in files.
//!
//! These are the two kinds of `SnapshotData` that a network has to carry.

use std::fmt::Debug;
use std::future::Future;
use std::io::{self, Cursor, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// A place for snapshots, and what openraft gets to see of one.
pub trait SnapshotStore: Debug + Clone + Send + Sync + 'static {
    /// What openraft and the network pass around.
    type Data: Send + 'static;

    /// A handle that reads `bytes` from their beginning.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn open(&self, bytes: &Bytes) -> impl Future<Output = io::Result<Self::Data>> + Send;

    /// All bytes of a snapshot that was received, wherever its handle stands.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn read(&self, data: Self::Data) -> impl Future<Output = io::Result<Bytes>> + Send;
}

/// Snapshots as `Cursor<Vec<u8>>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct InMemory;

impl SnapshotStore for InMemory {
    type Data = Cursor<Vec<u8>>;

    async fn open(&self, bytes: &Bytes) -> io::Result<Self::Data> {
        Ok(Cursor::new(bytes.to_vec()))
    }

    async fn read(&self, data: Self::Data) -> io::Result<Bytes> {
        Ok(data.into_inner().into())
    }
}

/// Snapshots as `tokio::fs::File`, in a temporary folder that goes with the last clone.
#[derive(Debug, Clone)]
pub struct InFiles {
    folder: Arc<TempDir>,
}

impl InFiles {
    /// A new temporary folder.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            folder: Arc::new(TempDir::with_prefix("quicraft-snapshots-")?),
        })
    }

    /// Where the snapshots are, for networks that receive into the same folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl SnapshotStore for InFiles {
    type Data = File;

    /// Each handle has a file of its own, so no reader moves the position of another.
    async fn open(&self, bytes: &Bytes) -> io::Result<Self::Data> {
        let folder = Arc::clone(&self.folder);
        let bytes = bytes.clone();
        let file = tokio::task::spawn_blocking(move || {
            let mut file = tempfile::tempfile_in(folder.path())?;
            io::Write::write_all(&mut file, &bytes)?;
            io::Seek::rewind(&mut file)?;
            Ok::<_, io::Error>(file)
        });
        Ok(File::from_std(file.await??))
    }

    async fn read(&self, mut data: Self::Data) -> io::Result<Bytes> {
        data.seek(SeekFrom::Start(0)).await?;
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).await?;
        Ok(bytes.into())
    }
}
