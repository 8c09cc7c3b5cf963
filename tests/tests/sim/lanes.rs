//! Lanes do not disturb each other: heartbeats pass whatever else the link carries.

use std::time::Duration;

use quicraft_tests::sim::{MS, Saturation};

const MIB: u64 = 1 << 20;

/// The bytes that nobody reads yet fill the windows of streams and of the link. One stream is held
/// by its own window; several without a budget take all that the link has, and a heartbeat waits
/// for credit that comes at the pace of the disk.
/// L1, L9: budgets and priorities.
#[tokio::test(start_paused = true)]
async fn heartbeats_pass_a_saturating_snapshot() {
    for (transfers, mib) in [(1, 24), (4, 40)] {
        let saturation = Saturation {
            transfers,
            bytes: mib * MIB,
            // Three quarters of what is under way on the path: 75 ms. A starting snapshot fills it.
            queue_bytes: 937_500,
        };
        let seen = saturation.run().await;
        let (p50, p99) = (seen.heartbeats.p50(), seen.heartbeats.p99());
        assert!(
            p99 < Saturation::ROUND_TRIP + 60 * MS,
            "{transfers} at once: p50 {p50:?}, p99 {p99:?}, longest {:?}",
            seen.heartbeats.max(),
        );
        assert!(!seen.elected, "{transfers} at once: an election");
        let disk = Duration::from_secs(mib * MIB / Saturation::DISK_BYTES_PER_SECOND);
        assert!(
            seen.took > disk,
            "the disk is the bottleneck: {:?}",
            seen.took
        );
    }
}
