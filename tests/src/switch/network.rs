//! The switch itself: what a test holds, binds sockets on and turns the knobs of.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::conditions::Conditions;
use super::counters::Counters;
use super::delivery::Shared;
use super::socket::{SocketOptions, SwitchSocket};
use super::state::State;

/// The port of [`address`]. Any would do; one for all makes logs easy to read.
const PORT: u16 = 7_000;

/// The host that tests give to node `number`: `10.0.0.number`.
#[must_use]
pub const fn host(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

/// Where node `number` listens: port 7000 of its [`host`].
#[must_use]
pub const fn address(number: u8) -> SocketAddr {
    SocketAddr::new(host(number), PORT)
}

/// An in-memory UDP network.
///
/// Cloning is cheap, and all clones are the same network. Dropping the last one stops delivery:
/// sockets that are still there send into the void and receive nothing. Keep it as long as the
/// endpoints on it.
///
/// Knobs may be turned at any time, and hold for what is sent from then on. Blocks alone also hold
/// for what is under way: a cut cable loses what is on it.
#[derive(Debug, Clone)]
pub struct Switch {
    owner: Arc<Owner>,
}

/// What ends with the last clone of the switch.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    delivery: JoinHandle<()>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.delivery.abort();
    }
}

impl Switch {
    /// A perfect network without hosts. The same seed makes the same random choices for the same
    /// datagrams on the same path.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which runs the delivery and whose clock is the network's.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shared = Arc::new(Shared::new(State::new(seed)));
        let delivery = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move { shared.deliver_forever().await }
        });
        Self {
            owner: Arc::new(Owner { shared, delivery }),
        }
    }

    /// A socket at `address` with the default options, as quinn and the transport's builder take
    /// it. Port 0 takes a free port.
    ///
    /// # Panics
    ///
    /// If the address is taken or unspecified; [`Switch::bind`] returns that as an error.
    #[must_use]
    pub fn socket(&self, address: SocketAddr) -> Arc<dyn quinn::AsyncUdpSocket> {
        match self.bind(address, SocketOptions::default()) {
            Ok(socket) => socket,
            Err(error) => panic!("cannot bind: {error}"),
        }
    }

    /// A socket at `address`. Port 0 takes a free port.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if another socket holds the address, `AddrNotAvailable` if it is unspecified.
    pub fn bind(
        &self,
        address: SocketAddr,
        options: SocketOptions,
    ) -> io::Result<Arc<SwitchSocket>> {
        SwitchSocket::bind(Arc::clone(&self.owner.shared), address, options)
    }

    /// The runtime to use with the sockets: tokio's, whose clock a test can pause.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(quinn::TokioRuntime)
    }

    /// Detaches the socket at `address` at once, as `kill -9` does: nothing more from it gets out
    /// or in, however long its owner lives on, and a new socket can bind the address. What it had
    /// sent is under way and arrives. False if there was none.
    pub fn crash(&self, address: SocketAddr) -> bool {
        self.owner.shared.lock().inboxes.detach(address)
    }

    /// The conditions of every path that has none of its own.
    ///
    /// # Panics
    ///
    /// If a probability is not within 0 to 1, or the bandwidth is 0. So do the others below.
    pub fn set_default(&self, conditions: Conditions) {
        conditions.assert_valid();
        self.owner.shared.lock().paths.set_default(conditions);
    }

    /// The conditions of the path from one host to another.
    pub fn set_path(&self, from: IpAddr, to: IpAddr, conditions: Conditions) {
        conditions.assert_valid();
        self.owner
            .shared
            .lock()
            .paths
            .between(from, to)
            .set(conditions);
    }

    /// The conditions of both paths between two hosts.
    pub fn set_between(&self, a: IpAddr, b: IpAddr, conditions: &Conditions) {
        self.set_path(a, b, conditions.clone());
        self.set_path(b, a, conditions.clone());
    }

    /// Changes the conditions of one path, starting from those that hold on it now.
    pub fn change_path(&self, from: IpAddr, to: IpAddr, change: impl FnOnce(&mut Conditions)) {
        let mut conditions = self.conditions(from, to);
        change(&mut conditions);
        self.set_path(from, to, conditions);
    }

    /// What holds on the path from one host to another.
    #[must_use]
    pub fn conditions(&self, from: IpAddr, to: IpAddr) -> Conditions {
        self.owner.shared.lock().paths.conditions(from, to).clone()
    }

    /// Blocks one direction: a one-way partition.
    pub fn block_one_way(&self, from: IpAddr, to: IpAddr) {
        self.owner.shared.lock().paths.between(from, to).blocked = true;
    }

    /// Blocks both directions between two hosts.
    pub fn block(&self, a: IpAddr, b: IpAddr) {
        self.block_one_way(a, b);
        self.block_one_way(b, a);
    }

    /// Opens both directions between two hosts again.
    pub fn unblock(&self, a: IpAddr, b: IpAddr) {
        let mut state = self.owner.shared.lock();
        state.paths.between(a, b).blocked = false;
        state.paths.between(b, a).blocked = false;
    }

    /// Blocks both directions between every host of one side and every host of the other.
    pub fn partition(&self, side: &[IpAddr], other_side: &[IpAddr]) {
        for &a in side {
            for &b in other_side {
                self.block(a, b);
            }
        }
    }

    /// Opens all that was blocked. Conditions stay as they are.
    pub fn heal(&self) {
        self.owner.shared.lock().paths.unblock_all();
    }

    /// What the path from one host to another has carried.
    #[must_use]
    pub fn counters(&self, from: IpAddr, to: IpAddr) -> Counters {
        self.owner.shared.lock().paths.counters(from, to)
    }

    /// What all paths together have carried.
    #[must_use]
    pub fn total(&self) -> Counters {
        self.owner.shared.lock().paths.total()
    }

    /// How many datagrams are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.owner.shared.lock().under_way()
    }
}
