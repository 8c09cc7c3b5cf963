//! Writes that go on while something else happens, and that all have to be there in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use quicraft_manager::RequestOptions;
use quicraft_tests::raft::Command;
use quicraft_tests::sim::{LIMIT, MS};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Managed, Member, TestGroup};

/// Writes one after the other, each of which has to be acknowledged.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    running: JoinHandle<Acked>,
}

/// What was acknowledged, and the longest time that one of the writes took.
pub(crate) struct Acked {
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) longest: Duration,
}

impl Load {
    /// Begins to write on a node, a write each millisecond or as soon as the one before is done.
    pub(crate) fn start(managed: &Managed, on: u64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(write(managed.group(on).clone(), on, stopped));
        Self { stop, running }
    }

    /// Ends after the write that is under way.
    pub(crate) async fn stop(self) -> Acked {
        self.stop.send_replace(true);
        self.running.await.expect("all writes are acknowledged")
    }
}

async fn write(group: TestGroup, on: u64, stopped: watch::Receiver<bool>) -> Acked {
    let mut acked = Acked {
        bodies: Vec::new(),
        longest: Duration::ZERO,
    };
    while !*stopped.borrow() {
        let body = format!("{on}/{}", acked.bodies.len());
        let start = Instant::now();
        // A write may be cut with its link; this one may be made twice.
        let options = RequestOptions::until(start + LIMIT).idempotent();
        let written = group.propose(Command::new(body.clone()), options).await;
        written.unwrap_or_else(|error| panic!("{body}: {error}"));
        acked.longest = acked.longest.max(start.elapsed());
        acked.bodies.push(body.into_bytes());
        sleep(MS).await;
    }
    acked
}

impl Acked {
    /// Waits until a member has applied all of it.
    pub(crate) async fn are_on(&self, node: u64, member: &Member) {
        assert!(!self.bodies.is_empty());
        let applied = async {
            loop {
                let applied: BTreeSet<_> = member.applied().into_iter().collect();
                if self.bodies.iter().all(|body| applied.contains(body)) {
                    return;
                }
                sleep(10 * MS).await;
            }
        };
        let all = timeout(LIMIT, applied).await;
        all.unwrap_or_else(|_| panic!("node {node} lacks writes that were acknowledged"));
    }
}
