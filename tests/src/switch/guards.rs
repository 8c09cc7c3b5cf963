//! Firewalls between pairs of hosts that let in only what was asked for.
//!
//! What a NAT and a stateful firewall have in common, and nothing else of them: addresses are not
//! translated here (`Switch::rebind` does that).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

/// One firewall, directly before the host that it guards.
#[derive(Debug)]
struct Guard {
    keep: Duration,
    /// When the guarded end last sent, by (guarded, other) socket address. As with most devices,
    /// what comes in does not keep a hole open.
    sent: BTreeMap<(SocketAddr, SocketAddr), Instant>,
}

/// All firewalls, by (guarded, other) host.
#[derive(Debug, Default)]
pub(super) struct Guards {
    by_ends: BTreeMap<(IpAddr, IpAddr), Guard>,
}

impl Guards {
    pub(super) fn set(&mut self, guarded: IpAddr, other: IpAddr, keep: Duration) {
        let sent = BTreeMap::new();
        self.by_ends.insert((guarded, other), Guard { keep, sent });
    }

    pub(super) fn remove(&mut self, guarded: IpAddr, other: IpAddr) {
        self.by_ends.remove(&(guarded, other));
    }

    /// A datagram leaves: its answers may come in from now on.
    pub(super) fn leaves(&mut self, from: SocketAddr, to: SocketAddr, now: Instant) {
        if let Some(guard) = self.by_ends.get_mut(&(from.ip(), to.ip())) {
            let keep = guard.keep;
            guard.sent.retain(|_, sent| now - *sent <= keep);
            guard.sent.insert((from, to), now);
        }
    }

    /// Whether a datagram that has come to its receiver's firewall passes.
    pub(super) fn lets_in(&self, from: SocketAddr, to: SocketAddr, now: Instant) -> bool {
        let Some(guard) = self.by_ends.get(&(to.ip(), from.ip())) else {
            return true;
        };
        let sent = guard.sent.get(&(to, from));
        sent.is_some_and(|sent| now - *sent <= guard.keep)
    }
}
