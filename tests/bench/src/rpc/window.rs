//! One measurement: callers that each wait for their reply before they call again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::pair::Failure;
use crate::peers::{CALL_LIMIT, Caller, PeerFailure, REPLY, REQUEST};
use crate::report::{Latencies, processor_time};

/// How long.
#[derive(Debug)]
pub(crate) struct Plan {
    warm_up: Duration,
    measured: Duration,
}

impl Plan {
    /// Measures for this long, behind a fifth of it that does not count.
    pub(crate) fn new(measured: Duration) -> Self {
        Self {
            warm_up: measured / 5,
            measured,
        }
    }
}

/// What a measurement found.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) calls_per_second: f64,
    pub(crate) latencies: Latencies,
    /// Of the whole process, which is both ends.
    pub(crate) cpu_us_per_call: f64,
}

const WARMS_UP: u8 = 0;
const MEASURES: u8 = 1;
const IS_OVER: u8 = 2;

/// What the callers look at after each call.
#[derive(Debug, Default)]
struct Course {
    phase: AtomicU8,
    /// Whether a call has ended while it was measured.
    counted: AtomicBool,
}

/// Lets `in_flight` callers call for as long as the plan says. One call that fails, or that is
/// answered with anything but the reply, fails all.
pub(crate) async fn window<C: Caller>(
    caller: C,
    in_flight: usize,
    plan: &Plan,
) -> Result<Window, Failure> {
    let course = Arc::new(Course::default());
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        callers.spawn(calls(caller.clone(), Arc::clone(&course)));
    }
    sleep(plan.warm_up).await;
    let (cpu, started) = (processor_time()?, Instant::now());
    course.phase.store(MEASURES, Ordering::Relaxed);
    sleep(plan.measured).await;
    // A machine that is very busy may need longer for the first one.
    while !course.counted.load(Ordering::Relaxed) && started.elapsed() < CALL_LIMIT {
        sleep(plan.measured).await;
    }
    course.phase.store(IS_OVER, Ordering::Relaxed);
    let (elapsed, cpu) = (started.elapsed(), processor_time()? - cpu);
    let mut latencies = Latencies::new()?;
    while let Some(ended) = timeout(CALL_LIMIT, callers.join_next()).await? {
        for latency in ended?.map_err(|error| -> Failure { error })? {
            latencies.add(latency);
        }
    }
    let count = latencies.count() as f64;
    if latencies.count() == 0 {
        return Err("no call ended in time".into());
    }
    Ok(Window {
        calls_per_second: count / elapsed.as_secs_f64(),
        latencies,
        cpu_us_per_call: cpu.as_secs_f64() * 1e6 / count,
    })
}

/// The latencies of the calls of one caller that ended while it was measured.
async fn calls<C: Caller>(
    mut caller: C,
    course: Arc<Course>,
) -> Result<Vec<Duration>, PeerFailure> {
    let mut latencies = Vec::new();
    loop {
        let called = Instant::now();
        let reply = caller.call(REQUEST).await?;
        let latency = called.elapsed();
        if reply != REPLY {
            return Err("a reply with other bytes".into());
        }
        match course.phase.load(Ordering::Relaxed) {
            WARMS_UP => {}
            MEASURES => {
                latencies.push(latency);
                // Only once: a write would take the line from the other worker each time.
                if !course.counted.load(Ordering::Relaxed) {
                    course.counted.store(true, Ordering::Relaxed);
                }
            }
            _ => return Ok(latencies),
        }
    }
}
