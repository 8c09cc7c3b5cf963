//! Answering calls: finding the service, running it within its deadline, catching its panics; and
//! sorting the streams that a peer opens into their lanes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quinn::{RecvStream, SendStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Connection, Serving};
use super::quic::StreamGrant;
use super::stream::{FrameReadError, FrameReader, write_frames};
use super::{call_serve, session_serve, transfer_serve};
use crate::close::StreamCode;
use crate::event::Event;
use crate::frame::{Frame, FrameError, FrameHeader, FrameKind, Lane};
use crate::limits::{CALL_DEADLINE_DEFAULT, HELLO_LIMIT, STREAMS_MAX};
use crate::service::CallContext;
use crate::{Refusal, RefusalCode};

/// An answer, now or later.
pub(crate) enum Answer {
    Ready(Frame),
    Later(Handling),
}

/// Milliseconds left to a deadline, at least 1 as long as there is one.
pub(crate) fn remaining_ms(deadline: Option<Instant>, now: Instant) -> u32 {
    let Some(deadline) = deadline else { return 0 };
    let left = deadline.saturating_duration_since(now).as_millis();
    u32::try_from(left).unwrap_or(u32::MAX).max(1)
}

/// When the call behind a header that arrives now is given up.
pub(crate) fn deadline(header: &FrameHeader) -> Instant {
    deadline_from(header, Instant::now())
}

/// When the call behind a header that has arrived at `arrived` is given up.
pub(crate) fn deadline_from(header: &FrameHeader, arrived: Instant) -> Instant {
    // L12: a deadline counts from here.
    arrived
        + match header.deadline_ms {
            0 => CALL_DEADLINE_DEFAULT,
            ms => Duration::from_millis(u64::from(ms)),
        }
}

/// What a service is told about the call behind `header`.
pub(crate) fn context(link: &Connection, header: &FrameHeader, deadline: Instant) -> CallContext {
    CallContext {
        from: link.proven(),
        group: header.group,
        method: header.method,
        deadline,
        trace: header.trace,
    }
}

/// A deadline that has passed here.
pub(crate) fn deadline_passed() -> Refusal {
    Refusal::new(RefusalCode::DeadlinePassed, "the deadline has passed")
}

/// A refusal as a frame, answering the call behind `header`.
pub(crate) fn refusal_frame(header: &FrameHeader, refusal: &Refusal) -> Frame {
    let text = Bytes::copy_from_slice(refusal.text.as_bytes());
    Frame::new(
        FrameKind::Refusal,
        header.lane,
        refusal.code.to_wire(),
        header.id,
        text,
    )
    .for_group(header.group)
}

/// An answer as a frame.
pub(crate) fn answer_frame(header: &FrameHeader, answer: Result<Bytes, Refusal>) -> Frame {
    match answer {
        Ok(body) => Frame::new(
            FrameKind::Reply,
            header.lane,
            header.method,
            header.id,
            body,
        )
        .for_group(header.group),
        Err(refusal) => refusal_frame(header, &refusal),
    }
}

pub(crate) fn unknown_group(header: &FrameHeader) -> Refusal {
    let text = format!("no service is registered for group {}", header.group);
    Refusal::new(RefusalCode::UnknownGroup, text)
}

pub(crate) fn panicked(link: &Connection, header: &FrameHeader) -> Refusal {
    let (peer, group) = (link.peer.node, header.group);
    link.local
        .events
        .raise(Event::HandlerPanicked { peer, group });
    Refusal::new(
        // R3: the call may have been run.
        RefusalCode::HandlerPanicked,
        "the handler of the call panicked",
    )
}

/// Asks the service of a call. Its future is polled once, here; one that is ready then costs neither
/// a task nor a timer.
pub(crate) fn answer(link: &Arc<Connection>, frame: Frame, deadline: Instant) -> Answer {
    let header = frame.header;
    let Some(service) = link.local.service(header.group) else {
        return Answer::Ready(refusal_frame(&header, &unknown_group(&header)));
    };
    let context = context(link, &header, deadline);
    link.counters().served(header.lane);
    // The call of the service too, so that a panic before its first await is caught.
    let first = catch_unwind(AssertUnwindSafe(|| {
        let mut handler = service.call(context, frame.body);
        (&mut handler).now_or_never().ok_or(handler)
    }));
    match first {
        Ok(Ok(answer)) => Answer::Ready(answer_frame(&header, answer)),
        Ok(Err(handler)) => Answer::Later(Handling {
            _serving: link.serve_one(),
            link: Arc::clone(link),
            header,
            deadline,
            handler,
        }),
        Err(_) => Answer::Ready(answer_frame(&header, Err(panicked(link, &header)))),
    }
}

/// A call whose handler was not ready at once.
pub(crate) struct Handling {
    link: Arc<Connection>,
    header: FrameHeader,
    deadline: Instant,
    handler: BoxFuture<'static, Result<Bytes, Refusal>>,
    _serving: Serving,
}

impl Handling {
    /// Runs the handler to its end, at most to the deadline. Dropping this stops it.
    pub(crate) async fn run(self) -> Frame {
        let handled = AssertUnwindSafe(self.handler).catch_unwind();
        let answer = match timeout_at(self.deadline, handled).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(panicked(&self.link, &self.header)),
            Err(_) => Err(deadline_passed()),
        };
        answer_frame(&self.header, answer)
    }
}

/// Accepts the streams that the peer opens, until the link ends.
pub(crate) async fn accept_streams(link: Arc<Connection>) {
    let (mut streams, mut grant) = (JoinSet::new(), StreamGrant::first());
    loop {
        tokio::select! {
            accepted = link.quic.accept_bi() => match accepted {
                Ok((send, recv)) => {
                    // quinn holds the peer to this number; a stream more is not accepted at all.
                    if streams.len() <= STREAMS_MAX {
                        streams.spawn(serve_stream(Arc::clone(&link), send, recv));
                        grant.follow(&link.quic, link.dialled(), streams.len());
                    }
                }
                Err(_) => return,
            },
            Some(_) = streams.join_next() => {}
        }
        link.set_peer_streams(streams.len());
    }
}

/// Reads the first header of a stream and hands the stream to its lane.
async fn serve_stream(link: Arc<Connection>, mut send: SendStream, recv: RecvStream) {
    let mut reader = FrameReader::new(recv, link.local.config.frame_bytes_max);
    // L5: the first header says which lane the stream is of. Its body may take longer: the path may
    // be slow, and the lane knows how long.
    let header = match timeout(HELLO_LIMIT, reader.header()).await {
        Ok(Ok(Some(header))) => header,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return refuse_unreadable(&link, &mut send, &mut reader, error).await,
        Err(_) => return reader.stop(StreamCode::Malformed),
    };
    let lane = header.lane;
    if header.kind != FrameKind::Call {
        return reader.stop(StreamCode::Malformed);
    }
    // A stream that is closed already has no use for a priority.
    drop(send.set_priority(lane.priority()));
    match lane {
        Lane::Append => session_serve::serve(link, header, reader, send).await,
        Lane::Call => call_serve::serve(link, reader, send).await,
        Lane::Snapshot => transfer_serve::serve(link, header, reader, send).await,
        // Control has its one stream, from the handshake.
        Lane::Control => reader.stop(StreamCode::Malformed),
    }
}

/// Reads the whole frame behind a header, until its deadline. `None` if the stream is of no use any
/// more; the peer was told why.
pub(crate) async fn read_whole(
    link: &Connection,
    header: &FrameHeader,
    deadline: Instant,
    send: &mut SendStream,
    reader: &mut FrameReader,
) -> Option<Frame> {
    match timeout_at(deadline, reader.next()).await {
        Ok(Ok(Some(frame))) => {
            link.counters()
                .received(header.lane, 1, frame.encoded_bytes());
            return Some(frame);
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => refuse_unreadable(link, send, reader, error).await,
        Err(_) => {
            let frame = refusal_frame(header, &deadline_passed());
            if let Ok(Ok(bytes)) = timeout(HELLO_LIMIT, write_frames(send, &[frame])).await {
                link.counters().sent(header.lane, 1, bytes);
                drop(send.finish());
            }
            reader.stop(StreamCode::Cancelled);
        }
    }
    None
}

/// Tells a peer why its stream ends here, where it can be told; the link lives on.
pub(crate) async fn refuse_unreadable(
    link: &Connection,
    send: &mut SendStream,
    reader: &mut FrameReader,
    error: FrameReadError,
) {
    if let FrameReadError::Frame(error) = error {
        tell_unreadable(link, send, &error).await;
        reader.stop(stop_code(&error));
    }
}

/// The answering half of [`refuse_unreadable`]: a refusal where the header could be read, else a
/// reset.
pub(crate) async fn tell_unreadable(link: &Connection, send: &mut SendStream, error: &FrameError) {
    let FrameError::TooLarge {
        header,
        size,
        limit,
    } = error
    else {
        tracing::debug!(target: "quicraft::link", peer = link.peer.node.get(), %error, "a stream is no frame");
        drop(send.reset(StreamCode::Malformed.varint()));
        return;
    };
    // L11: the call is refused, the stream ends, the link lives on.
    let text = format!("a body of {size} bytes is over the limit of {limit}");
    let frame = refusal_frame(header, &Refusal::new(RefusalCode::TooLarge, text));
    if let Ok(Ok(bytes)) = timeout(HELLO_LIMIT, write_frames(send, &[frame])).await {
        link.counters().sent(header.lane, 1, bytes);
        drop(send.finish());
    }
}

/// With which code the reading half of a stream is stopped for what it brought.
pub(crate) const fn stop_code(error: &FrameError) -> StreamCode {
    match error {
        FrameError::TooLarge { .. } => StreamCode::TooLarge,
        _ => StreamCode::Malformed,
    }
}
