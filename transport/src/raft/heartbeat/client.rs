//! A group's way to send heartbeats to one peer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::gatherer::{NotTaken, Outcome, Ticket};
use super::{Heartbeats, PeerHeartbeats, keeper};
use crate::event::Event;
use crate::frame::Lane;
use crate::link::{Peer, lock};
use crate::raft::limits::HEARTBEATS_GATHERED_MAX;
use crate::{CallError, GroupId, UnreachableReason};

/// Has a place among the heartbeats to its peer, as long as it lives.
#[derive(Debug)]
pub(crate) struct HeartbeatClient {
    heartbeats: Arc<PeerHeartbeats>,
    group: GroupId,
    place: u32,
}

impl HeartbeatClient {
    /// For the heartbeats of `group`. Touches no network.
    pub(crate) fn new(heartbeats: &Heartbeats, peer: &Peer, group: GroupId) -> Self {
        let heartbeats = heartbeats.peer(peer.id());
        let place = lock(&heartbeats.gatherer).enter();
        Self {
            heartbeats,
            group,
            place,
        }
    }

    /// Sends a heartbeat and waits for its answer. `None`: the peer's answer is unusable.
    ///
    /// While the peer is down it fails at once, without a trace in any queue.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the heartbeat up; the peer may still answer it.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "a client has one place, so one heartbeat at a time"
    )]
    pub(crate) async fn send(
        &mut self,
        peer: &Peer,
        body: &[u8],
        limit: Duration,
    ) -> Result<Option<Bytes>, CallError> {
        let deadline = Instant::now() + limit;
        if let Some(error) = peer.fails_at_once(self.group, deadline) {
            return Err(error);
        }
        let outcome = self.push(peer, body, deadline)?.await;
        match outcome {
            Outcome::Answered(Ok(reply)) => Ok(Some(reply)),
            Outcome::Unusable => Ok(None),
            Outcome::Answered(Err(refusal)) => Err(CallError::Refused {
                peer: peer.id(),
                group: self.group,
                refusal,
            }),
            Outcome::Failed(error) => Err(for_group(&error, self.group)),
            Outcome::Expired => Err(CallError::Timeout {
                peer: peer.id(),
                group: self.group,
                address: peer.address(),
                limit,
            }),
            Outcome::Stopped => Err(peer.unreachable(self.group, UnreachableReason::ShuttingDown)),
        }
    }

    fn push(&self, peer: &Peer, body: &[u8], deadline: Instant) -> Result<Waiting<'_>, CallError> {
        let (pushed, unkept) = {
            let mut gatherer = lock(&self.heartbeats.gatherer);
            let pushed = gatherer.push(self.place, self.group, body, deadline);
            let unkept = pushed.is_ok() && gatherer.needs_keeper();
            (pushed, unkept)
        };
        let (ticket, news) = pushed.map_err(|error| not_taken(error, peer, self.group))?;
        let waiting = Waiting {
            heartbeats: &self.heartbeats,
            ticket,
        };
        if unkept {
            keeper::start(&self.heartbeats, peer);
        } else if news {
            self.heartbeats.wake.notify_one();
        }
        Ok(waiting)
    }
}

impl Drop for HeartbeatClient {
    fn drop(&mut self) {
        if lock(&self.heartbeats.gatherer).leave(self.place) {
            self.heartbeats.wake.notify_one();
        }
    }
}

/// Waits for the outcome of a heartbeat; gives it up when it is dropped.
struct Waiting<'a> {
    heartbeats: &'a PeerHeartbeats,
    ticket: Ticket,
}

impl Future for Waiting<'_> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        lock(&self.heartbeats.gatherer).poll(self.ticket, cx)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.heartbeats.gatherer).forget(self.ticket);
    }
}

fn not_taken(error: NotTaken, peer: &Peer, group: GroupId) -> CallError {
    match error {
        NotTaken::TooLarge { size, limit } => CallError::TooLarge {
            peer: peer.id(),
            group,
            size,
            limit,
        },
        NotTaken::Full => {
            let (node, lane) = (peer.id(), Lane::Control);
            peer.local
                .events
                .raise(Event::LaneFull { peer: node, lane });
            let reason = UnreachableReason::LaneFull {
                lane: lane.name(),
                limit: HEARTBEATS_GATHERED_MAX,
                unit: "heartbeats",
            };
            peer.unreachable(group, reason)
        }
    }
}

/// The failure of a frame as the failure of one group's heartbeat.
fn for_group(error: &CallError, of: GroupId) -> CallError {
    let mut error = error.clone();
    match &mut error {
        CallError::Unreachable { group, .. }
        | CallError::Cut { group, .. }
        | CallError::Timeout { group, .. }
        | CallError::Refused { group, .. }
        | CallError::TooLarge { group, .. }
        | CallError::Source { group, .. } => *group = of,
    }
    error
}
