//! Before a peer is proven: no service sees a byte of it, and whoever is refused learns why.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quicraft_tests::sim::{ECHO, LIMIT, RawHello, SimCluster, SimSpec, Sink, Stranger, confirm};
use quicraft_tests::switch::address;
use quicraft_transport::close::CloseCode;
use quicraft_transport::frame::{Frame, FrameKind, Lane};
use quicraft_transport::{Event, Registration};
use tokio::time::timeout;

const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The node whose certificate the stranger has. It is in the roster and does not run.
const STRANGER: u64 = 2;
const BODY: Bytes = Bytes::from_static(b"too early");

/// Node 1 of two, with a service that counts what it was given.
struct Victim {
    cluster: SimCluster,
    stranger: Stranger,
    sink: Sink,
    _serving: Registration,
}

impl Victim {
    async fn new() -> Self {
        let mut cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
        cluster.crash(STRANGER).await;
        let stranger = Stranger::new(&cluster.switch, address(99), &cluster.credentials(STRANGER));
        let sink = Sink::new(1_000_000);
        let serving = cluster
            .node(1)
            .transport
            .register(ECHO, Arc::new(sink.clone()));
        Self {
            cluster,
            stranger,
            sink,
            _serving: serving.expect("registered"),
        }
    }

    /// Says everything at once, and returns the code that the connection ends with.
    async fn told(&self, parts: &[&[u8]]) -> Option<CloseCode> {
        let (connection, _send, _recv) = self.stranger.say(address(1), &parts.concat()).await;
        CloseCode::from_wire(Stranger::closed(&connection).await)
    }
}

/// A call on Control, as it would follow the handshake.
fn call() -> Bytes {
    let frame = Frame::new(FrameKind::Call, Lane::Control, 0, 1, BODY).for_group(ECHO);
    let mut bytes = BytesMut::new();
    frame.header.encode(&mut bytes);
    bytes.extend_from_slice(&frame.body);
    bytes.freeze()
}

/// A call that comes before its peer is proven lies on the stream until that is settled: it reaches
/// no service where the peer is refused, and its service once where it is let in.
/// H6: no byte is served before Confirm.
#[tokio::test(start_paused = true)]
async fn no_service_sees_a_byte_before_confirm() {
    let victim = Victim::new().await;
    let good = RawHello::new(STRANGER, 1).encode();
    let unknown = RawHello::new(9, 1).encode();
    let refused: [(&str, &[&[u8]], CloseCode); 4] = [
        ("no hello", &[&call()], CloseCode::BadHello),
        (
            "a wrong hello",
            &[&unknown, &confirm(1), &call()],
            CloseCode::IdMismatch,
        ),
        ("no confirm", &[&good, &call()], CloseCode::BadHello),
        (
            "a wrong confirm",
            &[&good, &confirm(2), &call()],
            CloseCode::BadHello,
        ),
    ];
    for (what, parts, expected) in refused {
        assert_eq!(victim.told(parts).await, Some(expected), "{what}");
        assert_eq!(victim.sink.given(&BODY), 0, "{what}");
    }
    let early = [&good[..], &confirm(1), &call()].concat();
    let (_connection, _send, mut recv) = victim.stranger.say(address(1), &early).await;
    let mut welcome = vec![0; 8];
    timeout(LIMIT, recv.read_exact(&mut welcome))
        .await
        .expect("in time")
        .expect("a welcome");
    let mut fields = vec![0; usize::from(u16::from_be_bytes([welcome[6], welcome[7]]))];
    timeout(LIMIT, recv.read_exact(&mut fields))
        .await
        .expect("in time")
        .expect("a welcome");
    let answer = Stranger::frame(&mut recv).await;
    assert_eq!((answer.header.kind, answer.body), (FrameKind::Reply, BODY));
    assert_eq!(victim.sink.given(&BODY), 1);
}

/// A random number from a seed (splitmix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Whatever a dialer says, it is not left without an answer: the connection ends with one of our
/// codes, which the other end tells as well where it refused the peer.
/// C1: a link ends with a code.
#[tokio::test(start_paused = true)]
async fn a_refused_dialer_always_learns_a_code() {
    let victim = Victim::new().await;
    let good = RawHello::new(STRANGER, 1).encode();
    let mut state = 1;
    for round in 0..120 {
        let mut events = victim.cluster.node(1).transport.events();
        let mut bytes = good.to_vec();
        for _ in 0..=random(&mut state) % 3 {
            let place = usize::try_from(random(&mut state)).expect("64 bits") % bytes.len();
            bytes[place] ^= 1 << (random(&mut state) % 8);
        }
        let code = victim.told(&[&bytes]).await;
        let code = code.unwrap_or_else(|| panic!("round {round}: no code for {bytes:02x?}"));
        let raised = async {
            loop {
                if let Event::Refused { code: told, .. } = events.recv().await.expect("events") {
                    return told;
                }
            }
        };
        let raised = timeout(LIMIT, raised).await.expect("an event");
        assert_eq!(raised, code, "round {round}: both ends tell the same");
    }
    assert_eq!(victim.sink.given(&BODY), 0);
}
