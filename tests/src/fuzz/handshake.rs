//! Hello, welcome and confirm: any bytes on the first stream, and what admission makes of them.

use quicraft_certs::{ClusterName, NodeId};
use quicraft_transport::admission::{
    Candidate, ConnectionId, LocalFacts, PeerFacts, PeerRecord, Rank, Standing, Verdict, screen,
};
use quicraft_transport::frame::{Confirm, Hello, Introduction, PROTOCOL_VERSION, Welcome};
use quicraft_transport::fuzzing::{HandshakeMessage, handshake_fields};
use quicraft_transport::raft::{CODEC_ID, RAFT_WIRE_VERSION};
use tokio::time::Instant;

/// The cluster, the node that reads, and the one that the certificate would name.
const CLUSTER: &str = "sim.example";
const ME: u64 = 1;
const PEER: u64 = 2;

/// Reads a hello, judges it, and adopts what it brings.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn hello(data: &[u8]) -> bool {
    let Some(fields) = fields(HandshakeMessage::Hello, data) else {
        return false;
    };
    let Ok(hello) = Hello::decode(fields) else {
        return false;
    };
    let again = hello.encode();
    let encoded = fields_of(HandshakeMessage::Hello, &again);
    assert!(fields.starts_with(encoded), "a hello is its bytes");
    assert_eq!(Hello::decode(encoded).as_ref(), Ok(&hello));
    let versions = (hello.version_min, hello.version_max);
    let admitted = admit(&hello.introduction, hello.to, None, versions);
    if admitted {
        assert_eq!(hello.to.get(), ME);
        assert!((hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION));
    }
    admitted
}

/// Reads a welcome to our own hello, judges it, and adopts what it brings.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn welcome(data: &[u8]) -> bool {
    let Some(fields) = fields(HandshakeMessage::Welcome, data) else {
        return false;
    };
    let Ok(welcome) = Welcome::decode(fields) else {
        return false;
    };
    let again = welcome.encode();
    let encoded = fields_of(HandshakeMessage::Welcome, &again);
    assert!(fields.starts_with(encoded), "a welcome is its bytes");
    assert_eq!(Welcome::decode(encoded).as_ref(), Ok(&welcome));
    let versions = (welcome.version, welcome.version);
    let wanted = Some(id(PEER));
    let admitted = admit(&welcome.introduction, welcome.you, wanted, versions);
    if admitted {
        assert_eq!((welcome.you.get(), welcome.version), (ME, PROTOCOL_VERSION));
    }
    admitted
}

/// Reads a confirm.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn confirm(data: &[u8]) -> bool {
    let Some(fields) = fields(HandshakeMessage::Confirm, data) else {
        return false;
    };
    let Ok(confirm) = Confirm::decode(fields) else {
        return false;
    };
    let again = confirm.encode();
    assert!(fields.starts_with(fields_of(HandshakeMessage::Confirm, &again)));
    true
}

/// The fields of the message that is due.
fn fields(message: HandshakeMessage, data: &[u8]) -> Option<&[u8]> {
    let fields = handshake_fields(message, data).ok().flatten()?;
    assert!(fields.len() <= 4_088, "the limit of a handshake message");
    Some(fields)
}

/// The fields of a message of our own.
fn fields_of(message: HandshakeMessage, bytes: &[u8]) -> &[u8] {
    match handshake_fields(message, bytes) {
        Ok(Some(fields)) => fields,
        other => panic!("our own message reads as {other:?}"),
    }
}

/// Whether rules 1 to 7 let the speaker in, with the certificate of node 2. What is let in is
/// adopted, twice, as its second connection.
fn admit(
    said: &Introduction,
    addressed: NodeId,
    wanted: Option<NodeId>,
    versions: (u16, u16),
) -> bool {
    let cluster = ClusterName::new(CLUSTER).unwrap_or_else(|error| panic!("{error}"));
    let me = LocalFacts {
        node: id(ME),
        cluster,
        cluster_uid: 7,
        codec: CODEC_ID,
        raft_wire: RAFT_WIRE_VERSION,
    };
    let facts = PeerFacts {
        certified: id(PEER),
        key_hash: [9; 32],
        addressed,
        wanted,
        versions,
        introduction: said,
    };
    let Ok(proven) = screen(&me, &facts, Standing::Member { pin: None }) else {
        return false;
    };
    assert_eq!((proven.node(), said.from), (id(PEER), id(PEER)));
    assert_eq!(said.cluster.as_str(), CLUSTER);
    assert!(matches!(said.cluster_uid, 0 | 7));
    let mut record = PeerRecord::new();
    record.observe(said.boot, said.generation);
    let first = candidate(said, 1, said.generation);
    let now = Instant::now();
    assert_eq!(record.judge(&first, now), Verdict::Admit, "nobody is there");
    record.adopt(&first);
    // A redial of ours goes above whatever the peer has said, or the link could not be renewed.
    let redial = candidate(said, 2, record.next_generation());
    assert_eq!(record.judge(&redial, now), Verdict::Admit);
    true
}

fn candidate(said: &Introduction, connection: u64, generation: u64) -> Candidate {
    Candidate {
        connection: ConnectionId::new(connection),
        boot: said.boot,
        epoch: said.epoch,
        rank: Rank {
            generation,
            dialer_is_smaller: true,
        },
    }
}

fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap_or_else(|error| panic!("{error}"))
}
