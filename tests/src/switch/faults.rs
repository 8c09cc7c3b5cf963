//! What a test does to hosts and sockets while they run.
//!
//! Each knob changes the tables behind the switch's lock; what follows from it is decided there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::network::Switch;

impl Switch {
    /// Blocks one direction: a one-way partition.
    pub fn block_one_way(&self, from: IpAddr, to: IpAddr) {
        self.state().paths.between(from, to).blocked = true;
    }

    /// Blocks both directions between two hosts.
    pub fn block(&self, a: IpAddr, b: IpAddr) {
        self.block_one_way(a, b);
        self.block_one_way(b, a);
    }

    /// Opens both directions between two hosts again.
    pub fn unblock(&self, a: IpAddr, b: IpAddr) {
        let mut state = self.state();
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

    /// Opens all that was blocked or silenced. Conditions and firewalls stay as they are.
    pub fn heal(&self) {
        let mut state = self.state();
        state.paths.unblock_all();
        state.silenced.clear();
    }

    /// Cuts the sending side of a host: from now on nothing of it gets out, nor what is under way
    /// from it, while it still hears the others. A close frame that it sends is stranded. Ended by
    /// [`Switch::heal`].
    pub fn silence(&self, host: IpAddr) {
        self.state().silenced.insert(host);
    }

    /// Puts a firewall or NAT before `guarded`: what `other` sends comes in only if `guarded` has
    /// sent to that very address and port within `keep` before. So only `guarded` can open.
    pub fn guard(&self, guarded: IpAddr, other: IpAddr, keep: Duration) {
        self.state().guards.set(guarded, other, keep);
    }

    /// Takes the firewall between two hosts away.
    pub fn unguard(&self, guarded: IpAddr, other: IpAddr) {
        self.state().guards.remove(guarded, other);
    }

    /// Moves the socket at `from` to `to` while it lives: its datagrams have the new source from now
    /// on, answers go there, and what is under way to the old address reaches nobody. The socket
    /// itself is not told, as behind a NAT that has rebound it or a path that failed over.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if no socket is at `from`, `AddrInUse` if one is at `to`, `InvalidInput` if
    /// the two are not of one family.
    pub fn rebind(&self, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        self.state().inboxes.rebind(from, to)
    }

    /// Pauses the process behind the socket at `address`, as SIGSTOP does, until
    /// [`Switch::resume`]: what comes in waits in the socket's buffer, up to its size, and what it
    /// sends is held back, up to the same size. False if there is none.
    ///
    /// All nodes of a test share one runtime, so the tasks behind the socket go on meanwhile, which
    /// a stopped process's do not: its timers fire on time instead of late, so it may give up links
    /// and dial during the pause, and what it sends for that leaves at the end of the pause, in
    /// order. Calls between its own tasks are not paused. A process that is stopped for longer than
    /// its timers last does the same things a moment after it is continued.
    pub fn pause(&self, address: SocketAddr) -> bool {
        self.state().inboxes.pause(address)
    }

    /// Ends a pause: what waited is read, and what was held leaves.
    pub fn resume(&self, address: SocketAddr) {
        let (reader, earlier) = self.state().resume(address, Instant::now());
        if earlier {
            self.tell_delivery();
        }
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Detaches the socket at `address` at once, as `kill -9` does: nothing more from it gets out
    /// or in, however long its owner lives on, and a new socket can bind the address. What it had
    /// sent is under way and arrives. False if there was none.
    pub fn crash(&self, address: SocketAddr) -> bool {
        self.state().inboxes.detach(address)
    }
}
