//! One node of one group, on whatever network a test gives it.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::network::NetSnapshot;
use openraft::raft::ClientWriteResponse;
use openraft::storage::RaftStateMachine;
use openraft::{Config, Raft, RaftNetworkFactory};

use super::log::MemLog;
use super::machine::Machine;
use super::snapshots::SnapshotStore;
use super::types::{Command, TypeConfig};

/// The settings of the hosts: heartbeat 200 ms, election 1,000 to 2,000 ms, pre-vote on. Snapshots
/// are taken only when a test asks for one.
///
/// # Panics
///
/// Never: the values are valid together.
#[must_use]
pub fn config() -> Config {
    Config {
        cluster_name: "quicraft-tests".to_owned(),
        heartbeat_interval: 200,
        election_timeout_min: 1_000,
        election_timeout_max: 2_000,
        enable_pre_vote: Some(true),
        install_snapshot_timeout: 5_000,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    }
    .validate()
    .expect("the values are valid together")
}

/// One node of one group: the Raft, its log and its state machine. Clones are the same node.
///
/// Dropping it does not stop the Raft: call [`RaftNode::stop`].
#[derive(Clone)]
pub struct RaftNode<S: SnapshotStore> {
    /// The id of the node.
    pub id: u64,
    /// The running Raft.
    pub raft: Raft<TypeConfig, Machine<S>>,
    /// Its log, to turn its knobs, and to start the node again on.
    pub log: MemLog,
    /// Its state machine, to see what it has applied.
    pub machine: Machine<S>,
}

impl<S: SnapshotStore> std::fmt::Debug for RaftNode<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftNode")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<S: SnapshotStore> RaftNode<S> {
    /// Builds a node on a log and a machine, new ones or those of an earlier run. It does not
    /// campaign before [`Raft::run`], so that a network can make it reachable first.
    ///
    /// # Errors
    ///
    /// If openraft refuses to start on this log and machine.
    pub async fn build<N>(
        id: u64,
        config: Config,
        network: N,
        log: MemLog,
        machine: Machine<S>,
    ) -> Result<Self, Fatal<TypeConfig>>
    where
        N: RaftNetworkFactory<TypeConfig>,
        N::Network: NetSnapshot<
                TypeConfig,
                SnapshotData = <Machine<S> as RaftStateMachine<TypeConfig>>::SnapshotData,
            >,
    {
        let raft = Raft::build(id, Arc::new(config), network, log.clone(), machine.clone()).await?;
        Ok(Self {
            id,
            raft,
            log,
            machine,
        })
    }

    /// Proposes a command on this node, which has to be the leader, and waits until it is applied.
    ///
    /// # Errors
    ///
    /// As [`Raft::client_write`]: not the leader, or the Raft has stopped.
    pub async fn write(
        &self,
        bytes: impl Into<bytes::Bytes>,
    ) -> Result<ClientWriteResponse<TypeConfig>, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>
    {
        self.raft.client_write(Command::new(bytes)).await
    }

    /// Waits until this node knows a leader, and returns its id.
    ///
    /// # Panics
    ///
    /// If there is none within `limit`: a test that expects a leader has then failed.
    pub async fn leader(&self, limit: Duration) -> u64 {
        let metrics = self
            .raft
            .wait(Some(limit))
            .metrics(|metrics| metrics.current_leader.is_some(), "a leader")
            .await;
        match metrics.map(|metrics| metrics.current_leader) {
            Ok(Some(leader)) => leader,
            other => panic!(
                "node {} knows no leader within {limit:?}: {other:?}",
                self.id
            ),
        }
    }

    /// Waits until this node leads and may write: before a majority has acknowledged it, openraft
    /// refuses writes with `LeaseExpired`.
    ///
    /// # Panics
    ///
    /// If that takes longer than `limit`.
    pub async fn lease(&self, limit: Duration) {
        let leads = self
            .raft
            .wait(Some(limit))
            .metrics(
                |metrics| {
                    metrics.current_leader == Some(self.id) && metrics.last_quorum_acked.is_some()
                },
                "the lease of the leader",
            )
            .await;
        if let Err(error) = leads {
            panic!("node {} does not lead within {limit:?}: {error}", self.id);
        }
    }

    /// Stops the Raft and waits for its tasks.
    ///
    /// # Panics
    ///
    /// If a task of the Raft panicked: that is what a test wants to see.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            panic!("node {} did not stop in order: {error}", self.id);
        }
    }
}
