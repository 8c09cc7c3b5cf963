//! Reading a file at an offset, on systems that can do it without touching the cursor.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Reads at `offset`; the cursor of the file stays where it is.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}
