//! What the operating system says of the nodes' processes. It reads Linux' `/proc`; elsewhere every
//! question is answered with an error.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::error::{ClusterError, file};

/// How many descriptors the process `pid` has open.
///
/// # Errors
///
/// [`ClusterError::File`], when there is no such process or no `/proc`.
pub fn descriptors(pid: u32) -> Result<u64, ClusterError> {
    let path = format!("/proc/{pid}/fd");
    let path = Path::new(&path);
    let open = fs::read_dir(path).map_err(file("read", path))?;
    Ok(open.count() as u64)
}

/// The UDP ports that sockets of IPv4 are bound to.
///
/// # Errors
///
/// [`ClusterError::File`], when there is no `/proc`.
pub fn udp_ports() -> Result<BTreeSet<u16>, ClusterError> {
    let path = Path::new("/proc/net/udp");
    let table = fs::read_to_string(path).map_err(file("read", path))?;
    Ok(table.lines().filter_map(local_port).collect())
}

/// The port in `  12: 0100007F:1F90 00000000:0000 07 ...`.
fn local_port(line: &str) -> Option<u16> {
    let (_, port) = line.split_whitespace().nth(1)?.split_once(':')?;
    u16::from_str_radix(port, 16).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_bound_socket_is_seen_and_is_a_descriptor() {
        assert_eq!(local_port("  sl  local_address rem_address   st"), None);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(udp_ports().unwrap().contains(&port));
        assert!(descriptors(std::process::id()).unwrap() > 2);
    }
}
