//! A file that only its owner can read, from the moment it exists.
//!
//! One of the few files that ask which operating system this is.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a file that did not exist.
#[cfg(unix)]
pub(crate) fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Creates a file that did not exist; the folder's own access rules protect it.
#[cfg(not(unix))]
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
