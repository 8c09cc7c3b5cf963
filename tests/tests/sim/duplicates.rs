//! Two live processes under one identity: who was there first stays, and the other is told.

use std::time::Duration;

use quicraft_tests::sim::{Callers, MS, SimCluster, SimSpec};
use quicraft_tests::switch::address;
use quicraft_transport::close::CloseCode;
use quicraft_transport::{Event, Incarnation, LinkState, NodeId, Roster, RosterEntry, Transport};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::time::{sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const CLONED: u64 = 2;
/// How long both live.
const TOGETHER: Duration = Duration::from_secs(60);
/// A knock of the second one at one peer, or a probe of the first one by it, a second: so many at most
/// while both live.
const KNOCKS_MAX: u64 = TOGETHER.as_secs() + 1;

pub(crate) fn id(node: u64) -> NodeId {
    NodeId::new(node).expect("not 0")
}

/// A second process of a node that runs, elsewhere, with so many starts behind it.
fn clone(cluster: &SimCluster, folder: &TempDir, starts: u32) -> Transport {
    let mut incarnation = Incarnation::unordered();
    for _ in 0..starts {
        // The folder is locked by the one before.
        drop(incarnation);
        incarnation = Incarnation::persisted(folder.path()).expect("an incarnation");
    }
    let roster = Roster::closed();
    for node in 1..=3 {
        let entry = RosterEntry::new(id(node), vec![cluster.address(node).into()]);
        roster.insert(entry).expect("a place");
    }
    Transport::builder(cluster.credentials(CLONED))
        .incarnation(incarnation)
        .config(cluster.spec().transport.clone())
        .roster(roster)
        .abstract_socket(cluster.switch.socket(address(22)), cluster.switch.runtime())
        .start()
        .expect("started")
}

/// Both ends of each refusal have raised an event; nobody has let anybody in meanwhile.
fn assert_told(here: &mut Receiver<Event>, there: &mut Receiver<Event>) {
    let mut loud = 0;
    while let Ok(event) = here.try_recv() {
        assert!(!matches!(event, Event::LinkUp { .. }), "{event:?}");
        let cloned = matches!(event, Event::DuplicateNode { peer, .. } if peer.get() == CLONED);
        loud += u32::from(cloned);
    }
    assert!(loud > 0, "nobody was told here");
    let mut told = 0_u64;
    while let Ok(event) = there.try_recv() {
        if let Event::RefusedByPeer { code, .. } = event {
            let expected = [CloseCode::DuplicateNode, CloseCode::Busy];
            assert!(expected.contains(&code), "{code}");
            told += 1;
        }
    }
    assert!((1..=2 * KNOCKS_MAX).contains(&told), "{told} refusals");
}

/// A clone with the same epoch, with a higher one, and one of nodes that keep none. While both live
/// the first keeps its links, answers all calls and is probed at most once a second, and everybody is
/// told. When it is gone, the
/// other is let in.
/// A7: duplicates never alternate.
#[tokio::test(start_paused = true)]
async fn an_answering_incumbent_is_never_displaced() {
    for (persisted, starts) in [(true, 1), (true, 2), (false, 0)] {
        let spec = SimSpec {
            persisted,
            ..SimSpec::new(3, 0, ROUND_TRIP).echoing()
        };
        let mut cluster = SimCluster::start_unlinked(spec).await;
        cluster.linked().await;
        let first = cluster.node(CLONED).transport.boot();
        let callers = Callers::start(&cluster, 50 * MS, Duration::from_secs(1));
        let mut here = cluster.node(1).transport.events();
        let folder = TempDir::new().expect("a folder");
        let second = clone(&cluster, &folder, starts);
        let mut there = second.events();
        sleep(TOGETHER).await;

        let calls = callers.finish().await;
        assert!(calls.failed().is_empty(), "{:?}", calls.failed());
        assert_eq!(calls.broken(|node| cluster.sink(node).clone()), None);
        assert_told(&mut here, &mut there);
        for other in [1, 3] {
            let link = cluster.node(other).link(CLONED);
            assert_eq!((link.boot, link.links_total), (Some(first), 1), "{link:?}");
            assert_ne!(second.peer(id(other)).status().state, LinkState::Up);
            let probes = cluster.node(CLONED).link(other).probes;
            // The same count of starts is a duplicate without a question.
            let expected = if starts == 1 { 0..=0 } else { 1..=KNOCKS_MAX };
            assert!(expected.contains(&probes), "{probes} probes by {other}");
        }

        cluster.crash(CLONED).await;
        let admitted = async {
            for other in [1, 3] {
                while second.peer(id(other)).status().state != LinkState::Up {
                    there.recv().await.expect("events");
                }
            }
        };
        // It has to be silent for as long as a probe lasts, or for the idle timeout.
        let limit = cluster.spec().transport.idle_timeout + Duration::from_secs(5);
        let admitted = timeout(limit, admitted).await;
        admitted.expect("the only one is let in");
        for other in [1, 3] {
            let up = cluster.node(other).link_until(CLONED, |link| {
                link.state == LinkState::Up && link.boot == Some(second.boot())
            });
            up.await;
            assert_eq!(cluster.node(other).link(CLONED).links_max, 1);
        }
    }
}
