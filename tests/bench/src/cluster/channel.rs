//! The ceiling: a network without a network. A request of one node is given to the Raft of the other
//! by a function call; nothing is encoded, copied or queued on the way.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::stream::{AbortHandle, abortable};
use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{AnyError, BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use quicraft_tests::raft::TypeConfig;

use super::network::{Data, GroupRaft, Network};
use crate::pair::Failure;

type Rafts = BTreeMap<(u64, u64), GroupRaft>;

/// All nodes and groups that can be called.
#[derive(Default)]
pub(crate) struct Channels(Arc<Mutex<Rafts>>);

impl Network for Channels {
    type Factory = ChannelFactory;

    const NAME: &'static str = "channel";

    async fn start(_: &[u64]) -> Result<Self, Failure> {
        Ok(Self::default())
    }

    fn factory(&self, _: u64, group: u64) -> Result<ChannelFactory, Failure> {
        let rafts = Arc::clone(&self.0);
        Ok(ChannelFactory { rafts, group })
    }

    fn serve(&mut self, node: u64, group: u64, raft: GroupRaft) -> Result<(), Failure> {
        let mut rafts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rafts.insert((node, group), raft);
        Ok(())
    }

    async fn ready(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn stop(self) -> Result<(), Failure> {
        let mut rafts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The Rafts hold this map through their clients: without this, they hold each other.
        rafts.clear();
        Ok(())
    }
}

/// Makes the clients of one group.
pub(crate) struct ChannelFactory {
    rafts: Arc<Mutex<Rafts>>,
    group: u64,
}

impl RaftNetworkFactory<TypeConfig> for ChannelFactory {
    type Network = ChannelClient;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> ChannelClient {
        ChannelClient {
            rafts: Arc::clone(&self.rafts),
            place: (target, self.group),
        }
    }
}

/// Calls one node's Raft of one group.
pub(crate) struct ChannelClient {
    rafts: Arc<Mutex<Rafts>>,
    place: (u64, u64),
}

impl ChannelClient {
    fn raft(&self) -> Result<GroupRaft, Unreachable<TypeConfig>> {
        let rafts = self.rafts.lock().unwrap_or_else(PoisonError::into_inner);
        let (node, group) = self.place;
        rafts.get(&self.place).cloned().ok_or_else(|| {
            let nobody = format!("node {node} does not serve group {group}");
            Unreachable::new(&AnyError::error(nobody))
        })
    }
}

fn unreachable<E: std::error::Error + 'static>(error: E) -> Unreachable<TypeConfig> {
    Unreachable::new(&error)
}

impl RaftNetworkV2<TypeConfig> for ChannelClient {
    type SnapshotData = Data;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self.raft()?.append_entries(request).await;
        Ok(answer.map_err(unreachable)?)
    }

    fn stream_append<'s, I>(
        &'s mut self,
        input: I,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        I: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let answers = self.raft().map(|raft| {
            let (requests, handle) = abortable(input);
            let answers = raft.stream_append(requests);
            let answers =
                answers.map(|answer| answer.map_err(|fatal| NetworkError::new(&fatal).into()));
            let answers = answers.boxed();
            Answers { answers, handle }.boxed()
        });
        Box::pin(std::future::ready(answers.map_err(Into::into)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.raft()?.vote(request).await.map_err(unreachable)?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.raft()?.pre_vote(request).await.map_err(unreachable)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Data>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let raft = self.raft()?;
        let installed = raft.install_full_snapshot(vote, snapshot).await;
        Ok(installed.map_err(unreachable)?)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self.raft()?.handle_transfer_leader(request).await;
        Ok(answer.map_err(unreachable)?)
    }
}

/// The answers of a Raft. The task of openraft that takes the requests ends with them, because
/// openraft counts on its stream of requests being let go.
struct Answers<S> {
    answers: S,
    handle: AbortHandle,
}

impl<S: Stream + Unpin> Stream for Answers<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.answers.poll_next_unpin(cx)
    }
}

impl<S> Drop for Answers<S> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
