//! Reading a file at an offset, on Windows: it moves the cursor, but every read says where it begins.

use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt;

/// Reads at `offset`.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buffer, offset)
}
