//! Which socket holds which address, and what it has not read yet.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::task::Waker;

use super::socket::SocketOptions;
use super::state::Datagram;

/// The ports that a bind to port 0 takes: the dynamic range of RFC 6335.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// One hold of addresses by a socket. The number tells a socket from its successor at the same
/// address: one that was detached must not touch the other's inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding {
    /// What the socket was bound to, and believes to have: the network may see it elsewhere.
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

/// What becomes of a datagram that a socket sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// It leaves, with this source.
    From(SocketAddr),
    /// The socket was detached.
    Detached,
    /// The socket has no address of the destination's family.
    NoRoute,
}

/// What is behind a paused socket when it continues.
#[derive(Debug, Default)]
pub(super) struct Continued {
    pub(super) reader: Option<Waker>,
    pub(super) held: VecDeque<Datagram>,
}

/// All bound sockets.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    by_address: BTreeMap<SocketAddr, u64>,
    by_number: BTreeMap<u64, Inbox>,
    bindings: u64,
}

/// What a bound socket has received and nobody has read yet, and what it sent while it was paused.
#[derive(Debug)]
struct Inbox {
    /// Where the network sees the socket: one address of each family that it has.
    addresses: Vec<SocketAddr>,
    unread: VecDeque<Datagram>,
    unread_bytes: usize,
    limit_bytes: usize,
    reader: Option<Waker>,
    paused: bool,
    held: VecDeque<Datagram>,
    held_bytes: usize,
}

impl Inbox {
    /// Where the network sees what the socket sends there.
    fn source_for(&self, to: SocketAddr) -> Option<SocketAddr> {
        let same_family = |address: &&SocketAddr| address.is_ipv6() == to.is_ipv6();
        self.addresses.iter().find(same_family).copied()
    }
}

impl Inboxes {
    /// Gives `addresses` to a new socket, with a free port where one has none.
    pub(super) fn bind(
        &mut self,
        addresses: &[SocketAddr],
        options: &SocketOptions,
    ) -> io::Result<Binding> {
        let mut free = Vec::new();
        for &address in addresses {
            free.push(self.free(address)?);
        }
        let Some(&address) = free.first() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket has at least one address",
            ));
        };
        self.bindings += 1;
        let number = self.bindings;
        for &address in &free {
            self.by_address.insert(address, number);
        }
        self.by_number.insert(
            number,
            Inbox {
                addresses: free,
                unread: VecDeque::new(),
                unread_bytes: 0,
                limit_bytes: options.receive_buffer_bytes,
                reader: None,
                paused: false,
                held: VecDeque::new(),
                held_bytes: 0,
            },
        );
        Ok(Binding { address, number })
    }

    /// `address`, if a socket can have it, with a free port if it has none.
    fn free(&self, mut address: SocketAddr) -> io::Result<SocketAddr> {
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
        Ok(address)
    }

    /// From now on the network sees the socket at `from` at `to` instead.
    pub(super) fn rebind(&mut self, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        if from.is_ipv6() != to.is_ipv6() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{from} cannot become {to}: they are of two families"),
            ));
        }
        let Some(&number) = self.by_address.get(&from) else {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{from}: no socket is there"),
            ));
        };
        let to = self.free(to)?;
        self.by_address.remove(&from);
        self.by_address.insert(to, number);
        let inbox = self.by_number.get_mut(&number);
        for address in inbox.into_iter().flat_map(|inbox| &mut inbox.addresses) {
            if *address == from {
                *address = to;
            }
        }
        Ok(())
    }

    /// Takes its addresses from whoever holds this one; true if somebody did.
    pub(super) fn detach(&mut self, address: SocketAddr) -> bool {
        let holder = self.by_address.get(&address).copied();
        holder.is_some_and(|number| self.remove(number))
    }

    /// Takes the addresses from this socket, if it still holds them.
    pub(super) fn unbind(&mut self, binding: Binding) {
        self.remove(binding.number);
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(inbox) = self.by_number.remove(&number) else {
            return false;
        };
        for address in inbox.addresses {
            self.by_address.remove(&address);
        }
        true
    }

    /// Stops the socket at `address` until it is continued; true if there is one.
    pub(super) fn pause(&mut self, address: SocketAddr) -> bool {
        let inbox = self.at(address);
        inbox.map(|inbox| inbox.paused = true).is_some()
    }

    /// Ends a pause.
    pub(super) fn resume(&mut self, address: SocketAddr) -> Continued {
        let Some(inbox) = self.at(address) else {
            return Continued::default();
        };
        inbox.paused = false;
        inbox.held_bytes = 0;
        let mut held = std::mem::take(&mut inbox.held);
        for datagram in &mut held {
            // The socket may have been moved during its pause.
            let source = inbox.source_for(datagram.to);
            datagram.from = source.unwrap_or(datagram.from);
        }
        Continued {
            reader: inbox.reader.take(),
            held,
        }
    }

    /// With which source a datagram of this socket for `to` leaves.
    pub(super) fn departure(&self, binding: Binding, to: SocketAddr) -> Departure {
        let Some(inbox) = self.by_number.get(&binding.number) else {
            return Departure::Detached;
        };
        let source = inbox.source_for(to);
        source.map_or(Departure::NoRoute, Departure::From)
    }

    /// Keeps what a paused socket sends until it continues. Gives it back if the socket runs, and
    /// says `Err` if there is no room for it.
    pub(super) fn hold(
        &mut self,
        binding: Binding,
        datagram: Datagram,
    ) -> Result<Option<Datagram>, Full> {
        let paused = self.inbox(binding).filter(|inbox| inbox.paused);
        let Some(inbox) = paused else {
            return Ok(Some(datagram));
        };
        let bytes = datagram.payload.len();
        if inbox.held_bytes + bytes > inbox.limit_bytes {
            return Err(Full);
        }
        inbox.held_bytes += bytes;
        inbox.held.push_back(datagram);
        Ok(None)
    }

    pub(super) fn put(&mut self, datagram: Datagram) -> Arrival {
        let Some(inbox) = self.at(datagram.to) else {
            return Arrival::Unbound;
        };
        let bytes = datagram.payload.len();
        if inbox.unread_bytes + bytes > inbox.limit_bytes {
            return Arrival::Full;
        }
        inbox.unread_bytes += bytes;
        inbox.unread.push_back(datagram);
        if inbox.paused {
            return Arrival::Unread(None);
        }
        Arrival::Unread(inbox.reader.take())
    }

    /// The next datagram for this socket.
    pub(super) fn take(&mut self, binding: Binding) -> Option<Datagram> {
        let inbox = self.inbox(binding).filter(|inbox| !inbox.paused)?;
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
        self.by_number.get_mut(&binding.number)
    }

    fn at(&mut self, address: SocketAddr) -> Option<&mut Inbox> {
        let number = self.by_address.get(&address)?;
        self.by_number.get_mut(number)
    }
}

/// A bound of a socket is reached.
#[derive(Debug)]
pub(super) struct Full;
