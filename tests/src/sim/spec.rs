//! What a simulated cluster is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::Config;
use quicraft_certs::WallClock;
use quicraft_transport::raft::RaftTiming;
use quicraft_transport::{Dial, PeerAddress, TransportConfig};

use super::home::Families;
use crate::switch::Conditions;

/// A millisecond.
pub const MS: Duration = Duration::from_millis(1);

/// Longer than anything that a test waits for takes: several elections in a row.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How long a firewall lets in the answers to what it has let out; a usual time for UDP.
pub const HOLE: Duration = Duration::from_secs(30);

/// How a cluster is built. Fields are set before [`SimCluster::start`](super::SimCluster::start).
#[derive(Debug, Clone)]
pub struct SimSpec {
    /// Nodes, with ids from 1.
    pub nodes: u64,
    /// Raft groups, with ids from 1; every node is a voter of each. 0 makes bare transports.
    pub groups: u64,
    /// The random choices of the network.
    pub seed: u64,
    /// What every path does to datagrams.
    pub conditions: Conditions,
    /// Settings of every group.
    pub raft: Config,
    /// Settings of every transport.
    pub transport: TransportConfig,
    /// Whether a node keeps its incarnation on disk: its epoch and its keys outlive a crash then.
    pub persisted: bool,
    /// The clock by which certificates are made and judged.
    pub clock: WallClock,
    /// Whether every node serves a [`Sink`](super::Sink) that outlives its crashes.
    pub echo: bool,
    /// When nodes dial each other.
    pub dial: Dial,
    /// Whether rosters hold names instead of addresses.
    pub named: bool,
    /// Which families of addresses a node has, if not IPv4 alone.
    pub families: BTreeMap<u64, Families>,
    /// Pairs of nodes of which only the first can open: a firewall is before it, and lets in what
    /// it has asked for in the last [`HOLE`].
    pub guarded: Vec<(u64, u64)>,
    /// What rosters say of a node, if not where it is bound.
    pub advertised: BTreeMap<u64, Vec<PeerAddress>>,
}

impl SimSpec {
    /// Nodes and groups on a perfect network with this round trip, with the settings of the hosts
    /// (heartbeat 200 ms, election 1,000 to 2,000 ms) and incarnations on disk.
    #[must_use]
    pub fn new(nodes: u64, groups: u64, round_trip: Duration) -> Self {
        Self {
            nodes,
            groups,
            seed: 1,
            conditions: Conditions::delayed(round_trip / 2),
            raft: crate::raft::config(),
            transport: TransportConfig::default(),
            persisted: true,
            clock: WallClock::system(),
            echo: false,
            dial: Dial::Eager,
            named: false,
            families: BTreeMap::new(),
            guarded: Vec::new(),
            advertised: BTreeMap::new(),
        }
        .timed_as(crate::raft::config())
    }

    /// The same with Raft timing for data centres 100 ms apart: heartbeat 400 ms, election 1,600
    /// to 3,200 ms.
    #[must_use]
    pub fn wide(self) -> Self {
        let raft = Config {
            heartbeat_interval: 400,
            election_timeout_min: 1_600,
            election_timeout_max: 3_200,
            ..crate::raft::config()
        };
        self.timed_as(raft)
    }

    /// The same with other conditions on every path.
    #[must_use]
    pub fn on(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }

    /// The same, and every node serves a sink.
    #[must_use]
    pub const fn echoing(mut self) -> Self {
        self.echo = true;
        self
    }

    /// The same with other random choices of the network.
    #[must_use]
    pub const fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same with certificates by this clock.
    #[must_use]
    pub fn by_clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// The same with a Raft configuration, and with the timing of links that follows from it.
    #[must_use]
    pub fn timed_as(mut self, raft: Config) -> Self {
        self.transport = self.transport.with_timing(RaftTiming::derive(&raft));
        self.raft = raft;
        self
    }
}
