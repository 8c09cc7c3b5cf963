//! Native pipelining of `stream_append`: requests leave while earlier ones are still unanswered.
//!
//! Writer and reader are polled in place, inside the stream that openraft polls. There is no task:
//! when openraft drops the stream, its requests, the session and everything in between are gone at
//! once, which openraft relies on (its request stream holds a lock while it waits for new entries).
//! How much may be in flight is the session's business; it stops taking frames, so we stop taking
//! requests. This room must not know lanes, calls or heartbeats.

mod gathering;
mod in_flight;
mod outage;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use openraft::RaftTypeConfig;
use openraft::base::BoxStream;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use openraft::type_config::alias::LogIdOf;

use self::gathering::{Gathering, Next};
use self::in_flight::InFlight;
pub(crate) use self::outage::Outage;
use super::errors::{Purpose, RaftCallError, Route, is_outage};
use super::limits::APPEND_HOLD_LIMIT;
use super::wire::{AppendReply, AppendSplitter, FrameLimits, OversizedEntry, WireError};
use crate::CallError;
use crate::link::{SessionReceiver, SessionSender};

/// The sending half of a session.
pub(crate) trait FrameSender: Send + 'static {
    /// Waits for a slot of the window and sends. Dropping the sender ends the requests.
    fn send(&mut self, body: Bytes) -> impl Future<Output = Result<(), CallError>> + Send;

    /// There was nothing to send for a while: gives back what an idle session need not hold.
    fn rest(&mut self);
}

/// The receiving half of a session.
pub(crate) trait ReplyReceiver: Send + 'static {
    /// The next reply, in the order of the requests; cancel safe. `None` when the sender is gone and
    /// all replies have come.
    fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, CallError>>> + Send;
}

impl FrameSender for SessionSender {
    fn send(&mut self, body: Bytes) -> impl Future<Output = Result<(), CallError>> + Send {
        Self::send(self, body)
    }

    fn rest(&mut self) {
        Self::rest(self);
    }
}

impl ReplyReceiver for SessionReceiver {
    fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, CallError>>> + Send {
        Self::next(self)
    }
}

/// One item of the stream that openraft reads.
pub(crate) type AppendResult<C> = Result<StreamAppendResult<C>, RPCError<C>>;

/// What an append session needs besides its two halves.
pub(crate) struct AppendContext {
    /// Who sends to whom.
    pub(crate) route: Route,
    /// The limits of the peer. Asked for each request: they are known once there is a link.
    pub(crate) limits: Box<dyn Fn() -> FrameLimits + Send>,
    /// Told of an entry that no frame can carry.
    pub(crate) on_oversized: Box<dyn Fn(OversizedEntry) + Send>,
    /// What is known of the peer being away; it outlives the session.
    pub(crate) outage: Outage,
}

/// The error that a session ends with.
struct Ending<C: RaftTypeConfig> {
    error: RPCError<C>,
    /// Whether it says that there is no link to the peer.
    outage: bool,
}

impl<C: RaftTypeConfig<NodeId = u64>> Ending<C> {
    /// What the transport says.
    fn call(route: Route, error: &CallError) -> Self {
        Self {
            error: route.rpc_error(Purpose::Append, error),
            outage: is_outage(error),
        }
    }
}

impl<C: RaftTypeConfig> From<RaftCallError> for Ending<C> {
    fn from(error: RaftCallError) -> Self {
        Self {
            outage: matches!(error, RaftCallError::StillAway { .. }),
            error: error.into(),
        }
    }
}

/// Sends `input` over a session and yields the acknowledgements, one for each request and in their
/// order; a commit that waited for entries (see [`Gathering`]) is acknowledged with them. Ends after
/// the first one that is not a success, or an error.
///
/// Whatever is wrong with the session, a request is taken before it is reported: openraft waits out
/// its backoff inside `input`, so an error without taking a request would come back at once, for
/// ever, at the speed of the processor. After a peer was reported as away, the next request is held
/// for it (see [`Outage`]), and no other is taken meanwhile.
///
/// # Cancel safety
///
/// Dropping the stream drops `input` and both halves of the session.
pub(crate) fn pipeline<C, In, Tx, Rx>(
    input: In,
    sender: Tx,
    receiver: Rx,
    context: AppendContext,
) -> BoxStream<'static, AppendResult<C>>
where
    C: RaftTypeConfig<NodeId = u64>,
    In: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    Tx: FrameSender,
    Rx: ReplyReceiver,
{
    let in_flight = Arc::new(InFlight::new());
    let (route, outage) = (context.route, context.outage.clone());
    let writer = Box::pin(write(input, sender, Arc::clone(&in_flight), context));
    let pipeline = Pipeline::<C, Rx> {
        route,
        outage,
        writer: Some(writer),
        receiver,
        in_flight,
        unreported: None,
        ending: None,
        over: false,
    };
    Box::pin(futures_util::stream::unfold(
        pipeline,
        |mut pipeline| async move { pipeline.next().await.map(|item| (item, pipeline)) },
    ))
}

/// Sends every request, frame by frame. Ends when the input does; drops the sender then.
async fn write<C, In, Tx>(
    input: In,
    mut sender: Tx,
    in_flight: Arc<InFlight<C>>,
    context: AppendContext,
) -> Result<(), Ending<C>>
where
    C: RaftTypeConfig<NodeId = u64>,
    In: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    Tx: FrameSender,
{
    let route = context.route;
    let mut requests = Gathering::new(input, Arc::clone(&in_flight));
    loop {
        let request = match requests.next().await {
            Next::Request(request) => request,
            Next::Idle => {
                sender.rest();
                continue;
            }
            Next::End => return Ok(()),
        };
        if !context.outage.hold().await {
            let (Route { target, group, .. }, limit) = (route, APPEND_HOLD_LIMIT);
            let away = RaftCallError::StillAway {
                target,
                group,
                limit,
            };
            return Err(away.into());
        }
        let mut frames = AppendSplitter::new(request, (context.limits)());
        while let Some(frame) = frames.next_frame().map_err(|error| route.wire(error))? {
            in_flight.push(&frame);
            if let Err(error) = sender.send(frame.body).await {
                in_flight.forget_last();
                return Err(Ending::call(route, &error));
            }
        }
        if let Some(entry) = frames.oversized() {
            (context.on_oversized)(entry);
            let Route { target, group, .. } = route;
            return Err(RaftCallError::EntryTooLarge {
                target,
                group,
                entry,
            }
            .into());
        }
    }
}

/// Writer and reader, merged.
struct Pipeline<C: RaftTypeConfig, Rx> {
    route: Route,
    outage: Outage,
    /// Gone once it has ended; with it, the sender.
    writer: Option<BoxFuture<'static, Result<(), Ending<C>>>>,
    receiver: Rx,
    in_flight: Arc<InFlight<C>>,
    /// Frames of an unfinished request that the peer has acknowledged, as one log id. openraft is
    /// told of it only if the request does not come to its end.
    unreported: Option<Option<LogIdOf<C>>>,
    /// The error to end with.
    ending: Option<Ending<C>>,
    /// Whether no reply will be read any more.
    over: bool,
}

/// What a reply means for the session.
enum Judged<C: RaftTypeConfig> {
    /// An acknowledgement in the middle of a request: nothing to say yet.
    Continue,
    /// One item for openraft, and the session goes on.
    Yield(AppendResult<C>),
    /// One item for openraft, and the session is over.
    Last(AppendResult<C>),
}

impl<C: RaftTypeConfig<NodeId = u64>, Rx: ReplyReceiver> Pipeline<C, Rx> {
    async fn next(&mut self) -> Option<AppendResult<C>> {
        while !self.over {
            if self.writer.is_none() && self.in_flight.is_empty() {
                // Every request is answered; there is no need to wait for the peer to say so.
                self.over = true;
                break;
            }
            let reply = tokio::select! {
                // The writer first: it keeps the window full, and stops at the window.
                biased;
                end = run(&mut self.writer) => {
                    self.writer = None;
                    self.ending = end.err();
                    continue;
                }
                reply = next_reply(&mut self.receiver, &self.in_flight) => reply,
            };
            match self.judge(reply) {
                Judged::Continue => {}
                Judged::Yield(item) => return Some(item),
                Judged::Last(item) => {
                    self.finish();
                    return Some(item);
                }
            }
        }
        // What the peer took of a request that was not finished must not be sent again.
        if let Some(matched) = self.unreported.take() {
            return Some(Ok(Ok(matched)));
        }
        let Ending { error, outage } = self.ending.take()?;
        // Whatever else it is, it came from a peer that is there.
        if outage {
            self.outage.report();
        } else {
            self.outage.end();
        }
        Some(Err(error))
    }

    /// Ends the session: no more requests, no more replies.
    fn finish(&mut self) {
        self.over = true;
        self.writer = None;
        self.unreported = None;
        self.ending = None;
    }

    /// Ends the session with an error, after what is unreported.
    fn fail(&mut self, ending: Ending<C>) -> Judged<C> {
        self.over = true;
        self.writer = None;
        self.ending = Some(ending);
        Judged::Continue
    }

    fn judge(&mut self, reply: Option<Result<Bytes, CallError>>) -> Judged<C> {
        let bytes = match reply {
            Some(Ok(bytes)) => {
                self.outage.end();
                bytes
            }
            Some(Err(error)) => return self.fail(Ending::call(self.route, &error)),
            None if self.ending.is_some() => {
                self.over = true;
                return Judged::Continue;
            }
            None => {
                let Route { target, group, .. } = self.route;
                return self.fail(RaftCallError::SessionEnded { target, group }.into());
            }
        };
        let Some(frame) = self.in_flight.pop() else {
            return self.unusable(WireError::Implausible("a reply to no request"));
        };
        let judged = AppendReply::<C>::decode(&bytes)
            .and_then(|reply| reply.judge(frame.prev.as_ref(), frame.last.as_ref()));
        match judged {
            Ok(Ok(log_id)) if log_id != frame.last => Judged::Last(Ok(Ok(log_id))),
            Ok(Ok(log_id)) if frame.closes => {
                self.unreported = None;
                Judged::Yield(Ok(Ok(log_id)))
            }
            Ok(Ok(log_id)) => {
                self.unreported = Some(log_id);
                Judged::Continue
            }
            Ok(Err(refused)) => Judged::Last(Ok(Err(refused))),
            Err(error) => self.unusable(error),
        }
    }

    fn unusable(&mut self, error: WireError) -> Judged<C> {
        self.fail(self.route.wire(error).into())
    }
}

/// The next reply, once something is in flight.
///
/// Before that the session is not even asked: a peer that is down would be an error that comes
/// before a request was taken.
async fn next_reply<C: RaftTypeConfig, Rx: ReplyReceiver>(
    receiver: &mut Rx,
    in_flight: &InFlight<C>,
) -> Option<Result<Bytes, CallError>> {
    let mut reply = pin!(receiver.next());
    // The writer is polled before this, in the same task; so this sees what it has just sent.
    poll_fn(|cx| {
        if in_flight.is_empty() {
            Poll::Pending
        } else {
            reply.as_mut().poll(cx)
        }
    })
    .await
}

/// The end of the writer; never ready once it has ended.
async fn run<T>(writer: &mut Option<BoxFuture<'static, T>>) -> T {
    match writer {
        Some(writer) => writer.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
