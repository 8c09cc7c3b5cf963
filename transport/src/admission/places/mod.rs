//! Who may begin a handshake: the places of peers that are not proven yet, and who gets one.
//!
//! Anyone can write any source address into a first packet. So what is counted against such an
//! address is only what an attacker may exhaust at no cost to others, and everything that is kept
//! for somebody (a share of one source, the reserve of known peers) goes by addresses that have
//! proven, with a Retry token, that they receive what is sent to them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// How many handshakes of unproven peers may be under way. See the fields of the same names in
/// [`TransportConfig`](crate::TransportConfig), which checks how they fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the limits are all there is to it, and tests of others build it"
)]
pub struct PlaceLimits {
    /// From this many places taken on, an address has to be validated first.
    pub soft: usize,
    /// All places.
    pub max: usize,
    /// Those of `max` that only validated addresses of known peers may take.
    pub reserved: usize,
    /// Places of one validated source.
    pub per_source: usize,
}

/// The places that are taken when somebody knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an input of a pure function; tests build it"
)]
pub struct PlacesTaken {
    /// By all.
    pub all: usize,
    /// By all but known peers at validated addresses.
    pub strangers: usize,
    /// By the source that knocks, since it was validated.
    pub of_source: usize,
}

/// A first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an input of a pure function; tests build it"
)]
pub struct Knock {
    /// Where it says that it comes from.
    pub address: IpAddr,
    /// Whether it brought a token that was sent to that address.
    pub validated: bool,
    /// Whether a peer is known to be there.
    pub known: bool,
}

/// What is done with a first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reception {
    /// It takes a place, and TLS begins.
    Accept,
    /// It is asked to come again with a token. Nothing is kept of it, and the answer is smaller than
    /// the question.
    Retry,
    /// It gets no answer, and costs nothing more.
    Ignore,
    /// It is told that there is no room. Only validated addresses are, so nobody else is sent this.
    Refuse,
}

/// What is done with a first packet while so many places are taken.
#[must_use]
pub const fn receive(limits: &PlaceLimits, taken: PlacesTaken, knock: &Knock) -> Reception {
    // T6: who may not even have an answer, and who proves its address first.
    let room_for_strangers = taken.strangers < limits.max - limits.reserved;
    if !knock.validated {
        if taken.all < limits.soft {
            return Reception::Accept;
        }
        // A known peer has to prove its address before it may have a place of the reserve. Others may
        // claim to be it, and get what they get below the hard limit: a packet smaller than theirs.
        return if room_for_strangers || knock.known {
            Reception::Retry
        } else {
            Reception::Ignore
        };
    }
    if taken.of_source >= limits.per_source {
        return Reception::Refuse;
    }
    if taken.all < limits.max && (knock.known || room_for_strangers) {
        Reception::Accept
    } else {
        Reception::Ignore
    }
}

/// Whom a validated address is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    /// A known peer, by its address: nodes of a cluster are often neighbours.
    Peer(IpAddr),
    /// Anybody else, by the least that one customer of a network is given: an address of IPv4, and
    /// of IPv6 the 64 bits of a subnet, in which a host takes as many addresses as it wants.
    Subnet(IpAddr),
}

impl Source {
    const fn of(knock: &Knock) -> Self {
        if knock.known {
            return Self::Peer(knock.address);
        }
        match knock.address {
            address @ IpAddr::V4(_) => Self::Subnet(address),
            IpAddr::V6(address) => {
                let subnet = address.to_bits() >> 64 << 64;
                Self::Subnet(IpAddr::V6(Ipv6Addr::from_bits(subnet)))
            }
        }
    }
}

/// A place that was taken. It is given back with [`Places::give_back`].
#[derive(Debug)]
#[must_use = "a place that is not given back is lost"]
pub struct Place {
    stranger: bool,
    source: Option<Source>,
}

/// All places, and who has them.
#[derive(Debug)]
pub struct Places {
    limits: PlaceLimits,
    all: usize,
    strangers: usize,
    /// Places of each validated source that has one; at most as many as there are places.
    of_source: HashMap<Source, usize>,
}

impl Places {
    /// No place is taken.
    #[must_use]
    pub fn new(limits: PlaceLimits) -> Self {
        Self {
            limits,
            all: 0,
            strangers: 0,
            of_source: HashMap::new(),
        }
    }

    /// What is taken, as one who knocks meets it.
    #[must_use]
    pub fn taken(&self, knock: &Knock) -> PlacesTaken {
        let of_source = self.of_source.get(&Source::of(knock));
        PlacesTaken {
            all: self.all,
            strangers: self.strangers,
            of_source: of_source.copied().unwrap_or(0),
        }
    }

    /// What is done with one who knocks, and its place if it is accepted.
    pub fn receive(&mut self, knock: &Knock) -> (Reception, Option<Place>) {
        let reception = receive(&self.limits, self.taken(knock), knock);
        let place = (reception == Reception::Accept).then(|| self.take(knock));
        (reception, place)
    }

    fn take(&mut self, knock: &Knock) -> Place {
        let place = Place {
            stranger: !(knock.validated && knock.known),
            source: knock.validated.then(|| Source::of(knock)),
        };
        self.all += 1;
        self.strangers += usize::from(place.stranger);
        if let Some(source) = place.source {
            *self.of_source.entry(source).or_insert(0) += 1;
        }
        place
    }

    /// Gives a place back: its peer is proven to TLS, or gone.
    pub fn give_back(&mut self, place: Place) {
        self.all = self.all.saturating_sub(1);
        self.strangers = self.strangers.saturating_sub(usize::from(place.stranger));
        let Some(source) = place.source else {
            return;
        };
        if let Some(count) = self.of_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.of_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests;
