//! What happened to the datagrams of a path.

use std::ops::AddAssign;

/// What a path has carried since the switch was made.
///
/// `sent + duplicated = delivered + dropped + still under way` holds at any time, in datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that a socket sent; a segmented send counts as its datagrams.
    pub sent: u64,
    /// Their payload in bytes.
    pub sent_bytes: u64,
    /// Datagrams that reached a socket, copies included.
    pub delivered: u64,
    /// Their payload in bytes.
    pub delivered_bytes: u64,
    /// Copies that the path made.
    pub duplicated: u64,
    /// Datagrams that were held back, so that later ones overtook them.
    pub reordered: u64,
    /// The most bytes that ever waited for the bandwidth of the path.
    pub longest_queue_bytes: u64,
    /// Datagrams that reached nobody, by cause.
    pub dropped: Drops,
}

/// Datagrams that reached nobody, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// By the probability of loss.
    pub lost: u64,
    /// The queue for the bandwidth was full.
    pub queue_full: u64,
    /// Larger than the path's MTU, or than any UDP datagram (then a segmented send counts once).
    pub too_large: u64,
    /// The path was blocked or its sender silenced, when they were sent or when they were due.
    pub blocked: u64,
    /// Nobody held the address when they were due.
    pub unbound: u64,
    /// The receiving socket had no room left.
    pub receive_buffer: u64,
    /// The sending socket had been detached by a crash.
    pub detached: u64,
    /// The sending socket was paused, and had sent more than it can hold.
    pub held_full: u64,
    /// The sending socket has no address of the destination's family.
    pub no_route: u64,
    /// A firewall before the receiver had not seen it send to the sender lately.
    pub guarded: u64,
    /// The switch as a whole had too many bytes under way.
    pub switch_full: u64,
}

impl Drops {
    /// All drops together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            lost,
            queue_full,
            too_large,
            blocked,
            unbound,
            receive_buffer,
            detached,
            held_full,
            no_route,
            guarded,
            switch_full,
        } = *self;
        let on_the_way = lost + queue_full + too_large + blocked + guarded + switch_full;
        on_the_way + unbound + receive_buffer + detached + held_full + no_route
    }
}

impl AddAssign for Counters {
    /// Adds up; of `longest_queue_bytes` the longer one remains.
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.longest_queue_bytes = self.longest_queue_bytes.max(other.longest_queue_bytes);
        self.dropped += other.dropped;
    }
}

impl AddAssign for Drops {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.queue_full += other.queue_full;
        self.too_large += other.too_large;
        self.blocked += other.blocked;
        self.unbound += other.unbound;
        self.receive_buffer += other.receive_buffer;
        self.detached += other.detached;
        self.held_full += other.held_full;
        self.no_route += other.no_route;
        self.guarded += other.guarded;
        self.switch_full += other.switch_full;
    }
}
