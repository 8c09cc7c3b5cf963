//! Two live processes with one id: who was there first stays, undisturbed, and the other is told.

use std::fs;
use std::time::Duration;

use quicraft_examples::cluster::copy::copy;
use quicraft_examples::cluster::layout::Layout;
use quicraft_examples::cluster::nodes::TwinData;
use quicraft_examples::cluster::status::Status;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, GROUPS, LONG, MIDDLE, ends, links_total};
use crate::twin::{Twin, parked};

/// How long both live.
const TOGETHER: Duration = Duration::from_secs(10);

/// Calls a second that each node makes to the others.
const CALLS: u64 = 60;

fn failed_calls(all: &[Status]) -> u64 {
    all.iter().map(|status| status.calls.failed).sum()
}

fn answered_calls(all: &[Status]) -> u64 {
    all.iter().map(|status| status.calls.answered).sum()
}

fn elections(cluster: &Cluster) -> u64 {
    cluster.observed.elections()
}

/// A data folder that was copied while its node ran, as a cloned machine has it, and a node that
/// was set up twice: its count of starts is the same, so nobody has to be asked.
#[tokio::test]
async fn a_second_process_never_displaces_the_first() {
    for data in [TwinData::Copied, TwinData::None] {
        let layout = Layout::new(3, GROUPS).unwrap().calling(CALLS);
        let mut cluster = Cluster::start(layout).await;
        cluster.works().await;
        let before = cluster.whole().await;
        let elected = elections(&cluster);
        let mut twin = Twin::of(&cluster, MIDDLE, data);
        let started = Instant::now();
        twin.start();
        let told = twin.until("a refusal of the second process", |status| {
            let of = |link: &str| link.contains("DUPLICATE_NODE");
            let not_told = status
                .links
                .iter()
                .find(|link| !link.last_problem.as_deref().is_some_and(of));
            not_told.map(|link| format!("the reason for no link: {link:?}"))
        });
        told.await;
        let since = Instant::now();
        while since.elapsed() < TOGETHER {
            let now = cluster.whole().await;
            assert_eq!(ends(&now), ends(&before), "another link");
            let second = twin.until("the second process", |_| None).await;
            let up = second.links.iter().find(|link| link.connected);
            assert!(up.is_none(), "{up:?}");
            sleep(Duration::from_millis(50)).await;
        }

        let after = cluster.whole().await;
        assert_eq!(links_total(&after), links_total(&before));
        assert_eq!(failed_calls(&after), failed_calls(&before), "{after:?}");
        let calls = answered_calls(&after) - answered_calls(&before);
        let wanted = 3 * CALLS * TOGETHER.as_secs();
        assert!(calls >= wanted / 2, "{calls} of {wanted} calls");
        assert_eq!(elections(&cluster), elected);
        // A count of starts that was used up is a duplicate without a question.
        let seconds = started.elapsed().as_secs();
        let probes = if data == TwinData::None {
            0..=0
        } else {
            1..=seconds + 1
        };
        let asked: Vec<u64> = after[MIDDLE].links.iter().map(|link| link.probes).collect();
        eprintln!(
            "{data:?}: {calls} calls, none failed; probes of each link in {seconds} s: {asked:?}"
        );
        assert!(
            asked.iter().all(|asked| probes.contains(asked)),
            "{asked:?}"
        );
        for (node, log) in (0..3).map(|node| (node, cluster.nodes.log(node))) {
            // Whoever it came to says so; the first one is not told who else there is.
            assert_eq!(log.contains("duplicate_node"), node != MIDDLE, "{node}");
        }
        twin.nodes.kill(0).await.unwrap();
        cluster.works().await;
        cluster.stop().await;
    }
}

/// On the same machine not even a socket is needed to find out.
#[tokio::test]
async fn a_data_folder_has_one_process() {
    let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
    let before = cluster.whole().await;
    let mut twin = Twin::of(&cluster, MIDDLE, TwinData::Same);
    twin.start();
    let log = twin.refuses().await;
    assert!(log.contains("is in use by another process"), "{log}");
    let after = cluster.whole().await;
    assert_eq!(ends(&after), ends(&before));
    cluster.stop().await;
}

/// The count of starts comes from a backup, and is one that the others have seen used up. What the
/// groups have on the disk is of now, because a voter that forgets what it acknowledged is another
/// matter, and not one that a transport can mend.
#[tokio::test]
async fn a_restored_node_waits_for_its_operator() {
    let mut cluster = Cluster::start(Layout::new(3, GROUPS).unwrap()).await;
    let runs = cluster.nodes.data(MIDDLE).unwrap().join("runs");
    let backup = tempfile::tempdir().unwrap();
    let backup = copy(&runs, &backup.path().join("runs")).unwrap();
    for _ in 0..2 {
        restart(&mut cluster).await;
        cluster.whole().await;
    }
    stop(&mut cluster).await;
    fs::remove_dir_all(&runs).unwrap();
    copy(&backup, &runs).unwrap();
    cluster.nodes.start(MIDDLE).unwrap();

    // Both others refuse it for good, and it does not come back by itself.
    parked(&mut cluster, MIDDLE, &["STALE_INCARNATION"]).await;
    sleep(Duration::from_secs(3)).await;
    let still = parked(&mut cluster, MIDDLE, &["STALE_INCARNATION"]).await;
    assert!(still.links.iter().all(|link| link.links_total == 0));

    // The operator knows that no other process of it is alive.
    let http = reqwest::Client::new();
    for other in [0, 2] {
        let url = format!("{}/peers/2/forget", cluster.nodes.url(other).unwrap());
        let answer = http.post(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
    let since = Instant::now();
    cluster.whole().await;
    eprintln!("back {:?} after its runs were forgotten", since.elapsed());
    cluster.works().await;
    cluster.stop().await;
}

async fn stop(cluster: &mut Cluster) {
    cluster.nodes.terminate(MIDDLE).await.unwrap();
    let status = cluster.nodes.ended(MIDDLE, LONG).await.unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

async fn restart(cluster: &mut Cluster) {
    stop(cluster).await;
    cluster.nodes.start(MIDDLE).unwrap();
}
