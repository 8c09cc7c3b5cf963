//! The seam between bytes and whoever answers them: a call in bytes comes in, a reply in bytes goes out.
//!
//! This room knows groups, methods and deadlines. It must not know Raft, codecs or quinn: the
//! openraft network and an application's own RPC are two users of the same trait.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use crate::admission::ProvenNode;
use crate::link::TransferBody;
use crate::{GroupId, Refusal, RefusalCode, TraceContext};

/// What a service is told about a call besides its body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallContext {
    /// The node that sent it, as admission proved it; a service never has to trust a body for that.
    pub from: ProvenNode,
    /// The group it is for.
    pub group: GroupId,
    /// Which of the service's methods; its meaning is the service's own.
    pub method: u16,
    /// When the caller stops waiting. For a session or a transfer: when its opening is given up.
    pub deadline: Instant,
    /// The caller's trace, if it sent one.
    pub trace: Option<TraceContext>,
}

/// The requests of a session, in the order in which the peer sent them.
///
/// Ends when the peer finished its side, reset the stream or was lost.
pub type SessionRequests = BoxStream<'static, Bytes>;

/// The replies of a session: one for each request, in the same order.
///
/// A refusal ends the session. So does the end of this stream.
pub type SessionReplies = BoxStream<'static, Result<Bytes, Refusal>>;

/// Answers the calls of one group.
///
/// Every method has a default that refuses with [`RefusalCode::UnknownMethod`], so a service
/// implements only the shapes that it serves. Handlers may panic: the call is then refused with
/// [`RefusalCode::HandlerPanicked`] and the link lives on.
///
/// # Cancel safety
///
/// A returned future or stream is dropped when the caller gave up (it cancelled the call, reset its
/// stream, or its deadline passed) and when the link is lost.
pub trait Service: Send + Sync + 'static {
    /// Answers one call of the Control or Call lane.
    ///
    /// The future is polled once in the task that read the call; only if it is not ready at once
    /// does it move to a task of its own. So it must not block.
    fn call(
        &self,
        context: CallContext,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let _ = body;
        let method = context.method;
        Box::pin(async move { Err(Refusal::unknown_method(method)) })
    }

    /// Answers an ordered stream of requests of the Append lane.
    ///
    /// # Errors
    ///
    /// A refusal ends the session before its first reply.
    fn session(
        &self,
        context: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        drop(requests);
        Err(Refusal::unknown_method(context.method))
    }

    /// Takes a raw byte stream of the Snapshot lane, and answers when all of it was taken.
    ///
    /// `head` is what the sender wrote before the bytes. Reading from `body` gives the sender its
    /// byte budget back, so a handler reads no faster than it can store.
    fn transfer(
        &self,
        context: CallContext,
        head: Bytes,
        body: TransferBody,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        drop((head, body));
        let method = context.method;
        Box::pin(async move { Err(Refusal::unknown_method(method)) })
    }
}

impl fmt::Debug for dyn Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl Refusal {
    fn unknown_method(method: u16) -> Self {
        Self::new(
            RefusalCode::UnknownMethod,
            format!("method {method} is not served here"),
        )
    }
}
