//! A node that was removed learns it from its peers, because it is in no group any more that could
//! tell it.

use std::sync::Arc;

use quicraft_transport::Event;
use quicraft_transport::close::CloseCode;
use tokio::sync::broadcast::error::RecvError;

use super::error::ClusterError;
use super::{Cluster, Phase};
use crate::RaftManager;
use crate::meta::NodeStanding;

/// Whether a peer has told this node that it was removed. Peers are proven by their certificates.
const fn tells_removal(event: &Event) -> bool {
    matches!(
        event,
        Event::RefusedByPeer {
            code: CloseCode::Removed,
            ..
        } | Event::Parked {
            code: CloseCode::Removed,
            ..
        } | Event::LinkDown {
            code: Some(CloseCode::Removed),
            ..
        }
    )
}

impl Cluster {
    /// Listens for as long as the cluster runs, from before it asks its first question.
    pub(super) async fn hear_removal(self: Arc<Self>) {
        let mut events = self.handle().events();
        loop {
            match events.recv().await {
                Ok(event) if tells_removal(&event) && !self.is_admitting(&event) => break,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
        let gone = ClusterError::Gone {
            node: self.me(),
            standing: NodeStanding::Removed,
        };
        tracing::warn!(target: "quicraft::cluster", node = self.me(), "{gone}");
        self.manager.raise(crate::Event::RemovedFromCluster);
        self.phase.send_replace(Phase::Failed(gone));
    }

    /// Whether the event is about a link that this node has ended itself: whoever removes a peer
    /// sees the link go down with the same code.
    fn is_admitting(&self, event: &Event) -> bool {
        let Event::LinkDown { peer, .. } = event else {
            return false;
        };
        self.meta.state().standing(peer.get()) == Some(NodeStanding::Removed)
    }

    /// Waits until this node learns that it may not be in the cluster.
    pub(crate) async fn excluded(&self) -> ClusterError {
        let mut phases = self.phase.subscribe();
        let failed = phases
            .wait_for(|phase| matches!(phase, Phase::Failed(_)))
            .await;
        match failed.as_deref() {
            Ok(Phase::Failed(error)) => error.clone(),
            Ok(Phase::Asking(_) | Phase::Running) | Err(_) => ClusterError::ShuttingDown,
        }
    }
}

impl RaftManager {
    /// Waits until this node learns that it may not be in the cluster, and returns why: it was
    /// removed, its disk was lost, it belongs to another cluster. The host then stops it.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotStarted`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn excluded(&self) -> Result<ClusterError, ClusterError> {
        Ok(self.cluster()?.excluded().await)
    }
}
