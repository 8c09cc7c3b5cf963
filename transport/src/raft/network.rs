//! openraft's client for one peer and one group: each RPC to its lane, with its own kind of limit.
//!
//! No RPC is retried here; openraft does that. This room must not know how a link is made or kept.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout};
use openraft::network::{Backoff, RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{LogIdOf, SnapshotOf, VoteOf};
use openraft::{OptionalSend, RPCTypes, RaftTypeConfig};
use tokio::time::Instant;

use super::append::{AppendContext, AppendResult, Outage, pipeline};
use super::errors::{Purpose, RaftCallError, Route};
use super::heartbeat::HeartbeatClient;
use super::limits::APPEND_STALL_ROUND_TRIPS;
use super::snapshot::SnapshotIo;
use super::snapshot_sending::SnapshotSending;
use super::wire::{
    FrameLimits, HeartbeatReply, OversizedEntry, TransferReply, TransferRequest, VoteReply,
    VoteRequestBody, WireError, encode, encode_heartbeat, method,
};
use crate::link::{CallLane, LinkNeed, Peer, Request};
use crate::{Event, GroupId, TransportHandle};

/// What openraft uses a client for; it decides the lane of its appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientLane {
    /// Replication, and votes.
    Append,
    /// Heartbeats.
    Heartbeat,
    /// One snapshot.
    Snapshot,
}

/// The connection of one Raft group to one peer, made by [`RaftFactory`](super::RaftFactory).
///
/// A cheap handle: it opens nothing before the first call, and dropping it ends nothing that other
/// clients of the same peer do.
pub struct RaftNetwork<C: RaftTypeConfig, S> {
    handle: TransportHandle,
    route: Route,
    /// `None` if the target cannot be a peer: it is this node, or node 0.
    peer: Option<Peer>,
    /// A node that replicates to another keeps a link to it.
    _need: Option<LinkNeed>,
    /// Outlives the append sessions of this client.
    outage: Outage,
    lane: ClientLane,
    /// Of a client for heartbeats.
    heartbeats: Option<HeartbeatClient>,
    /// Where a heartbeat is encoded, so that each costs no memory of its own.
    scratch: BytesMut,
    snapshots: Arc<S>,
    config: PhantomData<fn() -> C>,
}

impl<C: RaftTypeConfig<NodeId = u64>, S: SnapshotIo> RaftNetwork<C, S> {
    pub(crate) fn new(
        handle: TransportHandle,
        group: GroupId,
        target: u64,
        peer: Option<Peer>,
        lane: ClientLane,
        snapshots: Arc<S>,
    ) -> Self {
        let route = Route {
            own: handle.node_id().get(),
            target,
            group,
        };
        let heartbeats = peer
            .as_ref()
            .filter(|_| lane == ClientLane::Heartbeat)
            .map(|peer| HeartbeatClient::new(&handle.heartbeats, peer, group));
        Self {
            handle,
            route,
            _need: peer.as_ref().map(Peer::keep_link),
            outage: Outage::of(peer.as_ref()),
            peer,
            lane,
            heartbeats,
            scratch: BytesMut::new(),
            snapshots,
            config: PhantomData,
        }
    }

    fn peer(&self) -> Result<&Peer, RPCError<C>> {
        let Route { own, target, group } = self.route;
        self.peer
            .as_ref()
            .ok_or_else(|| RaftCallError::NoPeer { target, own, group }.into())
    }

    /// One call on the Control lane.
    async fn call(
        &self,
        purpose: Purpose,
        method: u16,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, RPCError<C>> {
        let peer = self.peer()?;
        let request = Request {
            group: self.route.group,
            method,
            body,
            trace: None,
        };
        peer.call(CallLane::Control, request, Instant::now() + limit)
            .await
            .map_err(|error| self.route.rpc_error(purpose, &error))
    }

    /// One append: a heartbeat leaves with those of other groups.
    async fn heartbeat(
        &mut self,
        request: AppendEntriesRequest<C>,
        limit: Duration,
    ) -> AppendResult<C> {
        let Self {
            peer: Some(peer),
            heartbeats: Some(heartbeats),
            route,
            ..
        } = self
        else {
            let Route { own, target, group } = self.route;
            return Err(RaftCallError::NoPeer { target, own, group }.into());
        };
        let route = *route;
        if !request.entries.is_empty() {
            // openraft sends none here; what has entries is no heartbeat, and goes as any append.
            let peer = peer.clone();
            let once = Box::pin(futures_util::stream::once(std::future::ready(request)));
            let reply = self.replicate(&peer, once).next().await;
            let Route { target, group, .. } = route;
            return reply
                .unwrap_or_else(|| Err(RaftCallError::SessionEnded { target, group }.into()));
        }
        let wire = |error: WireError| RPCError::from(route.wire(error));
        let prev = request.prev_log_id.clone();
        self.scratch.clear();
        encode_heartbeat(request, route.own, &mut self.scratch)
            .map_err(|error| wire(error.into()))?;
        let sent = heartbeats.send(peer, &self.scratch, limit).await;
        let reply = sent.map_err(|error| route.rpc_error(Purpose::Heartbeat, &error))?;
        let reply = reply.ok_or_else(|| wire(WireError::Malformed("no frame of answers")))?;
        HeartbeatReply::decode(&reply)
            .and_then(|reply| reply.judge(prev))
            .map_err(wire)
    }

    /// One heartbeat after the other, an answer for each; ends with the first that is not a success.
    fn heartbeats<'s, In>(
        &'s mut self,
        input: In,
        limit: Duration,
    ) -> BoxStream<'s, AppendResult<C>>
    where
        In: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    {
        Box::pin(futures_util::stream::unfold(
            Some((self, input)),
            move |state| async move {
                let (this, mut input) = state?;
                let request = input.next().await?;
                let result = this.heartbeat(request, limit).await;
                let more = matches!(result, Ok(Ok(_))).then_some((this, input));
                Some((result, more))
            },
        ))
    }

    /// A session on the Append lane.
    fn replicate<In>(&self, peer: &Peer, input: In) -> BoxStream<'static, AppendResult<C>>
    where
        In: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    {
        let group = self.route.group;
        let (sender, receiver) = peer.session(group, method::APPEND, self.append_stall_limit(peer));
        let limits = {
            let peer = peer.clone();
            move || FrameLimits {
                frame_bytes: peer.frame_bytes_max(),
                entry_bytes: peer.entry_bytes_max(),
            }
        };
        let on_oversized = {
            let (handle, peer) = (self.handle.clone(), peer.clone());
            move |entry| raise_oversized(&handle, &peer, group, entry)
        };
        let context = AppendContext {
            route: self.route,
            limits: Box::new(limits),
            on_oversized: Box::new(on_oversized),
            outage: self.outage.clone(),
        };
        pipeline(input, sender, receiver, context)
    }

    /// How long a session may be without an answer and without a byte that the follower has taken.
    /// openraft's own limit (the heartbeat interval) is not one: an answer comes after the follower's
    /// disk has it, and slow is not dead.
    fn append_stall_limit(&self, peer: &Peer) -> Duration {
        stall_limit(self.handle.config().append_stall_limit, peer)
    }

    /// Sends a snapshot, or what the peer does not have of it.
    async fn send_snapshot(
        &self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, S::Data>,
        option: &RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        // openraft's limit (200 ms by default) cannot be meant for the whole snapshot.
        let stalled = self.handle.config().snapshot_stall_limit;
        let peer = self.peer()?;
        SnapshotSending {
            handle: &self.handle,
            peer,
            route: self.route,
            io: &*self.snapshots,
            vote,
            meta: snapshot.meta,
            stall_limit: stall_limit(stalled.max(option.hard_ttl()), peer),
        }
        .send(snapshot.snapshot)
        .await
    }
}

/// A configured limit, or some round trips where the network is slower than it.
fn stall_limit(configured: Duration, peer: &Peer) -> Duration {
    let round_trips = peer.rtt().map_or(Duration::ZERO, |rtt| {
        rtt.saturating_mul(APPEND_STALL_ROUND_TRIPS)
    });
    configured.max(round_trips)
}

fn raise_oversized(handle: &TransportHandle, peer: &Peer, group: GroupId, entry: OversizedEntry) {
    let OversizedEntry { index, size, limit } = entry;
    handle.raise(Event::EntryTooLarge {
        peer: peer.id(),
        group,
        index,
        size,
        limit,
    });
}

/// The answer of a session as the answer of a single append.
fn append_response<C: RaftTypeConfig>(
    result: StreamAppendResult<C>,
    last: Option<LogIdOf<C>>,
) -> AppendEntriesResponse<C> {
    match result {
        Ok(log_id) if log_id == last => AppendEntriesResponse::Success,
        Ok(log_id) => AppendEntriesResponse::PartialSuccess(log_id),
        Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
        Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
    }
}

impl<C: RaftTypeConfig<NodeId = u64>, S: SnapshotIo> RaftNetworkV2<C> for RaftNetwork<C, S> {
    type SnapshotData = S::Data;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let limit = option.soft_ttl();
        let last = rpc
            .entries
            .last()
            .map(RaftEntry::log_id)
            .or_else(|| rpc.prev_log_id.clone());
        let Route { own, target, group } = self.route;
        let input = Box::pin(futures_util::stream::once(std::future::ready(rpc)));
        let mut replies = self.stream_append(input, option).await?;
        let reply = tokio::time::timeout(limit, replies.next())
            .await
            .map_err(|_| Timeout {
                action: RPCTypes::AppendEntries,
                id: own,
                target,
                timeout: limit,
            })?;
        let reply = reply.ok_or(RaftCallError::SessionEnded { target, group })??;
        Ok(append_response(reply, last))
    }

    fn stream_append<'s, In>(
        &'s mut self,
        input: In,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendResult<C>>, RPCError<C>>>
    where
        In: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        // Never an error here: openraft waits out its backoff inside `input`, so a request must be
        // taken before anything is reported. Without a peer, every single call says so.
        let replies = match (&self.peer, self.lane) {
            (Some(peer), ClientLane::Append | ClientLane::Snapshot) => self.replicate(peer, input),
            (Some(_), ClientLane::Heartbeat) | (None, _) => {
                self.heartbeats(input, option.soft_ttl())
            }
        };
        Box::pin(std::future::ready(Ok(replies)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        let body = encode(&VoteRequestBody::from(rpc)).map_err(|error| self.route.wire(error))?;
        let reply = self
            .call(Purpose::Vote, method::VOTE, body, option.soft_ttl())
            .await?;
        Ok(VoteReply::decode(&reply).map_err(|error| self.route.wire(error))?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        let body = encode(&VoteRequestBody::from(rpc)).map_err(|error| self.route.wire(error))?;
        let reply = self
            .call(Purpose::PreVote, method::PRE_VOTE, body, option.soft_ttl())
            .await?;
        Ok(VoteReply::decode(&reply).map_err(|error| self.route.wire(error))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, S::Data>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            result = self.send_snapshot(vote, snapshot, &option) => result,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        let body =
            encode(&TransferRequest::from(request)).map_err(|error| self.route.wire(error))?;
        let reply = self
            .call(
                Purpose::TransferLeader,
                method::TRANSFER_LEADER,
                body,
                option.soft_ttl(),
            )
            .await?;
        Ok(TransferReply::decode(&reply).map_err(|error| self.route.wire(error))?)
    }

    /// For replication: none while the peer is away, because the next request is held until it is
    /// back; 50 ms to 1 s where it is there and refuses. For a snapshot always the latter.
    fn backoff(&self) -> Option<Backoff> {
        Some(self.outage.backoff())
    }
}

impl<C: RaftTypeConfig, S> fmt::Debug for RaftNetwork<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftNetwork")
            .field("route", &self.route)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}
