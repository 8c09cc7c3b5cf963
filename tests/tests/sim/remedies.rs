//! What SECURITY.md tells an operator to do, done as it stands there.

use std::sync::Arc;
use std::time::Duration;

use quicraft_certs::{Authority, CredentialSettings, CredentialStore, IssuedNode, Serial};
use quicraft_tests::sim::{MS, SimCluster, SimNode, SimSpec};
use quicraft_tests::switch::address;
use quicraft_transport::close::CloseCode;
use quicraft_transport::{
    Event, Incarnation, LinkState, LinkStatus, Roster, RosterEntry, Transport,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::duplicates::id;

const ROUND_TRIP: Duration = Duration::from_millis(20);
/// The node that its operator has trouble with, beside node 1.
const NODE: u64 = 2;

/// A process of [`NODE`] with so many starts behind it, which knows node 1.
fn process(
    cluster: &SimCluster,
    credentials: &Arc<CredentialStore>,
    starts: u64,
    at: std::net::SocketAddr,
) -> Transport {
    let folder = TempDir::new().expect("a folder");
    let incarnation = (0..starts).fold(Incarnation::unordered(), |before, _| {
        // The folder is locked by the one before.
        drop(before);
        Incarnation::persisted(folder.path()).expect("an incarnation")
    });
    let roster = Roster::closed();
    let one = RosterEntry::new(id(1), vec![cluster.address(1).into()]);
    roster.insert(one).expect("a place");
    Transport::builder(Arc::clone(credentials))
        .incarnation(incarnation)
        .config(cluster.spec().transport.clone())
        .roster(roster)
        .abstract_socket(cluster.switch.socket(at), cluster.switch.runtime())
        .start()
        .expect("started")
}

async fn refused(node: &SimNode, code: CloseCode) {
    let refused = node.event(|event| {
        matches!(event, Event::Refused { peer, code: said, .. }
            if peer.get() == NODE && *said == code)
    });
    refused.await;
}

/// The link of node 1 to this run of the node.
async fn linked(one: &SimNode, run: &Transport) {
    let boot = Some(run.boot());
    one.link_until(NODE, |link| {
        link.state == LinkState::Up && link.boot == boot
    })
    .await;
}

/// A disk that comes back from a backup has an older count of starts.
/// A4, A10: refused, until an operator takes the responsibility.
#[tokio::test(start_paused = true)]
async fn a_node_from_a_backup_is_refused_until_its_peers_forget_its_epochs() {
    let spec = SimSpec::new(2, 0, ROUND_TRIP);
    let mut cluster = SimCluster::start_unlinked(spec).await;
    cluster.linked().await;
    cluster.crash(NODE).await;
    cluster.restart(NODE).await;
    cluster.linked().await;
    assert_eq!(cluster.node(1).link(NODE).epoch, Some(2));
    cluster.crash(NODE).await;

    let at = cluster.address(NODE);
    let restored = process(&cluster, &cluster.credentials(NODE), 1, at);
    let one = cluster.node(1);
    refused(one, CloseCode::StaleIncarnation).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(one.link(NODE).links, 0, "it stays out");
    one.transport.forget_peer(id(NODE));
    one.transport.unpark(id(NODE));
    linked(one, &restored).await;
    assert_eq!(one.link(NODE).epoch, Some(1));
}

/// Credentials of a node with lists of what is revoked.
fn with_list(
    issued: &IssuedNode,
    authority: &Authority,
    revoked: &[Serial],
) -> quicraft_certs::Credentials {
    let list = authority.crl(revoked).expect("a list");
    issued
        .credentials_with(authority.root_pem(), &list, &CredentialSettings::default())
        .expect("valid credentials")
}

/// Whoever has the key of a node that is down is let in, and with a high count of starts keeps the
/// node out. Revoked and forgotten, the thief is gone within a second and the node is back.
/// A4, A9: a stolen key.
#[tokio::test(start_paused = true)]
async fn a_thief_of_a_key_is_thrown_out_and_the_node_comes_back() {
    let mut cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
    cluster.linked().await;
    cluster.crash(NODE).await;
    let stolen = cluster.credentials(NODE);
    let thief = process(&cluster, &stolen, 5, address(66));
    let one = cluster.node(1);
    linked(one, &thief).await;
    cluster.restart(NODE).await;
    let one = cluster.node(1);
    refused(one, CloseCode::StaleIncarnation).await;
    let parked = |link: &LinkStatus| matches!(link.state, LinkState::Parked(_));
    cluster.node(NODE).link_until(1, parked).await;

    let authority = &cluster.authority;
    let stolen = stolen.current().certificate().serial().clone();
    let own = authority.issue(id(1)).expect("issued");
    let start = Instant::now();
    let replaced = one.transport.credentials().replace(with_list(
        &own,
        authority,
        std::slice::from_ref(&stolen),
    ));
    replaced.expect("replaced");
    one.link_until(NODE, |link| link.links == 0).await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let close = one.link(NODE).last_close.expect("a close");
    assert_eq!(close.code, Some(CloseCode::Revoked));

    one.transport.forget_peer(id(NODE));
    let renewed = authority.issue(id(NODE)).expect("issued");
    let renewed = with_list(&renewed, authority, &[stolen]);
    let node = cluster.node(NODE);
    node.transport
        .credentials()
        .replace(renewed)
        .expect("replaced");
    linked(one, &node.transport).await;
    sleep(10 * MS).await;
    assert!(thief.peer(id(1)).status().links == 0, "the thief is out");
}
