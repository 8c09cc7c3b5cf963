//! Ports that nobody uses now and that nobody is likely to take while a node is restarted.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

use rand::RngExt as _;

/// Below where operating systems draw the ports of outgoing connections from: a client that
/// connects to a port of a killed node could otherwise be given that very port, and keep it.
const QUIET: Range<u16> = 10_000..30_000;

/// Draws from the quiet range before any free port will do.
const DRAWS: usize = 200;

/// Gives out free ports of the loopback address, none of them twice.
#[derive(Debug, Clone, Default)]
pub struct Ports(BTreeSet<u16>);

impl Ports {
    /// A port that is free for both UDP and TCP at this moment.
    ///
    /// # Errors
    ///
    /// What the system says when not even a random port is to be had.
    pub fn take(&mut self) -> io::Result<u16> {
        for _ in 0..DRAWS {
            let port = rand::rng().random_range(QUIET);
            if !self.0.contains(&port) && is_free(port) {
                self.0.insert(port);
                return Ok(port);
            }
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = socket.local_addr()?.port();
        self.0.insert(port);
        Ok(port)
    }
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_or_taken_from_another() {
        let mut ports = Ports::default();
        let given: BTreeSet<u16> = (0..50).map(|_| ports.take().unwrap()).collect();
        assert_eq!(given.len(), 50);
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(held.local_addr().unwrap().port()));
    }
}
