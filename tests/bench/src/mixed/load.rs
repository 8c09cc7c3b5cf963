//! What runs beside the heartbeats, at full rate, until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;

use crate::pair::MIB;
use crate::peers::own::OwnCaller;
use crate::peers::tonic::TonicCaller;
use crate::peers::{Caller, PeerFailure};

/// A snapshot of this size follows the other, so that the load ends soon after it is told to.
const SNAPSHOT_MIB: u64 = 64;

/// Bytes of a message of tonic's snapshots: the size that delays others least.
const TONIC_MESSAGE_BYTES: usize = 64 * 1024;

/// Bytes of an append batch, the largest frame.
const BATCH_MIB: usize = 8;

/// Beside what the heartbeats run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    Idle,
    Snapshot,
    Append,
}

impl Load {
    pub(crate) const ALL: [Self; 3] = [Self::Idle, Self::Snapshot, Self::Append];

    /// The name in keys and in the table.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Snapshot => "snapshot",
            Self::Append => "append",
        }
    }
}

/// Who carries both, heartbeats and loads.
pub(crate) trait Carrier: Caller {
    /// Carries one snapshot of so many MiB.
    fn snapshot(&self, mib: u64) -> impl Future<Output = Result<(), PeerFailure>> + Send;

    /// Carries batches until it is told to stop. Returns the bytes.
    fn append(
        &self,
        batch: Bytes,
        stop: Arc<AtomicBool>,
    ) -> impl Future<Output = Result<u64, PeerFailure>> + Send;
}

impl Carrier for OwnCaller {
    async fn snapshot(&self, mib: u64) -> Result<(), PeerFailure> {
        self.bulk(mib * MIB).await
    }

    async fn append(&self, batch: Bytes, stop: Arc<AtomicBool>) -> Result<u64, PeerFailure> {
        self.append(batch, stop).await
    }
}

impl Carrier for TonicCaller {
    async fn snapshot(&self, mib: u64) -> Result<(), PeerFailure> {
        let message = Bytes::from(vec![7; TONIC_MESSAGE_BYTES]);
        let count = mib * MIB / message.len() as u64;
        self.bulk(message, count).await
    }

    async fn append(&self, batch: Bytes, stop: Arc<AtomicBool>) -> Result<u64, PeerFailure> {
        self.append(batch, stop).await
    }
}

/// Runs a load until it is told to stop, and says how many megabytes a second it carried.
pub(crate) async fn carry<C: Carrier>(
    carrier: C,
    load: Load,
    stop: Arc<AtomicBool>,
) -> Result<f64, PeerFailure> {
    let started = Instant::now();
    let mut bytes = 0;
    match load {
        Load::Idle => {}
        Load::Snapshot => {
            // One at least, so that there is a rate.
            loop {
                carrier.snapshot(SNAPSHOT_MIB).await?;
                bytes += SNAPSHOT_MIB * MIB;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        Load::Append => {
            let batch = Bytes::from(vec![7; BATCH_MIB * 1024 * 1024]);
            bytes = carrier.append(batch, stop).await?;
        }
    }
    Ok(bytes as f64 / 1e6 / started.elapsed().as_secs_f64())
}
