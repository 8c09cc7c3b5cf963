//! Rafts in one process, with our bytes between them but no link: what [`RaftNetwork`] does, on
//! services called directly.
//!
//! [`RaftNetwork`]: crate::raft::RaftNetwork

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory};

use super::{GROUP, TestConfig, cut, played_session, session};
use crate::raft::append::{AppendContext, AppendResult, Outage, pipeline};
use crate::raft::dispatcher::AnyRaftService;
use crate::raft::errors::{Purpose, Route};
use crate::raft::snapshot::HashedReader;
use crate::raft::testing::context;
use crate::raft::wire::{
    FrameLimits, SnapshotHead, SnapshotReply, VoteReply, VoteRequestBody, encode, method,
};

/// Who can be reached, and how many append streams were opened. Empty: nobody.
#[derive(Clone, Default)]
pub(crate) struct Wiring(
    Arc<Mutex<BTreeMap<u64, Arc<dyn AnyRaftService>>>>,
    Arc<AtomicUsize>,
);

impl Wiring {
    pub(crate) fn connect(&self, node: u64, service: impl AnyRaftService) {
        self.0.lock().unwrap().insert(node, Arc::new(service));
    }

    /// Append streams that were opened so far.
    pub(crate) fn streams(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

/// The network of one node.
pub(crate) struct WiredFactory {
    pub(crate) own: u64,
    pub(crate) wiring: Wiring,
    pub(crate) limits: FrameLimits,
}

impl WiredFactory {
    /// A node that reaches nobody.
    pub(crate) fn alone(own: u64) -> Self {
        let limits = FrameLimits {
            frame_bytes: 1 << 20,
            entry_bytes: 1 << 20,
        };
        Self {
            own,
            wiring: Wiring::default(),
            limits,
        }
    }
}

impl RaftNetworkFactory<TestConfig> for WiredFactory {
    type Network = WiredNetwork;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> WiredNetwork {
        let route = Route {
            own: self.own,
            target,
            group: GROUP,
        };
        WiredNetwork {
            route,
            wiring: self.wiring.clone(),
            limits: self.limits,
        }
    }
}

pub(crate) struct WiredNetwork {
    route: Route,
    wiring: Wiring,
    limits: FrameLimits,
}

impl WiredNetwork {
    fn service(&self) -> Result<Arc<dyn AnyRaftService>, RPCError<TestConfig>> {
        let service = self
            .wiring
            .0
            .lock()
            .unwrap()
            .get(&self.route.target)
            .cloned();
        service.ok_or_else(|| Unreachable::from_string("not connected").into())
    }

    async fn any_vote(
        &self,
        method: u16,
        rpc: VoteRequest<TestConfig>,
    ) -> Result<VoteResponse<TestConfig>, RPCError<TestConfig>> {
        let body = encode(&VoteRequestBody::from(rpc)).unwrap();
        let reply = self
            .service()?
            .call(context(self.route.own, method), body)
            .await;
        let reply = reply.map_err(|refusal| {
            self.route
                .rpc_error(Purpose::Vote, &cut(&refusal.to_string()))
        })?;
        Ok(VoteReply::decode(&reply).unwrap())
    }
}

impl RaftNetworkV2<TestConfig> for WiredNetwork {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TestConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TestConfig>, RPCError<TestConfig>> {
        panic!("openraft uses only streams")
    }

    fn stream_append<'s, In>(
        &'s mut self,
        input: In,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendResult<TestConfig>>, RPCError<TestConfig>>>
    where
        In: Stream<Item = AppendEntriesRequest<TestConfig>> + OptionalSend + Unpin + 'static,
    {
        let limits = self.limits;
        // More is a loop without a pause, in which the paused clock would never go on.
        assert!(
            self.wiring.1.fetch_add(1, Ordering::Relaxed) < 10_000,
            "a loop without a pause"
        );
        let (sender, receiver) = match self.service() {
            Ok(service) => session(&*service, context(self.route.own, method::APPEND)).unwrap(),
            // Like a session of the link, it fails only when something is sent.
            Err(_) => {
                let (sender, receiver, ..) = played_session(1);
                (sender, receiver)
            }
        };
        let context = AppendContext {
            route: self.route,
            limits: Box::new(move || limits),
            on_oversized: Box::new(|_| {}),
            outage: Outage::of(None),
        };
        let replies = pipeline(input, sender, receiver, context).boxed();
        Box::pin(std::future::ready(Ok(replies)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TestConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TestConfig>, RPCError<TestConfig>> {
        self.any_vote(method::VOTE, rpc).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TestConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TestConfig>, RPCError<TestConfig>> {
        self.any_vote(method::PRE_VOTE, rpc).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TestConfig>,
        snapshot: SnapshotOf<TestConfig, Cursor<Vec<u8>>>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TestConfig>, StreamingError<TestConfig>> {
        let bytes = snapshot.snapshot.into_inner();
        let length = bytes.len() as u64;
        let head = SnapshotHead::<TestConfig>::new(vote, snapshot.meta, length);
        let body = HashedReader::new(Cursor::new(bytes), length);
        let reply = self
            .service()?
            .take_snapshot(
                context(self.route.own, method::SNAPSHOT),
                encode(&head).unwrap(),
                length + 32,
                Box::pin(body),
            )
            .await
            .map_err(|refusal| {
                self.route
                    .rpc_error(Purpose::Snapshot, &cut(&refusal.to_string()))
            })?;
        Ok(SnapshotReply::decode(&reply).unwrap())
    }
}
