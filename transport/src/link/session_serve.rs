//! The answering side of the Append lane.
//!
//! Requests go to the service as a stream and answers come back in their order. Nothing is refused
//! for being too much: a service that is slow stops reading, and the sender's window fills. While a
//! request arrives in pieces, the sender is told how far it is.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::stream::CatchUnwind;
use futures_util::{FutureExt, StreamExt, stream};
use quinn::SendStream;

use super::arrival::{Arrival, Reports, arrival};
use super::connection::Connection;
use super::serve::{
    answer_frame, context, deadline, panicked, refusal_frame, stop_code, tell_unreadable,
    unknown_group,
};
use super::stream::{FrameReadError, FrameReader, Step, write_frames};
use crate::close::StreamCode;
use crate::frame::{Frame, FrameError, FrameHeader, FrameKind, Lane};
use crate::limits::SESSION_REQUESTS_MAX;
use crate::service::{SessionReplies, SessionRequests};
use crate::{Refusal, RefusalCode};

/// A session that its service has taken.
struct Opened {
    replies: CatchUnwind<AssertUnwindSafe<SessionReplies>>,
    reports: Reports,
    unreadable: Arc<OnceLock<FrameError>>,
}

/// Serves one session, from its first request to its end.
pub(crate) async fn serve(
    link: Arc<Connection>,
    mut header: FrameHeader,
    reader: FrameReader,
    mut send: SendStream,
) {
    let _serving = link.serve_session();
    let opened = open(&link, header, reader);
    let Opened {
        mut replies,
        mut reports,
        unreadable,
    } = match opened {
        Ok(opened) => opened,
        Err(refusal) => {
            write(&link, &mut send, vec![refusal_frame(&header, &refusal)]).await;
            return drop(send.finish());
        }
    };
    // One wait for all replies: to begin one takes the lock of the connection.
    let mut stopped = pin!(send.stopped());
    loop {
        let reply = tokio::select! {
            reply = replies.next() => reply,
            // The caller gave up; dropping the replies stops the service.
            _ = &mut stopped => return,
            taken = reports.due() => {
                let report = Frame::bare(FrameKind::Progress, Lane::Append, taken);
                if !write(&link, &mut send, vec![report]).await {
                    return;
                }
                continue;
            }
        };
        // Whatever else is ready leaves in the same write.
        let mut frames = Vec::with_capacity(1);
        let mut next = Some(reply);
        let (mut over, mut refused) = (false, false);
        while let Some(reply) = next.take() {
            let refusal = match reply {
                Some(Ok(Ok(body))) => {
                    frames.push(answer_frame(&header, Ok(body)));
                    header.id += 1;
                    if frames.len() < SESSION_REQUESTS_MAX {
                        next = replies.next().now_or_never();
                    }
                    continue;
                }
                Some(Ok(Err(refusal))) => Some(refusal),
                Some(Err(_)) => Some(panicked(&link, &header)),
                None => None,
            };
            (over, refused) = (true, refusal.is_some());
            frames.extend(refusal.map(|refusal| refusal_frame(&header, &refusal)));
        }
        if !write(&link, &mut send, frames).await {
            return;
        }
        if over {
            let unreadable = unreadable.get().filter(|_| !refused);
            return finish(&link, &mut send, unreadable).await;
        }
        reports.answered();
    }
}

/// Hands a session to the service of its group.
fn open(
    link: &Arc<Connection>,
    header: FrameHeader,
    mut reader: FrameReader,
) -> Result<Opened, Refusal> {
    let Some(service) = link.local.service(header.group) else {
        reader.stop(StreamCode::Cancelled);
        return Err(unknown_group(&header));
    };
    let context = context(link, &header, deadline(&header));
    let (arrival, reports) = arrival();
    let unreadable = Arc::new(OnceLock::new());
    let requests = requests(Incoming {
        link: Arc::clone(link),
        expected: header,
        reader,
        arrival,
        unreadable: Arc::clone(&unreadable),
    });
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| service.session(context, requests)));
    let replies = opened.unwrap_or_else(|_| Err(panicked(link, &header)))?;
    Ok(Opened {
        replies: AssertUnwindSafe(replies).catch_unwind(),
        reports,
        unreadable,
    })
}

/// Ends the answers. A stream that could not be read on is told so behind those to what could (L11).
async fn finish(link: &Connection, send: &mut SendStream, unreadable: Option<&FrameError>) {
    match unreadable {
        Some(error) => tell_unreadable(link, send, error).await,
        // A stream that the caller has stopped needs no end.
        None => drop(send.finish()),
    }
}

/// What the stream of a session's requests works on.
struct Incoming {
    link: Arc<Connection>,
    /// What the next request has to say of itself.
    expected: FrameHeader,
    reader: FrameReader,
    arrival: Arrival,
    /// Why the stream could not be read on, for the half that answers.
    unreadable: Arc<OnceLock<FrameError>>,
}

/// The bodies of the session's requests, whose ids must follow each other.
fn requests(incoming: Incoming) -> SessionRequests {
    stream::unfold(incoming, |mut incoming| async move {
        let body = incoming.next().await?;
        Some((body, incoming))
    })
    .boxed()
}

impl Incoming {
    async fn next(&mut self) -> Option<Bytes> {
        let frame = loop {
            match self.reader.step().await {
                Ok(Step::Frame(frame)) => break frame,
                Ok(Step::Piece) => self.arrival.piece(self.reader.taken()),
                Err(FrameReadError::Frame(error)) => {
                    self.reader.stop(stop_code(&error));
                    self.unreadable.get_or_init(|| error);
                    return None;
                }
                Ok(Step::End) | Err(FrameReadError::Stream(_)) => return None,
            }
        };
        self.arrival.whole(self.reader.taken());
        let size = frame.encoded_bytes();
        self.link.counters().received(Lane::Append, 1, size);
        if !follows(&self.expected, &frame.header) {
            self.reader.stop(StreamCode::Malformed);
            return None;
        }
        self.expected.id += 1;
        self.link.counters().served(Lane::Append);
        Some(frame.body)
    }
}

fn follows(expected: &FrameHeader, found: &FrameHeader) -> bool {
    found.kind == FrameKind::Call
        && found.lane == Lane::Append
        && (found.group, found.method, found.id) == (expected.group, expected.method, expected.id)
}

/// Writes answers. One over the caller's limit becomes a refusal, and the session ends behind it.
/// Returns whether it goes on.
async fn write(link: &Connection, send: &mut SendStream, mut frames: Vec<Frame>) -> bool {
    let limit = link.frame_bytes_max();
    let large = frames.iter().position(|frame| frame.body.len() > limit);
    if let Some(place) = large {
        let large = &mut frames[place];
        let size = large.body.len();
        let text = format!("an answer of {size} bytes is over the caller's limit of {limit}");
        *large = refusal_frame(&large.header, &Refusal::new(RefusalCode::TooLarge, text));
        frames.truncate(place + 1);
    }
    if frames.is_empty() {
        return true;
    }
    match write_frames(send, &frames).await {
        Ok(bytes) => {
            link.counters()
                .sent(Lane::Append, frames.len() as u64, bytes);
            large.is_none()
        }
        Err(_) => false,
    }
}
