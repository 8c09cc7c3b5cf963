//! The answering side: takes a frame of heartbeats apart, and puts together what is answered
//! together.
//!
//! Each heartbeat is handed to the service of its group, all at the same time; so one group that is
//! slow or stuck keeps no other's answer back. What is answered within the window leaves as the reply
//! to the frame, what comes later behind it. This room knows no Raft.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, CatchUnwind};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Answering, HEARTBEATS, Heartbeats, PeerHeartbeats};
use crate::event::Event;
use crate::limits::CONTROL_BODY_BYTES_MAX;
use crate::link::{CallLane, LocalNode, Peer, Request};
use crate::raft::limits::HEARTBEATS_ANSWERED_MAX;
use crate::raft::wire::beats::{self, AnswerFrame, BeatAnswer};
use crate::raft::wire::{WireError, method};
use crate::service::{CallContext, Service};
use crate::{GroupId, NodeId, Refusal, RefusalCode};

/// The node's own service for heartbeats of all groups.
struct HeartbeatService {
    heartbeats: Arc<Heartbeats>,
    /// The node keeps its services; this one does not keep the node.
    local: Weak<LocalNode>,
}

/// The service of a node. It keeps the node's heartbeats, not the node.
pub(super) fn service(heartbeats: Arc<Heartbeats>, local: &Arc<LocalNode>) -> Arc<dyn Service> {
    Arc::new(HeartbeatService {
        heartbeats,
        local: Arc::downgrade(local),
    })
}

impl Service for HeartbeatService {
    fn call(
        &self,
        context: CallContext,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let peer = self.heartbeats.peer(context.from.node());
        match (context.method, self.local.upgrade()) {
            (method::BEATS, Some(local)) => {
                let answering = Frame {
                    local,
                    peer,
                    context,
                };
                Box::pin(answering.answer(body, self.heartbeats.window))
            }
            (method::LATE_ANSWERS, Some(_)) => {
                Box::pin(std::future::ready(take_late(&peer, &body)))
            }
            (_, None) => {
                let text = "this node is shutting down";
                let refusal = Refusal::new(RefusalCode::ShuttingDown, text);
                Box::pin(std::future::ready(Err(refusal)))
            }
            (unknown, Some(_)) => {
                let text = format!("method {unknown} is not one of heartbeats");
                let refusal = Refusal::new(RefusalCode::UnknownMethod, text);
                Box::pin(std::future::ready(Err(refusal)))
            }
        }
    }
}

/// Answers of the peer that come behind its reply.
fn take_late(peer: &PeerHeartbeats, body: &Bytes) -> Result<Bytes, Refusal> {
    let taken = beats::number(body).and_then(|(number, rest)| {
        peer.with(|gatherer, woken| gatherer.settle(number, body, rest, woken))
    });
    taken.map(|()| Bytes::new()).map_err(undecodable)
}

fn undecodable(error: WireError) -> Refusal {
    Refusal::new(RefusalCode::Undecodable, error.to_string())
}

/// A frame of heartbeats that is being answered.
struct Frame {
    local: Arc<LocalNode>,
    peer: Arc<PeerHeartbeats>,
    context: CallContext,
}

impl Frame {
    async fn answer(self, body: Bytes, window: Duration) -> Result<Bytes, Refusal> {
        let (number, rest) = beats::number(&body).map_err(undecodable)?;
        let heartbeats = beats::heartbeats(rest).map_err(undecodable)?;
        let mut answers = Answers::default();
        for (place, (group, bytes)) in (0..).zip(heartbeats) {
            answers.add(self.ask(place, group, body.slice_ref(bytes)));
        }
        answers.wait(Instant::now() + window).await;
        let mut reply = AnswerFrame::new(None, CONTROL_BODY_BYTES_MAX);
        answers.fill(&mut reply);
        if !answers.is_empty() {
            let deadline = self.context.deadline;
            let local = Arc::clone(&self.local);
            let late = send_late(self, answers, number, window);
            drop(local.spawn(async move {
                // L12: at its deadline a heartbeat that is not answered is forgotten.
                drop(timeout_at(deadline, late).await);
            }));
        }
        Ok(reply.finish())
    }

    /// Hands a heartbeat to its group.
    fn ask(&self, place: u32, group: GroupId, body: Bytes) -> Asked {
        let refused = |code, text| Asked::Answered(place, Err(Refusal::new(code, text)));
        let Some(service) = self.local.service(group) else {
            let text = format!("no service is registered for group {group}");
            return refused(RefusalCode::UnknownGroup, text);
        };
        let Some(counted) = self.peer.answer_one() else {
            let text = format!("{HEARTBEATS_ANSWERED_MAX} heartbeats of this peer are unanswered");
            return refused(RefusalCode::Busy, text);
        };
        let context = CallContext {
            group,
            method: method::HEARTBEAT,
            ..self.context.clone()
        };
        let begun = catch_unwind(AssertUnwindSafe(|| service.call(context, body)));
        let mut running = Running {
            place,
            group,
            peer: self.context.from.node(),
            answer: match begun {
                Ok(answer) => AssertUnwindSafe(answer).catch_unwind(),
                Err(_) => return Asked::Answered(place, Err(self.panicked(group))),
            },
            local: Arc::clone(&self.local),
            _counted: counted,
        };
        match (&mut running).now_or_never() {
            Some((place, answer)) => Asked::Answered(place, answer),
            None => Asked::Running(running),
        }
    }

    fn panicked(&self, group: GroupId) -> Refusal {
        panicked(&self.local, self.context.from.node(), group)
    }
}

fn panicked(local: &LocalNode, peer: NodeId, group: GroupId) -> Refusal {
    local.events.raise(Event::HandlerPanicked { peer, group });
    // R3: the heartbeat may have counted.
    let text = "the handler of the heartbeat panicked";
    Refusal::new(RefusalCode::HandlerPanicked, text)
}

enum Asked {
    Answered(u32, BeatAnswer),
    Running(Running),
}

/// A heartbeat that its group has not answered yet.
struct Running {
    place: u32,
    group: GroupId,
    peer: NodeId,
    answer: CatchUnwind<AssertUnwindSafe<BoxFuture<'static, BeatAnswer>>>,
    local: Arc<LocalNode>,
    _counted: Answering,
}

impl Future for Running {
    type Output = (u32, BeatAnswer);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer: Result<BeatAnswer, Box<dyn Any + Send>> =
            std::task::ready!(self.answer.poll_unpin(cx));
        let answer = answer.unwrap_or_else(|_| Err(panicked(&self.local, self.peer, self.group)));
        Poll::Ready((self.place, answer))
    }
}

/// The answers to one frame, as far as they are there.
#[derive(Default)]
struct Answers {
    ready: VecDeque<(u32, BeatAnswer)>,
    running: FuturesUnordered<Running>,
}

impl Answers {
    fn add(&mut self, asked: Asked) {
        match asked {
            Asked::Answered(place, answer) => self.ready.push_back((place, answer)),
            Asked::Running(running) => self.running.push(running),
        }
    }

    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.running.is_empty()
    }

    /// Waits until all is answered, or until `due` and something is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an answer that is there is kept.
    async fn wait(&mut self, due: Instant) {
        let Self { ready, running } = self;
        let due = sleep_until(due);
        tokio::pin!(due);
        let mut over = false;
        while !(running.is_empty() || over && !ready.is_empty()) {
            tokio::select! {
                biased;
                Some(answer) = running.next() => ready.push_back(answer),
                () = &mut due, if !over => over = true,
            }
        }
    }

    /// Puts what is answered into a frame, as far as it has room.
    fn fill(&mut self, frame: &mut AnswerFrame) {
        let ready = self.ready.make_contiguous();
        ready.sort_unstable_by_key(|(place, _)| *place);
        while let Some((place, answer)) = self.ready.front() {
            if !frame.put(*place, answer) {
                if !frame.is_empty() {
                    return;
                }
                let text = format!("the answer is over {CONTROL_BODY_BYTES_MAX} bytes");
                frame.put(*place, &Err(Refusal::new(RefusalCode::TooLarge, text)));
            }
            self.ready.pop_front();
        }
    }
}

/// Sends what the reply did not have, as it comes.
async fn send_late(frame: Frame, mut answers: Answers, number: u64, window: Duration) {
    let Frame { local, context, .. } = frame;
    let state = local.peer(context.from.node());
    let peer = Peer::new(local, state);
    let mut calls = FuturesUnordered::new();
    while !answers.is_empty() {
        // The first of them, and what comes within the window behind it.
        let first = answers.wait(Instant::now());
        tokio::select! {
            biased;
            () = first => {}
            Some(()) = calls.next() => continue,
        }
        answers.wait(Instant::now() + window).await;
        let mut late = AnswerFrame::new(Some(number), CONTROL_BODY_BYTES_MAX);
        answers.fill(&mut late);
        let request = Request::new(HEARTBEATS, method::LATE_ANSWERS, late.finish());
        let (peer, deadline) = (peer.clone(), context.deadline);
        calls.push(async move {
            // Who asked gives up at the same deadline, whatever becomes of this.
            drop(peer.call(CallLane::Control, request, deadline).await);
        });
    }
    while calls.next().await.is_some() {}
}
