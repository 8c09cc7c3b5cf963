//! New credentials on live links: who may not be here any more leaves within a second, and a
//! rotation loses no call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use quicraft_certs::{
    Authority, CRL_NOTICE, CredentialSettings, Credentials, CrlStage, IssuedNode, Serial, UnixTime,
    WallClock,
};
use quicraft_tests::sim::{ECHO, LIMIT, MS, SimCluster, SimNode, SimSpec, Sink};
use quicraft_transport::close::CloseCode;
use quicraft_transport::link::CallLane;
use quicraft_transport::{Event, LinkState, LinkStatus, NodeId, RosterEntry};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn id(node: u64) -> NodeId {
    NodeId::new(node).expect("a node")
}

/// Credentials of a node with a trust of their own.
fn trusting(issued: &IssuedNode, roots: &[&Authority], revoked: &[Serial]) -> Credentials {
    let bundle: String = roots.iter().map(|root| root.root_pem()).collect();
    let crls = roots
        .iter()
        .filter(|_| !revoked.is_empty())
        .map(|root| root.crl(revoked).expect("a CRL"));
    let crls: String = crls.collect();
    issued
        .credentials_with(&bundle, &crls, &CredentialSettings::default())
        .expect("valid credentials")
}

fn replace(node: &SimNode, credentials: Credentials) {
    let store = node.transport.credentials();
    store.replace(credentials).expect("replaced");
}

/// Waits until a node's link to another is gone, and returns how long that took.
async fn gone(node: &SimNode, other: u64, since: Instant) -> Duration {
    node.link_until(other, |link| link.links == 0).await;
    since.elapsed()
}

/// C1: `REVOKED`, told to the peer, which waits for new credentials.
#[tokio::test(start_paused = true)]
async fn a_revoked_peer_loses_its_link_and_returns_with_a_new_certificate() {
    let cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, 10 * MS)).await;
    cluster.linked().await;
    let (one, two) = (cluster.node(1), cluster.node(2));
    let shown = two.transport.credentials().current();
    let serial = shown.certificate().serial().clone();
    let own = cluster.authority.issue(id(1)).expect("issued");
    let mut told = two.transport.events();
    let start = Instant::now();
    replace(one, trusting(&own, &[&cluster.authority], &[serial]));
    assert!(gone(one, 2, start).await < SECOND);
    let parked = |link: &LinkStatus| matches!(link.state, LinkState::Parked(_));
    two.link_until(1, parked).await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    let close = two.link(1).last_close.expect("a close");
    assert_eq!(close.code, Some(CloseCode::Revoked));
    // Loudly, for whoever looks only at this node.
    let mut parked = std::iter::from_fn(|| told.try_recv().ok());
    let expected = Event::Parked {
        peer: id(1),
        code: CloseCode::Revoked,
    };
    assert!(parked.any(|event| event == expected));
    // It stays out: TLS refuses it, and it is parked.
    sleep(5 * SECOND).await;
    assert_eq!((one.link(2).links, two.link(1).links), (0, 0));
    let renewed = cluster.authority.issue(id(2)).expect("issued");
    let start = Instant::now();
    replace(two, trusting(&renewed, &[&cluster.authority], &[]));
    two.link_up(1).await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// C1: `CERTIFICATE_EXPIRED`.
#[tokio::test(start_paused = true)]
async fn an_expired_peer_loses_its_link_within_a_second() {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let clock = WallClock::manual(now);
    let spec = SimSpec::new(2, 0, 10 * MS).by_clock(clock.clone());
    let cluster = SimCluster::start_unlinked(spec).await;
    cluster.linked().await;
    let one = cluster.node(1);
    let ends = one.link(2).certificate_ends.expect("a link");
    clock.set(UnixTime::since_unix_epoch(Duration::from_secs(ends)));
    sleep(2 * SECOND).await;
    assert_eq!(one.link(2).links, 1, "the last second is valid");
    clock.advance(SECOND);
    let start = Instant::now();
    assert!(gone(one, 2, start).await < SECOND);
    let close = one.link(2).last_close.expect("a close");
    assert_eq!(close.code, Some(CloseCode::CertificateExpired));
}

/// A list is told of before its end, at it, and when nobody gets in any more. The link lives on.
/// A9: a stale CRL ends none.
#[tokio::test(start_paused = true)]
async fn a_list_that_comes_to_its_end_is_told_of_and_ends_no_link() {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let clock = WallClock::manual(now);
    let spec = SimSpec::new(2, 0, 10 * MS).by_clock(clock.clone());
    let cluster = SimCluster::start_unlinked(spec).await;
    cluster.linked().await;
    let one = cluster.node(1);
    let own = cluster.authority.issue(id(1)).expect("issued");
    let root = &cluster.authority;
    let with_list = |next_update: u64| {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let list = root.crl_with(&[], clock.now(), at(next_update));
        let list = list.expect("a CRL");
        let mut settings = CredentialSettings::default();
        settings.clock = clock.clone();
        own.credentials_with(root.root_pem(), &list, &settings)
            .expect("valid credentials")
    };
    let ends = now.as_secs() + 7 * 86_400;
    let mut events = one.transport.events();
    replace(one, with_list(ends));
    let mut stages = async || {
        sleep(SECOND).await;
        let told = std::iter::from_fn(|| events.try_recv().ok());
        let told = told.filter_map(|event| match event {
            Event::CrlDue {
                next_update, stage, ..
            } => Some((next_update, stage)),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let notice = ends - CRL_NOTICE.as_secs();
    let grace = CredentialSettings::default().limits.crl_grace.as_secs();
    let table = [
        (notice - 1, None),
        (notice, Some(CrlStage::Near)),
        (ends - 1, None),
        (ends, Some(CrlStage::Stale)),
        (ends + grace - 1, None),
        (ends + grace, Some(CrlStage::Refusing)),
    ];
    for (now, stage) in table {
        clock.set(UnixTime::since_unix_epoch(Duration::from_secs(now)));
        let expected: Vec<_> = stage.map(|stage| (ends, stage)).into_iter().collect();
        assert_eq!(stages().await, expected, "at {now}");
        assert_eq!(stages().await, [], "once");
    }
    let linked = one.link(2).links_total;
    one.transport.renew_link(id(2));
    sleep(SECOND).await;
    let link = one.link(2);
    assert_eq!((link.links, link.links_total), (1, linked), "no newcomer");
    replace(one, with_list(ends + 30 * 86_400));
    one.transport.renew_link(id(2));
    one.link_until(2, |link| link.links_total > linked).await;
    assert_eq!(stages().await, []);
}

/// A9: another key than the one that is pinned now.
#[tokio::test(start_paused = true)]
async fn a_peer_with_another_key_than_the_pin_loses_its_link() {
    let cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, 10 * MS)).await;
    cluster.linked().await;
    let one = cluster.node(1);
    let entry = one.transport.roster().get(id(2)).expect("a member");
    let key = cluster.node(2).transport.credentials().current();
    let pinned = entry.clone().pinned(key.certificate().key_hash());
    one.transport.roster().insert(pinned).expect("inserted");
    sleep(SECOND).await;
    assert_eq!(one.link(2).links_total, 1, "it has that key");
    let foreign = RosterEntry::new(id(2), entry.addresses).pinned([7; 32]);
    let start = Instant::now();
    one.transport.roster().insert(foreign).expect("inserted");
    assert!(gone(one, 2, start).await < SECOND);
    let close = one.link(2).last_close.expect("a close");
    assert_eq!(close.code, Some(CloseCode::KeyNotPinned));
}

/// Calls from one node to another, one every 20 ms, none of which may fail.
async fn calls(from: &SimNode, to: u64, count: u32) {
    let calls = (0..count).map(|number| async move {
        sleep(number * 20 * MS).await;
        let lane = [CallLane::Control, CallLane::Call][number as usize % 2];
        let body = Bytes::from(format!("{} to {to}: {number}", from.id));
        // Half of them still run when the next ones begin.
        let method = u16::from(number % 4 > 1) * 50;
        let answer = from.call(to, lane, ECHO, method, body.clone(), LIMIT).await;
        assert_eq!(answer.expect("an answer"), body);
    });
    join_all(calls).await;
}

/// Leaf certificates, then the CA with an overlap of the old and the new one, under calls between
/// all nodes in both directions.
#[tokio::test(start_paused = true)]
async fn a_rotation_loses_no_call() {
    let cluster = SimCluster::start_unlinked(SimSpec::new(3, 0, 10 * MS)).await;
    cluster.linked().await;
    let serving: Vec<_> = cluster
        .nodes()
        .map(|node| node.transport.register(ECHO, Arc::new(Sink::new(1))))
        .collect();
    let before: Vec<_> = cluster.nodes().map(link_ids).collect();
    let rotating = async {
        let old = &cluster.authority;
        sleep(SECOND).await;
        rotate(&cluster, old, &[old]).await;
        let leaf: Vec<_> = cluster.nodes().map(link_ids).collect();
        assert!(
            before
                .iter()
                .zip(&leaf)
                .all(|(before, after)| before != after)
        );
        let new = Authority::new(old.cluster().clone()).expect("a CA");
        rotate(&cluster, old, &[old, &new]).await;
        rotate(&cluster, &new, &[old, &new]).await;
        rotate(&cluster, &new, &[&new]).await;
    };
    let pairs = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)];
    let calling = pairs.map(|(from, to)| calls(cluster.node(from), to, 2_500));
    tokio::join!(rotating, join_all(calling));
    for node in cluster.nodes() {
        for link in node.transport.status() {
            assert_eq!((link.links, link.links_max), (1, 1), "{link:?}");
        }
    }
    drop(serving);
}

/// Gives every node a certificate of `issuer` and its trust in `roots`, and waits until no link
/// shows another one.
async fn rotate(cluster: &SimCluster, issuer: &Authority, roots: &[&Authority]) {
    let before: Vec<_> = cluster.nodes().map(link_ids).collect();
    for node in cluster.nodes() {
        let issued = issuer.issue(id(node.id)).expect("issued");
        replace(node, trusting(&issued, roots, &[]));
    }
    let renewed = async {
        for (node, before) in cluster.nodes().zip(before) {
            for (peer, old) in before {
                node.link_until(peer, |link| link.link_id.is_some_and(|id| Some(id) != old))
                    .await;
            }
        }
        // Both ends of a link have renewed it.
        sleep(6 * SECOND).await;
    };
    timeout(LIMIT, renewed).await.expect("renewed links");
}

fn link_ids(node: &SimNode) -> Vec<(u64, Option<u128>)> {
    let status = node.transport.status();
    let links = status.iter().map(|link| (link.peer.get(), link.link_id));
    links.collect()
}

/// A3: the first key that a node shows is its only one, where the host wants that.
#[tokio::test(start_paused = true)]
async fn the_first_key_of_a_peer_is_pinned() {
    let mut spec = SimSpec::new(2, 0, 10 * MS);
    spec.transport.pin_first_key = true;
    let cluster = SimCluster::start_unlinked(spec).await;
    cluster.linked().await;
    let (one, two) = (cluster.node(1), cluster.node(2));
    let key = two.transport.credentials().current();
    let pin = |node: &SimNode| node.transport.roster().get(id(2)).expect("a member").pin;
    assert_eq!(pin(one), Some(key.certificate().key_hash()));
    // The same id with another key: its next link is refused, and the operator decides.
    let other = cluster.authority.issue(id(2)).expect("issued");
    let credentials = trusting(&other, &[&cluster.authority], &[]);
    let hash = credentials.certificate().key_hash();
    let mut events = one.transport.events();
    replace(two, credentials);
    two.transport.renew_link(id(1));
    let refused = async {
        loop {
            if let Event::Refused { peer, code, .. } = events.recv().await.expect("an event") {
                return (peer, code);
            }
        }
    };
    let refused = timeout(LIMIT, refused).await.expect("a refusal");
    assert_eq!(refused, (id(2), CloseCode::KeyNotPinned));
    let entry = one.transport.roster().get(id(2)).expect("a member");
    let inserted = one.transport.roster().insert(entry.pinned(hash));
    inserted.expect("inserted");
    two.transport.unpark(id(1));
    let renewed = |link: &LinkStatus| link.state == LinkState::Up && link.links_total > 1;
    one.link_until(2, renewed).await;
}

/// A rotation is a matter of writing files; a mistake in them changes nothing.
#[tokio::test(start_paused = true)]
async fn credentials_follow_their_files() {
    let cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, 10 * MS)).await;
    cluster.linked().await;
    let two = cluster.node(2);
    let folder = tempfile::tempdir().expect("a folder");
    let issue = || cluster.authority.issue(id(2)).expect("issued");
    let first = folder.path().join("first");
    let files = issue().write(&first).expect("written");
    let mut events = two.transport.events();
    let settings = CredentialSettings::default();
    two.transport.follow_credentials(files.clone(), settings);
    let mut told = async || loop {
        if let Event::CredentialsRead { problem } = events.recv().await.expect("an event") {
            return problem;
        }
    };
    // The files are others than what the node was started with, and nothing changes any more.
    assert_eq!(timeout(LIMIT, told()).await.expect("an event"), None);
    let before = two.transport.credentials().generation();
    assert_eq!(before, 2);
    sleep(5 * SECOND).await;
    std::fs::write(&files.cert, "no certificate").expect("written");
    let problem = timeout(LIMIT, told()).await.expect("an event");
    assert!(problem.expect("a problem").contains("node-2.crt"));
    assert_eq!(two.transport.credentials().generation(), before);
    let renewed = issue()
        .write(&folder.path().join("second"))
        .expect("written");
    std::fs::copy(&renewed.key, &files.key).expect("copied");
    std::fs::copy(&renewed.cert, &files.cert).expect("copied");
    assert_eq!(timeout(LIMIT, told()).await.expect("an event"), None);
    assert_eq!(two.transport.credentials().generation(), before + 1);
}
