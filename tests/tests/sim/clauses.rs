//! Clauses of PROTOCOL.md about what a peer is granted, before and after it is proven.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::time::Duration;

use quicraft_tests::sim::{LIMIT, RawHello, SimCluster, SimSpec, Stranger};
use quicraft_tests::switch::address;
use quicraft_transport::close::CloseCode;
use quicraft_transport::limits::STREAMS_MAX;
use quicraft_transport::{Event, LinkState, NodeId};
use quinn::udp::{RecvMeta, Transmit};
use tokio::time::{Instant, sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The node whose certificate strangers have. It is in the roster and does not run.
const STRANGER: u64 = 2;

/// Node 1 alone.
async fn victim() -> SimCluster {
    let mut cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
    cluster.crash(STRANGER).await;
    cluster
}

fn stranger(cluster: &SimCluster, address: SocketAddr) -> Stranger {
    Stranger::new(&cluster.switch, address, &cluster.credentials(STRANGER))
}

/// An Initial packet of QUIC version 2 is answered with the versions that are spoken: one, beside
/// the reserved one that keeps clients honest (RFC 9000, section 6.3).
/// T1: version 1 alone.
#[tokio::test(start_paused = true)]
async fn another_version_of_quic_is_refused() {
    let cluster = victim().await;
    let socket = cluster.switch.socket(address(99));
    let mut initial = vec![0xd0];
    initial.extend_from_slice(&0x6b33_43cf_u32.to_be_bytes());
    initial.extend_from_slice(&[8, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    initial.resize(1_200, 0);
    let transmit = Transmit {
        destination: address(1),
        ecn: None,
        contents: &initial,
        segment_size: None,
        src_ip: None,
    };
    socket.try_send(&transmit).expect("sent");
    let mut answer = [0; 1_500];
    let mut meta = [RecvMeta::default()];
    let reading = poll_fn(|cx| {
        let mut buffers = [IoSliceMut::new(&mut answer)];
        socket.poll_recv(cx, &mut buffers, &mut meta)
    });
    let read = timeout(LIMIT, reading).await.expect("an answer");
    read.expect("an answer");
    assert_eq!(answer[1..5], [0; 4], "a version negotiation");
    // The two connection ids, the second of which is the one above.
    let versions = 5 + 1 + usize::from(answer[5]) + 1 + 8;
    let versions = answer[versions..meta[0].len].chunks_exact(4);
    let spoken: Vec<_> = versions
        .map(|version| u32::from_be_bytes(version.try_into().expect("four bytes")))
        .filter(|version| version & 0x0f0f_0f0f != 0x0a0a_0a0a)
        .collect();
    assert_eq!(spoken, [1]);
}

/// T4: bidirectional streams only.
#[tokio::test(start_paused = true)]
async fn there_are_no_unidirectional_streams_and_no_datagrams() {
    let cluster = victim().await;
    let hello = RawHello::new(STRANGER, 1);
    let stranger = stranger(&cluster, address(99));
    let (connection, _send, _recv) = stranger.enter(address(1), &hello).await;
    cluster.node(1).link_up(STRANGER).await;
    sleep(10 * ROUND_TRIP).await;
    let uni = timeout(Duration::from_secs(10), connection.open_uni()).await;
    assert!(uni.is_err(), "a unidirectional stream");
    assert_eq!(connection.max_datagram_size(), None);
    timeout(ROUND_TRIP, connection.open_bi())
        .await
        .expect("the link is open")
        .expect("a stream");
}

/// L10: as many as all lanes together have, beside Control.
#[tokio::test(start_paused = true)]
async fn a_proven_peer_has_the_streams_of_all_lanes() {
    let cluster = victim().await;
    let hello = RawHello::new(STRANGER, 1);
    let stranger = stranger(&cluster, address(99));
    let (connection, _send, _recv) = stranger.enter(address(1), &hello).await;
    cluster.node(1).link_up(STRANGER).await;
    sleep(10 * ROUND_TRIP).await;
    let mut open = Vec::new();
    // More are granted as they are used, within a round trip.
    while let Ok(stream) = timeout(2 * ROUND_TRIP, connection.open_bi()).await {
        let (mut send, recv) = stream.expect("the link is open");
        send.write_all(b"Q").await.expect("a byte");
        open.push((send, recv));
    }
    assert_eq!(open.len(), STREAMS_MAX);
}

/// A9: at once, with its code, at both ends.
#[tokio::test(start_paused = true)]
async fn who_may_not_be_here_loses_its_link_within_a_second() {
    for (bans, banned) in [(1, 2), (2, 1)] {
        for code in [CloseCode::Removed, CloseCode::Suspended] {
            let cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
            cluster.linked().await;
            let mut events = [bans, banned].map(|node| cluster.node(node).transport.events());
            let id = NodeId::new(banned).expect("not 0");
            let start = Instant::now();
            if code == CloseCode::Removed {
                cluster.node(bans).transport.roster().remove(id);
            } else {
                assert!(cluster.node(bans).transport.suspend_peer(id));
            }
            for events in &mut events {
                let ended = async {
                    loop {
                        if let Event::LinkDown { code, .. } = events.recv().await.expect("events") {
                            return code;
                        }
                    }
                };
                let ended = timeout(LIMIT, ended).await.expect("the link is lost");
                assert_eq!(ended, Some(code));
            }
            assert!(start.elapsed() < Duration::from_secs(1), "{code}");
            // And it stays out.
            sleep(Duration::from_secs(5)).await;
            for (node, peer) in [(bans, banned), (banned, bans)] {
                let link = cluster.node(node).link(peer);
                assert_ne!(link.state, LinkState::Up, "{code}: {link:?}");
                assert_eq!(link.links, 0, "{code}: {link:?}");
            }
        }
    }
}
