//! Heartbeats and votes at their pace, whatever becomes of those before.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::pair::Failure;
use crate::peers::{CALL_LIMIT, Caller, PeerFailure, REPLY};
use crate::report::Latencies;

/// What a leader says to a follower of one group that has nothing new.
const HEARTBEAT: Bytes = Bytes::from_static(&[3; 64]);

/// A vote names a candidate and the end of its log.
const VOTE: Bytes = Bytes::from_static(&[4; 96]);

/// Fifty groups with a heartbeat each 100 ms.
const INTERVAL: Duration = Duration::from_millis(2);

/// One vote to so many heartbeats.
const VOTES_EVERY: u32 = 10;

/// Calls for `warm_up + measured` and keeps the latencies of those that began behind the warm-up. One
/// that is late does not hold back those behind it; one that fails fails all.
pub(crate) async fn beat<C: Caller>(
    caller: &C,
    warm_up: Duration,
    measured: Duration,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new()?;
    let mut calls = JoinSet::new();
    let mut ticks = interval(INTERVAL);
    // A burst after a pause would measure itself.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (started, mut number) = (Instant::now(), 0_u32);
    while started.elapsed() < warm_up + measured {
        ticks.tick().await;
        number = number.wrapping_add(1);
        let body = if number.is_multiple_of(VOTES_EVERY) {
            VOTE
        } else {
            HEARTBEAT
        };
        let counts = started.elapsed() >= warm_up;
        calls.spawn(call(caller.clone(), body, counts));
        while let Some(ended) = calls.try_join_next() {
            add(&mut latencies, ended?)?;
        }
    }
    while let Some(ended) = timeout(CALL_LIMIT, calls.join_next()).await? {
        add(&mut latencies, ended?)?;
    }
    if latencies.count() == 0 {
        return Err("no call began in time".into());
    }
    Ok(latencies)
}

/// The latency of one call, if it counts.
async fn call<C: Caller>(
    mut caller: C,
    body: Bytes,
    counts: bool,
) -> Result<Option<Duration>, PeerFailure> {
    let called = Instant::now();
    let reply = caller.call(body).await?;
    let latency = called.elapsed();
    if reply != REPLY {
        return Err("a reply with other bytes".into());
    }
    Ok(counts.then_some(latency))
}

fn add(
    latencies: &mut Latencies,
    ended: Result<Option<Duration>, PeerFailure>,
) -> Result<(), Failure> {
    if let Some(latency) = ended.map_err(|error| -> Failure { error })? {
        latencies.add(latency);
    }
    Ok(())
}
