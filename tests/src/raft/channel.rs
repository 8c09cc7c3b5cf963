//! A network without a network: nodes of one process call each other's Raft directly.
//!
//! What this room is for: the ceiling that a real network is compared with, and a network that
//! cannot be at fault when the stores are tested. It must not know quinn or the transport.
//! `stream_append` is pipelined; a delay, the same in each direction, may be set.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::RaftStateMachine;
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{AnyError, BasicNode, OptionalSend, Raft, RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::machine::Machine;
use super::snapshots::SnapshotStore;
use super::types::TypeConfig;

/// How many requests one stream may have under way: far more than openraft was ever seen to send
/// (110, with 64 writers at 100 ms of round trip), so this network never limits.
const PIPELINE: usize = 1_024;

type Node<S> = Raft<TypeConfig, Machine<S>>;

/// All nodes that can be called. Clones are the same network.
#[derive(Debug)]
pub struct ChannelNetwork<S: SnapshotStore> {
    shared: Arc<Mutex<Shared<S>>>,
}

#[derive(Debug)]
struct Shared<S: SnapshotStore> {
    nodes: BTreeMap<u64, Node<S>>,
    delay: Duration,
}

impl<S: SnapshotStore> Clone for ChannelNetwork<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: SnapshotStore> Default for ChannelNetwork<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: SnapshotStore> ChannelNetwork<S> {
    /// A network without nodes and without delay.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                nodes: BTreeMap::new(),
                delay: Duration::ZERO,
            })),
        }
    }

    /// How long each message travels, in each direction. It holds for streams opened from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Makes a node reachable.
    pub fn attach(&self, id: u64, raft: Node<S>) {
        self.lock().nodes.insert(id, raft);
    }

    /// Makes a node unreachable for new calls and streams; false if it was.
    pub fn detach(&self, id: u64) -> bool {
        self.lock().nodes.remove(&id).is_some()
    }

    /// The factory that a node needs.
    #[must_use]
    pub fn factory(&self) -> ChannelFactory<S> {
        ChannelFactory {
            network: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared<S>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the clients of one node.
#[derive(Debug, Clone)]
pub struct ChannelFactory<S: SnapshotStore> {
    network: ChannelNetwork<S>,
}

impl<S: SnapshotStore> RaftNetworkFactory<TypeConfig> for ChannelFactory<S> {
    type Network = ChannelClient<S>;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Self::Network {
        ChannelClient {
            target,
            network: self.network.clone(),
        }
    }
}

/// Calls one node.
#[derive(Debug)]
pub struct ChannelClient<S: SnapshotStore> {
    target: u64,
    network: ChannelNetwork<S>,
}

impl<S: SnapshotStore> ChannelClient<S> {
    /// The node and the delay to it, if it is attached.
    fn node(&self) -> Result<(Node<S>, Duration), Unreachable<TypeConfig>> {
        let shared = self.network.lock();
        match shared.nodes.get(&self.target) {
            Some(node) => Ok((node.clone(), shared.delay)),
            None => Err(Unreachable::new(&AnyError::error(format!(
                "node {} is not attached",
                self.target
            )))),
        }
    }

    /// One call there and its answer back.
    async fn call<T, E: std::error::Error + 'static>(
        &self,
        call: impl AsyncFnOnce(Node<S>) -> Result<T, E>,
    ) -> Result<T, Unreachable<TypeConfig>> {
        let (node, delay) = self.node()?;
        travel(delay).await;
        let answer = call(node).await;
        travel(delay).await;
        answer.map_err(|error| Unreachable::new(&error))
    }
}

impl<S: SnapshotStore> RaftNetworkV2<TypeConfig> for ChannelClient<S> {
    type SnapshotData = <Machine<S> as RaftStateMachine<TypeConfig>>::SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self
            .call(async |node| node.append_entries(request).await)
            .await?)
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
        Box::pin(async move {
            let (node, delay) = match self.node() {
                Ok(reachable) => reachable,
                Err(unreachable) => return Ok(refused(input, unreachable.into()).boxed()),
            };
            let requests = travelling(input, delay);
            let answers = travelling(Box::pin(node.stream_append(requests)), delay);
            let answers =
                answers.map(|answer| answer.map_err(|fatal| NetworkError::new(&fatal).into()));
            Ok(answers.boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.call(async |node| node.vote(request).await).await?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.call(async |node| node.pre_vote(request).await).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let call = self.call(async |node| node.install_full_snapshot(vote, snapshot).await);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            answer = call => Ok(answer?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self
            .call(async |node| node.handle_transfer_leader(request).await)
            .await?)
    }
}

/// Takes one request and answers it with `error`. The request has to be taken: openraft's backoff
/// waits inside its stream of requests, so a stream that fails without asking for one is opened
/// again at once, for ever.
fn refused<T: Send + 'static>(
    input: impl Stream<Item = T> + Send + Unpin + 'static,
    error: RPCError<TypeConfig>,
) -> impl Stream<Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>> + Send {
    stream::unfold(Some((input, error)), async |state| {
        let (mut input, error) = state?;
        input.next().await?;
        Some((Err(error), None))
    })
}

async fn travel(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
}

/// Aborts the task that moves a stream's items along when the stream is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The same items, each `delay` later, however many are under way. The input is polled by a task
/// that ends with the stream.
fn travelling<T: Send + 'static>(
    mut input: impl Stream<Item = T> + Send + Unpin + 'static,
    delay: Duration,
) -> impl Stream<Item = T> + Send + 'static {
    let (sender, receiver) = mpsc::channel(PIPELINE);
    let task = tokio::spawn(async move {
        while let Some(item) = input.next().await {
            if sender.send((Instant::now() + delay, item)).await.is_err() {
                break;
            }
        }
    });
    let task = AbortOnDrop(task.abort_handle());
    stream::unfold((receiver, task), async |(mut receiver, task)| {
        let (due, item) = receiver.recv().await?;
        // A timer that is due now would still wait for the end of the millisecond.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        Some((item, (receiver, task)))
    })
    .boxed()
}
