//! What a client remembers of its peer's outage from one append session to the next, and how long
//! openraft waits between them.
//!
//! A peer that is away is reported to openraft once. Then the request that openraft makes next is
//! held until there is a link again, so that a dead peer costs each group one wake-up for each
//! [`APPEND_HOLD_LIMIT`], and the request leaves the moment the link is back. Waiting out a backoff
//! would be both more often and later.
//!
//! A held request may be old when it leaves, and is sent as it is. That is right for the reasons that
//! make a late packet right: an append speaks for its leader's term, in which the leader's log only
//! grows, so its entries are still those of the log; a follower that has seen a newer term answers
//! with the higher vote, one whose log has moved on with a match or a conflict; its commit index only
//! raises the follower's; and openraft dates the lease that an answer renews from before the wait. A
//! leader that has stepped down meanwhile has dropped the stream, and the request with it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use openraft::network::Backoff;
use tokio::time::Instant;

use crate::link::Peer;
use crate::raft::limits::{APPEND_BACKOFF_MAX, APPEND_BACKOFF_MIN, APPEND_HOLD_LIMIT};

/// Waits until there is a link, at most until an instant; says whether there is one.
type Back = dyn Fn(Instant) -> BoxFuture<'static, bool> + Send + Sync;

/// The outage of one peer, as one client knows it. Clones are the same outage.
#[derive(Clone)]
pub(crate) struct Outage {
    reported: Arc<AtomicBool>,
    back: Arc<Back>,
}

impl Outage {
    /// No outage yet; `back` waits for the end of one.
    pub(crate) fn new(
        back: impl Fn(Instant) -> BoxFuture<'static, bool> + Send + Sync + 'static,
    ) -> Self {
        Self {
            reported: Arc::default(),
            back: Arc::new(back),
        }
    }

    /// For a peer of the transport. Without one there is nothing to wait for.
    pub(crate) fn of(peer: Option<&Peer>) -> Self {
        let peer = peer.cloned();
        Self::new(move |deadline| {
            let peer = peer.clone();
            Box::pin(async move {
                match peer {
                    Some(peer) => peer.back(deadline).await,
                    None => {
                        tokio::time::sleep_until(deadline).await;
                        false
                    }
                }
            })
        })
    }

    /// openraft was told that the peer is away.
    pub(super) fn report(&self) {
        self.reported.store(true, Ordering::Release);
    }

    /// The peer is there: it has answered, or failed in another way.
    pub(super) fn end(&self) {
        // Nearly always there is none, and a read does not disturb other threads.
        if self.is_reported() {
            self.reported.store(false, Ordering::Release);
        }
    }

    fn is_reported(&self) -> bool {
        self.reported.load(Ordering::Acquire)
    }

    /// Holds a request while the peer is known to be away. `false` if it is after all that time.
    /// Cancel safe.
    pub(super) async fn hold(&self) -> bool {
        !self.is_reported() || (self.back)(Instant::now() + APPEND_HOLD_LIMIT).await
    }

    /// What openraft waits between `Unreachable` and its next request: nothing while the peer is
    /// away, because the next request is held instead; growing steps where the peer is there and
    /// does not want the request.
    pub(crate) fn backoff(&self) -> Backoff {
        let (outage, mut step) = (self.clone(), APPEND_BACKOFF_MIN);
        Backoff::new(std::iter::from_fn(move || {
            if outage.is_reported() {
                step = APPEND_BACKOFF_MIN;
                return Some(Duration::ZERO);
            }
            let wait = step;
            step = (step * 2).min(APPEND_BACKOFF_MAX);
            Some(wait)
        }))
    }
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outage")
            .field("reported", &self.is_reported())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_grows_for_a_peer_that_is_there_and_is_none_for_one_that_is_away() {
        let outage = Outage::of(None);
        let mut backoff = outage.backoff();
        let mut waits = |count: usize| -> Vec<u128> {
            let waits = backoff.by_ref().take(count);
            waits.map(|wait| wait.as_millis()).collect()
        };
        assert_eq!(waits(7), [50, 100, 200, 400, 800, 1_000, 1_000]);
        outage.report();
        assert_eq!(waits(3), [0, 0, 0]);
        outage.end();
        assert_eq!(waits(2), [50, 100], "anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_held_only_after_a_report_and_at_most_for_the_limit() {
        let outage = Outage::of(None);
        let start = Instant::now();
        assert!(outage.hold().await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        outage.report();
        assert!(!outage.hold().await);
        assert_eq!(start.elapsed(), APPEND_HOLD_LIMIT);
        outage.end();
        assert!(outage.hold().await);
        assert_eq!(start.elapsed(), APPEND_HOLD_LIMIT);
    }
}
