//! The byte budget of one lane of one link.
//!
//! Priority orders only what is already buffered, and all streams share one window. So a lane takes
//! bytes from its budget before it writes, and gets them back when the receiver's application has
//! taken them; a lane out of budget stops writing and leaves the window to the others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::movement::Movement;

/// Bytes that may be in flight on a lane.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    total: u32,
    left: Arc<Semaphore>,
    moved: Arc<Movement>,
}

/// Bytes taken from a budget; dropping it gives them back.
pub(crate) type BudgetShare = OwnedSemaphorePermit;

impl Budget {
    /// A budget of `bytes`, at most `u32::MAX`.
    pub(crate) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            total,
            left: Arc::new(Semaphore::new(total as usize)),
            moved: Arc::new(Movement::new()),
        }
    }

    /// The peer has taken bytes of the lane, or has answered on it: who waits for the budget waits
    /// for a lane that moves.
    pub(crate) fn note_movement(&self) {
        self.moved.note();
    }

    /// Bytes that nobody holds.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.left.available_permits()
    }

    /// Takes `bytes`, waiting in turn until they are there. More than the whole budget counts as
    /// the whole budget, so that one large body can pass, alone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped wait takes nothing and loses its place.
    pub(crate) async fn take(&self, bytes: usize) -> BudgetShare {
        let bytes = self.counted(bytes);
        match Arc::clone(&self.left).acquire_many_owned(bytes).await {
            Ok(share) => share,
            // The semaphore is never closed; were it, the lane would have to stand still.
            Err(_) => std::future::pending().await,
        }
    }

    /// The same for a share that does not outlive this borrow, which costs less.
    ///
    /// # Cancel safety
    ///
    /// As for [`Budget::take`].
    pub(crate) async fn borrow(&self, bytes: usize) -> SemaphorePermit<'_> {
        match self.left.acquire_many(self.counted(bytes)).await {
            Ok(share) => share,
            // As in `take`.
            Err(_) => std::future::pending().await,
        }
    }

    /// The same at once; `None` if it would have to wait, behind others or for bytes.
    pub(crate) fn try_borrow(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.left.try_acquire_many(self.counted(bytes)).ok()
    }

    fn counted(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total)
    }

    /// [`Budget::take`], but `None` when nothing has moved on the whole lane for `limit`. Those who hold
    /// the bytes are slow then, not this one; each of them is given up at its own limit.
    ///
    /// # Cancel safety
    ///
    /// As for [`Budget::take`].
    pub(crate) async fn take_while_moving(
        &self,
        bytes: usize,
        limit: Duration,
    ) -> Option<BudgetShare> {
        self.moved.wait(limit, self.take(bytes)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn at_the_limit_it_passes_and_one_past_it_waits() {
        let budget = Budget::new(10);
        let first = budget.take(10).now_or_never().unwrap();
        assert!(budget.take(1).now_or_never().is_none());
        assert!(budget.borrow(1).now_or_never().is_none());
        assert!(budget.try_borrow(1).is_none());
        drop(first);
        assert!(budget.take(1).now_or_never().is_some());
        assert!(budget.borrow(10).now_or_never().is_some());
        assert!(budget.try_borrow(11).is_some(), "the whole budget");
    }

    #[test]
    fn a_body_over_the_whole_budget_passes_alone() {
        let budget = Budget::new(10);
        let share = budget.take(11).now_or_never().unwrap();
        assert_eq!(budget.left(), 0);
        drop(share);
        assert_eq!(budget.left(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_lasts_as_long_as_the_lane_moves() {
        let (limit, ms) = (Duration::from_secs(5), Duration::from_millis(1));
        let budget = Budget::new(10);
        let held = budget.take(10).await;
        let start = tokio::time::Instant::now();
        let moving = async {
            for _ in 0..4 {
                tokio::time::sleep(limit - ms).await;
                budget.note_movement();
            }
        };
        let (waited, ()) = tokio::join!(budget.take_while_moving(1, limit), moving);
        assert!(waited.is_none());
        assert_eq!(start.elapsed(), (limit - ms) * 4 + limit);
        drop(held);
        assert!(budget.take_while_moving(10, limit).await.is_some());
    }

    #[test]
    fn who_waits_first_is_served_first() {
        let budget = Budget::new(10);
        let held = budget.take(5).now_or_never().unwrap();
        let mut large = Box::pin(budget.take(10));
        assert!(large.as_mut().now_or_never().is_none());
        // A small one behind it may not overtake, or a large one would never pass.
        assert!(budget.take(1).now_or_never().is_none());
        assert!(budget.borrow(1).now_or_never().is_none());
        assert!(budget.try_borrow(1).is_none());
        drop(held);
        assert!(large.now_or_never().is_some());
    }
}
