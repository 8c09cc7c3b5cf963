//! Groups at their pace: a task for each, as openraft has one for each follower of a group, with a
//! phase of its own.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::pair::Failure;
use crate::peers::PeerFailure;
use crate::report::processor_time;

/// A heartbeat of each group this often, or as often as the answers come.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// Whatever has heartbeats.
pub(super) trait Beats: Send + 'static {
    /// One heartbeat and its answer.
    fn beat(&mut self) -> impl Future<Output = Result<(), PeerFailure>> + Send;
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) heartbeats_per_second: f64,
    pub(super) cpu_us_per_heartbeat: f64,
    /// Milliseconds of processor time in a second, both ends together.
    pub(super) cpu_ms_per_second: f64,
    /// What `count` has counted, in a second.
    pub(super) counted_per_second: f64,
}

/// Lets all groups beat for a warm-up and a while, and measures that while. `count` counts something
/// that only grows.
pub(super) async fn drive<B: Beats>(
    groups: Vec<B>,
    measured: Duration,
    count: impl Fn() -> Result<u64, Failure>,
) -> Result<Window, Failure> {
    let answered = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let many = u32::try_from(groups.len())?;
    let start = Instant::now() + Duration::from_millis(10);
    for (number, group) in (0..).zip(groups) {
        let phase = INTERVAL * number / many;
        tasks.spawn(keep_beating(group, start + phase, Arc::clone(&answered)));
    }
    sleep(INTERVAL.max(measured / 5)).await;
    let read = || {
        Ok::<_, Failure>((
            answered.load(Ordering::Relaxed),
            processor_time()?,
            count()?,
        ))
    };
    let (began, before) = (Instant::now(), read()?);
    sleep(measured).await;
    let (after, seconds) = (read()?, began.elapsed().as_secs_f64());
    if let Some(ended) = tasks.try_join_next() {
        // It goes on for ever unless it fails.
        ended?.map_err(|error| -> Failure { error })?;
    }
    tasks.shutdown().await;
    let heartbeats = (after.0 - before.0) as f64;
    let cpu = (after.1 - before.1).as_secs_f64();
    Ok(Window {
        heartbeats_per_second: heartbeats / seconds,
        cpu_us_per_heartbeat: cpu * 1e6 / heartbeats,
        cpu_ms_per_second: cpu * 1e3 / seconds,
        counted_per_second: (after.2 - before.2) as f64 / seconds,
    })
}

async fn keep_beating<B: Beats>(
    mut group: B,
    start: Instant,
    answered: Arc<AtomicU64>,
) -> Result<(), PeerFailure> {
    let mut ticks = interval_at(start, INTERVAL);
    // openraft makes no heartbeat up for one that was late.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        group.beat().await?;
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
