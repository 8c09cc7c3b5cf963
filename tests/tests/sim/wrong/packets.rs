//! Forges the first packet of an acceptor, as anyone can who sees that of the dialer: its keys follow
//! from a number in it (RFC 9001, 5.2). It must not know what follows.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;

use quicraft_tests::switch::Switch;
use quinn::AsyncUdpSocket;
use quinn::udp::{RecvMeta, Transmit};
use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Version};

use super::impostor::within;

/// What a forged packet says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Closing {
    /// The connection is closed by the application, with this code.
    Application(u32),
    /// The connection is closed by the transport, with this error.
    Transport(u32),
}

/// Sits at an address and answers first packets.
#[derive(Debug)]
pub(super) struct Forger {
    socket: Arc<dyn AsyncUdpSocket>,
}

impl Forger {
    pub(super) fn new(switch: &Switch, address: SocketAddr) -> Self {
        Self {
            socket: switch.socket(address),
        }
    }

    /// The next datagram, and who has sent it.
    pub(super) async fn seen(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 2_048];
        let mut meta = [RecvMeta::default()];
        let received = poll_fn(|cx| {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            self.socket.poll_recv(cx, &mut slices, &mut meta)
        });
        received.await.expect("a datagram");
        buffer.truncate(meta[0].len);
        (buffer, meta[0].addr)
    }

    /// Waits for a first packet and answers it.
    pub(super) async fn answer(&self, closing: Closing) {
        let (datagram, from) = within(self.seen()).await;
        self.send(from, &forged(&datagram, closing));
    }

    /// Stands between a dialer and the acceptor at `behind`, hands everything on, and puts a packet
    /// of its own behind this many datagrams of the acceptor.
    pub(super) async fn stand_between(
        self,
        behind: SocketAddr,
        datagrams: usize,
        closing: Closing,
    ) {
        let mut dialer = None;
        let mut answered = 0;
        loop {
            let (datagram, from) = self.seen().await;
            if from != behind {
                self.send(behind, &datagram);
                // Its first packet is enough to forge an answer.
                dialer.get_or_insert((from, datagram));
                continue;
            }
            let Some((dialer, first)) = &dialer else {
                continue;
            };
            self.send(*dialer, &datagram);
            answered += 1;
            if answered == datagrams {
                self.send(*dialer, &forged(first, closing));
            }
        }
    }

    fn send(&self, destination: SocketAddr, contents: &[u8]) {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        };
        self.socket.try_send(&transmit).expect("sent");
    }
}

/// The number of the forged packet: one that the acceptor itself does not come to.
const NUMBER: u8 = 100;

/// The connection ids of a long header: whom the dialer speaks to, and itself.
fn ids(datagram: &[u8]) -> (&[u8], &[u8]) {
    assert_eq!(datagram[0] & 0xb0, 0x80, "an Initial packet");
    let (length, rest) = datagram[5..].split_first().expect("a length");
    let (to, rest) = rest.split_at(usize::from(*length));
    let (length, rest) = rest.split_first().expect("a length");
    (to, &rest[..usize::from(*length)])
}

fn forged(datagram: &[u8], closing: Closing) -> Vec<u8> {
    let (to, from) = ids(datagram);
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("of TLS 1.3");
    let suite = suite.quic_suite().expect("the suite of Initial packets");
    let keys = suite.keys(to, Side::Server, Version::V1).local;
    let mut payload = match closing {
        Closing::Application(code) => [&[0x1d][..], &varint(code), &[0]].concat(),
        Closing::Transport(code) => [&[0x1c][..], &varint(code), &[0, 0]].concat(),
    };
    // Padding, so that there is enough to sample.
    payload.resize(32, 0);
    // Version 1, our ids turned around, no token, and a packet number of one byte.
    let mut header = vec![0xc0, 0, 0, 0, 1];
    for id in [from, b"forged"] {
        header.push(u8::try_from(id.len()).expect("short"));
        header.extend_from_slice(id);
    }
    header.push(0);
    header.extend(varint(
        u32::try_from(1 + payload.len() + 16).expect("short"),
    ));
    header.push(NUMBER);
    sealed(&keys, header, payload)
}

fn sealed(keys: &DirectionalKeys, mut header: Vec<u8>, mut payload: Vec<u8>) -> Vec<u8> {
    let tag = keys
        .packet
        .encrypt_in_place(NUMBER.into(), &header, &mut payload);
    payload.extend_from_slice(tag.expect("encrypted").as_ref());
    // The sample begins four bytes behind the start of the packet number, which has one.
    let sample = &payload[3..19];
    let number = header.len() - 1;
    let (first, rest) = header.split_at_mut(1);
    keys.header
        .encrypt_in_place(sample, &mut first[0], &mut rest[number - 1..])
        .expect("protected");
    header.extend(payload);
    header
}

/// A number in two bytes.
fn varint(value: u32) -> [u8; 2] {
    let value = u16::try_from(value).expect("small");
    assert!(value < 0x4000, "14 bits");
    (0x4000 | value).to_be_bytes()
}
