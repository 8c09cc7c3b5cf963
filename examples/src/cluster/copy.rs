//! Copies of a node's data folder, as a backup or a cloned machine has them.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{ClusterError, file};

/// Copies a folder with all that is in it to `to`, which must not be there yet. Returns `to`.
///
/// What changes meanwhile may be half in the copy, as with any copy of a running machine's disk.
///
/// # Errors
///
/// [`ClusterError::File`].
pub fn copy(from: &Path, to: &Path) -> Result<PathBuf, ClusterError> {
    fs::create_dir(to).map_err(file("create", to))?;
    let entries = fs::read_dir(from).map_err(file("read", from))?;
    for entry in entries {
        let path = entry.map_err(file("read", from))?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name)).map_err(file("copy", &path))?;
        }
    }
    Ok(to.to_owned())
}
