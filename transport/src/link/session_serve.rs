//! The answering side of the Append lane.
//!
//! Requests go to the service as a stream and answers come back in their order. Nothing is refused
//! for being too much: a service that is slow stops reading, and the sender's window fills. While a
//! request arrives in pieces, the sender is told how far it is.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use quinn::SendStream;

use super::arrival::{Arrival, arrival};
use super::connection::Connection;
use super::serve::{answer_frame, context, deadline, panicked, refusal_frame, unknown_group};
use super::stream::{FrameReader, Step, write_frames};
use crate::close::StreamCode;
use crate::frame::{Frame, FrameHeader, FrameKind, Lane};
use crate::limits::SESSION_REQUESTS_MAX;
use crate::service::SessionRequests;
use crate::{Refusal, RefusalCode};

/// Serves one session, from its first request to its end.
pub(crate) async fn serve(
    link: Arc<Connection>,
    header: FrameHeader,
    mut reader: FrameReader,
    mut send: SendStream,
) {
    let Some(service) = link.local.service(header.group) else {
        reader.stop(StreamCode::Cancelled);
        return end(&link, &mut send, &header, &unknown_group(&header)).await;
    };
    let context = context(&link, &header, deadline(&header));
    let (arrival, mut reports) = arrival();
    let requests = requests(Arc::clone(&link), header, reader, arrival);
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| service.session(context, requests)));
    let replies = match opened {
        Ok(Ok(replies)) => replies,
        Ok(Err(refusal)) => return end(&link, &mut send, &header, &refusal).await,
        Err(_) => {
            let refusal = panicked(&link, &header);
            return end(&link, &mut send, &header, &refusal).await;
        }
    };
    let mut replies = AssertUnwindSafe(replies).catch_unwind();
    let mut header = header;
    loop {
        let reply = tokio::select! {
            reply = replies.next() => reply,
            // The caller gave up; dropping the replies stops the service.
            _ = send.stopped() => return,
            taken = reports.due() => {
                let report = Frame::bare(FrameKind::Progress, Lane::Append, taken);
                if !write(&link, &mut send, &[report]).await {
                    return;
                }
                continue;
            }
        };
        // Whatever else is ready leaves in the same write.
        let mut frames = Vec::with_capacity(1);
        let mut next = Some(reply);
        while let Some(reply) = next.take() {
            let refusal = match reply {
                Some(Ok(Ok(body))) => {
                    frames.push(answer_frame(&header, Ok(body)));
                    header.id += 1;
                    None
                }
                Some(Ok(Err(refusal))) => Some(refusal),
                Some(Err(_)) => Some(panicked(&link, &header)),
                None => {
                    write(&link, &mut send, &frames).await;
                    drop(send.finish());
                    return;
                }
            };
            if let Some(refusal) = refusal {
                frames.push(refusal_frame(&header, &refusal));
                write(&link, &mut send, &frames).await;
                drop(send.finish());
                return;
            }
            if frames.len() < SESSION_REQUESTS_MAX {
                next = replies.next().now_or_never();
            }
        }
        if !write(&link, &mut send, &frames).await {
            return;
        }
        reports.answered();
    }
}

/// What the stream of a session's requests works on.
struct Incoming {
    link: Arc<Connection>,
    /// What the next request has to say of itself.
    expected: FrameHeader,
    reader: FrameReader,
    arrival: Arrival,
}

/// The bodies of the session's requests, whose ids must follow each other.
fn requests(
    link: Arc<Connection>,
    expected: FrameHeader,
    reader: FrameReader,
    arrival: Arrival,
) -> SessionRequests {
    let incoming = Incoming {
        link,
        expected,
        reader,
        arrival,
    };
    stream::unfold(incoming, |mut incoming| async move {
        let body = incoming.next().await?;
        Some((body, incoming))
    })
    .boxed()
}

impl Incoming {
    async fn next(&mut self) -> Option<Bytes> {
        let frame = loop {
            match self.reader.step().await.ok()? {
                Step::Frame(frame) => break frame,
                Step::Piece => self.arrival.piece(self.reader.taken()),
                Step::End => return None,
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

async fn end(link: &Connection, send: &mut SendStream, header: &FrameHeader, refusal: &Refusal) {
    write(link, send, &[refusal_frame(header, refusal)]).await;
    drop(send.finish());
}

async fn write(link: &Connection, send: &mut SendStream, frames: &[Frame]) -> bool {
    if frames.is_empty() {
        return true;
    }
    if let Some(large) = frames
        .iter()
        .find(|frame| frame.body.len() > link.frame_bytes_max())
    {
        let text = format!(
            "an answer of {} bytes is over the caller's limit",
            large.body.len()
        );
        let refusal = Refusal::new(RefusalCode::TooLarge, text);
        let frame = refusal_frame(&large.header, &refusal);
        drop(write_frames(send, &[frame]).await);
        return false;
    }
    match write_frames(send, frames).await {
        Ok(bytes) => {
            link.counters()
                .sent(Lane::Append, frames.len() as u64, bytes);
            true
        }
        Err(_) => false,
    }
}
