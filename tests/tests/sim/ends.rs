//! What a call learns when its stream, or the link under it, ends: down, replaced, or late.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt};
use quicraft_tests::sim::{ECHO, LIMIT, RawHello, SimCluster, SimNode, SimSpec, Sink, Stranger};
use quicraft_tests::switch::{address, host};
use quicraft_transport::close::CloseCode;
use quicraft_transport::frame::{Frame, FrameKind, Lane};
use quicraft_transport::link::{CallLane, Request, TransferBody};
use quicraft_transport::service::{CallContext, Service, SessionReplies, SessionRequests};
use quicraft_transport::{CallError, Event, GroupId, LinkEnd, Refusal};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(10);
const GROUPS: u64 = 64;
/// The node whose certificate the stranger has.
const STRANGER: u64 = 2;
const STALL: Duration = Duration::from_secs(5);

/// Node 1, and a stranger that is its peer: it reads and answers what the test says.
struct Faced {
    cluster: SimCluster,
    stranger: Stranger,
}

impl Faced {
    async fn new() -> Self {
        let spec = SimSpec::new(2, 0, ROUND_TRIP);
        let mut cluster = SimCluster::start_unlinked(spec).await;
        cluster.crash(STRANGER).await;
        let stranger = Stranger::new(&cluster.switch, address(99), &cluster.credentials(STRANGER));
        Self { cluster, stranger }
    }

    fn node(&self) -> &SimNode {
        self.cluster.node(1)
    }

    async fn link(&self, generation: u64) -> (Connection, SendStream, RecvStream) {
        let hello = RawHello {
            generation,
            ..RawHello::new(STRANGER, 1)
        };
        let link = self.stranger.enter(address(1), &hello).await;
        self.node().link_up(STRANGER).await;
        link
    }
}

fn end_of(result: Result<Bytes, CallError>) -> LinkEnd {
    match result {
        Err(CallError::Cut { end, .. }) => end,
        other => panic!("not cut: {other:?}"),
    }
}

fn close(connection: &Connection, code: CloseCode) {
    connection.close(VarInt::from_u32(code.to_wire()), b"");
}

/// Each way in which a call can be cut, and what it is told.
#[tokio::test(start_paused = true)]
async fn a_cut_says_what_ended() {
    let table = [
        (None, LinkEnd::StreamOnly),
        (Some(CloseCode::Shutdown), LinkEnd::Lost),
        (Some(CloseCode::Retired), LinkEnd::Replaced),
        (Some(CloseCode::Superseded), LinkEnd::Replaced),
        (Some(CloseCode::Idle), LinkEnd::Replaced),
        (Some(CloseCode::Replaced), LinkEnd::Lost),
        (Some(CloseCode::Overloaded), LinkEnd::Lost),
    ];
    for (code, expected) in table {
        let faced = Faced::new().await;
        let (connection, _send, _recv) = faced.link(1).await;
        let call = faced
            .node()
            .call(STRANGER, CallLane::Call, ECHO, 0, "x", LIMIT);
        let cutting = async {
            let (mut send, mut recv) = connection.accept_bi().await.expect("a call");
            Stranger::frame(&mut recv).await;
            match code {
                Some(code) => close(&connection, code),
                None => send.reset(VarInt::from_u32(0x200)).expect("open"),
            }
        };
        let (cut, ()) = tokio::join!(call, cutting);
        assert_eq!(end_of(cut), expected, "{code:?}");
    }
}

/// A call on a connection that drains and is closed by this end, because it took too long.
#[tokio::test(start_paused = true)]
async fn a_call_on_a_replaced_connection_is_told_so() {
    let faced = Faced::new().await;
    let (old, _send, _recv) = faced.link(1).await;
    let node = faced.node();
    let calls = [CallLane::Control, CallLane::Call]
        .map(|lane| node.call(STRANGER, lane, ECHO, 0, "x", LIMIT));
    let replacing = async {
        let new = faced.link(2).await;
        assert_eq!(
            Stranger::closed(&old).await,
            u64::from(CloseCode::Retired.to_wire())
        );
        new
    };
    let (cut, _new) = tokio::join!(join_all(calls), replacing);
    for result in cut {
        assert_eq!(end_of(result), LinkEnd::Replaced);
    }
}

/// A report that says nothing new is no movement, and one that claims more than was sent is all that
/// was sent, once: nobody keeps a session alive without taking its bytes.
/// L7: reports that are wrong.
#[tokio::test(start_paused = true)]
async fn wrong_reports_keep_no_session_alive() {
    let faced = Faced::new().await;
    let (connection, _send, _recv) = faced.link(1).await;
    let peer = faced.node().peer(STRANGER);
    let (mut sender, mut receiver) = peer.session(ECHO, 0, STALL);
    let start = Instant::now();
    let answered = async {
        sender
            .send(Bytes::from(vec![7; 1_000]))
            .await
            .expect("sent");
        let answer = receiver.next().await.expect("an end");
        assert!(
            matches!(answer, Err(CallError::Timeout { .. })),
            "{answer:?}"
        );
        start.elapsed()
    };
    let reporting = async {
        let (mut send, mut recv) = connection.accept_bi().await.expect("a session");
        Stranger::frame(&mut recv).await;
        for (second, taken) in [
            (1, 10),
            (2, 10),
            (3, 5),
            // The last that counts.
            (4, u64::MAX),
            (6, 2_000),
            (8, u64::MAX),
        ] {
            sleep_until(start + Duration::from_secs(second)).await;
            let report = Frame::bare(FrameKind::Progress, Lane::Append, taken);
            let mut bytes = BytesMut::new();
            report.header.encode(&mut bytes);
            send.write_all(&bytes).await.expect("sent");
        }
        send
    };
    let (took, _send) = tokio::join!(answered, reporting);
    let last = Duration::from_secs(4) + ROUND_TRIP / 2;
    assert_eq!(took, last + STALL);
}

/// Takes everything and answers nothing.
struct Silent;

impl Service for Silent {
    fn call(&self, _: CallContext, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        std::future::pending().boxed()
    }

    fn session(
        &self,
        _: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        let never = async move {
            let _unread = requests;
            std::future::pending().await
        };
        Ok(futures_util::stream::once(never).boxed())
    }

    fn transfer(
        &self,
        _: CallContext,
        _: Bytes,
        body: TransferBody,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        async move {
            let _unread = body;
            std::future::pending().await
        }
        .boxed()
    }
}

fn group_id(group: u64) -> GroupId {
    GroupId::new(10_000 + group)
}

/// What 64 groups have under way from node 1 to node 2 when the link dies, and what becomes of it:
/// everybody hears of it in the same millisecond.
async fn all_cut(from: &SimNode, kill: impl Future<Output = ()>) {
    let peer = &from.peer(2);
    let calls = (1..=GROUPS).flat_map(|group| {
        let group = group_id(group);
        [CallLane::Control, CallLane::Call].map(|lane| async move {
            let request = Request::new(group, 0, "x".into());
            let called = peer.call(lane, request, Instant::now() + 10 * LIMIT).await;
            (called, Instant::now())
        })
    });
    let sessions = (1..=GROUPS).map(|group| async move {
        let (mut sender, mut receiver) = peer.session(group_id(group), 0, 10 * LIMIT);
        sender.send("x".into()).await.expect("sent");
        (receiver.next().await.expect("an end"), Instant::now())
    });
    let transfer = async {
        let bytes = 100 << 20;
        let request = Request::new(group_id(1), 0, Bytes::new());
        let zeros = tokio::io::repeat(0).take(bytes);
        let sent = peer.transfer(request, bytes, zeros, 10 * LIMIT).await;
        (sent, Instant::now())
    };
    let all = async {
        let (mut ends, of_sessions, of_transfer) =
            tokio::join!(join_all(calls), join_all(sessions), transfer);
        ends.extend(of_sessions);
        ends.push(of_transfer);
        ends
    };
    let killing = async {
        // Everything is on its way and nothing is answered.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let in_flight = from.link(2).in_flight;
        let expected = usize::try_from(GROUPS).expect("few") * 3 + 1;
        assert_eq!(in_flight, expected, "in flight");
        kill.await;
    };
    let (ends, ()) = tokio::join!(timeout(LIMIT, all), killing);
    let ends = ends.expect("nobody hangs to its deadline");
    let (mut first, mut last) = (ends[0].1, ends[0].1);
    for (result, at) in ends {
        assert_eq!(end_of(result), LinkEnd::Lost);
        (first, last) = (first.min(at), last.max(at));
    }
    assert_eq!(last - first, Duration::ZERO);
}

/// Two nodes, and the silent service in 64 groups of the second.
async fn silent_pair() -> SimCluster {
    let cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
    cluster.linked().await;
    cluster
}

/// Nothing is heard of the peer any more.
#[tokio::test(start_paused = true)]
async fn w21_all_calls_of_all_groups_fail_at_once_when_a_link_is_silent() {
    let cluster = silent_pair().await;
    let _serving = serve_silence(cluster.node(2));
    let one = cluster.node(1);
    let kill = async { cluster.switch.block(host(1), host(2)) };
    all_cut(one, kill).await;
}

/// The peer has crashed and is back: a stateless reset ends the link.
#[tokio::test(start_paused = true)]
async fn all_calls_of_all_groups_fail_at_once_when_a_link_is_reset() {
    let mut cluster = silent_pair().await;
    let serving = serve_silence(cluster.node(2));
    let one = cluster.take(1);
    let kill = async {
        cluster.crash(2).await;
        drop(serving);
        cluster.restart(2).await;
    };
    all_cut(&one, kill).await;
}

fn serve_silence(node: &SimNode) -> Vec<quicraft_transport::Registration> {
    let groups = (1..=GROUPS).map(group_id);
    let registered = groups.map(|group| node.transport.register(group, Arc::new(Silent)));
    registered
        .map(|serving| serving.expect("registered"))
        .collect()
}

/// A call that is refused at once, because the peer has left.
async fn assert_away(from: &SimNode) {
    for lane in [CallLane::Control, CallLane::Call] {
        let start = Instant::now();
        let answer = from.call(2, lane, ECHO, 0, "x", LIMIT).await;
        let away = matches!(answer, Err(CallError::Unreachable { .. }));
        assert!(away, "{lane:?}: {answer:?}");
        assert_eq!(start.elapsed(), Duration::ZERO, "{lane:?}");
    }
}

/// The end in order overtakes the word of it, because nothing is in flight.
/// L4: going away.
#[tokio::test(start_paused = true)]
async fn a_peer_that_shuts_down_is_away_at_once() {
    let mut cluster = silent_pair().await;
    let two = cluster.take(2);
    let one = cluster.node(1);
    let down = one.event(|event| matches!(event, Event::LinkDown { .. }));
    let (event, report) = tokio::join!(
        async {
            let event = down.await;
            assert_away(one).await;
            event
        },
        two.transport.shutdown(STALL)
    );
    assert!(report.tasks_ended, "{report:?}");
    let code = match event {
        Event::LinkDown { code, .. } => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code, Some(CloseCode::Shutdown));
    assert_away(one).await;
}

/// The word comes first, because a call of the peer is still in flight: nothing new is begun, and
/// what is under way may end.
/// L4: going away.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_going_away_is_away_at_once() {
    let mut cluster = silent_pair().await;
    let two = cluster.take(2);
    let one = cluster.node(1);
    let serving = one.transport.register(ECHO, Arc::new(Sink::new(1)));
    let _serving = serving.expect("registered");
    let going = one.event(|event| matches!(event, Event::GoingAway { .. }));
    let peer = two.peer(1);
    let request = Request::new(ECHO, 500, "x".into());
    let under_way = peer.call(CallLane::Call, request, Instant::now() + LIMIT);
    let (answer, (), report) = tokio::join!(
        under_way,
        async {
            going.await;
            assert_away(one).await;
            one.event(|event| matches!(event, Event::LinkDown { .. }))
                .await;
            assert_away(one).await;
        },
        async { two.transport.shutdown(STALL).await }
    );
    answer.expect("a call in flight may end");
    assert_eq!(report.calls_cut, 0);
}
