//! A change of a node in its groups: what it is made of, how it is asked for and what it reports.
//!
//! The change itself is noted in the meta group first; what is driven here is every group towards
//! what was noted. So whoever drives may be killed anywhere: the same call, from any node, goes on.

mod drive;
mod report;
mod step;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use report::{ChangeReport, GroupChange};
pub use step::{ChangePoint, ChangeStep};

/// Is told before and after each step of a change, and is waited for: for progress, and to hold a
/// change up.
pub trait ChangeObserver: Send + Sync + 'static {
    /// The change is at this point. It goes on when the future is done.
    fn at(&self, point: ChangePoint) -> BoxFuture<'static, ()>;
}

/// How a change is made.
#[derive(Clone)]
#[non_exhaustive]
pub struct ChangeOptions {
    /// When the caller stops waiting. What is done by then stays done.
    pub deadline: Instant,
    /// Groups that are changed at the same time; `None` is
    /// [`RaftManagerConfig::parallelism`](crate::RaftManagerConfig::parallelism).
    pub parallelism: Option<usize>,
    /// Who is told of each step.
    pub observer: Option<Arc<dyn ChangeObserver>>,
}

impl fmt::Debug for ChangeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeOptions")
            .field("deadline", &self.deadline)
            .field("parallelism", &self.parallelism)
            .field("observed", &self.observer.is_some())
            .finish()
    }
}

impl ChangeOptions {
    /// A change that is waited for until `deadline`.
    #[must_use]
    pub const fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            parallelism: None,
            observer: None,
        }
    }

    /// The same with so many groups at a time.
    #[must_use]
    pub const fn parallel(mut self, groups: usize) -> Self {
        self.parallelism = Some(groups);
        self
    }

    /// The same with an observer.
    #[must_use]
    pub fn observed(mut self, observer: Arc<dyn ChangeObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    async fn at(&self, point: ChangePoint) {
        if let Some(observer) = &self.observer {
            observer.at(point).await;
        }
    }
}
