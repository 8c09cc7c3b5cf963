//! Who else on this machine can read a file, on systems without Unix permissions: not known
//! here, so the folder that holds a key must be protected by its owner.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Nothing is known about it.
pub(crate) fn exposed(_metadata: &Metadata) -> Option<u32> {
    None
}

/// Creates a file, and fails if there is one already. It inherits the protection of its folder.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Creates a folder, with those above it. One that exists is left as it is.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Folders cannot be opened as files here; the names become durable in their own time.
pub(crate) fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
