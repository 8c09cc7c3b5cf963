//! The resident memory of this process, as Linux counts it.

use std::fs;
use std::io;

/// Makes the peak start anew from what is resident now.
pub(crate) fn reset_peak() -> io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

/// Resident bytes now.
pub(crate) fn resident() -> io::Result<u64> {
    status("VmRSS:")
}

/// The most resident bytes since the last reset.
pub(crate) fn peak() -> io::Result<u64> {
    status("VmHWM:")
}

fn status(field: &str) -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no {field} there")))
}
