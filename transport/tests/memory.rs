//! What an idle link and an idle group hold at each end, counted by the allocator.
//!
//! A binary with one test, because the allocator counts for the whole process. What is asked of the
//! system and not of the allocator is not in it: the socket's buffers in the kernel, which belong to
//! an endpoint and not to a link. So does the buffer into which quinn receives, 3 MiB an endpoint, of
//! which only what was ever written to is memory.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step of a test that fails ends the test, also outside its own function"
)]

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::AppendEntriesRequest;
use openraft::type_config::alias::{LogIdOf, VoteOf};
use openraft::vote::RaftLeaderId;
use openraft::{BasicNode, RaftNetworkFactory};
use quicraft_certs::{Authority, ClusterName, CredentialStore};
use quicraft_transport::link::{CallLane, Request};
use quicraft_transport::raft::{MemorySnapshots, RaftFactory, RaftNetwork};
use quicraft_transport::service::{CallContext, Service};
use quicraft_transport::{
    GroupId, LinkState, NodeId, Refusal, Registration, Roster, RosterEntry, Transport,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::time::{Instant, timeout};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

openraft::declare_raft_types!(Config: D = String, R = String);

type Network = RaftNetwork<Config, MemorySnapshots>;

const LIMIT: Duration = Duration::from_secs(30);
const KIB: usize = 1_024;

/// Nodes of the mesh: 28 links, 56 ends.
const NODES: u64 = 8;
/// The target of an end of an idle link is 512 KiB. It takes 169; half of the target leaves room for
/// another version of quinn, and none for as many streams granted as there may ever be.
const LINK_END_BYTES_MAX: usize = 256 * KIB;

const GROUPS: u64 = 1_000;
const GROUP_BYTES_MAX: usize = 4 * KIB;

/// Bytes that are allocated now.
fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn grown(before: usize, shares: usize) -> usize {
    live().saturating_sub(before) / shares
}

/// A follower that has the log.
struct Follower;

impl Service for Follower {
    fn call(&self, _: CallContext, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(Bytes::from_static(&[1]))
        })
    }
}

fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

fn start(authority: &Authority, node: u64) -> Transport {
    let issued = authority.issue(id(node)).unwrap();
    let credentials = issued.credentials(authority).unwrap();
    Transport::builder(CredentialStore::new(credentials))
        .bind("127.0.0.1:0".parse().unwrap())
        .roster(Roster::closed())
        .start()
        .unwrap()
}

async fn linked(transport: &Transport, peer: NodeId) {
    let mut events = transport.events();
    while transport.peer(peer).status().state != LinkState::Up {
        let event = timeout(LIMIT, events.recv()).await;
        event.expect("an event").expect("events");
    }
}

/// Tells each of all others, waits for all links, and makes a call of each lane on each, both ways.
async fn mesh(transports: &[Transport]) {
    let pairs = || {
        transports.iter().flat_map(|one| {
            let others = transports.iter();
            let others = others.filter(|other| other.node_id() != one.node_id());
            others.map(move |other| (one, other))
        })
    };
    for (one, other) in pairs() {
        let address = other.local_addr().unwrap().into();
        let entry = RosterEntry::new(other.node_id(), vec![address]);
        one.roster().insert(entry).unwrap();
    }
    for (one, other) in pairs() {
        linked(one, other.node_id()).await;
    }
    for (one, other) in pairs() {
        for lane in [CallLane::Control, CallLane::Call] {
            let request = Request::new(GroupId::new(0), 0, Bytes::new());
            let call = one.peer(other.node_id());
            call.call(lane, request, Instant::now() + LIMIT)
                .await
                .unwrap();
        }
    }
}

async fn beat(client: &mut Network) {
    let leader = openraft::impls::leader_id_adv::LeaderId::new(1, 1);
    let log_id = Some(LogIdOf::<Config>::new(leader.to_committed(), 7));
    let request = AppendEntriesRequest {
        vote: VoteOf::<Config>::new_committed(1, 1),
        prev_log_id: log_id,
        entries: Vec::new(),
        leader_commit: log_id,
    };
    let input = Box::pin(futures_util::stream::once(std::future::ready(request)));
    let mut output = client
        .stream_append(input, RPCOption::new(LIMIT))
        .await
        .unwrap();
    let matched = output.next().await.expect("an answer").unwrap();
    assert_eq!(matched.ok(), Some(log_id));
}

/// What openraft makes for one follower: a client to replicate with, and one for heartbeats.
async fn clients(leader: &Transport, group: u64) -> (Network, Network) {
    let group = GroupId::new(group);
    let mut factory = RaftFactory::<Config, _>::new(leader, group, MemorySnapshots::new());
    let node = BasicNode::default();
    let replication = factory.new_client(2, &node).await;
    (replication, factory.new_heartbeat_client(2, &node).await)
}

#[tokio::test]
async fn an_idle_link_and_an_idle_group_hold_little() {
    let authority = Authority::new(ClusterName::new("test.example").unwrap()).unwrap();
    let transports: Vec<_> = (1..=NODES).map(|node| start(&authority, node)).collect();
    let serve = |transport: &Transport, group: u64| -> Registration {
        let registered = transport.register(GroupId::new(group), Arc::new(Follower));
        registered.unwrap()
    };
    let _called: Vec<_> = transports.iter().map(|one| serve(one, 0)).collect();
    let before = live();
    mesh(&transports).await;
    let ends = usize::try_from(NODES * (NODES - 1)).unwrap();
    let link_end = grown(before, ends);

    let (leader, follower) = (&transports[0], &transports[1]);
    let groups = usize::try_from(GROUPS).unwrap();
    let before = live();
    let _served: Vec<_> = (1..=GROUPS).map(|group| serve(follower, group)).collect();
    let followed = grown(before, groups);
    let before = live();
    let mut led = Vec::new();
    for group in 1..=GROUPS {
        led.push(clients(leader, group).await);
    }
    let beats = led.iter_mut().map(|(_, heartbeats)| beat(heartbeats));
    futures_util::future::join_all(beats).await;
    let led_group = grown(before, groups);
    println!(
        "bytes: {link_end} of an end of a link, {followed} of a group followed, {led_group} led"
    );
    assert!(link_end <= LINK_END_BYTES_MAX, "{link_end}");
    // What it measures is there.
    assert!(link_end > 8 * KIB, "{link_end}");
    assert!(followed <= GROUP_BYTES_MAX, "{followed}");
    assert!(led_group <= GROUP_BYTES_MAX, "{led_group}");
}
