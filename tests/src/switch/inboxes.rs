//! Which socket holds which address, and what it has not read yet.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::task::Waker;

use super::socket::SocketOptions;
use super::state::Datagram;

/// The ports that a bind to port 0 takes: the dynamic range of RFC 6335.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// One hold of an address by a socket. The number tells a socket from its successor at the same
/// address: one that was detached must not touch the other's inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) address: SocketAddr,
    number: u64,
}

/// What became of a datagram that reached an address.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It waits to be read; this reader is to be woken.
    Unread(Option<Waker>),
    /// Nobody holds the address.
    Unbound,
    /// The socket has no room for it.
    Full,
}

/// All bound sockets.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    by_address: BTreeMap<SocketAddr, Inbox>,
    bindings: u64,
}

/// What a bound socket has received and nobody has read yet.
#[derive(Debug)]
struct Inbox {
    number: u64,
    unread: VecDeque<Datagram>,
    unread_bytes: usize,
    limit_bytes: usize,
    reader: Option<Waker>,
}

impl Inboxes {
    /// Gives `address` to a new socket, with a free port if it has none.
    pub(super) fn bind(
        &mut self,
        mut address: SocketAddr,
        options: &SocketOptions,
    ) -> io::Result<Binding> {
        if address.ip().is_unspecified() {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{address}: a host of the switch has one address, name it"),
            ));
        }
        if address.port() == 0 {
            let free = DYNAMIC_PORTS
                .map(|port| SocketAddr::new(address.ip(), port))
                .find(|candidate| !self.by_address.contains_key(candidate));
            address = free.ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("{}: all dynamic ports are taken", address.ip()),
                )
            })?;
        }
        if self.by_address.contains_key(&address) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{address}: another socket holds it; drop or crash that one first"),
            ));
        }
        self.bindings += 1;
        let number = self.bindings;
        self.by_address.insert(
            address,
            Inbox {
                number,
                unread: VecDeque::new(),
                unread_bytes: 0,
                limit_bytes: options.receive_buffer_bytes,
                reader: None,
            },
        );
        Ok(Binding { address, number })
    }

    /// Takes the address from whoever holds it; true if somebody did.
    pub(super) fn detach(&mut self, address: SocketAddr) -> bool {
        self.by_address.remove(&address).is_some()
    }

    /// Takes the address from this socket, if it still holds it.
    pub(super) fn unbind(&mut self, binding: Binding) {
        if self.holds(binding) {
            self.by_address.remove(&binding.address);
        }
    }

    pub(super) fn holds(&self, binding: Binding) -> bool {
        self.by_address
            .get(&binding.address)
            .is_some_and(|inbox| inbox.number == binding.number)
    }

    pub(super) fn put(&mut self, datagram: Datagram) -> Arrival {
        let Some(inbox) = self.by_address.get_mut(&datagram.to) else {
            return Arrival::Unbound;
        };
        let bytes = datagram.payload.len();
        if inbox.unread_bytes + bytes > inbox.limit_bytes {
            return Arrival::Full;
        }
        inbox.unread_bytes += bytes;
        inbox.unread.push_back(datagram);
        Arrival::Unread(inbox.reader.take())
    }

    /// The next datagram for this socket.
    pub(super) fn take(&mut self, binding: Binding) -> Option<Datagram> {
        let inbox = self.inbox(binding)?;
        let datagram = inbox.unread.pop_front()?;
        inbox.unread_bytes -= datagram.payload.len();
        Some(datagram)
    }

    /// Wakes `reader` at the next datagram for this socket.
    pub(super) fn wait(&mut self, binding: Binding, reader: &Waker) {
        if let Some(inbox) = self.inbox(binding) {
            inbox.reader = Some(reader.clone());
        }
    }

    fn inbox(&mut self, binding: Binding) -> Option<&mut Inbox> {
        self.by_address
            .get_mut(&binding.address)
            .filter(|inbox| inbox.number == binding.number)
    }
}
