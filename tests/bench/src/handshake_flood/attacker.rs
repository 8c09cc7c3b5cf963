//! A host that begins handshakes and never finishes one, on the kernel's sockets.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quicraft_certs::CredentialStore;
use quicraft_tests::half_open::HalfOpen;

use crate::pair::Failure;

/// One host at one port or many.
pub(super) struct Attacker {
    sockets: Vec<UdpSocket>,
    target: SocketAddr,
    clients: HalfOpen,
    validated: bool,
    begun: usize,
    sent_bytes: u64,
    received_bytes: u64,
}

impl Attacker {
    pub(super) fn new(
        host: IpAddr,
        ports: usize,
        target: SocketAddr,
        credentials: &Arc<CredentialStore>,
        validated: bool,
    ) -> Result<Self, Failure> {
        let mut sockets = Vec::with_capacity(ports);
        for number in 0..ports {
            let socket = UdpSocket::bind((host, 0)).map_err(|error| {
                format!("port {number} of {host}: {error}; raise the limit of open files")
            })?;
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        Ok(Self {
            sockets,
            target,
            clients: HalfOpen::new(credentials),
            validated,
            begun: 0,
            sent_bytes: 0,
            received_bytes: 0,
        })
    }

    /// Begins handshakes until there were so many, from one port after the other.
    pub(super) fn begin(&mut self, count: usize) -> io::Result<()> {
        while self.begun < count {
            let packet = if self.validated {
                self.clients.validated(self.target)
            } else {
                self.clients.silent(self.target)
            };
            self.send(self.begun % self.sockets.len(), &packet)?;
            self.begun += 1;
        }
        Ok(())
    }

    /// Reads what has come, and answers the Retries in it.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        let mut buffer = [0; 2_048];
        for number in 0..self.sockets.len() {
            loop {
                let length = match self.sockets[number].recv_from(&mut buffer) {
                    Ok((length, _)) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                self.received_bytes += length as u64;
                if let Some(packet) = self.clients.answer(self.target, &buffer[..length]) {
                    self.send(number, &packet)?;
                }
            }
        }
        Ok(())
    }

    pub(super) const fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    pub(super) const fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    fn send(&mut self, number: usize, packet: &[u8]) -> io::Result<()> {
        let sent = self.sockets[number].send_to(packet, self.target)?;
        self.sent_bytes += sent as u64;
        Ok(())
    }
}
