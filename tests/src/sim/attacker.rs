//! A host that begins handshakes and never finishes one.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use quicraft_certs::CredentialStore;
use quinn::AsyncUdpSocket;
use quinn::udp::{RecvMeta, Transmit};
use tokio::time::{Instant, sleep};

use super::spec::MS;
use crate::half_open::HalfOpen;
use crate::switch::{Counters, Switch};

/// One host at one port or many, whose clients go silent after their first packet, or after the
/// Retry that it had.
pub struct Attacker {
    switch: Switch,
    sockets: Vec<(SocketAddr, Arc<dyn AsyncUdpSocket>)>,
    target: SocketAddr,
    clients: HalfOpen,
    validated: bool,
    begun: usize,
}

impl std::fmt::Debug for Attacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attacker")
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

impl Attacker {
    /// An attacker of `target` at these addresses, which are of one host. Its clients answer a Retry
    /// if `validated`. The credentials are never looked at.
    ///
    /// # Panics
    ///
    /// If an address is taken.
    #[must_use]
    pub fn new(
        switch: &Switch,
        addresses: &[SocketAddr],
        target: SocketAddr,
        credentials: &Arc<CredentialStore>,
        validated: bool,
    ) -> Self {
        let sockets = addresses
            .iter()
            .map(|&address| (address, switch.socket(address)));
        Self {
            switch: switch.clone(),
            sockets: sockets.collect(),
            target,
            clients: HalfOpen::new(credentials),
            validated,
            begun: 0,
        }
    }

    /// Begins so many handshakes at once, from one port after the other.
    pub fn begin(&mut self, count: usize) {
        for _ in 0..count {
            let packet = if self.validated {
                self.clients.validated(self.target)
            } else {
                self.clients.silent(self.target)
            };
            self.send(self.begun % self.sockets.len(), &packet);
            self.begun += 1;
        }
    }

    /// Reads what has come, if anything of it may be answered, and answers the Retries in it.
    ///
    /// # Panics
    ///
    /// If a socket fails, which those of the switch never do.
    pub async fn listen(&mut self) {
        if !self.validated {
            return;
        }
        for number in 0..self.sockets.len() {
            while let Some(datagram) = self.received(number).await {
                if let Some(packet) = self.clients.answer(self.target, &datagram) {
                    self.send(number, &packet);
                }
            }
        }
    }

    /// Begins handshakes, evenly spread over a time, and listens meanwhile.
    pub async fn flood(&mut self, count: u32, over: Duration) {
        let start = Instant::now();
        let mut begun = 0;
        while begun < count {
            sleep(MS).await;
            let passed = start.elapsed().as_secs_f64() / over.as_secs_f64();
            let due = (f64::from(count) * passed).min(f64::from(count));
            while f64::from(begun) + 1.0 <= due {
                self.begin(1);
                begun += 1;
            }
            self.listen().await;
        }
    }

    /// Listens for a time.
    pub async fn wait(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(10 * MS).await;
            self.listen().await;
        }
    }

    /// What the target has sent to this host, and what this host has sent to it.
    #[must_use]
    pub fn counters(&self) -> (Counters, Counters) {
        let (here, there) = (self.sockets[0].0.ip(), self.target.ip());
        let between = |from, to| self.switch.counters(from, to);
        (between(there, here), between(here, there))
    }

    fn send(&self, number: usize, packet: &[u8]) {
        let transmit = Transmit {
            destination: self.target,
            ecn: None,
            contents: packet,
            segment_size: None,
            src_ip: None,
        };
        if let Err(error) = self.sockets[number].1.try_send(&transmit) {
            panic!("not sent: {error}");
        }
    }

    async fn received(&self, number: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 1_500];
        let mut meta = [RecvMeta::default()];
        let read = poll_fn(|cx| {
            let mut buffers = [IoSliceMut::new(&mut buffer)];
            let socket = &self.sockets[number].1;
            Poll::Ready(socket.poll_recv(cx, &mut buffers, &mut meta))
        });
        match read.await {
            Poll::Pending => None,
            Poll::Ready(Ok(_)) => {
                buffer.truncate(meta[0].len);
                Some(buffer)
            }
            Poll::Ready(Err(error)) => panic!("not read: {error}"),
        }
    }
}
