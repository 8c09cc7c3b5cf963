//! The switch itself: what a test holds, binds sockets on and turns the knobs of.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, MutexGuard};

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

/// The host of node `number` in IPv6: `fd00::number`.
#[must_use]
pub const fn host_v6(number: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number as u16))
}

/// Where node `number` listens in IPv6: port 7000 of its [`host_v6`].
#[must_use]
pub const fn address_v6(number: u8) -> SocketAddr {
    SocketAddr::new(host_v6(number), PORT)
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
        SwitchSocket::bind(self.shared(), vec![address], options)
    }

    /// A socket of both families, as one bound to `[::]`: it calls itself `v6`, and sees IPv4 peers
    /// at mapped addresses.
    ///
    /// # Panics
    ///
    /// If one of the two is not of its family, is taken, or is unspecified.
    #[must_use]
    pub fn dual_socket(&self, v6: SocketAddr, v4: SocketAddr) -> Arc<dyn quinn::AsyncUdpSocket> {
        assert!(v6.is_ipv6() && v4.is_ipv4(), "{v6} and {v4}");
        let options = SocketOptions::default();
        match SwitchSocket::bind(self.shared(), vec![v6, v4], options) {
            Ok(socket) => socket,
            Err(error) => panic!("cannot bind: {error}"),
        }
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.owner.shared)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.owner.shared.lock()
    }

    pub(super) fn tell_delivery(&self) {
        self.owner.shared.tell_delivery();
    }

    /// The runtime to use with the sockets: tokio's, whose clock a test can pause.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(quinn::TokioRuntime)
    }

    /// The conditions of every path that has none of its own.
    ///
    /// # Panics
    ///
    /// If a probability is not within 0 to 1, or the bandwidth is 0. So do the others below.
    pub fn set_default(&self, conditions: Conditions) {
        conditions.assert_valid();
        self.state().paths.set_default(conditions);
    }

    /// The conditions of the path from one host to another.
    pub fn set_path(&self, from: IpAddr, to: IpAddr, conditions: Conditions) {
        conditions.assert_valid();
        self.state().paths.between(from, to).set(conditions);
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
        self.state().paths.conditions(from, to).clone()
    }

    /// What the path from one host to another has carried.
    #[must_use]
    pub fn counters(&self, from: IpAddr, to: IpAddr) -> Counters {
        self.state().paths.counters(from, to)
    }

    /// What all paths together have carried.
    #[must_use]
    pub fn total(&self) -> Counters {
        self.state().paths.total()
    }

    /// How many datagrams are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.state().under_way()
    }
}
