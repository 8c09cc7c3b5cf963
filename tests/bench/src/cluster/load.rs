//! Clients that write to the leaders of groups in this process, each again as soon as its write is
//! committed. It must not know what carries the messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, RaftError};
use quicraft_tests::raft::{Command, TypeConfig};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::network::GroupRaft;
use crate::pair::Failure;
use crate::report::{Latencies, processor_time};

/// Nothing is measured for this long, until all clients write and windows have grown.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long a write may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The bytes of commands are from 64 to 256.
const SIZE_MIN: usize = 64;
const SIZES: usize = 193;
/// What commands are cut from.
static COMMAND: [u8; SIZE_MIN + SIZES - 1] = [7; SIZE_MIN + SIZES - 1];

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) writes_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Processor time of the whole process, user and system.
    pub(crate) cpu_us_per_write: f64,
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Writes with this many clients, spread over the groups, for a time.
pub(crate) async fn write(
    leaders: &[GroupRaft],
    clients: usize,
    measured: Duration,
) -> Result<Taken, Failure> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let mut running = JoinSet::new();
    for client in 0..clients {
        let leader = leaders[client % leaders.len()].clone();
        running.spawn(write_on(leader, client, Arc::clone(&phase)));
    }
    sleep(WARM_UP).await;
    let (cpu, start) = (processor_time()?, Instant::now());
    phase.store(MEASURING, Ordering::Relaxed);
    sleep(measured).await;
    phase.store(OVER, Ordering::Relaxed);
    let (cpu, took) = (processor_time()?.saturating_sub(cpu), start.elapsed());

    let mut times = Latencies::new()?;
    while let Some(client) = timeout(LIMIT, running.join_next()).await? {
        for time in client?? {
            times.add(time);
        }
    }
    Ok(taken(&times, took, cpu))
}

fn taken(times: &Latencies, took: Duration, cpu: Duration) -> Taken {
    let writes = times.count() as f64;
    Taken {
        writes_per_second: writes / took.as_secs_f64(),
        p50_ms: times.micros_at(0.5) / 1e3,
        p99_ms: times.micros_at(0.99) / 1e3,
        cpu_us_per_write: cpu.as_secs_f64() * 1e6 / writes,
    }
}

type WriteError = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

/// The times of the writes that ended while it was measured.
async fn write_on(
    leader: GroupRaft,
    client: usize,
    phase: Arc<AtomicU8>,
) -> Result<Vec<Duration>, WriteError> {
    let mut times = Vec::new();
    for number in 0.. {
        let start = Instant::now();
        leader
            .client_write(Command::new(command(client, number)))
            .await?;
        match phase.load(Ordering::Relaxed) {
            WARMING => {}
            MEASURING => times.push(start.elapsed()),
            _ => break,
        }
    }
    Ok(times)
}

/// A command whose size differs from write to write and from client to client.
fn command(client: usize, number: usize) -> Bytes {
    // 37 has no divisor in common with the number of sizes, so all come up.
    let size = SIZE_MIN + (client + number * 37) % SIZES;
    Bytes::from_static(&COMMAND[..size])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_of_every_size() {
        let mut sizes: Vec<usize> = (0..SIZES).map(|number| command(3, number).len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, (64..=256).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_taken_is_per_second_and_per_write() {
        let mut times = Latencies::new().unwrap();
        for _ in 0..100 {
            times.add(Duration::from_millis(7));
        }
        let taken = taken(&times, Duration::from_secs(2), Duration::from_millis(10));
        assert_eq!(taken.writes_per_second, 50.0);
        assert_eq!(taken.cpu_us_per_write, 100.0);
        assert!((taken.p50_ms - 7.0).abs() < 0.01 && (taken.p99_ms - 7.0).abs() < 0.01);
    }
}
