//! Two transports on loopback sockets: what the lanes carry, and what they refuse.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step of a test that fails ends the test, also outside its own function"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use quicraft_certs::{Authority, ClusterName, CredentialStore};
use quicraft_transport::limits::{
    CALLS_IN_FLIGHT_MAX, CONTROL_QUEUE_FRAMES_MAX, SESSION_REQUESTS_MAX, SNAPSHOT_STREAMS_MAX,
};
use quicraft_transport::link::{CallLane, Request, TransferBody};
use quicraft_transport::service::{CallContext, Service, SessionReplies, SessionRequests};
use quicraft_transport::{
    CallError, GroupId, LinkState, NodeId, PeerAddress, Refusal, RefusalCode, Registration,
    Resolver, Roster, RosterEntry, Transport, TransportBuilder, TransportConfig, UnreachableReason,
};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

const GROUP: GroupId = GroupId::new(7);
const LIMIT: Duration = Duration::from_secs(10);

/// Echoes, panics, or waits for ever, as its method says.
struct Echo;

impl Service for Echo {
    fn call(
        &self,
        context: CallContext,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        assert_ne!(context.method, 1, "asked to panic before the first await");
        Box::pin(async move {
            match context.method {
                2 => panic!("asked to panic inside"),
                3 => std::future::pending().await,
                4 => Err(Refusal::new(RefusalCode::Application(9), "no")),
                5 => {
                    tokio::task::yield_now().await;
                    Ok(body)
                }
                _ => Ok(body),
            }
        })
    }

    fn session(
        &self,
        context: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        if context.method == 3 {
            let never = async move {
                let _unread = requests;
                std::future::pending().await
            };
            return Ok(futures_util::stream::once(never).boxed());
        }
        Ok(requests.map(Ok).boxed())
    }

    fn transfer(
        &self,
        context: CallContext,
        head: Bytes,
        mut body: TransferBody,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async move {
            if context.method == 3 {
                let _unread = body;
                return std::future::pending().await;
            }
            let (mut sum, mut count, mut buffer) = (0_u64, 0_u64, vec![0; 50_000]);
            loop {
                match body.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(read) => {
                        sum += buffer[..read]
                            .iter()
                            .map(|byte| u64::from(*byte))
                            .sum::<u64>();
                        count += read as u64;
                    }
                    Err(error) => {
                        return Err(Refusal::new(RefusalCode::Corrupt, error.to_string()));
                    }
                }
            }
            Ok(format!("{} {count} {sum}", String::from_utf8_lossy(&head)).into())
        })
    }
}

struct Pair {
    one: Transport,
    two: Transport,
    _serving: [Registration; 2],
}

fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

fn start(authority: &Authority, node: u64) -> Transport {
    start_with(authority, node, TransportConfig::default())
}

fn start_with(authority: &Authority, node: u64, config: TransportConfig) -> Transport {
    builder(authority, node).config(config).start().unwrap()
}

fn builder(authority: &Authority, node: u64) -> TransportBuilder {
    let credentials = authority
        .issue(id(node))
        .unwrap()
        .credentials(authority)
        .unwrap();
    Transport::builder(CredentialStore::new(credentials))
        .bind("127.0.0.1:0".parse().unwrap())
        .roster(Roster::closed())
}

fn introduce(to: &Transport, other: &Transport) {
    let address = other.local_addr().unwrap().into();
    to.roster()
        .insert(RosterEntry::new(other.node_id(), vec![address]))
        .unwrap();
}

async fn up(transport: &Transport, peer: u64) {
    let mut events = transport.events();
    while transport.peer(id(peer)).status().state != LinkState::Up {
        timeout(LIMIT, events.recv())
            .await
            .expect("an event")
            .expect("events");
    }
}

async fn pair() -> Pair {
    pair_with(&TransportConfig::default()).await
}

async fn pair_with(config: &TransportConfig) -> Pair {
    let authority = Authority::new(ClusterName::new("test.example").unwrap()).unwrap();
    let start = |node| start_with(&authority, node, config.clone());
    let (one, two) = (start(1), start(2));
    let serving = [
        one.register(GROUP, Arc::new(Echo)).unwrap(),
        two.register(GROUP, Arc::new(Echo)).unwrap(),
    ];
    introduce(&two, &one);
    introduce(&one, &two);
    up(&one, 2).await;
    up(&two, 1).await;
    Pair {
        one,
        two,
        _serving: serving,
    }
}

async fn call(
    from: &Transport,
    to: u64,
    lane: CallLane,
    method: u16,
    body: Bytes,
) -> Result<Bytes, CallError> {
    let deadline = Instant::now() + Duration::from_millis(if method == 3 { 100 } else { 5_000 });
    from.peer(id(to))
        .call(lane, Request::new(GROUP, method, body), deadline)
        .await
}

/// H7, L3, L6: calls both ways, on Control and on Call.
#[tokio::test]
async fn calls_flow_both_ways_on_one_link() {
    let pair = pair().await;
    for lane in [CallLane::Control, CallLane::Call] {
        for method in [0, 5] {
            let body = Bytes::from(vec![7; 10_000]);
            assert_eq!(
                call(&pair.one, 2, lane, method, body.clone())
                    .await
                    .unwrap(),
                body
            );
            assert_eq!(
                call(&pair.two, 1, lane, method, body.clone())
                    .await
                    .unwrap(),
                body
            );
        }
    }
    assert!(pair.one.peer(id(2)).status().dialled);
    assert!(!pair.two.peer(id(1)).status().dialled);
    assert_eq!(pair.one.peer(id(2)).status().links_max, 1);
    assert_eq!(pair.two.peer(id(1)).status().links_max, 1);
}

/// R1, R2, S2, L12: a no is an answer, and the link lives on.
#[tokio::test]
async fn refusals_are_typed_and_the_link_lives_on() {
    let pair = pair().await;
    for lane in [CallLane::Control, CallLane::Call] {
        let refused = |code: RefusalCode, error: CallError| match error {
            CallError::Refused { refusal, .. } => assert_eq!(refusal.code, code),
            other => panic!("{lane:?}: {other}"),
        };
        let body = Bytes::from_static(b"x");
        for method in [1, 2] {
            let error = call(&pair.one, 2, lane, method, body.clone())
                .await
                .unwrap_err();
            refused(RefusalCode::HandlerPanicked, error);
        }
        let error = call(&pair.one, 2, lane, 4, body.clone()).await.unwrap_err();
        refused(RefusalCode::Application(9), error);
        let error = call(&pair.one, 2, lane, 3, body.clone()).await.unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error}");
        let nobody = Request::new(GroupId::new(99), 0, body.clone());
        let deadline = Instant::now() + LIMIT;
        let error = pair
            .one
            .peer(id(2))
            .call(lane, nobody, deadline)
            .await
            .unwrap_err();
        refused(RefusalCode::UnknownGroup, error);
        assert_eq!(
            call(&pair.one, 2, lane, 0, body.clone()).await.unwrap(),
            body
        );
    }
    assert_eq!(pair.one.peer(id(2)).status().links_total, 1);
}

/// F5, H8: the limit of a lane, and one past it.
#[tokio::test]
async fn bodies_at_the_limit_pass_and_one_past_it_is_refused_here() {
    let pair = pair().await;
    for (lane, limit) in [
        (CallLane::Control, 64 * 1024),
        (CallLane::Call, 8 * 1024 * 1024),
    ] {
        let body = Bytes::from(vec![1; limit]);
        assert_eq!(
            call(&pair.one, 2, lane, 0, body.clone()).await.unwrap(),
            body,
            "{lane:?}"
        );
        let error = call(&pair.one, 2, lane, 0, Bytes::from(vec![1; limit + 1]))
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
    }
}

/// L7: a session.
#[tokio::test]
async fn a_session_answers_in_order_and_outlives_its_stream() {
    let pair = pair().await;
    let (mut sender, mut receiver) = pair.one.peer(id(2)).session(GROUP, 0, LIMIT);
    for round in 0..2 {
        for number in 0..500_u32 {
            let body = Bytes::copy_from_slice(&number.to_be_bytes());
            tokio::select! {
                sent = sender.send(body.clone()) => sent.unwrap(),
                () = tokio::time::sleep(LIMIT) => panic!("round {round}: stuck at {number}"),
            }
            let answer = receiver.next().await.unwrap().unwrap();
            assert_eq!(answer, body);
        }
        sender.rest();
    }
    drop(sender);
    assert!(receiver.next().await.is_none());
}

/// L8, L9: more than the budget passes, because it is given back.
#[tokio::test]
async fn a_transfer_arrives_whole() {
    let pair = pair().await;
    let length = 20_000_000_u64;
    let source = tokio::io::repeat(3).take(length);
    let request = Request::new(GROUP, 0, Bytes::from_static(b"head"));
    let answer = pair
        .one
        .peer(id(2))
        .transfer(request, length, source, LIMIT)
        .await
        .unwrap();
    assert_eq!(answer, format!("head {length} {}", 3 * length));
    let short = tokio::io::repeat(3).take(length - 1);
    let request = Request::new(GROUP, 0, Bytes::from_static(b"head"));
    let error = pair
        .one
        .peer(id(2))
        .transfer(request, length, short, LIMIT)
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Source { .. }), "{error}");
}

/// Both the largest datagram that this end looks for and the largest that the other one takes follow
/// the setting; quinn's own bound of the second is 1,472 bytes.
#[tokio::test]
async fn datagrams_grow_to_what_is_set_where_the_path_carries_it() {
    let mut config = TransportConfig::default();
    config.datagram_bytes_max = 8_952;
    let pair = pair_with(&config).await;
    let grown = async {
        while pair.one.peer(id(2)).status().datagram_bytes != Some(8_952) {
            let body = Bytes::from_static(b"look again");
            call(&pair.one, 2, CallLane::Call, 0, body).await.unwrap();
        }
    };
    timeout(LIMIT, grown).await.expect("datagrams that grow");
}

/// L4: going away.
#[tokio::test]
async fn a_shutdown_tells_the_peer_and_a_dropped_one_too() {
    let Pair { one, two, _serving } = pair().await;
    let report = two.shutdown(LIMIT).await;
    assert!(report.tasks_ended, "{report:?}");
    let mut events = one.events();
    while one.peer(id(2)).status().state == LinkState::Up {
        timeout(LIMIT, events.recv())
            .await
            .expect("an event")
            .expect("events");
    }
    // Dialling again begins at once, so a call may wait for it or be told that the peer is down.
    let error = call(&one, 2, CallLane::Control, 0, Bytes::new())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn who_is_unknown_or_oneself_is_unreachable_at_once() {
    let pair = pair().await;
    let reason = |error| match error {
        CallError::Unreachable { reason, .. } => reason,
        other => panic!("{other}"),
    };
    let error = call(&pair.one, 1, CallLane::Call, 0, Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(reason(error), UnreachableReason::Myself);
    let error = call(&pair.one, 9, CallLane::Call, 0, Bytes::new())
        .await
        .unwrap_err();
    assert!(matches!(reason(error), UnreachableReason::Down(_)));
}

/// L3, L4: a full lane refuses at once, and what is in flight goes on.
#[tokio::test]
async fn a_lane_at_its_limit_is_full_and_one_past_it_is_refused_at_once() {
    let pair = pair().await;
    let peer = pair.one.peer(id(2));
    for (lane, limit) in [
        (CallLane::Call, CALLS_IN_FLIGHT_MAX),
        (CallLane::Control, CONTROL_QUEUE_FRAMES_MAX),
    ] {
        let deadline = Instant::now() + LIMIT;
        let never = || Box::pin(peer.call(lane, Request::new(GROUP, 3, Bytes::new()), deadline));
        // Polled once each, without a chance for the lane's writer to run in between.
        let mut calls: Vec<_> = (0..limit).map(|_| never()).collect();
        for call in &mut calls {
            assert!(futures_util::poll!(call.as_mut()).is_pending(), "{lane:?}");
        }
        let error = match futures_util::poll!(never().as_mut()) {
            std::task::Poll::Ready(Err(error)) => error,
            other => panic!("{lane:?}: {other:?}"),
        };
        assert!(
            matches!(
                &error,
                CallError::Unreachable {
                    reason: UnreachableReason::LaneFull { .. },
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(peer.status().in_flight, limit, "{lane:?}");
        drop(calls);
        assert_eq!(peer.status().in_flight, 0, "{lane:?}");
    }
    let body = Bytes::from_static(b"after");
    let answer = call(&pair.one, 2, CallLane::Call, 0, body.clone()).await;
    assert_eq!(answer.unwrap(), body);
}

/// L7: a session stops taking requests at its limit, and goes on when it may.
#[tokio::test]
async fn a_session_takes_as_many_requests_as_its_window_and_not_one_more() {
    let pair = pair().await;
    let (mut sender, _receiver) = pair.one.peer(id(2)).session(GROUP, 3, LIMIT);
    for number in 0..SESSION_REQUESTS_MAX {
        let sent = timeout(LIMIT, sender.send(Bytes::from_static(b"x"))).await;
        assert!(matches!(sent, Ok(Ok(()))), "request {number}: {sent:?}");
    }
    let past = sender.send(Bytes::from_static(b"x"));
    tokio::pin!(past);
    assert!(futures_util::poll!(past.as_mut()).is_pending());
}

/// L9: one transfer more than a link carries at once waits, and gives up at its stall limit.
#[tokio::test]
async fn transfers_of_a_link_are_bounded() {
    let pair = pair().await;
    let peer = pair.one.peer(id(2));
    let send = |limit| {
        let request = Request::new(GROUP, 3, Bytes::new());
        Box::pin(peer.transfer(request, 1 << 30, tokio::io::repeat(0), limit))
    };
    let running = async {
        let all = (0..SNAPSHOT_STREAMS_MAX).map(|_| send(LIMIT));
        futures_util::future::select_all(all).await.0
    };
    let past = async {
        // The others are polled first and have taken their places.
        tokio::task::yield_now().await;
        send(Duration::from_millis(200)).await
    };
    tokio::select! {
        biased;
        ended = running => panic!("a transfer that nobody reads has ended: {ended:?}"),
        waited = past => assert!(matches!(waited, Err(CallError::Timeout { .. })), "{waited:?}"),
    }
}

/// A peer whose snapshots nobody reads holds up its own, and not those of others.
#[tokio::test]
async fn transfers_that_wait_for_a_link_take_no_place_of_the_node() {
    let authority = Authority::new(ClusterName::new("test.example").unwrap()).unwrap();
    let mut config = TransportConfig::default();
    config.snapshots_sent_max = SNAPSHOT_STREAMS_MAX + 1;
    let one = start_with(&authority, 1, config);
    let (two, three) = (start(&authority, 2), start(&authority, 3));
    let _serving = [&two, &three].map(|node| node.register(GROUP, Arc::new(Echo)).unwrap());
    for other in [&two, &three] {
        introduce(&one, other);
        introduce(other, &one);
        up(&one, other.node_id().get()).await;
    }
    let (slow, fine) = (one.peer(id(2)), one.peer(id(3)));
    let send = |peer, method| {
        let peer: &quicraft_transport::link::Peer = peer;
        let request = Request::new(GROUP, method, Bytes::new());
        peer.transfer(request, 1_000_000, tokio::io::repeat(0), LIMIT)
    };
    // One more than the link carries: it waits.
    let stuck = (0..=SNAPSHOT_STREAMS_MAX).map(|_| Box::pin(send(&slow, 3)));
    let stuck = futures_util::future::select_all(stuck);
    let passing = async {
        tokio::task::yield_now().await;
        send(&fine, 0).await
    };
    tokio::select! {
        biased;
        ended = stuck => panic!("a transfer that nobody reads has ended: {:?}", ended.0),
        passed = passing => assert!(passed.is_ok(), "{passed:?}"),
    }
}

/// The port is free when a shutdown is over, although quinn would wait longer for the last packets of
/// a peer that does not answer.
#[tokio::test]
async fn the_port_is_free_after_a_shutdown() {
    let authority = Authority::new(ClusterName::new("test.example").unwrap()).unwrap();
    let mut config = TransportConfig::default();
    // quinn drains a closed connection for nine of these, as long as it has measured no round trip.
    config.initial_rtt = Duration::from_secs(2);
    let one = start_with(&authority, 1, config);
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().into();
    let mut events = one.events();
    one.roster()
        .insert(RosterEntry::new(id(2), vec![address]))
        .unwrap();
    timeout(LIMIT, events.recv())
        .await
        .expect("an event")
        .expect("a dial that failed");
    let own = one.local_addr().unwrap();
    let report = one.shutdown(Duration::from_secs(1)).await;
    assert!(report.tasks_ended, "{report:?}");
    std::net::UdpSocket::bind(own).expect("the port is free");
}

/// The resolver is the host's. When it panics the dial has failed, and another follows.
#[tokio::test]
async fn a_resolver_that_panics_fails_only_its_dial() {
    struct Stumbles(AtomicBool, SocketAddr);
    impl Resolver for Stumbles {
        fn resolve(&self, _: PeerAddress) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            assert!(self.0.swap(true, Ordering::Relaxed), "asked to stumble");
            std::future::ready(Ok(vec![self.1])).boxed()
        }
    }
    let authority = Authority::new(ClusterName::new("test.example").unwrap()).unwrap();
    let two = start(&authority, 2);
    let resolver = Stumbles(AtomicBool::new(false), two.local_addr().unwrap());
    let one = builder(&authority, 1).resolver(Arc::new(resolver));
    let one = one.start().unwrap();
    let name = "two.example:1".parse().unwrap();
    two.roster()
        .insert(RosterEntry::new(id(1), Vec::new()))
        .unwrap();
    one.roster()
        .insert(RosterEntry::new(id(2), vec![name]))
        .unwrap();
    up(&one, 2).await;
}
