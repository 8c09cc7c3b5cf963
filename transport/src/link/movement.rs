//! When something last moved, which tells slow from dead: a wait is given up only when nothing has
//! moved for its whole limit.
//!
//! This room must not know what moves, or who waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The time of the last movement of a session, of a transfer, or of a whole lane.
#[derive(Debug)]
pub(crate) struct Movement {
    start: Instant,
    /// Nanoseconds from `start` to the last movement: 584 years fit.
    last_ns: AtomicU64,
}

impl Movement {
    /// The making of it counts as the first movement.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            last_ns: AtomicU64::new(0),
        }
    }

    /// Something moves now.
    pub(crate) fn note(&self) {
        let since = self.start.elapsed().as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.last_ns.fetch_max(since, Ordering::AcqRel);
    }

    /// When something last moved.
    pub(crate) fn last(&self) -> Instant {
        self.start + Duration::from_nanos(self.last_ns.load(Ordering::Acquire))
    }

    /// Waits for `what`, until nothing has moved for `limit`; `None` then. The wait itself counts
    /// as movement at its beginning, so it lasts at least the limit.
    ///
    /// Cancel safe if `what` is.
    pub(crate) async fn wait<T>(
        &self,
        limit: Duration,
        what: impl Future<Output = T>,
    ) -> Option<T> {
        let began = Instant::now();
        let mut what = std::pin::pin!(what);
        loop {
            let deadline = began.max(self.last()) + limit;
            if let Ok(value) = timeout_at(deadline, what.as_mut()).await {
                return Some(value);
            }
            // It may have moved meanwhile, and then the wait goes on.
            if began.max(self.last()) + limit <= Instant::now() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_limit_and_not_before() {
        let movement = Movement::new();
        tokio::time::sleep(LIMIT).await;
        let start = Instant::now();
        let waited = movement.wait(LIMIT, std::future::pending::<()>()).await;
        assert_eq!((waited, start.elapsed()), (None, LIMIT));
        // What comes at the limit itself has come in time.
        let waited = movement.wait(LIMIT, tokio::time::sleep(LIMIT)).await;
        assert_eq!(waited, Some(()));
        let waited = movement.wait(LIMIT, tokio::time::sleep(LIMIT + MS)).await;
        assert_eq!(waited, None);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_moves_begins_the_limit_anew() {
        let movement = Movement::new();
        let start = Instant::now();
        let moving = async {
            for _ in 0..10 {
                tokio::time::sleep(LIMIT - MS).await;
                movement.note();
            }
            std::future::pending::<()>().await;
        };
        let waited = tokio::select! {
            waited = movement.wait(LIMIT, std::future::pending::<()>()) => waited,
            () = moving => unreachable!("it never ends"),
        };
        assert_eq!((waited, start.elapsed()), (None, (LIMIT - MS) * 10 + LIMIT));
    }
}
