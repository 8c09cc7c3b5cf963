//! Makes openraft's clients.
//!
//! openraft awaits these methods in its main loop, so they return at once and never touch the
//! network: a client is a handle on a peer, and the peer's own task dials. This room must not know
//! what a client does.

use std::fmt;
use std::sync::Arc;

use openraft::{RaftNetworkFactory, RaftTypeConfig};
use quicraft_certs::NodeId;

use super::network::{ClientLane, RaftNetwork};
use super::snapshot::SnapshotIo;
use crate::{GroupId, PeerAddress, TransportHandle};

/// How an openraft node becomes addresses.
type Addresses<C> = dyn Fn(&<C as RaftTypeConfig>::Node) -> Vec<PeerAddress> + Send + Sync;

/// The network of one Raft group: hand it to `Raft::new` or `Raft::build`.
///
/// Works for every type config whose `NodeId` is `u64`. `S` says how the snapshot data of the state
/// machine becomes bytes. Keeps nothing alive: after the transport is gone, every call is
/// unreachable.
pub struct RaftFactory<C: RaftTypeConfig, S> {
    handle: TransportHandle,
    group: GroupId,
    snapshots: Arc<S>,
    addresses: Option<Arc<Addresses<C>>>,
}

impl<C: RaftTypeConfig<NodeId = u64>, S: SnapshotIo> RaftFactory<C, S> {
    /// The network of `group` on this transport. Where a node is, only the transport's roster says.
    #[must_use]
    pub fn new(handle: &TransportHandle, group: GroupId, snapshots: S) -> Self {
        Self {
            handle: handle.clone(),
            group,
            snapshots: Arc::new(snapshots),
            addresses: None,
        }
    }

    /// Teaches the roster where a node is, from the `Node` that openraft's membership has for it.
    ///
    /// `addresses` is called whenever openraft makes a client, with the node's latest entry; it must
    /// not block. No address (an empty vector) leaves the roster as it is.
    #[must_use]
    pub fn addresses_from(
        mut self,
        addresses: impl Fn(&C::Node) -> Vec<PeerAddress> + Send + Sync + 'static,
    ) -> Self {
        self.addresses = Some(Arc::new(addresses));
        self
    }

    fn client(&self, target: u64, node: &C::Node, lane: ClientLane) -> RaftNetwork<C, S> {
        // openraft never means to call its own node, and would panic if it succeeded; node 0 does
        // not exist. Such a client answers every call with an error.
        let peer = NodeId::new(target)
            .ok()
            .filter(|id| *id != self.handle.node_id())
            .map(|id| {
                if let Some(addresses) = &self.addresses {
                    let known = addresses(node);
                    if !known.is_empty()
                        && let Err(error) = self.handle.roster().learn(id, known)
                    {
                        tracing::warn!(target: "quicraft::raft", peer = target, %error, "an address is not learnt");
                    }
                }
                self.handle.peer(id)
            });
        let snapshots = Arc::clone(&self.snapshots);
        RaftNetwork::new(
            self.handle.clone(),
            self.group,
            target,
            peer,
            lane,
            snapshots,
        )
    }
}

impl<C: RaftTypeConfig<NodeId = u64>, S: SnapshotIo> RaftNetworkFactory<C> for RaftFactory<C, S> {
    type Network = RaftNetwork<C, S>;

    async fn new_client(&mut self, target: u64, node: &C::Node) -> RaftNetwork<C, S> {
        self.client(target, node, ClientLane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &C::Node) -> RaftNetwork<C, S> {
        self.client(target, node, ClientLane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &C::Node) -> RaftNetwork<C, S> {
        self.client(target, node, ClientLane::Snapshot)
    }
}

impl<C: RaftTypeConfig, S> Clone for RaftFactory<C, S> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            group: self.group,
            snapshots: Arc::clone(&self.snapshots),
            addresses: self.addresses.clone(),
        }
    }
}

impl<C: RaftTypeConfig, S> fmt::Debug for RaftFactory<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftFactory")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}
