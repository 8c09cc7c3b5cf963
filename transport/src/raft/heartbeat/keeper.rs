//! The task that sends what was gathered for one peer, and takes the replies.
//!
//! There is one for each peer that groups have clients for, whatever their number. It decides
//! nothing; the gatherer does.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::gatherer::{Departure, Outcome, Step};
use super::{HEARTBEATS, PeerHeartbeats};
use crate::CallError;
use crate::link::{CallLane, Peer, Request};
use crate::raft::wire::method;

/// Starts the keeper. It ends with the last client, and when the transport stops.
pub(super) fn start(heartbeats: &Arc<PeerHeartbeats>, peer: &Peer) {
    // Made here, so that a task that is stopped before it ran lets nobody wait.
    let keeper = Keeper {
        heartbeats: Arc::clone(heartbeats),
        ended: false,
    };
    let (peer, local) = (peer.clone(), Arc::clone(&peer.local));
    drop(local.spawn(async move { keeper.run(peer).await }));
}

struct Keeper {
    heartbeats: Arc<PeerHeartbeats>,
    /// In order: another keeper may be there already.
    ended: bool,
}

impl Keeper {
    async fn run(mut self, peer: Peer) {
        let mut calls = FuturesUnordered::new();
        loop {
            let under_way = calls.len();
            let step = self
                .heartbeats
                .with(|gatherer, woken| gatherer.step(Instant::now(), under_way, woken));
            let alarm = match step {
                Step::Send(departure) => {
                    calls.push(send(&peer, departure));
                    continue;
                }
                Step::Wait(alarm) => alarm,
                Step::End => {
                    self.ended = true;
                    return;
                }
            };
            let alarm = async {
                match alarm {
                    Some(alarm) => sleep_until(alarm).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((number, reply)) = calls.next() => self.take(number, reply),
                // Whoever is about to make a heartbeat at this moment gets the chance to join.
                () = self.heartbeats.wake.notified() => tokio::task::yield_now().await,
                () = alarm => {}
            }
        }
    }

    fn take(&self, number: u64, reply: Result<Bytes, CallError>) {
        self.heartbeats.with(|gatherer, woken| match reply {
            Ok(answers) => {
                if gatherer.settle(number, &answers, &answers, woken).is_err() {
                    gatherer.fail(number, &Outcome::Unusable, woken);
                }
            }
            Err(error) => gatherer.fail(number, &Outcome::Failed(Arc::new(error)), woken),
        });
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.ended {
            self.heartbeats.with(|gatherer, woken| gatherer.stop(woken));
        }
    }
}

async fn send(peer: &Peer, departure: Departure) -> (u64, Result<Bytes, CallError>) {
    let Departure {
        number,
        body,
        deadline,
    } = departure;
    let request = Request::new(HEARTBEATS, method::BEATS, body);
    (
        number,
        peer.call(CallLane::Control, request, deadline).await,
    )
}
