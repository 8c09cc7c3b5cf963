//! Everything of the switch that stands behind its one lock: paths, sockets, datagrams under way.
//!
//! Plain data and synchronous methods: whoever holds the lock asks, and wakes whom it is told to
//! wake after it let go.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;

use bytes::Bytes;
use quinn::udp::{EcnCodepoint, Transmit};
use tokio::time::Instant;

use super::conditions::MAX_DATAGRAM_BYTES;
use super::counters::Drops;
use super::guards::Guards;
use super::inboxes::{Arrival, Binding, Departure, Full, Inboxes};
use super::path::Fate;
use super::paths::Paths;

/// The most bytes that may be under way in the whole switch. It only guards the test process
/// against a sender without bandwidth limit on a path with much delay; 256 MiB is over ten
/// bandwidth-delay products of the largest network in the tests (1 Gbit/s at 200 ms).
const UNDER_WAY_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// A datagram, from the moment it is sent until it is read.
#[derive(Debug, Clone)]
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

/// Everything behind the lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) paths: Paths,
    pub(super) inboxes: Inboxes,
    pub(super) guards: Guards,
    /// Hosts of which nothing gets out.
    pub(super) silenced: BTreeSet<IpAddr>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    under_way_bytes: usize,
    under_way_limit_bytes: usize,
    sequence: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            paths: Paths::new(seed),
            inboxes: Inboxes::default(),
            guards: Guards::default(),
            silenced: BTreeSet::new(),
            under_way: BinaryHeap::new(),
            under_way_bytes: 0,
            under_way_limit_bytes: UNDER_WAY_LIMIT_BYTES,
            sequence: 0,
        }
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(next)| next.at)
    }

    /// Sends what `transmit` describes, split into its datagrams. True if one of them is due
    /// before all that were under way, so that the delivery must be told.
    pub(super) fn send(&mut self, from: Binding, transmit: &Transmit<'_>, now: Instant) -> bool {
        // A socket of both families names IPv4 destinations in their mapped form.
        let to = canonical(transmit.destination);
        let departure = self.inboxes.departure(from, to);
        let Departure::From(source) = departure else {
            let counters = self.count_unsent(from.address, to, transmit.contents.len());
            match departure {
                Departure::NoRoute => counters.no_route += 1,
                Departure::Detached | Departure::From(_) => counters.detached += 1,
            }
            return false;
        };
        if transmit.contents.len() > MAX_DATAGRAM_BYTES {
            let counters = self.count_unsent(source, to, transmit.contents.len());
            counters.too_large += 1;
            return false;
        }
        let due_before = self.next_due();
        // One copy for the whole batch; its datagrams are views of it.
        let mut rest = Bytes::copy_from_slice(transmit.contents);
        let segment = transmit.segment_size.unwrap_or(rest.len()).max(1);
        loop {
            let payload = rest.split_to(segment.min(rest.len()));
            let datagram = Datagram {
                from: source,
                to,
                payload,
                ecn: transmit.ecn,
            };
            let bytes = datagram.payload.len();
            match self.inboxes.hold(from, datagram) {
                Ok(Some(datagram)) => self.send_one(datagram, now),
                Ok(None) => {}
                Err(Full) => self.count_unsent(source, to, bytes).held_full += 1,
            }
            if rest.is_empty() {
                break;
            }
        }
        self.is_earlier(due_before)
    }

    /// Ends the pause of the socket at `address`: what it held leaves now. Returns whom to wake, and
    /// whether the delivery must be told.
    pub(super) fn resume(&mut self, address: SocketAddr, now: Instant) -> (Option<Waker>, bool) {
        let due_before = self.next_due();
        let continued = self.inboxes.resume(address);
        for datagram in continued.held {
            self.send_one(datagram, now);
        }
        (continued.reader, self.is_earlier(due_before))
    }

    /// Whether something is due before all that was under way.
    fn is_earlier(&self, due_before: Option<Instant>) -> bool {
        match (self.next_due(), due_before) {
            (Some(due), Some(before)) => due < before,
            (due, _) => due.is_some(),
        }
    }

    /// Counts what does not even reach its path.
    fn count_unsent(&mut self, from: SocketAddr, to: SocketAddr, bytes: usize) -> &mut Drops {
        let counters = &mut self.paths.between(from.ip(), to.ip()).counters;
        counters.sent += 1;
        counters.sent_bytes += bytes as u64;
        &mut counters.dropped
    }

    fn send_one(&mut self, datagram: Datagram, now: Instant) {
        let bytes = datagram.payload.len();
        let (from, to) = (datagram.from.ip(), datagram.to.ip());
        self.guards.leaves(datagram.from, datagram.to, now);
        let cut = self.silenced.contains(&from);
        match self.paths.send(from, to, bytes, now, cut) {
            Fate::Dropped => {}
            Fate::Due { at, copied } => {
                if copied {
                    self.carry(at, datagram.clone());
                }
                self.carry(at, datagram);
            }
        }
    }

    fn carry(&mut self, at: Instant, datagram: Datagram) {
        let bytes = datagram.payload.len();
        if self.under_way_bytes + bytes > self.under_way_limit_bytes {
            let path = self.paths.between(datagram.from.ip(), datagram.to.ip());
            path.counters.dropped.switch_full += 1;
            return;
        }
        self.under_way_bytes += bytes;
        self.sequence += 1;
        self.under_way.push(Reverse(UnderWay {
            at,
            sequence: self.sequence,
            datagram,
        }));
    }

    /// Hands over what is due by `now`, and returns whom to wake.
    pub(super) fn deliver(&mut self, now: Instant) -> Vec<Waker> {
        let mut readers = Vec::new();
        while self.next_due().is_some_and(|due| due <= now)
            && let Some(Reverse(next)) = self.under_way.pop()
        {
            let datagram = next.datagram;
            let bytes = datagram.payload.len();
            self.under_way_bytes -= bytes;
            let path = self.paths.between(datagram.from.ip(), datagram.to.ip());
            let counters = &mut path.counters;
            if path.blocked || self.silenced.contains(&datagram.from.ip()) {
                counters.dropped.blocked += 1;
                continue;
            }
            if !self.guards.lets_in(datagram.from, datagram.to, now) {
                counters.dropped.guarded += 1;
                continue;
            }
            match self.inboxes.put(datagram) {
                Arrival::Unread(reader) => {
                    counters.delivered += 1;
                    counters.delivered_bytes += bytes as u64;
                    readers.extend(reader);
                }
                Arrival::Unbound => counters.dropped.unbound += 1,
                Arrival::Full => counters.dropped.receive_buffer += 1,
            }
        }
        readers
    }
}

/// The address in its own family: a mapped IPv4 address as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::super::socket::SocketOptions;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_under_way_are_bounded() {
        let mut state = State::new(1);
        state.under_way_limit_bytes = 100;
        let source = "10.0.0.1:1".parse().unwrap();
        let from = state
            .inboxes
            .bind(&[source], &SocketOptions::default())
            .unwrap();
        let mut send = |bytes: usize| {
            let transmit = Transmit {
                destination: "10.0.0.2:1".parse().unwrap(),
                ecn: None,
                contents: &vec![0; bytes],
                segment_size: None,
                src_ip: None,
            };
            state.send(from, &transmit, Instant::now());
            state.paths.total().dropped.switch_full
        };
        assert_eq!(send(60), 0);
        assert_eq!(send(40), 0);
        assert_eq!(send(1), 1);
        state.deliver(Instant::now());
        assert_eq!((state.under_way(), state.under_way_bytes), (0, 0));
    }
}
