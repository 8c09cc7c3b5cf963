//! Rafts in one process, with our bytes between them but no link: what [`RaftNetwork`] does, on
//! services called directly.
//!
//! [`RaftNetwork`]: crate::raft::RaftNetwork

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout_at;

use super::{GROUP, TestConfig, TestReceiver, TestSender, context, cut, session};
use crate::raft::append::{
    AppendContext, AppendResult, FrameSender, Outage, ReplyReceiver, pipeline,
};
use crate::raft::dispatcher::AnyRaftService;
use crate::raft::errors::{Purpose, Route};
use crate::raft::snapshot::HashedReader;
use crate::raft::wire::{
    FrameLimits, SnapshotHead, SnapshotReply, VoteReply, VoteRequestBody, encode, method,
};
use crate::{CallError, NodeId, UnreachableReason};

type Services = BTreeMap<u64, Arc<dyn AnyRaftService>>;

/// Who can be reached, and how many append streams were opened for replication. Empty: nobody.
#[derive(Clone)]
pub(crate) struct Wiring {
    services: Arc<watch::Sender<Services>>,
    streams: Arc<Mutex<BTreeMap<u64, usize>>>,
}

impl Default for Wiring {
    fn default() -> Self {
        Self {
            services: Arc::new(watch::Sender::new(Services::new())),
            streams: Arc::default(),
        }
    }
}

impl Wiring {
    pub(crate) fn connect(&self, node: u64, service: impl AnyRaftService) {
        self.services.send_modify(|services| {
            services.insert(node, Arc::new(service));
        });
    }

    /// Cuts a node off again.
    pub(crate) fn disconnect(&self, node: u64) {
        self.services.send_modify(|services| {
            services.remove(&node);
        });
    }

    /// Append streams for replication that were opened to a node so far.
    pub(crate) fn streams_to(&self, node: u64) -> usize {
        self.streams
            .lock()
            .unwrap()
            .get(&node)
            .copied()
            .unwrap_or(0)
    }

    fn service(&self, node: u64) -> Option<Arc<dyn AnyRaftService>> {
        self.services.borrow().get(&node).cloned()
    }

    /// The outage of a node: it is over when the node is connected.
    fn outage(&self, node: u64) -> Outage {
        let services = Arc::clone(&self.services);
        Outage::new(move |deadline| {
            let mut services = services.subscribe();
            Box::pin(async move {
                let connected = services.wait_for(|services| services.contains_key(&node));
                timeout_at(deadline, connected).await.is_ok()
            })
        })
    }
}

/// The sending half of a session that is opened with its first frame, like one of the link.
struct LateSender {
    route: Route,
    wiring: Wiring,
    opened: Option<TestSender>,
    receiver: Option<oneshot::Sender<TestReceiver>>,
}

/// The receiving half.
enum LateReceiver {
    Waiting(oneshot::Receiver<TestReceiver>),
    Opened(TestReceiver),
}

fn late_session(route: Route, wiring: Wiring) -> (LateSender, LateReceiver) {
    let (receiver, waiting) = oneshot::channel();
    let sender = LateSender {
        route,
        wiring,
        opened: None,
        receiver: Some(receiver),
    };
    (sender, LateReceiver::Waiting(waiting))
}

impl FrameSender for LateSender {
    async fn send(&mut self, body: Bytes) -> Result<(), CallError> {
        let Some(service) = self.wiring.service(self.route.target) else {
            return Err(CallError::Unreachable {
                peer: NodeId::new(self.route.target).unwrap(),
                group: GROUP,
                address: None,
                reason: UnreachableReason::Down("not connected".to_owned()),
            });
        };
        if let Some(receiver) = self.receiver.take() {
            let asked = context(self.route.own, method::APPEND);
            let (sender, replies) = session(&*service, asked).unwrap();
            self.opened = Some(sender);
            drop(receiver.send(replies));
        }
        self.opened.as_mut().unwrap().send(body).await
    }

    fn rest(&mut self) {}
}

impl ReplyReceiver for LateReceiver {
    async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        if let Self::Waiting(waiting) = self {
            *self = Self::Opened(waiting.await.ok()?);
        }
        match self {
            Self::Opened(replies) => replies.next().await,
            Self::Waiting(_) => None,
        }
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
            outage: self.wiring.outage(target),
            wiring: self.wiring.clone(),
            limits: self.limits,
            replicates: true,
        }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> WiredNetwork {
        WiredNetwork {
            replicates: false,
            ..self.new_client(target, node).await
        }
    }
}

pub(crate) struct WiredNetwork {
    route: Route,
    outage: Outage,
    wiring: Wiring,
    limits: FrameLimits,
    /// Or it is there for heartbeats.
    replicates: bool,
}

impl WiredNetwork {
    fn service(&self) -> Result<Arc<dyn AnyRaftService>, RPCError<TestConfig>> {
        let service = self.wiring.service(self.route.target);
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
        let mut outage = Outage::of(None);
        if self.replicates {
            outage = self.outage.clone();
            let mut streams = self.wiring.streams.lock().unwrap();
            let streams = streams.entry(self.route.target).or_default();
            *streams += 1;
            // More is a loop without a pause, in which the paused clock would never go on.
            assert!(*streams < 10_000, "a loop without a pause");
        }
        let context = AppendContext {
            route: self.route,
            limits: Box::new(move || limits),
            on_oversized: Box::new(|_| {}),
            outage,
        };
        let (sender, receiver) = late_session(self.route, self.wiring.clone());
        let replies = pipeline(input, sender, receiver, context);
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
        let head = SnapshotHead::<TestConfig>::new(vote, snapshot.meta, length, 0);
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

    fn backoff(&self) -> Option<Backoff> {
        Some(self.outage.backoff())
    }
}
