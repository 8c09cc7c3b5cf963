//! Who else on this machine can read a file, on systems with Unix permissions.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What group and others may do with a file.
const SHARED_BITS: u32 = 0o077;

/// The permission bits of a file, if anybody but its owner may read, change or run it.
pub(crate) fn exposed(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.mode() & 0o777;
    (mode & SHARED_BITS != 0).then_some(mode)
}

/// Creates a file that only its owner can read from the first moment on, and fails if there is
/// one already.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Creates a folder for keys, with those above it. One that exists is left as it is.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the names of new files in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
