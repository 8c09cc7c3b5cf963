//! The answering side of the Call lane.
//!
//! Any number of calls may be under way on a stream, and answers leave in the order in which they are
//! ready. What is ready at the first look is answered by the task that read it; only what waits gets a
//! task, and a cancel ends it. A peer that does not take its answers is not read any further.

use std::collections::{HashMap, VecDeque};
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use quinn::SendStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::budget::BudgetShare;
use super::connection::Connection;
use super::outbox::{Hold, Outbox, OutboxBounds};
use super::serve::{Answer, answer, deadline_from, deadline_passed, refusal_frame, stop_code};
use super::stream::{FrameReadError, FrameReader};
use crate::close::StreamCode;
use crate::frame::{Frame, FrameError, FrameHeader, FrameKind, Lane};
use crate::limits::{
    CALL_ANSWERS_MAX, CALL_SHARED_BYTES_MAX, CALL_WRITE_FRAMES_MAX, CALLS_IN_FLIGHT_MAX,
    HELLO_LIMIT, READ_CHUNK_BYTES_MAX, REPLY_FREE_BYTES_MAX, REPLY_TAKEN_LIMIT,
};
use crate::{Refusal, RefusalCode};

/// How a stream ends.
#[derive(Debug)]
enum End {
    /// The caller is gone, or has its answers.
    Over,
    /// It is reset and stopped.
    Broken(StreamCode),
    /// One call is refused behind the answers that are ready, and the stream is stopped.
    Refused(Frame, StreamCode),
}

/// What the task of a call has come to.
#[derive(Debug)]
enum Done {
    Answered {
        frame: Frame,
        place: OwnedSemaphorePermit,
        share: Option<BudgetShare>,
    },
    /// The caller did not say in time that it took a large reply.
    NotTaken,
}

/// Serves the calls of one stream.
pub(crate) async fn serve(link: Arc<Connection>, mut reader: FrameReader, mut send: SendStream) {
    let outbox = Outbox::new(OutboxBounds {
        frames: CALL_ANSWERS_MAX,
        bytes: usize::MAX,
        write_frames: CALL_WRITE_FRAMES_MAX,
    });
    let stopped = send.stopped();
    let end = {
        // What was answered by the task that read it is here. Others join if handlers run.
        let joining = |_| link.calls.running.load(Ordering::Relaxed) > 0;
        let writing = outbox.write(&link, Lane::Call, &mut send, joining, |_| {});
        tokio::pin!(writing);
        let mut calls = ServedCalls::new(&link, &outbox);
        let end = tokio::select! {
            // Whatever has arrived is answered before the answers are written.
            biased;
            end = calls.run(&mut reader) => end,
            _ = &mut writing => End::Over,
            _ = stopped => End::Over,
        };
        drop(calls);
        if let End::Refused(frame, _) = &end {
            outbox.push(Frame::clone(frame), None);
            outbox.close();
            // A peer that does not read its answers does not read this one either.
            drop(timeout(HELLO_LIMIT, writing).await);
        }
        end
    };
    match end {
        End::Over => {}
        End::Broken(code) => {
            drop(send.reset(code.varint()));
            reader.stop(code);
        }
        End::Refused(_, code) => {
            drop(send.finish());
            reader.stop(code);
        }
    }
}

/// The calls of one stream that are under way.
struct ServedCalls<'a> {
    link: &'a Arc<Connection>,
    outbox: &'a Outbox,
    tasks: JoinSet<Done>,
    /// Calls whose answers are not ready.
    running: HashMap<u64, AbortHandle>,
    /// Large replies that the caller has not taken.
    untaken: HashMap<u64, AbortHandle>,
    /// A place for the answer of the next call, where it had to be waited for.
    place: Option<OwnedSemaphorePermit>,
    /// When the last bytes came.
    arrived: Instant,
    /// The frame that was arriving before them, and its deadline.
    begun: Option<(FrameHeader, Instant)>,
}

impl<'a> ServedCalls<'a> {
    fn new(link: &'a Arc<Connection>, outbox: &'a Outbox) -> Self {
        Self {
            link,
            outbox,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            untaken: HashMap::new(),
            place: None,
            arrived: Instant::now(),
            begun: None,
        }
    }

    /// Reads and answers, until the stream is of no use any more.
    async fn run(&mut self, reader: &mut FrameReader) -> End {
        let mut frames = VecDeque::new();
        let (mut reading, mut unwritten) = (true, 0);
        let mut arriving = self.arriving(reader, None);
        loop {
            if let Err(end) = self.take_all(&mut frames) {
                return end;
            }
            if !reading && frames.is_empty() && self.running.is_empty() {
                // The writer ends the stream behind the last answer.
                self.outbox.close();
                return pending().await;
            }
            if reader.taken() - unwritten > 2 * READ_CHUNK_BYTES_MAX as u64 {
                // A peer that never rests gets its answers all the same, and others their turn.
                unwritten = reader.taken();
                yield_now().await;
            }
            let late = arriving.filter(|(header, _)| is_large(header));
            let places = &self.link.calls.answers;
            tokio::select! {
                biased;
                Some(done) = self.tasks.join_next() => match done {
                    Ok(Done::Answered { frame, place, share }) => self.answered(frame, place, share),
                    Ok(Done::NotTaken) => return End::Broken(StreamCode::Cancelled),
                    // It was cancelled.
                    Err(_) => {}
                },
                place = Arc::clone(places).acquire_owned(), if !frames.is_empty() => {
                    self.place = place.ok();
                }
                read = reader.batch(&mut frames), if reading && frames.is_empty() => {
                    self.link.counters().received_all(Lane::Call, frames.iter());
                    self.arrived = Instant::now();
                    self.begun = arriving.take();
                    arriving = self.arriving(reader, self.begun);
                    match read {
                        Ok(goes_on) => reading = goes_on,
                        Err(FrameReadError::Stream(_)) => return End::Over,
                        Err(FrameReadError::Frame(error)) => {
                            // What came before it is answered.
                            return self.take_all(&mut frames).err().unwrap_or_else(|| unreadable(error));
                        }
                    }
                }
                // L5: the body of a large call has its deadline too.
                (header, _) = passed(late), if late.is_some() => {
                    let refusal = refusal_frame(&header, &deadline_passed());
                    return End::Refused(refusal, StreamCode::Cancelled);
                }
            }
        }
    }

    /// The frame that has begun to arrive, and its deadline.
    fn arriving(
        &self,
        reader: &FrameReader,
        before: Option<(FrameHeader, Instant)>,
    ) -> Option<(FrameHeader, Instant)> {
        let header = reader.arriving()?;
        let known = before.filter(|(begun, _)| begun == header);
        known.or_else(|| Some((*header, deadline_from(header, self.arrived))))
    }

    /// Acts on what was read, as far as there are places for the answers.
    fn take_all(&mut self, frames: &mut VecDeque<Frame>) -> Result<(), End> {
        while let Some(frame) = frames.front() {
            let id = frame.header.id;
            match (frame.header.kind, frame.header.lane) {
                (FrameKind::Call, Lane::Call) => {
                    let places = Arc::clone(&self.link.calls.answers);
                    let place = self
                        .place
                        .take()
                        .or_else(|| places.try_acquire_owned().ok());
                    let Some(place) = place else { return Ok(()) };
                    if let Some(frame) = frames.pop_front() {
                        self.call(frame, place)?;
                    }
                    continue;
                }
                // One that is answered already has nothing to stop.
                (FrameKind::Cancel, Lane::Call) => stop(self.running.remove(&id)),
                (FrameKind::Taken, Lane::Call) => stop(self.untaken.remove(&id)),
                _ => return Err(End::Broken(StreamCode::Malformed)),
            }
            frames.pop_front();
        }
        Ok(())
    }

    fn call(&mut self, frame: Frame, place: OwnedSemaphorePermit) -> Result<(), End> {
        let header = frame.header;
        if self.running.contains_key(&header.id) || self.untaken.contains_key(&header.id) {
            return Err(End::Broken(StreamCode::Malformed));
        }
        let begun = self.begun.take().filter(|(begun, _)| *begun == header);
        let deadline = begun.map_or_else(
            || deadline_from(&header, self.arrived),
            |(_, deadline)| deadline,
        );
        if deadline <= self.arrived {
            self.reply(refusal_frame(&header, &deadline_passed()), place);
        } else if self.link.calls.running.load(Ordering::Acquire) >= CALLS_IN_FLIGHT_MAX {
            let text = format!("{CALLS_IN_FLIGHT_MAX} calls of this peer are running");
            let busy = Refusal::new(RefusalCode::Busy, text);
            self.reply(refusal_frame(&header, &busy), place);
        } else {
            match answer(self.link, frame, deadline) {
                Answer::Ready(frame) => self.reply(frame, place),
                Answer::Later(handling) => self.spawn(header.id, handling.run(), place),
            }
        }
        Ok(())
    }

    /// Sends an answer that is ready. A large one that has to wait for the budget does so in a task
    /// of its own, and holds up nobody.
    fn reply(&mut self, frame: Frame, place: OwnedSemaphorePermit) {
        let frame = fitting(self.link, frame);
        if !needs_budget(&frame) {
            return self.send(frame, place, None);
        }
        match self.link.call_budget.take(frame.body.len()).now_or_never() {
            Some(share) => self.send(frame, place, Some(share)),
            None => self.spawn(frame.header.id, ready(frame), place),
        }
    }

    /// Runs a call to its answer, and waits for what a large answer needs.
    fn spawn(
        &mut self,
        id: u64,
        frame: impl Future<Output = Frame> + Send + 'static,
        place: OwnedSemaphorePermit,
    ) {
        let running = Running::new(self.link);
        let task = async move {
            let frame = fitting(&running.0, frame.await);
            let share = if needs_budget(&frame) {
                Some(running.0.call_budget.take(frame.body.len()).await)
            } else {
                None
            };
            Done::Answered {
                frame,
                place,
                share,
            }
        };
        self.running.insert(id, self.tasks.spawn(task));
    }

    fn answered(&mut self, frame: Frame, place: OwnedSemaphorePermit, share: Option<BudgetShare>) {
        // A cancel may have come while it was ready already.
        if self.running.remove(&frame.header.id).is_some() {
            self.send(frame, place, share);
        }
    }

    fn send(&mut self, frame: Frame, place: OwnedSemaphorePermit, share: Option<BudgetShare>) {
        // Bytes of the budget are given back when the reply is both written and taken.
        let share = share.map(Arc::new);
        if let Some(share) = share.as_ref().map(Arc::clone) {
            let taken = self.tasks.spawn(async move {
                let _share = share;
                sleep(REPLY_TAKEN_LIMIT).await;
                Done::NotTaken
            });
            self.untaken.insert(frame.header.id, taken);
        }
        // The writer is polled behind this, in the same task.
        self.outbox.put(frame, Some(Hold::new(place, share)));
    }
}

/// Counts as one call of the peer that runs here, until it is dropped.
struct Running(Arc<Connection>);

impl Running {
    fn new(link: &Arc<Connection>) -> Self {
        link.calls.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(link))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.calls.running.fetch_sub(1, Ordering::AcqRel);
    }
}

fn stop(task: Option<AbortHandle>) {
    if let Some(task) = task {
        task.abort();
    }
}

/// Whether a call has a stream of its own for its size.
const fn is_large(header: &FrameHeader) -> bool {
    header.body_bytes as usize > CALL_SHARED_BYTES_MAX
}

fn needs_budget(frame: &Frame) -> bool {
    frame.body.len() > REPLY_FREE_BYTES_MAX
}

/// Waits until the deadline of a frame has passed.
async fn passed(frame: Option<(FrameHeader, Instant)>) -> (FrameHeader, Instant) {
    match frame {
        Some((header, deadline)) => {
            sleep_until(deadline).await;
            (header, deadline)
        }
        None => pending().await,
    }
}

/// What becomes of a stream that cannot be read on.
fn unreadable(error: FrameError) -> End {
    let code = stop_code(&error);
    match error {
        // L11: the call is refused, the stream ends, the link lives on.
        FrameError::TooLarge {
            header,
            size,
            limit,
        } => {
            let text = format!("a body of {size} bytes is over the limit of {limit}");
            let refusal = Refusal::new(RefusalCode::TooLarge, text);
            End::Refused(refusal_frame(&header, &refusal), code)
        }
        _ => End::Broken(code),
    }
}

/// A reply over the caller's limit would end its stream; it gets a refusal instead.
fn fitting(link: &Connection, frame: Frame) -> Frame {
    let (size, limit) = (frame.body.len(), link.frame_bytes_max());
    if size <= limit {
        return frame;
    }
    let text = format!("the reply has {size} bytes, the caller takes {limit}");
    refusal_frame(&frame.header, &Refusal::new(RefusalCode::TooLarge, text))
}
