//! A process that sleeps while another one takes its place, and wakes up: a paused machine whose
//! copy was started elsewhere.

use std::time::Duration;

use quicraft_examples::cluster::layout::Layout;
use quicraft_examples::cluster::nodes::TwinData;
use quicraft_examples::cluster::status::Status;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::{Cluster, GROUPS, MIDDLE};
use crate::twin::{Twin, parked};

/// How long the first one sleeps.
const ASLEEP: Duration = Duration::from_secs(10);

/// Until the second one has its links: the window of a probe, at most 3 s, two round trips, and the
/// rest for a busy machine.
const TAKEN_OVER: Duration = Duration::from_secs(3 + 2);

/// How the others see the node: which boot, on which link, and how many links there have been.
fn seen(others: &[Status]) -> Vec<(u64, Option<String>, Option<String>, u64)> {
    let links = others.iter().flat_map(|other| {
        let links = other.links.iter();
        links.map(move |link| {
            (
                other.node,
                link.boot.clone(),
                link.link_id.clone(),
                link.links_total,
            )
        })
    });
    links.collect()
}

fn terms(others: &[Status]) -> Vec<u64> {
    let groups = others.iter().flat_map(|other| &other.groups);
    groups.map(|group| group.term).collect()
}

#[tokio::test]
async fn a_process_that_wakes_after_its_replacement_is_told_so() {
    let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
    cluster.works().await;
    cluster.whole().await;
    cluster.nodes.pause(MIDDLE).await.unwrap();
    let asleep = Instant::now();
    // Its own folder is locked, asleep or not.
    let mut same = Twin::of(&cluster, MIDDLE, TwinData::Same);
    same.start();
    same.refuses().await;

    let mut twin = Twin::of(&cluster, MIDDLE, TwinData::Copied);
    twin.start();
    let second = twin.until("the links of the second process", |status| {
        let down = status.links.iter().find(|link| !link.connected);
        down.map(|link| format!("{link:?}"))
    });
    let second = second.await;
    let took = second
        .links
        .iter()
        .filter_map(|link| link.established_in_ms);
    let took = Duration::from_millis(took.max().unwrap());
    eprintln!("the second process has its links {took:?} after its start");
    assert!(took < TAKEN_OVER, "{took:?}");

    sleep_until(asleep + ASLEEP).await;
    let led = twin.until("a leader of every group", |status| {
        let none = status.groups.iter().find(|group| group.leader.is_none());
        none.map(|group| format!("{group:?}"))
    });
    led.await;
    let others = others(&cluster).await;
    let woken = cluster.nodes.go_on(MIDDLE).await.unwrap();
    let codes = ["REPLACED", "STALE_INCARNATION"];
    let first = parked(&mut cluster, MIDDLE, &codes).await;
    eprintln!(
        "the first one has parked its links {:?} after it woke:",
        woken.elapsed()
    );
    for link in &first.links {
        eprintln!(
            "  by {}: {:?}, {:?}",
            link.peer, link.last_code, link.last_problem
        );
    }
    let dialled = first.handshakes.dialled;
    sleep(Duration::from_secs(5)).await;
    let later = parked(&mut cluster, MIDDLE, &codes).await;
    assert_eq!(later.handshakes.dialled, dialled, "it dials on");

    let still = self::others(&cluster).await;
    assert_eq!(seen(&still), seen(&others));
    assert_eq!(terms(&still), terms(&others), "an election");
    cluster.nodes.kill(MIDDLE).await.unwrap();
    twin.nodes.kill(0).await.unwrap();
}

async fn others(cluster: &Cluster) -> Vec<Status> {
    let (one, three) = (cluster.clients.status(0), cluster.clients.status(2));
    vec![one.await.unwrap(), three.await.unwrap()]
}
