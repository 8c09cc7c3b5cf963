//! Stop 1: the application with a network of its own. Here it is a map of the nodes in this process;
//! it stands for whatever carries openraft's messages today.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{BasicNode, Config, OptionalSend, Raft, RaftNetworkFactory};

use super::app::{Command, Machine, Types};
use super::log::Log;

type AppRaft = Raft<Types, Machine>;

/// Every node that can be called.
#[derive(Debug, Clone, Default)]
pub struct OwnNetwork(Arc<Mutex<BTreeMap<u64, AppRaft>>>);

impl OwnNetwork {
    /// Lets the others call a node.
    pub fn answer_for(&self, id: u64, raft: AppRaft) {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(id, raft);
    }
}

/// The way to one node.
#[derive(Debug)]
pub struct OwnClient {
    network: OwnNetwork,
    target: u64,
}

impl OwnClient {
    fn target(&self) -> Result<AppRaft, Unreachable<Types>> {
        let nodes = self.network.0.lock();
        let nodes = nodes.unwrap_or_else(PoisonError::into_inner);
        let target = nodes.get(&self.target).cloned();
        target.ok_or_else(|| Unreachable::from_string("nobody answers"))
    }
}

fn failed(error: impl ToString) -> Unreachable<Types> {
    Unreachable::from_string(error.to_string())
}

impl RaftNetworkFactory<Types> for OwnNetwork {
    type Network = OwnClient;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> OwnClient {
        OwnClient {
            network: self.clone(),
            target,
        }
    }
}

impl RaftNetworkV2<Types> for OwnClient {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = self.target()?.append_entries(request).await;
        Ok(answer.map_err(failed)?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.target()?.vote(request).await;
        Ok(answer.map_err(failed)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Cursor<Vec<u8>>>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let answer = self.target()?.install_full_snapshot(vote, snapshot).await;
        Ok(answer.map_err(failed)?)
    }
}

async fn start(id: u64, own_network: &OwnNetwork) -> Result<(AppRaft, Machine), Box<dyn Error>> {
    let (log, machine) = (Log::default(), Machine::default());
    let raft_config = Arc::new(Config::default());

    let network = own_network.clone();
    let raft = Raft::new(id, raft_config, network, log, machine.clone()).await?;
    own_network.answer_for(id, raft.clone());
    Ok((raft, machine))
}

/// Two nodes, a word, and its copy on the other node.
///
/// # Errors
///
/// Whatever goes wrong.
pub async fn run() -> Result<(), Box<dyn Error>> {
    let limit = Duration::from_secs(30);
    let network = OwnNetwork::default();
    let (first, _) = start(1, &network).await?;
    let (second, machine) = start(2, &network).await?;

    let members = BTreeMap::from([(1, BasicNode::new("")), (2, BasicNode::new(""))]);
    first.initialize(members).await?;
    first
        .wait(Some(limit))
        .leader_with_quorum_acked(None, "to lead")
        .await?;
    let command = Command::Put {
        key: "stop".to_owned(),
        value: "one".to_owned(),
    };
    let written = first.client_write(command).await?;
    second
        .wait(Some(limit))
        .applied_index_at_least(Some(written.log_id.index), "the copy")
        .await?;
    if machine.get("stop").as_deref() != Some("one") {
        return Err("the other node has another word".into());
    }
    first.shutdown().await?;
    second.shutdown().await?;
    Ok(())
}
