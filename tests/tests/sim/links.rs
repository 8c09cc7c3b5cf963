//! One link per pair, whatever the network loses.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use quicraft_tests::sim::{ECHO, MS, SimCluster, SimNode, SimSpec, Sink};
use quicraft_tests::switch::Conditions;
use quicraft_transport::link::CallLane;
use tokio::time::sleep;

/// What became of the calls of one node: the bodies that were answered, and those that were not.
type Outcome = BTreeMap<Bytes, bool>;

/// Calls on both lanes, one every 20 ms, none waiting for the one before.
async fn calls(from: &SimNode, to: u64) -> Outcome {
    let calls = (0..60_u32).map(|number| async move {
        sleep(number * 20 * MS).await;
        let body = Bytes::from(format!("{} to {to}: {number}", from.id));
        let lane = if number % 2 == 0 {
            CallLane::Control
        } else {
            CallLane::Call
        };
        let answer = from
            .call(to, lane, ECHO, 0, body.clone(), Duration::from_secs(2))
            .await;
        if let Ok(answer) = &answer {
            assert_eq!(*answer, body, "the answer of another call");
        }
        (body, answer.is_ok())
    });
    join_all(calls).await.into_iter().collect()
}

/// From the first moment both ends call each other, and their dials may cross.
/// A11: one link, whoever calls first.
#[tokio::test(start_paused = true)]
async fn one_link_per_pair() {
    let mut answered = 0;
    for seed in 1..=20 {
        let conditions = Conditions {
            loss: 0.05,
            jitter: 10 * MS,
            ..Conditions::delayed(20 * MS)
        };
        let spec = SimSpec::new(3, 0, Duration::ZERO)
            .on(conditions)
            .seeded(seed);
        let cluster = SimCluster::start_unlinked(spec).await;
        let sinks: BTreeMap<u64, Sink> = cluster
            .nodes()
            .map(|node| (node.id, Sink::new(1)))
            .collect();
        let serving: Vec<_> = cluster
            .nodes()
            .map(|node| {
                node.transport
                    .register(ECHO, std::sync::Arc::new(sinks[&node.id].clone()))
                    .expect("registered")
            })
            .collect();
        let pairs = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)];
        let outcomes = join_all(pairs.map(|(from, to)| calls(cluster.node(from), to))).await;
        for ((from, to), outcome) in pairs.into_iter().zip(outcomes) {
            for (body, ok) in outcome {
                let given = sinks[&to].given(&body);
                assert!(given <= 1, "seed {seed}: {body:?} ran {given} times");
                assert!(
                    !ok || given == 1,
                    "seed {seed}: {body:?} was answered by nobody"
                );
                answered += u32::from(ok);
            }
            let link = cluster.node(from).link(to);
            assert_eq!(link.links_max, 1, "seed {seed}: {link:?}");
            // Both ends mean the same connection.
            let back = cluster.node(to).link(from);
            assert_ne!(link.dialled, back.dialled, "seed {seed}");
        }
        drop(serving);
    }
    // Those before the first link fail at once on the side that waits to be dialled; the rest gets
    // through the loss.
    assert!(answered > 20 * 6 * 50, "{answered} of {}", 20 * 6 * 60);
}
