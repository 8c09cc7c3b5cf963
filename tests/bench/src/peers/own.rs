//! Quicraft itself: two transports and one link, through the public API alone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use quicraft_certs::{IssuedNode, NodeId};
use quicraft_transport::link::{CallLane, Peer, Request, TransferBody};
use quicraft_transport::service::{CallContext, Service, SessionReplies, SessionRequests};
use quicraft_transport::{
    GroupId, Refusal, RefusalCode, Registration, Roster, RosterEntry, Transport, TransportConfig,
};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::Instant;

use super::credentials::{ANSWERS, ASKS, Nodes};
use super::{CALL_LIMIT, Caller, PeerFailure, REPLY, arrived};
use crate::pair::{self, Failure};

const GROUP: GroupId = GroupId::new(1);

/// Bytes that a receiver takes at once.
const READ_BYTES: usize = 256 * 1024;

/// Bytes that are copied out of the processor's cache, as those of a file are out of the kernel's.
/// `tokio::io::repeat` would write each of them twice.
struct Source;

impl AsyncRead for Source {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        static READ: [u8; 64 * 1024] = [7; 64 * 1024];
        buffer.put_slice(&READ[..buffer.remaining().min(READ.len())]);
        Poll::Ready(Ok(()))
    }
}

/// Answers at once, and discards what it is sent.
struct Answers;

impl Service for Answers {
    fn call(&self, _: CallContext, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(std::future::ready(Ok(REPLY)))
    }

    fn session(
        &self,
        _: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        Ok(requests.map(|_| Ok(REPLY)).boxed())
    }

    fn transfer(
        &self,
        _: CallContext,
        _: Bytes,
        mut body: TransferBody,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async move {
            let (mut taken, mut buffer) = (0_u64, vec![0; READ_BYTES]);
            loop {
                match body.read(&mut buffer).await {
                    Ok(0) => return Ok(Bytes::copy_from_slice(&taken.to_be_bytes())),
                    Ok(read) => taken += read as u64,
                    Err(error) => {
                        return Err(Refusal::new(RefusalCode::Corrupt, error.to_string()));
                    }
                }
            }
        })
    }
}

/// A link between the two nodes. Dropping it ends it.
pub(crate) struct Quicraft {
    asks: Transport,
    _answers: Transport,
    _serving: Registration,
}

impl Quicraft {
    pub(crate) async fn start(nodes: &Nodes, config: TransportConfig) -> Result<Self, Failure> {
        let start = |node: &IssuedNode| {
            let builder = Transport::builder(nodes.store(node)?).config(config.clone());
            let bind = "127.0.0.1:0".parse()?;
            Ok::<_, Failure>(builder.bind(bind).roster(Roster::closed()).start()?)
        };
        let (asks, answers) = (start(&nodes.asks)?, start(&nodes.answers)?);
        let serving = answers.register(GROUP, Arc::new(Answers))?;
        for (one, other) in [(&answers, &asks), (&asks, &answers)] {
            let address = other.local_addr().ok_or("no address")?.into();
            one.roster()
                .insert(RosterEntry::new(other.node_id(), vec![address]))?;
        }
        pair::linked(&asks, NodeId::new(ANSWERS)?).await?;
        pair::linked(&answers, NodeId::new(ASKS)?).await?;
        Ok(Self {
            asks,
            _answers: answers,
            _serving: serving,
        })
    }

    /// Callers of a lane.
    pub(crate) fn caller(&self, lane: CallLane) -> Result<OwnCaller, Failure> {
        let peer = self.asks.peer(NodeId::new(ANSWERS)?);
        Ok(OwnCaller { peer, lane })
    }
}

#[derive(Clone)]
pub(crate) struct OwnCaller {
    peer: Peer,
    lane: CallLane,
}

impl Caller for OwnCaller {
    async fn call(&mut self, request: Bytes) -> Result<Bytes, PeerFailure> {
        let request = Request::new(GROUP, 0, request);
        let deadline = Instant::now() + CALL_LIMIT;
        Ok(self.peer.call(self.lane, request, deadline).await?)
    }
}

impl OwnCaller {
    /// Sends bytes as a raw snapshot, and waits until the other end has all of them.
    pub(crate) async fn bulk(&self, bytes: u64) -> Result<(), PeerFailure> {
        let request = Request::new(GROUP, 0, Bytes::new());
        let told = self.peer.transfer(request, bytes, Source, CALL_LIMIT);
        arrived(bytes, &told.await?)
    }

    /// Sends batches on one session of the Append lane until it is told to stop, and waits for all
    /// answers. Returns the bytes.
    pub(crate) async fn append(
        &self,
        batch: Bytes,
        stop: Arc<AtomicBool>,
    ) -> Result<u64, PeerFailure> {
        let (mut sender, mut receiver) = self.peer.session(GROUP, 0, CALL_LIMIT);
        let size = batch.len() as u64;
        let sending = async move {
            // One at least, so that there is a rate.
            sender.send(batch.clone()).await?;
            while !stop.load(Ordering::Relaxed) {
                sender.send(batch.clone()).await?;
            }
            // Dropping the sender ends the session behind what is in flight.
            Ok::<_, PeerFailure>(())
        };
        let receiving = async {
            let mut taken = 0;
            while let Some(answer) = receiver.next().await {
                answer?;
                taken += size;
            }
            Ok(taken)
        };
        let ((), taken) = tokio::try_join!(sending, receiving)?;
        Ok(taken)
    }
}
