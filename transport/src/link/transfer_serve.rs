//! The receiving side of the Snapshot lane.
//!
//! The service reads the bytes as it stores them; what it has read is reported to the sender,
//! whose budget it gives back.

use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use quinn::{RecvStream, SendStream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;

use super::connection::Connection;
use super::serve::{answer_frame, context, deadline, panicked, read_whole, unknown_group};
use super::stream::{FrameReader, write_frames};
use crate::frame::{Frame, FrameHeader, FrameKind, Lane};
use crate::limits::{REPORT_INTERVAL, SNAPSHOT_PROGRESS_BYTES};
use crate::service::CallContext;
use crate::{Refusal, RefusalCode};

#[derive(Debug, Default)]
struct Progress {
    stored: AtomicU64,
    reported: AtomicU64,
    due: Notify,
}

/// The bytes of a transfer as they come in: exactly as many as were announced, or an error.
///
/// Reading gives the sender its budget back, so read no faster than you store. Dropping it stops
/// the sender.
pub struct TransferBody {
    length: u64,
    left: u64,
    rest: Bytes,
    stream: RecvStream,
    progress: Arc<Progress>,
    link: Arc<Connection>,
}

impl TransferBody {
    /// Bytes that the sender announced.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }
}

impl fmt::Debug for TransferBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, left, .. } = self;
        f.debug_struct("TransferBody")
            .field("length", length)
            .field("left", left)
            .finish()
    }
}

impl AsyncRead for TransferBody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let room = usize::try_from(this.left)
            .unwrap_or(usize::MAX)
            .min(buffer.remaining());
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.rest.is_empty() {
            let taken = room.min(this.rest.len());
            buffer.put_slice(&this.rest[..taken]);
            this.rest.advance(taken);
            this.take(taken);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        if room == buffer.remaining() {
            // Into memory that need not be cleared first.
            ready!(this.stream.poll_read_buf(cx, buffer)).map_err(io::Error::other)?;
        } else {
            let part = buffer.initialize_unfilled_to(room);
            let taken = ready!(this.stream.poll_read(cx, part)).map_err(io::Error::other)?;
            buffer.advance(taken);
        }
        let taken = buffer.filled().len() - before;
        if taken == 0 {
            let missing = this.left;
            let text = format!("the sender ended with {missing} bytes missing");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        this.take(taken);
        Poll::Ready(Ok(()))
    }
}

impl TransferBody {
    /// Counts bytes that the service has taken, and wakes the report when it is due.
    fn take(&mut self, taken: usize) {
        self.left -= taken as u64;
        self.link.counters().received(Lane::Snapshot, 0, taken);
        let stored = self
            .progress
            .stored
            .fetch_add(taken as u64, Ordering::AcqRel)
            + taken as u64;
        let reported = self.progress.reported.load(Ordering::Acquire);
        if stored - reported >= SNAPSHOT_PROGRESS_BYTES || self.left == 0 {
            self.progress.due.notify_one();
        }
    }
}

/// Serves one transfer.
pub(crate) async fn serve(
    link: Arc<Connection>,
    header: FrameHeader,
    mut reader: FrameReader,
    mut send: SendStream,
) {
    let deadline = deadline(&header);
    let first = read_whole(&link, &header, deadline, &mut send, &mut reader).await;
    let Some(first) = first else { return };
    let answer = match split_head(first.body) {
        Some((length, head)) => {
            let context = context(&link, &header, deadline);
            let head = Head {
                header,
                context,
                length,
                head,
            };
            receive(&link, head, reader, &mut send).await
        }
        None => Some(Err(Refusal::new(
            RefusalCode::Undecodable,
            "the head has no length",
        ))),
    };
    let Some(answer) = answer else { return };
    let frame = answer_frame(&header, answer);
    if let Ok(bytes) = write_frames(&mut send, &[frame]).await {
        link.counters().sent(Lane::Snapshot, 1, bytes);
        drop(send.finish());
    }
}

pub(crate) fn split_head(mut body: Bytes) -> Option<(u64, Bytes)> {
    (body.len() >= 8).then(|| (body.get_u64(), body))
}

/// What a transfer begins with.
struct Head {
    header: FrameHeader,
    context: CallContext,
    length: u64,
    /// What is the service's own.
    head: Bytes,
}

/// Runs the service and reports progress beside it. `None` when the sender gave up.
async fn receive(
    link: &Arc<Connection>,
    head: Head,
    reader: FrameReader,
    send: &mut SendStream,
) -> Option<Result<Bytes, Refusal>> {
    let Head {
        header,
        context,
        length,
        head,
    } = head;
    let Some(service) = link.local.service(header.group) else {
        return Some(Err(unknown_group(&header)));
    };
    link.counters().served(Lane::Snapshot);
    let progress = Arc::new(Progress::default());
    let (rest, stream) = reader.into_raw();
    let (left, link_of_body) = (length, Arc::clone(link));
    let body = TransferBody {
        length,
        left,
        rest,
        stream,
        progress: Arc::clone(&progress),
        link: link_of_body,
    };
    let handled = AssertUnwindSafe(async { service.transfer(context, head, body).await });
    let mut handled = std::pin::pin!(handled.catch_unwind());
    let stopped = send.stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            answer = &mut handled => {
                return Some(answer.unwrap_or_else(|_| Err(panicked(link, &header))));
            }
            _ = &mut stopped => return None,
            () = progress.due.notified() => {}
            () = tokio::time::sleep(REPORT_INTERVAL) => {}
        }
        let stored = progress.stored.load(Ordering::Acquire);
        // Behind the last byte the service still installs what it has; that counts as movement.
        if progress.reported.swap(stored, Ordering::AcqRel) == stored && stored < length {
            continue;
        }
        let report = Frame::bare(FrameKind::Progress, Lane::Snapshot, stored);
        match write_frames(send, &[report]).await {
            Ok(bytes) => link.counters().sent(Lane::Snapshot, 1, bytes),
            Err(_) => return None,
        }
    }
}
