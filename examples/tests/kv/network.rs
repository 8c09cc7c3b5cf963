//! Networks without a network: peers that never answer, and nodes of one process that call each
//! other directly.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use quicraft_examples::kv::{GroupRaft, KvNode, TypeConfig};

type C = TypeConfig;

fn unreachable() -> Unreachable<C> {
    Unreachable::from_string("not on the line")
}

/// Peers that do not really exist; clones are told the same.
#[derive(Debug, Clone)]
pub(crate) struct Phantom {
    votes: bool,
    takes: Arc<AtomicBool>,
}

impl Phantom {
    /// Peers that never answer.
    pub(crate) fn silent() -> Self {
        Self {
            votes: false,
            takes: Arc::default(),
        }
    }

    /// Peers that vote for everybody and take every entry.
    pub(crate) fn loyal() -> Self {
        Self {
            votes: true,
            takes: Arc::new(AtomicBool::new(true)),
        }
    }

    /// From now on they take no entry any more.
    pub(crate) fn stop_taking(&self) {
        self.takes.store(false, Ordering::Relaxed);
    }

    fn answer(&self, rpc: &VoteRequest<C>) -> Result<VoteResponse<C>, RPCError<C>> {
        if self.votes {
            Ok(VoteResponse::new(rpc.vote, None, true))
        } else {
            Err(unreachable().into())
        }
    }
}

impl RaftNetworkFactory<C> for Phantom {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _node: &KvNode) -> Self {
        self.clone()
    }
}

impl RaftNetworkV2<C> for Phantom {
    type SnapshotData = tokio::fs::File;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<C>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        if self.takes.load(Ordering::Relaxed) {
            Ok(AppendEntriesResponse::Success)
        } else {
            Err(unreachable().into())
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.answer(&rpc)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.answer(&rpc)
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<C>,
        _snapshot: SnapshotOf<C, tokio::fs::File>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        Err(unreachable().into())
    }
}

/// Which nodes are in this process, and which of them are cut off.
#[derive(Default)]
struct Lines {
    rafts: BTreeMap<(u64, u64), GroupRaft>,
    cut: BTreeSet<u64>,
    snapshots: u64,
}

/// Connects nodes of one process.
#[derive(Clone, Default)]
pub(crate) struct Switchboard(Arc<Mutex<Lines>>);

impl Switchboard {
    pub(crate) fn plug(&self, node: u64, group: u64, raft: &GroupRaft) {
        self.0
            .lock()
            .unwrap()
            .rafts
            .insert((node, group), raft.clone());
    }

    pub(crate) fn cut(&self, node: u64) {
        self.0.lock().unwrap().cut.insert(node);
    }

    pub(crate) fn mend(&self, node: u64) {
        self.0.lock().unwrap().cut.remove(&node);
    }

    /// Snapshots that were sent.
    pub(crate) fn snapshots(&self) -> u64 {
        self.0.lock().unwrap().snapshots
    }

    pub(crate) fn line_of(&self, node: u64, group: u64) -> Line {
        Line {
            board: self.clone(),
            from: node,
            to: 0,
            group,
        }
    }
}

/// One group's line from one node to another.
#[derive(Clone)]
pub(crate) struct Line {
    board: Switchboard,
    from: u64,
    to: u64,
    group: u64,
}

impl Line {
    fn raft(&self) -> Result<GroupRaft, Unreachable<C>> {
        let lines = self.board.0.lock().unwrap();
        if lines.cut.contains(&self.from) || lines.cut.contains(&self.to) {
            return Err(unreachable());
        }
        lines
            .rafts
            .get(&(self.to, self.group))
            .cloned()
            .ok_or_else(unreachable)
    }
}

impl RaftNetworkFactory<C> for Line {
    type Network = Self;

    async fn new_client(&mut self, target: u64, _node: &KvNode) -> Self {
        Self {
            to: target,
            ..self.clone()
        }
    }
}

impl RaftNetworkV2<C> for Line {
    type SnapshotData = tokio::fs::File;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let answer = self.raft()?.append_entries(rpc).await;
        answer.map_err(|error| Unreachable::new(&error).into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.raft()?
            .vote(rpc)
            .await
            .map_err(|error| Unreachable::new(&error).into())
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.raft()?
            .pre_vote(rpc)
            .await
            .map_err(|error| Unreachable::new(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, tokio::fs::File>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let raft = self.raft()?;
        self.board.0.lock().unwrap().snapshots += 1;
        let answer = raft.install_full_snapshot(vote, snapshot).await;
        answer.map_err(|error| Unreachable::new(&error).into())
    }
}
