//! Answers what peers ask of a group: Raft's own messages go to the transport's Raft service, the
//! rest is answered here. It never forwards again, so no request can go in a circle of nodes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::storage::RaftStateMachine;
use openraft::{Raft, RaftTypeConfig, ReadPolicy};
use quicraft_transport::link::TransferBody;
use quicraft_transport::raft::{Codec as _, RaftCodec, RaftService, SnapshotIo};
use quicraft_transport::service::{CallContext, Service, SessionReplies, SessionRequests};
use quicraft_transport::{Refusal, RefusalCode, TransportHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::goal::GroupGoal;
use super::{answer, change, leading, transfer};
use crate::ClusterNode;
use crate::config::RaftManagerConfig;
use crate::forward::{Answer, method};

/// One group of this node as its peers see it.
pub(super) struct GroupService<C, SM, S>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
    S: SnapshotIo,
{
    raft: Raft<C, SM>,
    protocol: RaftService<C, SM, S>,
    requests: Arc<Semaphore>,
    lag_max: u64,
}

impl<C, SM, S> GroupService<C, SM, S>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::Node: ClusterNode,
    SM: RaftStateMachine<C, SnapshotData = S::Data>,
    S: SnapshotIo,
{
    pub(super) fn new(
        handle: &TransportHandle,
        raft: Raft<C, SM>,
        snapshots: S,
        config: &RaftManagerConfig,
    ) -> Self {
        let protocol = RaftService::new(handle, raft.clone(), snapshots);
        Self {
            raft,
            protocol,
            requests: Arc::new(Semaphore::new(config.requests_max)),
            lag_max: config.promote_lag_max,
        }
    }

    /// One place among the requests of peers, which have their own: those of this node's host cannot
    /// lock them out, nor they the host's.
    fn admit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
        let admitted = Arc::clone(&self.requests).try_acquire_owned();
        admitted.map_err(|_| {
            Refusal::new(
                RefusalCode::Busy,
                "too many forwarded requests of the group",
            )
        })
    }

    /// A place for the request, and what it asks.
    fn admit_and_decode<T: DeserializeOwned>(
        &self,
        body: &[u8],
    ) -> Result<(tokio::sync::OwnedSemaphorePermit, T), Refusal> {
        let turn = self.admit()?;
        let asked = RaftCodec::decode(body)
            .map_err(|error| Refusal::new(RefusalCode::Undecodable, error.to_string()))?;
        Ok((turn, asked))
    }

    fn propose(&self, body: &[u8]) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let admitted = self.admit_and_decode::<C::D>(body);
        let raft = self.raft.clone();
        async move {
            let (_turn, command) = admitted?;
            encoded(&answer::propose(&raft, command).await)
        }
        .boxed()
    }

    fn read_point(&self, body: &[u8]) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let admitted = self.admit().and_then(|turn| Ok((turn, policy_of(body)?)));
        let raft = self.raft.clone();
        async move {
            let (_turn, policy) = admitted?;
            encoded(&answer::read_point(&raft, policy).await)
        }
        .boxed()
    }

    fn change(
        &self,
        context: &CallContext,
        body: &[u8],
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let admitted = self.admit_and_decode::<GroupGoal>(body);
        let (raft, lag_max, deadline) = (self.raft.clone(), self.lag_max, context.deadline);
        async move {
            let (_turn, goal) = admitted?;
            encoded(&change::change(&raft, lag_max, goal, deadline).await)
        }
        .boxed()
    }

    fn progress(&self, body: &[u8]) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let admitted = self.admit_and_decode::<()>(body);
        let raft = self.raft.clone();
        async move {
            let (_turn, ()) = admitted?;
            encoded(&leading::progress(&raft))
        }
        .boxed()
    }

    fn hand_over(
        &self,
        context: &CallContext,
        body: &[u8],
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let admitted = self.admit_and_decode::<u64>(body);
        let (raft, lag_max, deadline) = (self.raft.clone(), self.lag_max, context.deadline);
        async move {
            let (_turn, to) = admitted?;
            encoded(&transfer::transfer(&raft, lag_max, to, deadline).await)
        }
        .boxed()
    }
}

/// The body of a question for a read point.
pub(crate) const fn policy_byte(policy: &ReadPolicy) -> u8 {
    match policy {
        ReadPolicy::ReadIndex => 0,
        ReadPolicy::LeaseRead => 1,
    }
}

fn policy_of(body: &[u8]) -> Result<ReadPolicy, Refusal> {
    match body {
        [0] => Ok(ReadPolicy::ReadIndex),
        [1] => Ok(ReadPolicy::LeaseRead),
        other => {
            let text = format!(
                "a read policy of {} bytes, or of another number",
                other.len()
            );
            Err(Refusal::new(RefusalCode::Undecodable, text))
        }
    }
}

fn encoded<T: Serialize + DeserializeOwned>(answer: &Answer<T>) -> Result<Bytes, Refusal> {
    let failed = |error: quicraft_transport::raft::CodecError| {
        Refusal::new(RefusalCode::Internal, error.to_string())
    };
    answer.encode().map_err(failed)
}

impl<C, SM, S> Service for GroupService<C, SM, S>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::Node: ClusterNode,
    SM: RaftStateMachine<C, SnapshotData = S::Data>,
    S: SnapshotIo,
{
    fn call(
        &self,
        context: CallContext,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        match context.method {
            method::PROPOSE => self.propose(&body),
            method::READ_POINT => self.read_point(&body),
            method::CHANGE => self.change(&context, &body),
            method::PROGRESS => self.progress(&body),
            method::TRANSFER => self.hand_over(&context, &body),
            _ => self.protocol.call(context, body),
        }
    }

    fn session(
        &self,
        context: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        self.protocol.session(context, requests)
    }

    fn transfer(
        &self,
        context: CallContext,
        head: Bytes,
        body: TransferBody,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        self.protocol.transfer(context, head, body)
    }
}
