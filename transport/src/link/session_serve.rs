//! The answering side of the Append lane.
//!
//! Requests go to the service as a stream and answers come back in their order. Nothing is refused
//! for being too much: a service that is slow stops reading, and the sender's window fills.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, stream};
use quinn::SendStream;

use super::connection::Connection;
use super::serve::{answer_frame, context, panicked, refusal_frame, unknown_group};
use super::stream::{FrameReader, write_frames};
use crate::close::StreamCode;
use crate::frame::{Frame, FrameHeader, FrameKind, Lane};
use crate::limits::SESSION_REQUESTS_MAX;
use crate::service::SessionRequests;
use crate::{Refusal, RefusalCode};

/// Serves one session, from its first request to its end.
pub(crate) async fn serve(
    link: Arc<Connection>,
    first: Frame,
    mut reader: FrameReader,
    mut send: SendStream,
) {
    let header = first.header;
    let Some(service) = link.local.service(header.group) else {
        reader.stop(StreamCode::Cancelled);
        return end(&link, &mut send, &header, &unknown_group(&header)).await;
    };
    let context = context(&link, &header);
    let requests = requests(Arc::clone(&link), first, reader);
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
    }
}

/// The bodies of the session's requests, whose ids must follow each other.
fn requests(link: Arc<Connection>, first: Frame, reader: FrameReader) -> SessionRequests {
    let expected = first.header;
    let state = (link, expected, Some(first), reader);
    stream::unfold(
        state,
        |(link, mut expected, first, mut reader)| async move {
            let frame = match first {
                Some(frame) => frame,
                None => {
                    let frame = reader.next().await.ok().flatten()?;
                    let size = frame.encoded_bytes();
                    link.counters().received(Lane::Append, 1, size);
                    frame
                }
            };
            if !follows(&expected, &frame.header) {
                reader.stop(StreamCode::Malformed);
                return None;
            }
            expected.id += 1;
            link.counters().served(Lane::Append);
            Some((frame.body, (link, expected, None, reader)))
        },
    )
    .boxed()
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
