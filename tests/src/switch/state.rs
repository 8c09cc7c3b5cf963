//! Everything of the switch that stands behind its one lock: paths, sockets, datagrams under way.
//!
//! Plain data and synchronous methods: whoever holds the lock asks, and wakes whom it is told to
//! wake after it let go.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;

use bytes::Bytes;
use quinn::udp::{EcnCodepoint, Transmit};
use tokio::time::Instant;

use super::conditions::{Conditions, MAX_DATAGRAM_BYTES};
use super::counters::Counters;
use super::path::{Fate, Path};
use super::socket::SocketOptions;

/// The most bytes that may be under way in the whole switch. It only guards the test process
/// against a sender without bandwidth limit on a path with much delay; 256 MiB is over ten
/// bandwidth-delay products of the largest network in the tests (1 Gbit/s at 200 ms).
const UNDER_WAY_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// The ports that a bind to port 0 takes: the dynamic range of RFC 6335.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// A datagram, from the moment it is sent until it is read.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: Bytes,
    pub(super) ecn: Option<EcnCodepoint>,
}

/// A datagram under way. The sequence number keeps those that are due at the same time in the
/// order in which they were sent.
#[derive(Debug)]
struct UnderWay {
    at: Instant,
    sequence: u64,
    datagram: Datagram,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for UnderWay {}
impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// What a bound socket has received and nobody has read yet.
#[derive(Debug)]
struct Inbox {
    /// Which bind this is: a socket that was detached must not touch its successor's inbox.
    binding: u64,
    unread: VecDeque<Datagram>,
    unread_bytes: usize,
    limit_bytes: usize,
    reader: Option<Waker>,
}

/// Everything behind the lock.
#[derive(Debug)]
pub(super) struct State {
    seed: u64,
    default: Conditions,
    paths: BTreeMap<(IpAddr, IpAddr), Path>,
    inboxes: BTreeMap<SocketAddr, Inbox>,
    bindings: u64,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    under_way_bytes: usize,
    under_way_limit_bytes: usize,
    sequence: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            default: Conditions::default(),
            paths: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            bindings: 0,
            under_way: BinaryHeap::new(),
            under_way_bytes: 0,
            under_way_limit_bytes: UNDER_WAY_LIMIT_BYTES,
            sequence: 0,
        }
    }

    pub(super) fn path(&mut self, from: IpAddr, to: IpAddr) -> &mut Path {
        self.paths
            .entry((from, to))
            .or_insert_with(|| Path::new(self.seed, from, to))
    }

    pub(super) fn set_default(&mut self, conditions: Conditions) {
        self.default = conditions;
    }

    pub(super) fn conditions(&mut self, from: IpAddr, to: IpAddr) -> Conditions {
        let default = self.default.clone();
        self.path(from, to).conditions(&default).clone()
    }

    pub(super) fn unblock_all(&mut self) {
        for path in self.paths.values_mut() {
            path.blocked = false;
        }
    }

    pub(super) fn total(&self) -> Counters {
        let mut total = Counters::default();
        for path in self.paths.values() {
            total += path.counters;
        }
        total
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Gives `address` to a new socket and returns the address, with a port if it had none, and
    /// the number of the binding.
    pub(super) fn bind(
        &mut self,
        mut address: SocketAddr,
        options: &SocketOptions,
    ) -> io::Result<(SocketAddr, u64)> {
        if address.ip().is_unspecified() {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{address}: a host of the switch has one address, name it"),
            ));
        }
        if address.port() == 0 {
            let free = DYNAMIC_PORTS
                .map(|port| SocketAddr::new(address.ip(), port))
                .find(|candidate| !self.inboxes.contains_key(candidate));
            address = free.ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("{}: all dynamic ports are taken", address.ip()),
                )
            })?;
        }
        if self.inboxes.contains_key(&address) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{address}: another socket holds it; drop or crash that one first"),
            ));
        }
        self.bindings += 1;
        self.inboxes.insert(
            address,
            Inbox {
                binding: self.bindings,
                unread: VecDeque::new(),
                unread_bytes: 0,
                limit_bytes: options.receive_buffer_bytes,
                reader: None,
            },
        );
        Ok((address, self.bindings))
    }

    /// Takes the address from its socket; true if there was one.
    pub(super) fn detach(&mut self, address: SocketAddr) -> bool {
        self.inboxes.remove(&address).is_some()
    }

    /// As [`State::detach`], if the socket of this binding still holds the address.
    pub(super) fn unbind(&mut self, address: SocketAddr, binding: u64) {
        if self.holds(address, binding) {
            self.inboxes.remove(&address);
        }
    }

    fn holds(&self, address: SocketAddr, binding: u64) -> bool {
        self.inboxes
            .get(&address)
            .is_some_and(|inbox| inbox.binding == binding)
    }

    /// Sends what `transmit` describes, split into its datagrams. True if one of them is due
    /// before all that were under way, so that the delivery must be told.
    pub(super) fn send(
        &mut self,
        from: SocketAddr,
        binding: u64,
        transmit: &Transmit<'_>,
        now: Instant,
    ) -> bool {
        let to = transmit.destination;
        let first_due = self.next_due();
        let held = self.holds(from, binding);
        if !held || transmit.contents.len() > MAX_DATAGRAM_BYTES {
            let counters = &mut self.path(from.ip(), to.ip()).counters;
            counters.sent += 1;
            counters.sent_bytes += transmit.contents.len() as u64;
            if held {
                counters.dropped.too_large += 1;
            } else {
                counters.dropped.detached += 1;
            }
            return false;
        }
        // One copy for the whole batch; its datagrams are views of it.
        let batch = Bytes::copy_from_slice(transmit.contents);
        let segment = transmit.segment_size.unwrap_or(batch.len()).max(1);
        let mut start = 0;
        loop {
            let end = batch.len().min(start + segment);
            self.send_one(
                Datagram {
                    from,
                    to,
                    payload: batch.slice(start..end),
                    ecn: transmit.ecn,
                },
                now,
            );
            start = end;
            if start == batch.len() {
                break;
            }
        }
        match (first_due, self.next_due()) {
            (None, due) => due.is_some(),
            (Some(before), due) => due.is_some_and(|due| due < before),
        }
    }

    fn send_one(&mut self, datagram: Datagram, now: Instant) {
        let bytes = datagram.payload.len();
        let ends = (datagram.from.ip(), datagram.to.ip());
        let path = self
            .paths
            .entry(ends)
            .or_insert_with(|| Path::new(self.seed, ends.0, ends.1));
        let Fate::Due { at, copied } = path.send(now, bytes, &self.default) else {
            return;
        };
        for _ in 0..1 + usize::from(copied) {
            if self.under_way_bytes + bytes > self.under_way_limit_bytes {
                path.counters.dropped.switch_full += 1;
                continue;
            }
            self.under_way_bytes += bytes;
            self.sequence += 1;
            self.under_way.push(Reverse(UnderWay {
                at,
                sequence: self.sequence,
                datagram: Datagram {
                    payload: datagram.payload.clone(),
                    ..datagram
                },
            }));
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(next)| next.at)
    }

    /// Hands over what is due by `now`, and returns whom to wake.
    pub(super) fn deliver(&mut self, now: Instant) -> Vec<Waker> {
        let mut readers = Vec::new();
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse(UnderWay { datagram, .. })) = self.under_way.pop() else {
                break;
            };
            let bytes = datagram.payload.len();
            self.under_way_bytes -= bytes;
            let path = self
                .paths
                .entry((datagram.from.ip(), datagram.to.ip()))
                .or_insert_with(|| Path::new(self.seed, datagram.from.ip(), datagram.to.ip()));
            if path.blocked {
                path.counters.dropped.blocked += 1;
                continue;
            }
            let Some(inbox) = self.inboxes.get_mut(&datagram.to) else {
                path.counters.dropped.unbound += 1;
                continue;
            };
            if inbox.unread_bytes + bytes > inbox.limit_bytes {
                path.counters.dropped.receive_buffer += 1;
                continue;
            }
            path.counters.delivered += 1;
            path.counters.delivered_bytes += bytes as u64;
            inbox.unread_bytes += bytes;
            inbox.unread.push_back(datagram);
            readers.extend(inbox.reader.take());
        }
        readers
    }

    /// The next datagram for the socket of this binding.
    pub(super) fn read(&mut self, address: SocketAddr, binding: u64) -> Option<Datagram> {
        let inbox = self.inboxes.get_mut(&address)?;
        if inbox.binding != binding {
            return None;
        }
        let datagram = inbox.unread.pop_front()?;
        inbox.unread_bytes -= datagram.payload.len();
        Some(datagram)
    }

    /// Wakes `reader` at the next datagram for the socket of this binding.
    pub(super) fn wait(&mut self, address: SocketAddr, binding: u64, reader: &Waker) {
        if let Some(inbox) = self.inboxes.get_mut(&address)
            && inbox.binding == binding
        {
            match &mut inbox.reader {
                Some(waker) => waker.clone_from(reader),
                none => *none = Some(reader.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(state: &mut State, from: (SocketAddr, u64), to: SocketAddr, contents: &[u8]) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        };
        state.send(from.0, from.1, &transmit, Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_under_way_are_bounded() {
        let mut state = State::new(1);
        state.under_way_limit_bytes = 100;
        let to: SocketAddr = "10.0.0.2:1".parse().unwrap();
        let from = state
            .bind("10.0.0.1:1".parse().unwrap(), &SocketOptions::default())
            .unwrap();
        send(&mut state, from, to, &[0; 60]);
        send(&mut state, from, to, &[0; 40]);
        assert_eq!(state.total().dropped.switch_full, 0);
        send(&mut state, from, to, &[0; 1]);
        assert_eq!(state.total().dropped.switch_full, 1);
        state.deliver(Instant::now());
        assert_eq!((state.under_way(), state.under_way_bytes), (0, 0));
    }
}
