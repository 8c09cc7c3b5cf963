//! What a small call allocates, at both of its ends and in everything between them: quinn, TLS and the
//! network of the simulation.
//!
//! A binary of its own, because it counts with an allocator of its own. All tasks run in one thread,
//! which is the one that is counted.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all, ready};
use quicraft_tests::sim::{ECHO, LIMIT, SimCluster, SimSpec};
use quicraft_transport::Refusal;
use quicraft_transport::link::{CallLane, Peer, Request};
use quicraft_transport::service::{CallContext, Service};
use tokio::runtime::Builder;
use tokio::time::Instant;

/// Allocations per call of 256 at once: 1.76 are counted, the same number each time. One of them is the
/// box of the handler's future. One more per call fails.
const AMONG_MANY_MAX: f64 = 1.8;

/// Allocations of a call that is alone, and has its packets for itself: 16.02 are counted, the same number
/// each time. One more per call fails.
const ALONE_MAX: f64 = 16.1;

const ROUND_TRIP: Duration = Duration::from_millis(1);
const REQUEST: Bytes = Bytes::from_static(&[7; 256]);
const REPLY: Bytes = Bytes::from_static(&[9; 64]);

/// Answers at once. The box of its future is one of the allocations.
struct Answers;

impl Service for Answers {
    fn call(&self, _: CallContext, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(ready(Ok(REPLY)))
    }
}

/// Calls one after the other.
async fn calls(peer: &Peer, count: u64) {
    for _ in 0..count {
        let request = Request::new(ECHO, 0, REQUEST);
        let answer = peer.call(CallLane::Call, request, Instant::now() + LIMIT);
        assert_eq!(answer.await.expect("answered"), REPLY);
    }
}

/// Allocations per call of `callers` that call at once, each as often as it is told, on a link that
/// has carried as many before.
fn allocations(callers: u64, each: u64) -> f64 {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let mut spec = SimSpec::new(2, 0, ROUND_TRIP);
    spec.persisted = false;
    let cluster = runtime.block_on(SimCluster::start(spec));
    let transport = &cluster.node(2).transport;
    let _serving = transport
        .register(ECHO, Arc::new(Answers))
        .expect("registered");
    let peer = cluster.node(1).peer(2);
    let all = || {
        runtime.block_on(join_all((0..callers).map(|_| calls(&peer, each))));
    };
    all();
    let counted = measure(all).count_total;
    runtime.block_on(async { drop(cluster) });
    counted as f64 / (callers * each) as f64
}

#[test]
fn a_small_call_among_many_allocates_no_more_than_was_counted() {
    let each = allocations(256, 40);
    assert!(each <= AMONG_MANY_MAX, "{each} allocations per call");
}

#[test]
fn a_small_call_that_is_alone_allocates_no_more_than_was_counted() {
    let each = allocations(1, 1_000);
    assert!(each <= ALONE_MAX, "{each} allocations per call");
}
