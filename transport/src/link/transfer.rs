//! The sending side of the Snapshot lane: a head, raw bytes, and one answer at the end.
//!
//! Bytes leave only against the lane's budget, which the receiver gives back as it stores them. A
//! transfer that priorities starve is noticed, and the lanes above it step aside for a moment.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{SendStream, WriteError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Budget;
use super::budget::BudgetShare;
use super::connection::{Connection, Failure};
use super::local::{LocalNode, lock};
use super::peer::Request;
use super::stream::{FrameReader, ResetOnDrop, write_frames};
use crate::Refusal;
use crate::frame::{Frame, FrameKind, Lane};
use crate::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_FLOOR};

/// The bound on bytes a second that a node sends as snapshots: a bucket that never fills, only a
/// time before which the next chunk may not leave.
#[derive(Debug)]
pub(crate) struct SendRate {
    bytes_per_second: u64,
    next: Mutex<Option<Instant>>,
}

impl SendRate {
    pub(crate) const fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            next: Mutex::new(None),
        }
    }

    /// Waits for the turn of `bytes`. All transfers of the node take turns.
    async fn turn(&self, bytes: usize) {
        if self.bytes_per_second == 0 {
            return;
        }
        let start = {
            let now = Instant::now();
            let mut next = lock(&self.next);
            let start = next.unwrap_or(now).max(now);
            let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            *next = Some(start + cost);
            start
        };
        sleep_until(start).await;
    }
}

/// What is in flight of one transfer.
#[derive(Debug)]
struct Flow {
    length: u64,
    budget: Budget,
    state: Mutex<FlowState>,
    /// Wakes who watches: something moved, or there is something to wait for now.
    changed: Notify,
}

#[derive(Debug)]
struct FlowState {
    /// Bytes that were handed to the stream.
    sent: u64,
    /// Bytes of them that the receiver has taken.
    stored: u64,
    /// Since when the peer has not moved although it has something to do; `None` while it has not.
    /// A sender that waits for its own budget, rate or source does not blame the peer.
    since: Option<Instant>,
    /// What the chunks that are not stored hold of the budget, by their ends.
    shares: Vec<(u64, BudgetShare)>,
}

impl Flow {
    fn new(length: u64, budget: Budget) -> Self {
        let state = FlowState {
            sent: 0,
            stored: 0,
            // A transfer without a byte waits for its answer from the beginning.
            since: (length == 0).then(Instant::now),
            shares: Vec::new(),
        };
        Self {
            length,
            budget,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// The next `bytes` are handed to the stream, and hold `share` until they are stored.
    fn sent(&self, bytes: usize, share: BudgetShare) {
        let mut state = lock(&self.state);
        state.sent += bytes as u64;
        let end = state.sent;
        state.shares.push((end, share));
        if state.since.is_none() {
            state.since = Some(Instant::now());
            self.changed.notify_one();
        }
    }

    /// The receiver has stored everything up to `offset`. One that claims more than was sent has
    /// all of that. A report without news is movement only behind the last byte, where the receiver
    /// still works on what it has (L8).
    fn stored(&self, offset: u64) {
        let mut state = lock(&self.state);
        let offset = offset.min(state.sent);
        let installs = state.stored == self.length;
        if offset <= state.stored && !installs {
            return;
        }
        state.stored = state.stored.max(offset);
        state.shares.retain(|(end, _)| *end > offset);
        let waits = state.stored < state.sent || state.stored == self.length;
        state.since = waits.then(Instant::now);
        drop(state);
        self.budget.note_movement();
        self.changed.notify_one();
    }

    /// Since when the peer has not moved although it has something to do.
    fn since(&self) -> Option<Instant> {
        lock(&self.state).since
    }
}

/// Tells the other lanes that a transfer starves, and takes it back when it moves or ends.
struct Starving<'a>(&'a Connection);

impl Starving<'_> {
    fn set(&self, starving: bool) {
        self.0.starving.send_if_modified(|now| {
            self.0.calls.aside.store(starving, Ordering::Relaxed);
            std::mem::replace(now, starving) != starving
        });
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Sends `length` bytes of `source` and waits for the answer.
pub(crate) async fn transfer<R>(
    local: &LocalNode,
    link: &Arc<Connection>,
    request: Request,
    length: u64,
    source: R,
    stall_limit: Duration,
) -> Result<Bytes, Failure>
where
    R: AsyncRead + Send + Unpin,
{
    // A place of the node is taken last: who waits for a link that does not move must not keep it
    // from those whose link does.
    let slots = async {
        (
            Arc::clone(&link.snapshot_streams).acquire_owned().await,
            Arc::clone(&local.snapshot_slots).acquire_owned().await,
        )
    };
    let _slots = tokio::select! {
        biased;
        slots = timeout(stall_limit, slots) => slots.map_err(|_| Failure::Timeout)?,
        error = link.quic.closed() => return Err(link.cut(&error)),
    };
    let opened = timeout(stall_limit, link.quic.open_bi())
        .await
        .map_err(|_| Failure::Timeout)?;
    let (send, recv) = opened.map_err(|error| link.cut(&error))?;
    // A stream that is closed already fails at its first write.
    drop(send.set_priority(Lane::Snapshot.priority()));
    let mut send = ResetOnDrop::new(send);
    let mut reader = FrameReader::new(recv, link.frame_bytes_max());
    let head = head_frame(&request, length, stall_limit);
    let limit = link.frame_bytes_max();
    if head.body.len() > limit {
        return Err(Failure::TooLarge {
            size: head.body.len(),
            limit,
        });
    }
    let head = [head];
    let written = timeout(stall_limit, write_frames(send.stream(), &head)).await;
    match written.map_err(|_| Failure::Timeout)? {
        Ok(bytes) => link.counters().sent(Lane::Snapshot, 1, bytes),
        Err(error) => return Err(link.cut(&error)),
    }
    let flow = Flow::new(length, link.snapshot_budget.clone());
    let writer = write_all(local, link, &flow, send.stream(), source, stall_limit);
    let answer = read_answer(link, &flow, &mut reader);
    let watch = watch_progress(link, &flow, stall_limit);
    let answer = drive(writer, answer, watch).await?;
    // The answer came, so the receiver has all bytes or wants no more of them.
    if let Ok(body) = &answer {
        drop(send.take());
        return Ok(body.clone());
    }
    answer.map_err(Failure::Refused)
}

/// The head of a transfer: the length, and the request's own body.
fn head_frame(request: &Request, length: u64, limit: Duration) -> Frame {
    let mut body = BytesMut::with_capacity(8 + request.body.len());
    body.put_u64(length);
    body.put_slice(&request.body);
    let mut frame = Frame::new(
        FrameKind::Call,
        Lane::Snapshot,
        request.method,
        1,
        body.freeze(),
    )
    .for_group(request.group);
    frame.header.trace = request.trace;
    frame.header.deadline_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    frame
}

/// Writes until all bytes are out, while answers are read; ends with the answer.
async fn drive(
    writer: impl Future<Output = Result<(), Failure>>,
    answer: impl Future<Output = Result<Result<Bytes, Refusal>, Failure>>,
    watch: impl Future<Output = Failure>,
) -> Result<Result<Bytes, Refusal>, Failure> {
    tokio::pin!(writer, answer, watch);
    let mut writing = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            failure = &mut watch => return Err(failure),
            written = &mut writer, if writing => match written {
                Ok(()) => writing = false,
                Err(failure) => return Err(failure),
            },
        }
    }
}

async fn write_all<R>(
    local: &LocalNode,
    link: &Connection,
    flow: &Flow,
    send: &mut SendStream,
    mut source: R,
    stall_limit: Duration,
) -> Result<(), Failure>
where
    R: AsyncRead + Send + Unpin,
{
    let mut left = flow.length;
    while left > 0 {
        let want = left.min(SNAPSHOT_CHUNK_BYTES as u64);
        let want = usize::try_from(want).unwrap_or(SNAPSHOT_CHUNK_BYTES);
        let chunk = timeout(stall_limit, read_chunk(&mut source, want)).await;
        let chunk = chunk.map_err(|_| Failure::Timeout)??;
        let size = chunk.len();
        left -= size as u64;
        // Other transfers may hold the budget for as long as one of them moves; and the node's rate
        // is a wait of its own making, however long.
        let share = flow.budget.take_while_moving(size, stall_limit).await;
        let share = share.ok_or(Failure::Timeout)?;
        local.snapshot_rate.turn(size).await;
        flow.sent(size, share);
        match send.write_chunk(chunk).await {
            Ok(()) => link.counters().sent(Lane::Snapshot, 0, size),
            // The receiver wants no more: its answer, which is read beside this, says why.
            Err(WriteError::Stopped(_)) => return Ok(()),
            Err(error) => return Err(link.cut(&error)),
        }
    }
    // A stream that the receiver has stopped needs no end.
    drop(send.finish());
    Ok(())
}

/// Reads at least one byte and at most `want`, into memory of its own.
async fn read_chunk<R>(source: &mut R, want: usize) -> Result<Bytes, Failure>
where
    R: AsyncRead + Send + Unpin,
{
    let mut chunk = BytesMut::with_capacity(want);
    while chunk.len() < want {
        let missing = want - chunk.len();
        let mut room = (&mut chunk).limit(missing);
        match source.read_buf(&mut room).await {
            Ok(0) => {
                return Err(Failure::Source(
                    "it ended before its announced length".into(),
                ));
            }
            Ok(_) => {}
            Err(error) => return Err(Failure::Source(error.to_string())),
        }
    }
    Ok(chunk.freeze())
}

async fn read_answer(
    link: &Connection,
    flow: &Flow,
    reader: &mut FrameReader,
) -> Result<Result<Bytes, Refusal>, Failure> {
    loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(link.cut(&"the peer ended the transfer without an answer")),
            Err(error) => return Err(link.cut(&error)),
        };
        let size = frame.encoded_bytes();
        link.counters().received(Lane::Snapshot, 1, size);
        match frame.header.kind {
            FrameKind::Progress => flow.stored(frame.header.id),
            FrameKind::Reply => return Ok(Ok(frame.body)),
            FrameKind::Refusal => {
                return Ok(Err(Refusal::from_wire(frame.header.method, &frame.body)));
            }
            _ => return Err(link.cut(&"the peer broke the protocol of a transfer")),
        }
    }
}

/// Ends with a failure when the peer has not moved for the stall limit although it has something to
/// do; lifts the transfer before that.
async fn watch_progress(link: &Connection, flow: &Flow, stall_limit: Duration) -> Failure {
    let starving = Starving(link);
    loop {
        let Some(since) = flow.since() else {
            starving.set(false);
            flow.changed.notified().await;
            continue;
        };
        let starved = since.elapsed() >= SNAPSHOT_FLOOR;
        starving.set(starved);
        let end = since + stall_limit;
        let next = if starved {
            end
        } else {
            end.min(since + SNAPSHOT_FLOOR)
        };
        let changed = timeout_at(next, flow.changed.notified()).await;
        if changed.is_err() && Instant::now() >= end && flow.since() == Some(since) {
            return Failure::Timeout;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_transfers_take_turns_at_the_rate() {
        let rate = SendRate::new(1_000);
        let start = Instant::now();
        rate.turn(500).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        rate.turn(1_000).await;
        assert_eq!(start.elapsed(), Duration::from_millis(500));
        rate.turn(1).await;
        assert_eq!(start.elapsed(), Duration::from_millis(1_500));
        let unlimited = SendRate::new(0);
        unlimited.turn(usize::MAX).await;
        unlimited.turn(usize::MAX).await;
        assert_eq!(start.elapsed(), Duration::from_millis(1_500));
    }

    async fn sent(flow: &Flow, bytes: usize) {
        let share = flow.budget.take(bytes).await;
        flow.sent(bytes, share);
    }

    #[tokio::test]
    async fn a_share_comes_back_only_for_bytes_that_were_sent() {
        let budget = Budget::new(100);
        let flow = Flow::new(200, budget.clone());
        sent(&flow, 40).await;
        sent(&flow, 60).await;
        assert_eq!(budget.left(), 0);
        flow.stored(39);
        assert_eq!(budget.left(), 0, "a chunk is stored whole or not");
        flow.stored(40);
        assert_eq!(budget.left(), 40);
        // A receiver that claims more than it was sent gets no more than all of it back.
        flow.stored(u64::MAX);
        assert_eq!(budget.left(), 100);
        assert_eq!(lock(&flow.state).stored, 100);
    }

    /// L8: what is movement, and when the peer is waited for at all.
    #[tokio::test(start_paused = true)]
    async fn the_peer_is_waited_for_only_while_it_has_something_to_do() {
        let second = Duration::from_secs(1);
        let flow = Flow::new(200, Budget::new(100));
        assert_eq!(flow.since(), None, "nothing was sent");
        tokio::time::advance(second).await;
        sent(&flow, 50).await;
        let first = Instant::now();
        tokio::time::advance(second).await;
        sent(&flow, 50).await;
        assert_eq!(flow.since(), Some(first), "sending more is no sign of life");
        flow.stored(50);
        assert_eq!(flow.since(), Some(Instant::now()));
        tokio::time::advance(second).await;
        flow.stored(50);
        flow.stored(49);
        assert_eq!(
            flow.since(),
            Some(first + second),
            "nothing new is no movement"
        );
        flow.stored(100);
        assert_eq!(flow.since(), None, "it has stored all that it was sent");
        sent(&flow, 100).await;
        flow.stored(200);
        tokio::time::advance(second).await;
        flow.stored(200);
        assert_eq!(flow.since(), Some(Instant::now()), "it installs");
    }
}
