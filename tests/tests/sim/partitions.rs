//! A partition, and what it costs while it lasts and when it heals.

use std::time::Duration;

use quicraft_tests::sim::{ECHO, LIMIT, MS, SimCluster, SimSpec};
use quicraft_tests::switch::host;
use quicraft_transport::link::CallLane;
use quicraft_transport::{CallError, Event, LinkState};
use tokio::time::{Instant, sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const GROUPS: u64 = 4;

#[tokio::test(start_paused = true)]
async fn an_isolated_leader_is_replaced_and_comes_back() {
    let cluster = SimCluster::start(SimSpec::new(3, GROUPS, ROUND_TRIP)).await;
    let old = cluster.leader(1).await;
    old.group(1).write("before").await.expect("a commit");
    let rest: Vec<_> = cluster.nodes().filter(|node| node.id != old.id).collect();
    let hosts: Vec<_> = rest.iter().map(|node| host(node.id as u8)).collect();
    cluster.switch.partition(&[host(old.id as u8)], &hosts);

    // The majority elects, in every group, and goes on.
    let new = loop {
        let known = rest[0].current_leader(1).filter(|&id| id != old.id);
        if let Some(id) = known {
            break cluster.node(id);
        }
        timeout(LIMIT, sleep(10 * MS)).await.expect("a leader");
    };
    new.group(1).lease(LIMIT).await;
    new.group(1).write("during").await.expect("a commit");

    cluster.switch.heal();
    for group in cluster.groups() {
        cluster.commit(group, "after").await;
    }
    for node in cluster.nodes() {
        for group in cluster.groups() {
            let writes = if group == 1 { 3 } else { 1 };
            let machine = &node.group(group).machine;
            timeout(LIMIT, machine.wait_for(writes))
                .await
                .expect("all writes");
            assert_eq!(
                machine.applied(),
                cluster.node(1).group(group).machine.applied()
            );
        }
    }
}

/// Many groups ask for a peer that is down, ten times a second each. It must cost nothing: an
/// answer without a wait, and dials that do not grow with the number of calls.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_down_costs_nothing() {
    let cluster = SimCluster::start(SimSpec::new(3, GROUPS, ROUND_TRIP)).await;
    for (down, asking) in [(3, 1), (1, 3)] {
        let others: Vec<_> = (1..=3).filter(|&id| id != down).map(host).collect();
        cluster.switch.partition(&[host(down)], &others);
        let asking = cluster.node(asking);
        let down = u64::from(down);
        asking
            .link_until(down, |link| matches!(link.state, LinkState::Down(_)))
            .await;
        let mut events = asking.transport.events();
        let lasting = Duration::from_secs(10);
        let start = Instant::now();
        while start.elapsed() < lasting {
            for lane in [CallLane::Control, CallLane::Call] {
                let asked = Instant::now();
                let answer = asking.call(down, lane, ECHO, 0, "x", LIMIT).await;
                assert!(
                    matches!(answer, Err(CallError::Unreachable { .. })),
                    "{answer:?}"
                );
                assert_eq!(asked.elapsed(), Duration::ZERO, "{lane:?} waited");
            }
            sleep(100 * MS).await;
        }
        let mut dials = 0;
        while let Ok(event) = events.try_recv() {
            let failed = matches!(event, Event::DialFailed { peer, .. } if peer.get() == down);
            dials += u32::from(failed);
        }
        // The backoff grows to half a second, and each dial waits a second for an answer.
        assert!(dials <= 10, "{dials} dials in {lasting:?}");
        // A11: whatever its id.
        assert!(dials > 0, "node {} does not dial", asking.id);
        cluster.switch.heal();
        asking.link_up(down).await;
        cluster.linked().await;
    }
}
