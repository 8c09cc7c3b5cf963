//! What the paused clock cannot show: threads that run beside each other. A binary of its own, so
//! that no other test of it takes the processor from under a measurement in real time.

use quicraft_tests::sim::{MS, Saturation};

/// More bytes than the window of a link, or nothing would have to wait. Without the budgets of the
/// lanes the longest heartbeat takes more than a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_pass_a_saturating_snapshot_in_real_time() {
    let saturation = Saturation {
        transfers: 4,
        bytes: 40 << 20,
        // 20 ms, which leaves 80 ms for a busy machine.
        queue_bytes: 250_000,
    };
    let seen = saturation.run().await;
    let (p99, beside) = (seen.heartbeats.p99(), seen.beside.p99());
    // A machine that has no time for the idle link beside it has none for this one either.
    let kept_up = beside < Saturation::ROUND_TRIP + 30 * MS;
    let limit = if kept_up {
        Saturation::ROUND_TRIP + 100 * MS
    } else {
        beside * 3 + 100 * MS
    };
    assert!(p99 < limit, "p99 {p99:?}, beside it {beside:?}");
    assert!(!kept_up || !seen.elected, "an election");
}
