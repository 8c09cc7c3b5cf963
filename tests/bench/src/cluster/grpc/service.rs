//! The answering side of a node: what a code generator would write, and the calls to its Rafts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use quicraft_tests::raft::TypeConfig;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};

use super::super::network::GroupRaft;
use super::codec::{Answer, Messages};
use super::{APPEND, GROUP, HEARTBEAT, PRE_VOTE, VOTE};

/// The Rafts of a node, by group.
pub(super) type Groups = Arc<Mutex<BTreeMap<u64, GroupRaft>>>;

type Append = AppendEntriesRequest<TypeConfig>;
type Vote = VoteRequest<TypeConfig>;

/// Answers for all groups of a node.
#[derive(Clone)]
pub(super) struct RaftGrpc(Groups);

impl RaftGrpc {
    pub(super) const fn new(groups: Groups) -> Self {
        Self(groups)
    }

    fn raft(&self, request: &http::Request<Body>) -> Option<GroupRaft> {
        let group = request.headers().get(GROUP)?.to_str().ok()?.parse().ok()?;
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.get(&group).cloned()
    }
}

impl Service<http::Request<Body>> for RaftGrpc {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(raft) = self.raft(&request) else {
            let status = Status::not_found("no such group");
            return Box::pin(ready(Ok(status.into_http())));
        };
        match request.uri().path() {
            APPEND => Box::pin(async move {
                let mut grpc = Grpc::new(Messages::<Answer, Append>::new());
                Ok(grpc.streaming(Appends(raft), request).await)
            }),
            HEARTBEAT => Box::pin(async move {
                let mut grpc = Grpc::new(Messages::new());
                Ok(grpc.unary(Heartbeats(raft), request).await)
            }),
            VOTE => Box::pin(async move {
                let mut grpc = Grpc::new(Messages::new());
                Ok(grpc.unary(Votes { raft, pre: false }, request).await)
            }),
            PRE_VOTE => Box::pin(async move {
                let mut grpc = Grpc::new(Messages::new());
                Ok(grpc.unary(Votes { raft, pre: true }, request).await)
            }),
            path => {
                let status = Status::unimplemented(path.to_owned());
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}

fn stopped(error: impl Display) -> Status {
    Status::unavailable(error.to_string())
}

struct Appends(GroupRaft);

impl StreamingService<Append> for Appends {
    type Response = Answer;
    type ResponseStream = BoxStream<'static, Result<Answer, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Append>>) -> Self::Future {
        // A stream that breaks ends; its other half tells the leader why.
        let requests = request.into_inner().scan((), |(), item| ready(item.ok()));
        let answers = self.0.stream_append(requests);
        let answers = answers.map(|answer| answer.map_err(stopped));
        ready(Ok(Response::new(answers.boxed())))
    }
}

struct Heartbeats(GroupRaft);

impl UnaryService<Append> for Heartbeats {
    type Response = AppendEntriesResponse<TypeConfig>;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Append>) -> Self::Future {
        let raft = self.0.clone();
        Box::pin(async move {
            let answer = raft.append_entries(request.into_inner()).await;
            answer.map(Response::new).map_err(stopped)
        })
    }
}

struct Votes {
    raft: GroupRaft,
    pre: bool,
}

impl UnaryService<Vote> for Votes {
    type Response = VoteResponse<TypeConfig>;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Vote>) -> Self::Future {
        let (raft, pre, request) = (self.raft.clone(), self.pre, request.into_inner());
        Box::pin(async move {
            let answer = if pre {
                raft.pre_vote(request).await
            } else {
                raft.vote(request).await
            };
            answer.map(Response::new).map_err(stopped)
        })
    }
}
