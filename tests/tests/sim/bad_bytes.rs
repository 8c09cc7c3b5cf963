//! What a peer with a valid certificate may send, and what it gets for it. Its hello has a table of
//! its own (`wrong/hellos.rs`).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quicraft_tests::sim::{
    ECHO, LIMIT, MS, RawHello, SimCluster, SimNode, SimSpec, Sink, Stranger,
};
use quicraft_tests::switch::address;
use quicraft_transport::close::CloseCode;
use quicraft_transport::frame::{Frame, FrameKind, HEADER_BYTES, Lane};
use quicraft_transport::link::CallLane;
use quicraft_transport::{
    Event, LinkState, RefusalCode, Registration, Roster, RosterEntry, Transport,
};
use quinn::{Connection, RecvStream, SendStream};
use tokio::time::{Instant, timeout};

const CONTROL_LIMIT: usize = 64 << 10;
const FRAME_LIMIT: usize = 8 << 20;
/// The node whose certificate the stranger has. It is in the roster and does not run.
const STRANGER: u64 = 2;

/// Node 1 of two, which serves an echo, and a stranger with the certificate of the other.
struct Victim {
    cluster: SimCluster,
    stranger: Stranger,
    _serving: Registration,
}

impl Victim {
    async fn new() -> Self {
        let spec = SimSpec::new(2, 0, 10 * MS);
        let mut cluster = SimCluster::start_unlinked(spec).await;
        cluster.crash(STRANGER).await;
        let stranger = Stranger::new(&cluster.switch, address(99), &cluster.credentials(STRANGER));
        let echo = std::sync::Arc::new(Sink::new(1_000_000));
        let serving = cluster.node(1).transport.register(ECHO, echo);
        Self {
            cluster,
            stranger,
            _serving: serving.expect("registered"),
        }
    }

    fn node(&self) -> &SimNode {
        self.cluster.node(1)
    }

    /// A connection on which `bytes` were said first, and the code that it ended with.
    async fn refused(&self, bytes: &[u8]) -> Option<CloseCode> {
        let (connection, _send, _recv) = self.stranger.say(address(1), bytes).await;
        code(&connection).await
    }

    /// A link that was let in.
    async fn link(&self) -> (Connection, SendStream, RecvStream) {
        let link = self
            .stranger
            .enter(address(1), &RawHello::new(STRANGER, 1))
            .await;
        self.node().link_up(STRANGER).await;
        link
    }
}

async fn code(connection: &Connection) -> Option<CloseCode> {
    CloseCode::from_wire(Stranger::closed(connection).await)
}

fn bytes_of(frame: &Frame) -> Bytes {
    let mut bytes = BytesMut::new();
    frame.header.encode(&mut bytes);
    bytes.extend_from_slice(&frame.body);
    bytes.freeze()
}

fn echo(lane: Lane, size: usize) -> Bytes {
    let body = Bytes::from(vec![7; size]);
    bytes_of(&Frame::new(FrameKind::Call, lane, 0, 1, body).for_group(ECHO))
}

/// Only the header of a frame whose body would have `size` bytes.
fn announced(lane: Lane, size: usize) -> Bytes {
    echo(lane, size).slice(..HEADER_BYTES)
}

/// A stream of its own, on which `bytes` were sent.
async fn stream(connection: &Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = connection.open_bi().await.expect("a stream");
    send.write_all(bytes).await.expect("sent");
    (send, recv)
}

/// The link carries a call all the same.
async fn lives_on(connection: &Connection) {
    let (_send, mut recv) = stream(connection, &echo(Lane::Call, 10)).await;
    let answer = Stranger::frame(&mut recv).await;
    assert_eq!(
        (answer.header.kind, answer.body.len()),
        (FrameKind::Reply, 10)
    );
    assert!(connection.close_reason().is_none());
}

/// H5: each message has its limit.
#[tokio::test(start_paused = true)]
async fn silence_is_refused_after_its_limit() {
    let victim = Victim::new().await;
    let hello = RawHello::new(STRANGER, 1).encode();
    // No stream at all; half a hello; a hello without a confirm.
    let start = Instant::now();
    let mute = victim.stranger.connect(address(1)).await.expect("TLS");
    assert_eq!(code(&mute).await, Some(CloseCode::HelloTimeout));
    assert_eq!(
        victim.refused(&hello[..20]).await,
        Some(CloseCode::HelloTimeout)
    );
    assert_eq!(victim.refused(&hello).await, Some(CloseCode::HelloTimeout));
    let took = start.elapsed();
    // Two seconds each, and some round trips.
    assert!((6_000 * MS..6_300 * MS).contains(&took), "{took:?}");
    assert_eq!(victim.node().link(STRANGER).links_total, 0);
}

/// Before it is proven, a peer has one stream: another one waits, and its bytes are not sent.
/// T5, H6: little before the peer is proven.
#[tokio::test(start_paused = true)]
async fn a_second_stream_before_confirm_is_not_to_be_had() {
    let victim = Victim::new().await;
    let hello = RawHello::new(STRANGER, 1);
    let (connection, mut send, _recv) = victim.stranger.say(address(1), &hello.encode()).await;
    let early = timeout(Duration::from_secs(1), connection.open_bi()).await;
    assert!(early.is_err(), "a stream before confirm");
    send.write_all(&quicraft_tests::sim::confirm(1))
        .await
        .expect("sent");
    let later = timeout(Duration::from_secs(1), connection.open_bi()).await;
    later.expect("a stream after confirm").expect("a stream");
    lives_on(&connection).await;
}

/// Control is shared by all groups and answers nothing that it cannot read: the link ends.
/// L2, F4, F5: what ends Control ends the link.
#[tokio::test(start_paused = true)]
async fn bad_bytes_on_control_end_the_link() {
    let victim = Victim::new().await;
    let mut unknown_kind = echo(Lane::Control, 1).to_vec();
    unknown_kind[0] = 200;
    let mut unknown_lane = echo(Lane::Control, 1).to_vec();
    unknown_lane[1] = 200;
    let table: [(&str, Vec<u8>, CloseCode); 5] = [
        ("an unknown kind", unknown_kind, CloseCode::ProtocolError),
        ("an unknown lane", unknown_lane, CloseCode::ProtocolError),
        (
            "a frame of another lane",
            echo(Lane::Call, 1).to_vec(),
            CloseCode::ProtocolError,
        ),
        (
            "a report of a transfer",
            bytes_of(&Frame::bare(FrameKind::Progress, Lane::Control, 1)).to_vec(),
            CloseCode::ProtocolError,
        ),
        (
            "one byte past the limit",
            announced(Lane::Control, CONTROL_LIMIT + 1).to_vec(),
            CloseCode::FrameTooLarge,
        ),
    ];
    for (generation, (what, bytes, expected)) in (1..).zip(table) {
        let hello = RawHello {
            generation,
            ..RawHello::new(STRANGER, 1)
        };
        let (connection, mut send, mut recv) = victim.stranger.enter(address(1), &hello).await;
        // At the limit it is answered.
        send.write_all(&echo(Lane::Control, CONTROL_LIMIT))
            .await
            .expect("sent");
        assert_eq!(
            Stranger::frame(&mut recv).await.body.len(),
            CONTROL_LIMIT,
            "{what}"
        );
        send.write_all(&bytes).await.expect("sent");
        assert_eq!(code(&connection).await, Some(expected), "{what}");
        victim
            .node()
            .link_until(STRANGER, |link| link.links == 0)
            .await;
    }
}

/// On the other lanes only the stream ends, with a refusal where the header could be read.
/// L5, L11, S1, S2: the stream ends, the link lives on.
#[tokio::test(start_paused = true)]
async fn bad_bytes_on_other_lanes_end_their_stream() {
    let victim = Victim::new().await;
    let (connection, _send, _recv) = victim.link().await;
    for lane in [Lane::Append, Lane::Call] {
        let (_send, mut recv) = stream(&connection, &echo(lane, FRAME_LIMIT)).await;
        let answer = Stranger::frame(&mut recv).await;
        assert_eq!(
            (answer.header.kind, answer.body.len()),
            (FrameKind::Reply, FRAME_LIMIT),
            "{lane:?}"
        );
    }
    for lane in [Lane::Append, Lane::Call, Lane::Snapshot] {
        let (_send, mut recv) = stream(&connection, &announced(lane, FRAME_LIMIT + 1)).await;
        let answer = Stranger::frame(&mut recv).await;
        assert_eq!(answer.header.kind, FrameKind::Refusal, "{lane:?}");
        let refusal = RefusalCode::from_wire(answer.header.method);
        assert_eq!(refusal, RefusalCode::TooLarge, "{lane:?}");
        lives_on(&connection).await;

        let mut unknown_kind = echo(lane, 1).to_vec();
        unknown_kind[0] = 200;
        let mut unknown_flags = echo(lane, 1).to_vec();
        unknown_flags[28] = 0x80;
        for bytes in [unknown_kind, unknown_flags] {
            let (send, _recv) = stream(&connection, &bytes).await;
            assert_eq!(stop_code(&send).await, 0x201, "{lane:?}: malformed");
            lives_on(&connection).await;
        }
    }
    // A stream of Control's own, beside Control.
    let (send, _recv) = stream(&connection, &echo(Lane::Control, 1)).await;
    let stopped = timeout(LIMIT, send.stopped()).await.expect("a stop");
    assert!(stopped.expect("the link lives").is_some());
    lives_on(&connection).await;
    let link = victim.node().link(STRANGER);
    assert_eq!((link.links_total, link.state), (1, LinkState::Up));
}

/// The same behind the first request of a session.
/// L7, L11, S2: the stream ends, the link lives on.
#[tokio::test(start_paused = true)]
async fn bad_bytes_inside_a_session_end_it() {
    let victim = Victim::new().await;
    let (connection, _send, _recv) = victim.link().await;
    let next = |size: usize| {
        let body = Bytes::from(vec![7; size]);
        bytes_of(&Frame::new(FrameKind::Call, Lane::Append, 0, 2, body).for_group(ECHO))
    };

    let (mut send, mut recv) = stream(&connection, &echo(Lane::Append, 10)).await;
    let answer = Stranger::frame(&mut recv).await;
    assert_eq!(
        (answer.header.kind, answer.header.id),
        (FrameKind::Reply, 1)
    );
    let past = next(FRAME_LIMIT + 1);
    send.write_all(&past[..HEADER_BYTES]).await.expect("sent");
    let answer = Stranger::frame(&mut recv).await;
    assert_eq!(
        (answer.header.kind, answer.header.id),
        (FrameKind::Refusal, 2)
    );
    let refusal = RefusalCode::from_wire(answer.header.method);
    assert_eq!(refusal, RefusalCode::TooLarge);
    assert_eq!(stop_code(&send).await, 0x202, "too large");
    lives_on(&connection).await;

    let mut unknown_kind = next(1).to_vec();
    unknown_kind[0] = 200;
    let (mut send, mut recv) = stream(&connection, &echo(Lane::Append, 10)).await;
    let answer = Stranger::frame(&mut recv).await;
    assert_eq!(answer.header.kind, FrameKind::Reply);
    send.write_all(&unknown_kind).await.expect("sent");
    assert_eq!(stop_code(&send).await, 0x201, "malformed");
    let read = timeout(LIMIT, recv.read_to_end(0)).await.expect("an end");
    let reset = quinn::ReadToEndError::Read(quinn::ReadError::Reset(0x201_u32.into()));
    assert_eq!(read, Err(reset));
    lives_on(&connection).await;
}

/// With which code the other end stops a stream.
async fn stop_code(send: &SendStream) -> u64 {
    let stopped = timeout(LIMIT, send.stopped()).await.expect("a stop");
    let code = stopped.expect("the link lives").expect("a code");
    code.into_inner()
}

/// What a node does that is told NOT_MEMBER: it says so, and comes back.
/// A2, C2, C4: retry-after.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_no_member_yet_is_let_in_when_it_is() {
    let mut cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, 10 * MS)).await;
    cluster.linked().await;
    cluster.crash(1).await;
    let id = |node| quicraft_transport::NodeId::new(node).expect("not 0");
    // Node 1 under another address, and a third node that does not know it.
    let alone = Transport::builder(cluster.credentials(3))
        .roster(Roster::closed())
        .abstract_socket(cluster.switch.socket(address(3)), cluster.switch.runtime())
        .start()
        .expect("started");
    let knows = Roster::closed();
    knows
        .insert(RosterEntry::new(id(3), vec![address(3).into()]))
        .expect("a place");
    let mut refused = alone.events();
    let joining = Transport::builder(cluster.credentials(1))
        .roster(knows)
        .abstract_socket(cluster.switch.socket(address(1)), cluster.switch.runtime())
        .start()
        .expect("started");
    let mut told = joining.events();
    let there = timeout(LIMIT, async {
        loop {
            if let Event::RefusedByPeer { peer, code, .. } = told.recv().await.expect("events") {
                return (peer.get(), code);
            }
        }
    });
    assert_eq!(there.await.expect("a refusal"), (3, CloseCode::NotMember));
    let here = timeout(LIMIT, async {
        loop {
            if let Event::Refused { peer, code, .. } = refused.recv().await.expect("events") {
                return (peer.get(), code);
            }
        }
    });
    assert_eq!(here.await.expect("a refusal"), (1, CloseCode::NotMember));
    assert!(matches!(
        joining.peer(id(3)).status().state,
        LinkState::Down(_)
    ));

    alone
        .roster()
        .insert(RosterEntry::new(id(1), Vec::new()))
        .expect("a place");
    let start = Instant::now();
    while joining.peer(id(3)).status().state != LinkState::Up {
        timeout(LIMIT, told.recv())
            .await
            .expect("an event")
            .expect("events");
    }
    // The wait that the code asks for is a second.
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    let deadline = Instant::now() + LIMIT;
    let request = quicraft_transport::link::Request::new(ECHO, 0, Bytes::new());
    let served = joining
        .peer(id(3))
        .call(CallLane::Call, request, deadline)
        .await;
    assert!(
        matches!(served, Err(quicraft_transport::CallError::Refused { .. })),
        "{served:?}"
    );
}

/// A peer that only asks would make the other end keep all answers. It loses the link instead.
/// L2: Control.
#[tokio::test(start_paused = true)]
async fn who_asks_and_does_not_read_loses_the_link() {
    let victim = Victim::new().await;
    let (connection, mut send, _unread) = victim.link().await;
    let asked = async {
        let call = echo(Lane::Control, CONTROL_LIMIT);
        while send.write_all(&call).await.is_ok() {}
    };
    timeout(LIMIT, asked).await.expect("an end of the stream");
    assert_eq!(code(&connection).await, Some(CloseCode::Overloaded));
}
