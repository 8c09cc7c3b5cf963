//! The writes: many clients at the same time, each taking the next number until none is left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Clients, Written};
use super::error::ClusterError;
use super::limits::READ_EVERY;
use super::phase::Phase;

/// Writes of a load that ends when it is told to: more than a run can make, and so few that
/// counting on past them does not overflow.
const ENDLESS: u64 = u64::MAX / 2;

/// When each group took a write again after a node was killed.
#[derive(Debug)]
pub struct Outage {
    /// Just before the signal.
    killed: Instant,
    /// When the process was surely gone: only attempts that began after it count.
    gone: Instant,
    /// For each group, from the kill to the first write that was acknowledged.
    recovered: Vec<OnceLock<Duration>>,
}

impl Outage {
    fn saw(&self, group: u64, written: &Written) {
        let group = usize::try_from(group).ok();
        if let Some(recovered) = group.and_then(|group| self.recovered.get(group))
            && written.attempted >= self.gone
        {
            // Only the first counts.
            recovered.get_or_init(|| written.acknowledged - self.killed);
        }
    }

    /// From the kill to the first write to `group`, if there was one.
    #[must_use]
    pub fn recovered(&self, group: u64) -> Option<Duration> {
        let group = usize::try_from(group).ok()?;
        self.recovered.get(group)?.get().copied()
    }
}

/// What the clients share.
#[derive(Debug)]
struct Shared {
    clients: Arc<Clients>,
    writes: u64,
    next: AtomicU64,
    /// How long each client waits between two writes.
    pace: Option<Duration>,
    /// How often each client begins a write, whatever the one before it took; what was late is made
    /// up for.
    period: Option<Duration>,
    acknowledged: watch::Sender<u64>,
    outage: OnceLock<Outage>,
    /// What is counted by itself now.
    phase: Mutex<Option<Arc<Phase>>>,
    /// Whether some of the writes are read back at once.
    reads: bool,
    bar: ProgressBar,
}

/// What the writes took, all together.
#[derive(Debug)]
#[non_exhaustive]
pub struct Totals {
    /// Microseconds from a write's first attempt to its acknowledgement.
    pub latency: Histogram<u64>,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Attempts that were refused or had no answer.
    pub retries: u64,
    /// Of these, attempts whose fate is unknown.
    pub unknown: u64,
    /// Reads at another node, right after the write.
    pub reads: u64,
    /// Of these, reads that did not give what was written.
    pub reads_failed: Vec<String>,
}

impl Totals {
    fn new() -> Self {
        Self {
            latency: histogram(),
            acknowledged: 0,
            retries: 0,
            unknown: 0,
            reads: 0,
            reads_failed: Vec::new(),
        }
    }

    fn add(&mut self, written: &Written) {
        let micros = u64::try_from(written.took.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
        self.acknowledged += 1;
        self.retries += written.retries;
        self.unknown += written.unknown;
    }

    fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so every value fits.
        self.latency += &other.latency;
        self.acknowledged += other.acknowledged;
        self.retries += other.retries;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.reads_failed.extend_from_slice(&other.reads_failed);
    }
}

/// From 1 µs to 10 minutes, to three digits.
#[expect(
    clippy::expect_used,
    reason = "the bounds are constants that are valid"
)]
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("1 is at least 1 and 3 at most 5")
}

/// Writes that are under way. Dropping it stops the clients.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<Totals, ClusterError>>,
    totals: Totals,
    started: Instant,
}

impl Load {
    /// Starts `number` clients that write `writes` times.
    #[must_use]
    pub fn start(clients: &Arc<Clients>, number: usize, writes: u64) -> Self {
        Self::spawn(number, Shared::new(clients, writes))
    }

    /// Starts `number` clients that write from number `first` on, each waiting for `pace` between
    /// two writes, until [`Load::enough`].
    #[must_use]
    pub fn endless(clients: &Arc<Clients>, number: usize, first: u64, pace: Duration) -> Self {
        let shared = Shared {
            next: AtomicU64::new(first),
            pace: Some(pace),
            bar: ProgressBar::hidden(),
            ..Shared::new(clients, ENDLESS)
        };
        Self::spawn(number, shared)
    }

    /// Starts `number` clients that each begin a write every `period`, at a node in turn, until
    /// [`Load::enough`]. Some are read back at once, at another node.
    #[must_use]
    pub fn anywhere(clients: &Arc<Clients>, number: usize, period: Duration) -> Self {
        clients.spread();
        let shared = Shared {
            period: Some(period),
            reads: true,
            bar: ProgressBar::hidden(),
            ..Shared::new(clients, ENDLESS)
        };
        Self::spawn(number, shared)
    }

    /// Counts the writes from now on by themselves, until [`Load::end_phase`].
    pub fn begin_phase(&self) {
        *self.shared.phase() = Some(Arc::new(Phase::new()));
    }

    /// What was counted since [`Load::begin_phase`].
    #[must_use]
    pub fn end_phase(&self) -> Option<Arc<Phase>> {
        self.shared.phase().take()
    }

    fn spawn(number: usize, shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let mut tasks = JoinSet::new();
        for _ in 0..number {
            tasks.spawn(client(Arc::clone(&shared)));
        }
        Self {
            shared,
            tasks,
            totals: Totals::new(),
            started: Instant::now(),
        }
    }

    /// No write begins from now on. Returns the number that the next one would have had; all before
    /// it are acknowledged when [`Load::finish`] returns.
    #[must_use = "whoever does not know what was written cannot read it back"]
    pub fn enough(&self) -> u64 {
        // Every number that is drawn from here on is one too many.
        let next = self.shared.next.swap(self.shared.writes, Ordering::Relaxed);
        next.min(self.shared.writes)
    }

    /// Waits until `number` writes are acknowledged. Each write has its own deadline, so this ends.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when a write was not acknowledged in time.
    pub async fn reached(&mut self, number: u64) -> Result<(), ClusterError> {
        let mut acknowledged = self.shared.acknowledged.subscribe();
        loop {
            tokio::select! {
                // The sender is in `self.shared`, so it is not gone.
                _ = acknowledged.wait_for(|&now| now >= number) => return Ok(()),
                Some(ended) = self.tasks.join_next() => self.absorb(ended)?,
            }
        }
    }

    /// From now on the first write to each group after `gone` is noted, against `killed`.
    pub fn watch_outage(&self, groups: u64, killed: Instant, gone: Instant) {
        let recovered = (0..groups).map(|_| OnceLock::new()).collect();
        self.shared.outage.get_or_init(|| Outage {
            killed,
            gone,
            recovered,
        });
    }

    /// Waits for the last write. Then writes once more to those of `groups` that no write came to
    /// since the outage began: the same bytes under a key that is there already.
    ///
    /// # Errors
    ///
    /// [`ClusterError`], when a write was not acknowledged in time.
    pub async fn finish(mut self, groups: &[u64]) -> Result<Finished, ClusterError> {
        while let Some(ended) = self.tasks.join_next().await {
            self.absorb(ended)?;
        }
        let took = self.started.elapsed();
        self.shared.bar.finish_and_clear();
        let mut failovers = Vec::new();
        if let Some(outage) = self.shared.outage.get() {
            for &group in groups {
                if outage.recovered(group).is_none() {
                    self.shared.write_again(group).await?;
                }
                failovers.extend(outage.recovered(group));
            }
        }
        Ok(Finished {
            totals: self.totals,
            took,
            failovers,
        })
    }

    fn absorb(
        &mut self,
        ended: Result<Result<Totals, ClusterError>, JoinError>,
    ) -> Result<(), ClusterError> {
        self.totals.merge(&ended??);
        Ok(())
    }
}

/// All writes, acknowledged.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// What they took together.
    pub totals: Totals,
    /// From the first attempt to the last acknowledgement.
    pub took: Duration,
    /// For each group of the killed node, from the kill to its next write.
    pub failovers: Vec<Duration>,
}

impl Shared {
    fn new(clients: &Arc<Clients>, writes: u64) -> Self {
        Self {
            clients: Arc::clone(clients),
            writes,
            next: AtomicU64::new(0),
            pace: None,
            period: None,
            acknowledged: watch::Sender::new(0),
            outage: OnceLock::new(),
            phase: Mutex::default(),
            reads: false,
            bar: bar(writes, "writes"),
        }
    }

    /// No code panics while it holds this lock, so a poisoned one is still whole.
    fn phase(&self) -> MutexGuard<'_, Option<Arc<Phase>>> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, number: u64, written: &Written) {
        let phase = self.phase().clone();
        if let Some(phase) = phase {
            phase.saw(number, written);
        }
        if let Some(outage) = self.outage.get() {
            let workload = self.clients.workload();
            outage.saw(workload.group(&workload.key(number)), written);
        }
    }

    async fn write_again(&self, group: u64) -> Result<(), ClusterError> {
        let workload = self.clients.workload();
        let own = (0..self.writes).find(|&number| workload.group(&workload.key(number)) == group);
        if let Some(number) = own {
            self.saw(number, &self.clients.write(number).await?);
        }
        Ok(())
    }
}

async fn client(shared: Arc<Shared>) -> Result<Totals, ClusterError> {
    let mut totals = Totals::new();
    let mut due = Instant::now();
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.writes {
            return Ok(totals);
        }
        let written = shared.clients.write(number).await?;
        shared.saw(number, &written);
        totals.add(&written);
        if shared.reads && number.is_multiple_of(READ_EVERY) {
            totals.reads += 1;
            let read = shared.clients.read_anywhere(number).await;
            totals.reads_failed.extend(read.err());
        }
        shared.bar.inc(1);
        shared
            .acknowledged
            .send_modify(|acknowledged| *acknowledged += 1);
        if let Some(pace) = shared.pace {
            sleep(pace).await;
        }
        if let Some(period) = shared.period {
            due += period;
            sleep_until(due).await;
        }
    }
}

/// A progress bar on standard error; it hides itself where nobody looks.
pub(super) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>10} [{bar:40}] {pos}/{len} {per_sec} {eta}");
    let bar = ProgressBar::new(length).with_message(what);
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
