//! Answers a peer's Raft messages with the group's `Raft`.
//!
//! The last checks before openraft stand here: a message must decode, must be one that a correct
//! node could send, and must name the very node that the handshake proved. Group membership is *not*
//! checked: a follower that lags behind must accept a leader that it does not know yet. This room
//! must not know links, lanes or frames.

mod snapshot;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::storage::RaftStateMachine;
use openraft::type_config::alias::VoteOf;
use openraft::{Raft, RaftTypeConfig};
use tokio::sync::oneshot;

use super::snapshot::{SnapshotIo, SnapshotKeeper, Spawn};
use super::snapshot_watch::EventSink;
use super::wire::{
    AppendReply, HeartbeatReply, TransferReply, TransferRequest, VoteReply, VoteRequestBody,
    WireError, decode_append, decode_heartbeat, encode, method, named_node,
};
use crate::link::TransferBody;
use crate::service::{CallContext, Service, SessionReplies, SessionRequests};
use crate::{
    AlreadyRegistered, Event, GroupId, Refusal, RefusalCode, Registration, TransportHandle,
};

/// Serves a group on this transport: from now on peers reach this `raft` under `group`.
///
/// Call it after `Raft::build` and before `Raft::run`, so that the node does not campaign before it
/// can be reached. Groups of different type configs stand side by side. Dropping the registration
/// ends it: peers get `UnknownGroup`, and calls that are being answered are dropped.
///
/// # Errors
///
/// When something is registered for this group already.
pub fn serve<C, SM, S>(
    handle: &TransportHandle,
    group: GroupId,
    raft: Raft<C, SM>,
    snapshots: S,
) -> Result<Registration, AlreadyRegistered>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C, SnapshotData = S::Data>,
    S: SnapshotIo,
{
    handle.register(group, Arc::new(RaftService::new(handle, raft, snapshots)))
}

/// One group's `Raft` as a [`Service`]: appends as sessions, snapshots as transfers, the rest as
/// calls.
pub struct RaftService<C, SM, S>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
    S: SnapshotIo,
{
    raft: Raft<C, SM>,
    keeper: Arc<SnapshotKeeper<C, S>>,
    raise: EventSink,
}

impl<C, SM, S> RaftService<C, SM, S>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C, SnapshotData = S::Data>,
    S: SnapshotIo,
{
    /// A service that answers with `raft` and receives snapshots as `snapshots` says. Its events are
    /// raised on the transport of `handle`. [`serve`] makes and registers one.
    #[must_use]
    pub fn new(handle: &TransportHandle, raft: Raft<C, SM>, snapshots: S) -> Self {
        let raise = {
            let handle = handle.clone();
            Arc::new(move |event| handle.raise(event))
        };
        let handle = handle.clone();
        Self::with_parts(
            raft,
            snapshots,
            raise,
            Arc::new(move |task| handle.spawn(task)),
        )
    }

    pub(super) fn with_parts(
        raft: Raft<C, SM>,
        snapshots: S,
        raise: EventSink,
        spawn: Spawn,
    ) -> Self {
        Self {
            raft,
            keeper: SnapshotKeeper::new(snapshots, spawn),
            raise,
        }
    }

    async fn answer(self, context: CallContext, body: Bytes) -> Result<Bytes, Refusal> {
        match context.method {
            method::HEARTBEAT => self.heartbeat(&context, &body).await,
            method::VOTE => self.vote(&context, &body, false).await,
            method::PRE_VOTE => self.vote(&context, &body, true).await,
            method::TRANSFER_LEADER => self.transfer_leader(&context, &body).await,
            method::SNAPSHOT_OFFER => self.snapshot_offer(&context, &body).await,
            unknown => Err(unknown_method(unknown)),
        }
    }

    async fn heartbeat(&self, context: &CallContext, body: &[u8]) -> Result<Bytes, Refusal> {
        let from = context.from.node().get();
        let request = decode_heartbeat::<C>(body, from).map_err(undecodable)?;
        self.check_origin(context, &request.vote)?;
        let reply = match self.raft.append_entries(request).await.map_err(stopped)? {
            AppendEntriesResponse::Success => HeartbeatReply::<C>::Matched,
            AppendEntriesResponse::PartialSuccess(_) => {
                return Err(internal("a part of nothing was appended"));
            }
            AppendEntriesResponse::Conflict => HeartbeatReply::Conflict,
            AppendEntriesResponse::HigherVote(vote) => HeartbeatReply::HigherVote(vote),
        };
        reply.encode().map_err(internal)
    }

    async fn vote(&self, context: &CallContext, body: &[u8], pre: bool) -> Result<Bytes, Refusal> {
        let request = VoteRequestBody::<C>::decode(body).map_err(undecodable)?;
        self.check_origin(context, &request.vote)?;
        let response = if pre {
            self.raft.pre_vote(request).await
        } else {
            self.raft.vote(request).await
        };
        encode(&VoteReply::from(response.map_err(stopped)?)).map_err(internal)
    }

    async fn transfer_leader(&self, context: &CallContext, body: &[u8]) -> Result<Bytes, Refusal> {
        let request = TransferRequest::<C>::decode(body).map_err(undecodable)?;
        self.check_origin(context, request.from_leader())?;
        let response = self.raft.handle_transfer_leader(request).await;
        TransferReply::encode::<C>(&response.map_err(|fatal| fatal_refusal(&fatal))?)
            .map_err(internal)
    }

    fn append_request(
        &self,
        context: &CallContext,
        body: &[u8],
    ) -> Result<AppendEntriesRequest<C>, Refusal> {
        let request = decode_append::<C>(body).map_err(undecodable)?;
        self.check_origin(context, &request.vote)?;
        Ok(request)
    }

    /// A Raft message counts only from whom it names.
    fn check_origin(&self, context: &CallContext, vote: &VoteOf<C>) -> Result<(), Refusal> {
        let (peer, named) = (context.from.node(), named_node::<C>(vote));
        if named == peer.get() {
            return Ok(());
        }
        (self.raise)(Event::OriginMismatch {
            peer,
            group: context.group,
            named,
        });
        let text = format!("the message is in the name of node {named}, but node {peer} sent it");
        Err(Refusal::new(RefusalCode::OriginMismatch, text))
    }

    /// Answers append frames in order. Its state is shared by the stream of requests, which openraft
    /// pulls in a task of its own, and the stream of replies.
    fn append_session(self, context: CallContext, requests: SessionRequests) -> SessionReplies {
        let ended = Arc::new(Ended::default());
        let (replies_live, replies_gone) = oneshot::channel::<()>();
        let raft = self.raft.clone();
        let input = {
            let ended = Arc::clone(&ended);
            let requests = requests
                .map(Some)
                .chain(futures_util::stream::once(std::future::ready(None)))
                .scan((), move |(), body| {
                    let request = match body {
                        Some(body) => self.append_request(&context, &body).map_err(Some),
                        None => Err(None),
                    };
                    // A request that is refused ends the input: skipping it would leave a gap.
                    std::future::ready(request.map_err(|refusal| ended.set(refusal)).ok())
                });
            // openraft notices only at the next request that nobody reads its answers any more, so
            // the input ends with them.
            requests.take_until(replies_gone.map(drop))
        };
        let output = Box::pin(raft.stream_append(input));
        let replies = AppendReplies {
            output,
            ended,
            _live: replies_live,
            over: false,
        };
        Box::pin(futures_util::stream::unfold(
            replies,
            |mut replies| async move { replies.next().await.map(|reply| (reply, replies)) },
        ))
    }
}

/// Why the requests of a session ended: not yet, the peer ended them, or one was refused.
#[derive(Debug, Default)]
struct Ended(Mutex<Option<Option<Refusal>>>);

impl Ended {
    fn set(&self, refusal: Option<Refusal>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    fn get(&self) -> Option<Option<Refusal>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The replies of an append session, and at their end why they ended.
struct AppendReplies<Out> {
    output: Out,
    ended: Arc<Ended>,
    /// Ends the input when the replies are dropped.
    _live: oneshot::Sender<()>,
    over: bool,
}

impl<Out> AppendReplies<Out> {
    async fn next<C: RaftTypeConfig>(&mut self) -> Option<Result<Bytes, Refusal>>
    where
        Out: Stream<Item = Result<openraft::raft::StreamAppendResult<C>, Fatal<C>>> + Unpin,
    {
        if self.over {
            return None;
        }
        match self.output.next().await {
            Some(Ok(result)) => {
                self.over = result.is_err();
                let reply = AppendReply::from(result).encode().map_err(internal);
                self.over |= reply.is_err();
                Some(reply)
            }
            Some(Err(fatal)) => {
                self.over = true;
                Some(Err(fatal_refusal(&fatal)))
            }
            None => {
                self.over = true;
                match self.ended.get() {
                    Some(refusal) => refusal.map(Err),
                    // The answers ended before the questions: the core has stopped.
                    None => Some(Err(fatal_refusal(&Fatal::<C>::Stopped))),
                }
            }
        }
    }
}

fn undecodable(error: WireError) -> Refusal {
    Refusal::new(RefusalCode::Undecodable, error.to_string())
}

fn internal(error: impl fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Internal, error.to_string())
}

fn unknown_method(method: u16) -> Refusal {
    Refusal::new(
        RefusalCode::UnknownMethod,
        format!("method {method} is none of Raft's"),
    )
}

fn stopped<C: RaftTypeConfig>(error: RaftError<C>) -> Refusal {
    match error {
        RaftError::APIError(never) => match never {},
        RaftError::Fatal(fatal) => fatal_refusal(&fatal),
    }
}

/// The details of a storage error stay in the local log; the peer only learns that it is over.
fn fatal_refusal<C: RaftTypeConfig>(fatal: &Fatal<C>) -> Refusal {
    let text = match fatal {
        Fatal::StorageError(_) => "the group has stopped: its storage failed",
        Fatal::Panicked => "the group has stopped: it panicked",
        Fatal::Stopped => "the group was shut down",
    };
    Refusal::new(RefusalCode::Stopped, text)
}

impl<C, SM, S> Service for RaftService<C, SM, S>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C, SnapshotData = S::Data>,
    S: SnapshotIo,
{
    fn call(
        &self,
        context: CallContext,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(self.clone().answer(context, body))
    }

    fn session(
        &self,
        context: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        if context.method != method::APPEND {
            return Err(unknown_method(context.method));
        }
        Ok(self.clone().append_session(context, requests))
    }

    fn transfer(
        &self,
        context: CallContext,
        head: Bytes,
        body: TransferBody,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        if context.method != method::SNAPSHOT {
            return Box::pin(std::future::ready(Err(unknown_method(context.method))));
        }
        let announced = body.length();
        Box::pin(
            self.clone()
                .receive_snapshot(context, head, announced, body),
        )
    }
}

impl<C, SM, S> Clone for RaftService<C, SM, S>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
    S: SnapshotIo,
{
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            keeper: Arc::clone(&self.keeper),
            raise: Arc::clone(&self.raise),
        }
    }
}

impl<C, SM, S> fmt::Debug for RaftService<C, SM, S>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
    S: SnapshotIo,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RaftService")
    }
}

/// A service whose snapshots come from anywhere, because a test has no lane.
#[cfg(test)]
pub(super) trait AnyRaftService: Service {
    fn take_snapshot(
        &self,
        context: CallContext,
        head: Bytes,
        announced: u64,
        body: std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>>;
}

#[cfg(test)]
mod tests;
