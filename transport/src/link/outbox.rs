//! The frames that wait to be written on one stream.
//!
//! Frames that are ready together leave together: the writer takes what is there, lets whoever is
//! about to add a frame run once, and writes all of it at once. This room must not know what the
//! frames are about.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use quinn::{SendStream, WriteError};
use tokio::sync::OwnedSemaphorePermit;

use super::budget::BudgetShare;
use super::connection::Connection;
use super::local::lock;
use super::stream::write_each;
use crate::frame::{Frame, Lane};

/// Frames for which a queue keeps its memory while it is empty.
const KEPT_FRAMES: usize = 1_024;

/// A frame that waits to be written.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) frame: Frame,
    /// What it keeps until it was written.
    _hold: Option<Hold>,
}

/// What a frame keeps until it was written: its place among the answers, and bytes of a budget.
#[derive(Debug)]
pub(crate) struct Hold {
    _place: OwnedSemaphorePermit,
    _share: Option<Arc<BudgetShare>>,
}

impl Hold {
    pub(crate) fn new(place: OwnedSemaphorePermit, share: Option<Arc<BudgetShare>>) -> Self {
        let (_place, _share) = (place, share);
        Self { _place, _share }
    }
}

/// What an outbox takes from those who can be refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxBounds {
    /// Frames that wait.
    pub(crate) frames: usize,
    /// Bytes of their bodies.
    pub(crate) bytes: usize,
    /// Frames of one write.
    pub(crate) write_frames: usize,
}

/// A bound of an outbox that is reached.
#[derive(Debug)]
pub(crate) struct OutboxFull {
    pub(crate) limit: usize,
    pub(crate) unit: &'static str,
}

/// The frames that wait to be written on one stream, and who writes them.
#[derive(Debug)]
pub(crate) struct Outbox {
    bounds: OutboxBounds,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
    /// The writer, if it waits.
    writer: Option<Waker>,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(bounds: OutboxBounds) -> Self {
        let queue = Mutex::default();
        Self { bounds, queue }
    }

    /// Adds a frame, or says at once that there is no room.
    pub(crate) fn offer(&self, frame: Frame) -> Result<(), OutboxFull> {
        let OutboxBounds { frames, bytes, .. } = self.bounds;
        let full = |limit, unit| Err(OutboxFull { limit, unit });
        let writer = {
            let mut queue = lock(&self.queue);
            if queue.frames.len() >= frames {
                return full(frames, "frames");
            }
            if queue.bytes + frame.body.len() > bytes {
                return full(bytes, "bytes");
            }
            queue.push(frame, None);
            queue.writer.take()
        };
        wake(writer);
        Ok(())
    }

    /// Adds a frame whatever is there already; who does so has a bound of its own.
    pub(crate) fn push(&self, frame: Frame, hold: Option<Hold>) {
        let writer = {
            let mut queue = lock(&self.queue);
            queue.push(frame, hold);
            queue.writer.take()
        };
        wake(writer);
    }

    /// The same in the task of the writer, which looks for frames behind whoever adds them: it is not
    /// woken for another turn.
    pub(crate) fn put(&self, frame: Frame, hold: Option<Hold>) {
        lock(&self.queue).push(frame, hold);
    }

    /// Ends the writer behind what is there.
    pub(crate) fn close(&self) {
        let writer = {
            let mut queue = lock(&self.queue);
            queue.closed = true;
            queue.writer.take()
        };
        wake(writer);
    }

    /// Frames that wait, and bytes of their bodies.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let queue = lock(&self.queue);
        (queue.frames.len(), queue.bytes)
    }

    /// Waits until there is a frame, or the outbox is closed.
    pub(crate) async fn ready(&self) {
        poll_fn(|context| lock(&self.queue).poll_ready(context)).await;
    }

    /// Takes the frames of the next write; `false` when the outbox is closed and empty. `joining` is
    /// told how many frames wait, and says whether somebody may be about to add another one.
    ///
    /// Cancel safe: what was taken is in `batch`.
    async fn gather(&self, batch: &mut VecDeque<Queued>, joining: impl Fn(usize) -> bool) -> bool {
        let waiting = poll_fn(|context| lock(&self.queue).poll_ready(context)).await;
        // Whoever is about to add a frame gets the chance to join this write: 1.4 times the calls
        // per second at 256 in flight. It costs a turn of the scheduler, so not where nobody is.
        if joining(waiting) {
            tokio::task::yield_now().await;
        }
        lock(&self.queue).take(self.bounds.write_frames, batch);
        !batch.is_empty()
    }

    /// Writes what is there and what comes, until the outbox is closed or the stream fails. `depart`
    /// sees the frames of each write before they leave, and may take some away. `joining` is told how
    /// many frames wait, and says whether somebody may be about to add another one.
    ///
    /// Not cancel safe: a dropped write may have written half a frame, so reset the stream then.
    pub(crate) async fn write(
        &self,
        link: &Connection,
        lane: Lane,
        stream: &mut SendStream,
        joining: impl Fn(usize) -> bool,
        mut depart: impl FnMut(&mut VecDeque<Queued>),
    ) -> Result<(), WriteError> {
        let mut batch = VecDeque::new();
        while self.gather(&mut batch, &joining).await {
            depart(&mut batch);
            if !batch.is_empty() {
                let bytes = write_each(stream, batch.iter().map(|queued| &queued.frame)).await?;
                link.counters().sent(lane, batch.len() as u64, bytes);
            }
            // It is the queue after the next write, so it keeps no more than the queue does.
            batch.clear();
            batch.shrink_to(KEPT_FRAMES);
        }
        Ok(())
    }
}

impl Queue {
    fn push(&mut self, frame: Frame, hold: Option<Hold>) {
        self.bytes += frame.body.len();
        let _hold = hold;
        self.frames.push_back(Queued { frame, _hold });
    }

    /// Frames that wait; none where the outbox is closed.
    fn poll_ready(&mut self, context: &Context<'_>) -> Poll<usize> {
        if self.closed || !self.frames.is_empty() {
            return Poll::Ready(self.frames.len());
        }
        self.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn take(&mut self, most: usize, batch: &mut VecDeque<Queued>) {
        if batch.is_empty() && self.frames.len() <= most {
            // No frame moves, and whoever adds one does not wait for them.
            std::mem::swap(&mut self.frames, batch);
            self.bytes = 0;
            return;
        }
        let taken = most.min(self.frames.len());
        for queued in self.frames.drain(..taken) {
            self.bytes -= queued.frame.body.len();
            batch.push_back(queued);
        }
    }
}

/// Outside the lock, because whoever wakes up may want it.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// For the guard of instruction counts: what [`Outbox::write`] does to frames before the stream.
#[cfg(feature = "fuzzing")]
pub(crate) async fn leaving(frames: Vec<Frame>) -> Vec<bytes::Bytes> {
    let outbox = Outbox::new(OutboxBounds {
        frames: usize::MAX,
        bytes: usize::MAX,
        write_frames: usize::MAX,
    });
    for frame in frames {
        outbox.push(frame, None);
    }
    let mut batch = VecDeque::new();
    outbox.gather(&mut batch, |_| true).await;
    super::stream::gather(batch.iter().map(|queued| &queued.frame))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::frame::FrameKind;

    impl Outbox {
        pub(in crate::link) fn for_tests() -> Self {
            Self::new(OutboxBounds {
                frames: 16,
                bytes: 100,
                write_frames: 12,
            })
        }

        /// What waits.
        pub(in crate::link) fn taken(&self) -> VecDeque<Queued> {
            let mut taken = VecDeque::new();
            lock(&self.queue).take(usize::MAX, &mut taken);
            taken
        }
    }

    fn frame(size: usize) -> Frame {
        let body = Bytes::from(vec![7; size]);
        Frame::new(FrameKind::Call, Lane::Call, 0, 1, body)
    }

    #[test]
    fn bounds_at_the_limit_and_one_past_it() {
        let outbox = Outbox::for_tests();
        for _ in 0..16 {
            outbox.offer(frame(0)).unwrap();
        }
        let full = outbox.offer(frame(0)).unwrap_err();
        assert_eq!((full.limit, full.unit), (16, "frames"));
        assert_eq!(outbox.taken().len(), 16);

        outbox.offer(frame(60)).unwrap();
        let full = outbox.offer(frame(41)).unwrap_err();
        assert_eq!((full.limit, full.unit), (100, "bytes"));
        outbox.offer(frame(40)).unwrap();
        // An answer is never refused.
        outbox.push(frame(200), None);
        assert_eq!(outbox.waiting(), (3, 300));
        outbox.taken();
        assert_eq!(outbox.waiting(), (0, 0));
    }

    /// Whoever is about to add a frame when the writer wakes joins its write.
    #[tokio::test]
    async fn frames_that_are_ready_together_leave_together() {
        let outbox = Arc::new(Outbox::for_tests());
        let adding = Arc::clone(&outbox);
        tokio::spawn(async move {
            adding.offer(frame(1)).unwrap();
            // They run behind the writer, which is awake already.
            for _ in 1..14 {
                let adding = Arc::clone(&adding);
                tokio::spawn(async move { adding.offer(frame(1)).unwrap() });
            }
        });
        let mut batch = VecDeque::new();
        assert!(outbox.gather(&mut batch, |_| true).await);
        assert_eq!(batch.len(), 12, "a write at its bound");
        batch.clear();
        assert!(outbox.gather(&mut batch, |_| true).await);
        assert_eq!(batch.len(), 2, "and the rest");
    }

    #[tokio::test]
    async fn a_closed_outbox_ends_its_writer_behind_the_last_frame() {
        let outbox = Outbox::for_tests();
        let mut batch = VecDeque::new();
        assert!(outbox.ready().now_or_never().is_none());
        outbox.offer(frame(1)).unwrap();
        outbox.close();
        assert!(outbox.gather(&mut batch, |_| true).await);
        batch.clear();
        assert!(!outbox.gather(&mut batch, |_| true).await);
    }

    #[test]
    fn a_burst_does_not_keep_its_memory() {
        let outbox = Outbox::for_tests();
        for _ in 0..2 * KEPT_FRAMES {
            outbox.push(frame(0), None);
        }
        assert_eq!(outbox.taken().len(), 2 * KEPT_FRAMES);
        assert_eq!(lock(&outbox.queue).frames.capacity(), 0);
    }
}
