//! The asking side: openraft's clients of one group, over the channels of a node.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{AnyError, BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use quicraft_tests::raft::TypeConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::codec::{Answer, Messages};
use super::{APPEND, GROUP, HEARTBEAT, PRE_VOTE, VOTE};
use crate::cluster::network::Data;

type Append = AppendEntriesRequest<TypeConfig>;
type Appended = AppendEntriesResponse<TypeConfig>;
type Vote = VoteRequest<TypeConfig>;
type Voted = VoteResponse<TypeConfig>;
type Failed = RPCError<TypeConfig>;

/// Makes the clients of one group on one node.
#[derive(Clone)]
pub(crate) struct GrpcFactory {
    channels: BTreeMap<u64, Channel>,
    group: u64,
}

impl GrpcFactory {
    pub(super) const fn new(channels: BTreeMap<u64, Channel>, group: u64) -> Self {
        Self { channels, group }
    }

    fn client(&self, target: u64, heartbeats: bool) -> GrpcClient {
        GrpcClient {
            grpc: self.channels.get(&target).cloned().map(Grpc::new),
            group: self.group,
            heartbeats,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for GrpcFactory {
    type Network = GrpcClient;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> GrpcClient {
        self.client(target, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _: &BasicNode) -> GrpcClient {
        self.client(target, true)
    }
}

/// Calls one node's Raft of one group.
pub(crate) struct GrpcClient {
    /// `None` if the target is not a node that is known.
    grpc: Option<Grpc<Channel>>,
    group: u64,
    /// Whether its appends are heartbeats, of which each is one call.
    heartbeats: bool,
}

impl GrpcClient {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let group = MetadataValue::from(self.group);
        request.metadata_mut().insert(GROUP, group);
        request
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Failed> {
        let unreachable = |error: AnyError| Failed::from(Unreachable::new(&error));
        let grpc = self.grpc.clone();
        let mut grpc = grpc.ok_or_else(|| unreachable(AnyError::error("no such node")))?;
        let ready = grpc.ready().await;
        ready.map_err(|error| unreachable(AnyError::new(&error)))?;
        Ok(grpc)
    }

    async fn unary<Out, In>(&self, path: &'static str, message: Out) -> Result<In, Failed>
    where
        Out: Serialize + Send + Sync + 'static,
        In: DeserializeOwned + Send + Sync + 'static,
    {
        let path = PathAndQuery::from_static(path);
        let request = self.request(message);
        let mut grpc = self.grpc().await?;
        let answer = grpc.unary(request, path, Messages::new()).await;
        answer.map(|answer| answer.into_inner()).map_err(broken)
    }

    async fn heartbeat(&self, request: Append) -> Result<Answer, Failed> {
        let prev = request.prev_log_id;
        let last = request.entries.last().map(RaftEntry::log_id).or(prev);
        let answer: Appended = self.unary(HEARTBEAT, request).await?;
        Ok(answer.into_stream_result(prev, last))
    }
}

fn broken(status: Status) -> Failed {
    NetworkError::new(&status).into()
}

impl RaftNetworkV2<TypeConfig> for GrpcClient {
    type SnapshotData = Data;

    async fn append_entries(&mut self, request: Append, _: RPCOption) -> Result<Appended, Failed> {
        self.unary(HEARTBEAT, request).await
    }

    fn stream_append<'s, I>(
        &'s mut self,
        input: I,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<Answer, Failed>>, Failed>>
    where
        I: Stream<Item = Append> + OptionalSend + Unpin + 'static,
    {
        let this: &'s Self = self;
        Box::pin(async move {
            if this.heartbeats {
                let answers = stream::unfold(input, move |mut input| async move {
                    let request = input.next().await?;
                    Some((this.heartbeat(request).await, input))
                });
                return Ok(answers.boxed());
            }
            let mut grpc = this.grpc().await?;
            let path = PathAndQuery::from_static(APPEND);
            let codec = Messages::<Append, Answer>::new();
            let answers = grpc.streaming(this.request(input), path, codec).await;
            let answers = answers.map_err(broken)?.into_inner();
            Ok(answers.map(|answer| answer.map_err(broken)).boxed())
        })
    }

    async fn vote(&mut self, request: Vote, _: RPCOption) -> Result<Voted, Failed> {
        self.unary(VOTE, request).await
    }

    async fn pre_vote(&mut self, request: Vote, _: RPCOption) -> Result<Voted, Failed> {
        self.unary(PRE_VOTE, request).await
    }

    /// Nobody here is so far behind.
    async fn full_snapshot(
        &mut self,
        _: VoteOf<TypeConfig>,
        _: SnapshotOf<TypeConfig, Data>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let unserved = AnyError::error("snapshots are not sent here");
        Err(Unreachable::new(&unserved).into())
    }
}
