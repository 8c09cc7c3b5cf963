//! Wrong hellos of a dialer, and wrong welcomes of an acceptor, both with a good certificate.

use quicraft_tests::sim::{RawHello, confirm};
use quicraft_tests::switch::address;
use quicraft_transport::close::CloseCode;
use quicraft_transport::frame::PROTOCOL_VERSION;
use quinn::{Connection, ConnectionError};

use super::forge::node_params;
use super::impostor::{Impostor, Manners, Refused, enter, greet, hear, welcome, within};
use super::judge::{CLAIMED, Judge, all, assert_coarse, id, told};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Refused with this code.
    Code(CloseCode),
    /// Let in.
    In,
}

/// A way to spoil a message.
#[derive(Clone, Copy)]
enum Spoil {
    /// In its fields, which are then encoded as they should be.
    Fields(fn(&mut RawHello)),
    /// In its bytes.
    Bytes(fn(&mut Vec<u8>)),
    /// Not at all, but the judge's roster says otherwise.
    Roster(fn(&Judge)),
    /// It is cut here and the stream ends.
    Ends(usize),
    /// It is cut here and nothing follows.
    Stalls(usize),
}

struct Row {
    what: &'static str,
    spoil: Spoil,
    as_dialer: End,
    as_acceptor: End,
}

const fn row(what: &'static str, spoil: Spoil, as_dialer: End, as_acceptor: End) -> Row {
    Row {
        what,
        spoil,
        as_dialer,
        as_acceptor,
    }
}

/// Refused alike in both roles.
const fn both(what: &'static str, spoil: Spoil, code: CloseCode) -> Row {
    row(what, spoil, End::Code(code), End::Code(code))
}

/// The length in a prefix, and with it the message.
fn resize(bytes: &mut Vec<u8>, length: usize) {
    bytes.resize(length, 0);
    let fields = u16::try_from(length - 8).expect("two bytes");
    bytes[6..8].copy_from_slice(&fields.to_be_bytes());
}

use CloseCode as Code;
use Spoil::{Bytes, Ends, Fields, Roster, Stalls};

const TABLE: &[Row] = &[
    // --- The form ----------------------------------------------------------------------------------
    both(
        "another magic",
        Bytes(|bytes| bytes[0] = b'X'),
        Code::BadHello,
    ),
    both(
        "another message than the one that is due",
        Bytes(|bytes| bytes[4] = 3),
        Code::BadHello,
    ),
    both(
        "a kind that nobody knows",
        Bytes(|bytes| bytes[4] = 9),
        Code::BadHello,
    ),
    both(
        "a reserved byte",
        Bytes(|bytes| bytes[5] = 1),
        Code::BadHello,
    ),
    both(
        "nothing but noise",
        Bytes(|bytes| bytes.fill(0xa5)),
        Code::BadHello,
    ),
    both(
        "one byte over the limit",
        Bytes(|bytes| resize(bytes, 4_097)),
        Code::BadHello,
    ),
    row(
        "the largest, with fields of a later version",
        Bytes(|bytes| resize(bytes, 4_096)),
        End::In,
        End::In,
    ),
    both("no fields", Bytes(|bytes| resize(bytes, 8)), Code::BadHello),
    both(
        "the last byte is missing",
        Bytes(|bytes| resize(bytes, bytes.len() - 1)),
        Code::BadHello,
    ),
    both(
        "it ends inside a field",
        Bytes(|bytes| resize(bytes, 40)),
        Code::BadHello,
    ),
    both("the stream ends inside the prefix", Ends(4), Code::BadHello),
    both(
        "the stream ends inside the fields",
        Ends(40),
        Code::BadHello,
    ),
    both("nothing comes", Stalls(0), Code::HelloTimeout),
    both("half of it comes", Stalls(40), Code::HelloTimeout),
    // --- What is spoken ----------------------------------------------------------------------------
    both(
        "an older version",
        Fields(|hello| (hello.version_min, hello.version_max) = (1, PROTOCOL_VERSION - 1)),
        Code::VersionMismatch,
    ),
    both(
        "a newer version",
        Fields(|hello| (hello.version_min, hello.version_max) = (PROTOCOL_VERSION + 1, u16::MAX)),
        Code::VersionMismatch,
    ),
    both(
        "versions in the wrong order",
        Fields(|hello| (hello.version_min, hello.version_max) = (PROTOCOL_VERSION, 0)),
        Code::VersionMismatch,
    ),
    row(
        "all versions",
        Fields(|hello| (hello.version_min, hello.version_max) = (0, u16::MAX)),
        End::In,
        End::Code(Code::VersionMismatch),
    ),
    both(
        "another codec",
        Fields(|hello| hello.codec += 1),
        Code::CodecMismatch,
    ),
    both(
        "another Raft wire",
        Fields(|hello| hello.raft_wire += 1),
        Code::RaftWireMismatch,
    ),
    row(
        "abilities that nobody knows",
        Fields(|hello| hello.features = u64::MAX),
        End::In,
        End::In,
    ),
    both(
        "no room for a frame",
        Fields(|hello| hello.frame_bytes_max = 0),
        Code::BadHello,
    ),
    both(
        "a frame limit below that of Control",
        Fields(|hello| hello.frame_bytes_max = (64 << 10) - 1),
        Code::BadHello,
    ),
    row(
        "the smallest frame limit",
        Fields(|hello| hello.frame_bytes_max = 64 << 10),
        End::In,
        End::In,
    ),
    both(
        "no room for an entry",
        Fields(|hello| hello.entry_bytes_max = 0),
        Code::BadHello,
    ),
    row(
        "limits above ours",
        Fields(|hello| {
            (hello.frame_bytes_max, hello.entry_bytes_max) = (u32::MAX, u32::MAX);
        }),
        End::In,
        End::In,
    ),
    // --- The cluster -------------------------------------------------------------------------------
    both(
        "another cluster",
        Fields(|hello| hello.cluster = "other.example".to_owned()),
        Code::WrongCluster,
    ),
    both(
        "a cluster that is no name",
        Fields(|hello| hello.cluster = "Not A Name".to_owned()),
        Code::BadHello,
    ),
    both(
        "no cluster",
        Fields(|hello| hello.cluster.clear()),
        Code::BadHello,
    ),
    both(
        "a cluster that is no text",
        Bytes(|bytes| *bytes.last_mut().expect("bytes") = 0xff),
        Code::BadHello,
    ),
    both(
        "another founding of the cluster",
        Fields(|hello| hello.cluster_uid = FOUNDED + 1),
        Code::WrongCluster,
    ),
    row(
        "a cluster that is not founded yet",
        Fields(|hello| hello.cluster_uid = 0),
        End::In,
        End::In,
    ),
    // --- Who speaks to whom ------------------------------------------------------------------------
    both(
        "from another node than the certificate's",
        Fields(|hello| hello.from = 3),
        Code::IdMismatch,
    ),
    both(
        "from the judge itself",
        Fields(|hello| hello.from = 1),
        Code::IdMismatch,
    ),
    both(
        "from node 0",
        Fields(|hello| hello.from = 0),
        Code::BadHello,
    ),
    // A wrong echo of the dialer's certificate: such an acceptor has never asked for it.
    row(
        "to another node",
        Fields(|hello| hello.to = 3),
        End::Code(Code::WrongTarget),
        End::Code(Code::IdMismatch),
    ),
    both("to node 0", Fields(|hello| hello.to = 0), Code::BadHello),
    // --- The count of dials ------------------------------------------------------------------------
    both(
        "a count of dials at its end",
        Fields(|hello| hello.generation = 1 << 63),
        Code::BadHello,
    ),
    both(
        "the last number that there is",
        Fields(|hello| hello.generation = u64::MAX),
        Code::BadHello,
    ),
    // --- The roster --------------------------------------------------------------------------------
    both(
        "a node that was removed",
        Roster(|judge| judge.roster().remove(id(CLAIMED))),
        Code::Removed,
    ),
    both(
        "a node that is suspended",
        Roster(|judge| assert!(judge.roster().suspend(id(CLAIMED)))),
        Code::Suspended,
    ),
    both(
        "a node with another key than the pinned one",
        Roster(|judge| judge.pins([7; 32])),
        Code::KeyNotPinned,
    ),
];

/// The uid of the judge's cluster.
const FOUNDED: u128 = 7;

/// The judge, and an end with a good certificate.
async fn faced() -> (Judge, Impostor) {
    let judge = Judge::new().await;
    let transport = &judge.node().transport;
    transport.set_cluster_uid(FOUNDED).expect("founded");
    let good = Manners::showing(judge.ours.issue(&node_params(), &[]));
    let wrong = Impostor::new(&judge.cluster.switch, address(2), &good);
    (judge, wrong)
}

fn good(generation: u64) -> RawHello {
    RawHello {
        cluster_uid: FOUNDED,
        generation,
        ..RawHello::new(CLAIMED, 1)
    }
}

/// The message of a row, and whether its stream ends behind it.
fn spoiled(
    spoil: Spoil,
    generation: u64,
    encode: impl FnOnce(&RawHello) -> bytes::Bytes,
) -> (Vec<u8>, bool) {
    let mut hello = good(generation);
    if let Fields(change) = spoil {
        change(&mut hello);
    }
    let mut message = encode(&hello).to_vec();
    match spoil {
        Bytes(change) => change(&mut message),
        Ends(at) | Stalls(at) => message.truncate(at),
        Fields(_) | Roster(_) => {}
    }
    (message, matches!(spoil, Ends(_)))
}

/// The code with which the judge ended a connection, and its text.
fn refused(what: &str, error: &ConnectionError, expected: CloseCode) {
    let learnt = Refused::by(error);
    assert_coarse(what, learnt.text());
    assert_eq!(learnt, told(expected), "{what}");
}

/// The wrong end dials.
async fn dials(row: &'static Row) {
    let what = format!("{} (dialer)", row.what);
    let (mut judge, wrong) = faced().await;
    judge.expects(false);
    judge.settled().await;
    if let Roster(change) = row.spoil {
        change(&judge);
    }
    let (message, ends) = spoiled(row.spoil, 1, RawHello::encode);
    let connection = wrong.dial(Judge::address()).await.expect("TLS");
    let (mut send, mut recv) = greet(&connection, &message).await;
    if ends {
        drop(send.finish());
    }
    match row.as_dialer {
        End::Code(code) => {
            refused(&what, &within(connection.closed()).await, code);
            judge.refused(&what, code).await;
            judge.shows_refusal(&what, false, code.label());
            judge.has_no_link(&what);
        }
        End::In => {
            welcome(&mut recv).await;
            send.write_all(&confirm(1)).await.expect("sent");
            judge.node().link_up(CLAIMED).await;
        }
    }
}

/// The wrong end is dialled.
async fn accepts(row: &'static Row) {
    let what = format!("{} (acceptor)", row.what);
    let (mut judge, wrong) = faced().await;
    judge.expects(true);
    let connection = wrong.accept().await.expect("TLS");
    let (mut send, _recv, generation) = hear(&connection).await.expect("a hello");
    if let Roster(change) = row.spoil {
        change(&judge);
    }
    let (message, ends) = spoiled(row.spoil, generation, RawHello::encode_welcome);
    drop(send.write_all(&message).await);
    if ends {
        drop(send.finish());
    }
    match row.as_acceptor {
        End::Code(code) => {
            refused(&what, &within(connection.closed()).await, code);
            judge.refused(&what, code).await;
            judge.shows_refusal(&what, false, code.label());
            judge.has_no_link(&what);
            if !matches!(row.spoil, Roster(_)) {
                let reason = judge.dial_failed(&what).await;
                assert!(reason.contains(code.label()), "{what}: {reason}");
            }
        }
        End::In => judge.node().link_up(CLAIMED).await,
    }
}

/// A1 to A3, H2 to H5, C4: each wrong hello.
#[tokio::test(start_paused = true)]
async fn a_wrong_hello_is_refused() {
    all(TABLE.iter().map(dials)).await;
}

/// A1 to A3, H2 to H5, C4: each wrong welcome.
#[tokio::test(start_paused = true)]
async fn a_wrong_welcome_is_refused() {
    all(TABLE.iter().map(accepts)).await;
}

/// A wrong third message: what is wrong, its bytes, and the code that its sender is told.
type Confirm = (&'static str, fn() -> Vec<u8>, CloseCode);

/// A welcome is answered with a confirm of the same hello, and with nothing else.
const CONFIRMS: &[Confirm] = &[
    ("of another hello", || confirm(2).to_vec(), Code::BadHello),
    (
        "another hello",
        || good(1).encode().to_vec(),
        Code::BadHello,
    ),
    ("a frame", || vec![0; 32], Code::BadHello),
    ("no confirm", Vec::new, Code::HelloTimeout),
    (
        "half a confirm",
        || confirm(1)[..10].to_vec(),
        Code::HelloTimeout,
    ),
    (
        "too long a confirm",
        || {
            let mut bytes = confirm(1).to_vec();
            resize(&mut bytes, 4_097);
            bytes
        },
        Code::BadHello,
    ),
];

async fn confirms(row: &'static (&str, fn() -> Vec<u8>, CloseCode)) {
    let (what, message, code) = row;
    let (mut judge, wrong) = faced().await;
    judge.expects(false);
    judge.settled().await;
    let connection = wrong.dial(Judge::address()).await.expect("TLS");
    let (mut send, mut recv) = greet(&connection, &good(1).encode()).await;
    welcome(&mut recv).await;
    send.write_all(&message()).await.expect("sent");
    refused(what, &within(connection.closed()).await, *code);
    judge.refused(what, *code).await;
    judge.shows_refusal(what, false, code.label());
    judge.has_no_link(what);
}

/// H3, H5: each wrong confirm. Only a dialer sends one.
#[tokio::test(start_paused = true)]
async fn a_wrong_confirm_is_refused() {
    all(CONFIRMS.iter().map(confirms)).await;
}

/// What was there before decides: an earlier link of `first`, and then a hello of `second`.
struct Meeting {
    what: &'static str,
    first: Run,
    /// Whether the earlier link still lives.
    lives: bool,
    second: Run,
    code: CloseCode,
    /// Whether a dial of the judge can come to it as well.
    as_acceptor: bool,
}

/// A run of the node: its boot, its epoch, and the generation of its dial.
type Run = (u128, u64, u64);

const fn meeting(
    what: &'static str,
    first: Run,
    lives: bool,
    second: Run,
    code: CloseCode,
    as_acceptor: bool,
) -> Meeting {
    Meeting {
        what,
        first,
        lives,
        second,
        code,
        as_acceptor,
    }
}

const MEETINGS: &[Meeting] = &[
    meeting(
        "an epoch before the last one",
        (1, 5, 1),
        false,
        (2, 4, 1),
        Code::StaleIncarnation,
        true,
    ),
    meeting(
        "no epoch after one",
        (1, 5, 1),
        false,
        (2, 0, 1),
        Code::StaleIncarnation,
        true,
    ),
    meeting(
        "an epoch before the last one, of the same boot",
        (1, 5, 1),
        false,
        (1, 4, 2),
        Code::StaleIncarnation,
        true,
    ),
    meeting(
        "an epoch before that of a live one",
        (1, 5, 1),
        true,
        (2, 4, 1),
        Code::StaleIncarnation,
        true,
    ),
    meeting(
        "another boot of the same epoch",
        (1, 5, 1),
        true,
        (2, 5, 1),
        Code::DuplicateNode,
        true,
    ),
    // A dial of the judge has a generation that is above all that it has seen.
    meeting(
        "the same dial again",
        (1, 5, 2),
        true,
        (1, 5, 2),
        Code::Superseded,
        false,
    ),
    meeting(
        "a dial before the last one",
        (1, 5, 2),
        true,
        (1, 5, 1),
        Code::Superseded,
        false,
    ),
    meeting(
        "a dial before the last one, which has ended",
        (1, 5, 2),
        false,
        (1, 5, 1),
        Code::Superseded,
        false,
    ),
];

fn of((boot, epoch, generation): Run) -> RawHello {
    RawHello {
        boot,
        epoch,
        ..good(generation)
    }
}

async fn end(judge: &Judge, connection: &Connection) {
    connection.close(Code::Shutdown.to_wire().into(), b"");
    judge
        .node()
        .link_until(CLAIMED, |link| link.links == 0)
        .await;
}

async fn meets_a_dialer(row: &'static Meeting) {
    let what = format!("{} (dialer)", row.what);
    let (mut judge, wrong) = faced().await;
    judge.expects(false);
    let first = wrong.dial(Judge::address()).await.expect("TLS");
    let _streams = enter(&first, &of(row.first)).await;
    judge.node().link_up(CLAIMED).await;
    if !row.lives {
        end(&judge, &first).await;
    }
    let second = wrong.dial(Judge::address()).await.expect("TLS");
    let _streams = greet(&second, &of(row.second).encode()).await;
    refused(&what, &within(second.closed()).await, row.code);
    judge.refused(&what, row.code).await;
    if row.code != Code::Superseded {
        judge.shows_refusal(&what, false, row.code.label());
    }
    let link = judge.node().link(CLAIMED);
    assert_eq!(
        (link.links, link.links_total),
        (u32::from(row.lives), 1),
        "{what}"
    );
    assert_eq!(
        first.close_reason().is_none(),
        row.lives,
        "{what}: the first one is not touched"
    );
}

async fn meets_an_acceptor(row: &'static Meeting) {
    let what = format!("{} (acceptor)", row.what);
    let (mut judge, wrong) = faced().await;
    let answer = async |run: Run| {
        let connection = wrong.accept().await.expect("TLS");
        let (mut send, recv, generation) = hear(&connection).await.expect("a hello");
        let welcome = RawHello {
            generation,
            ..of(run)
        }
        .encode_welcome();
        send.write_all(&welcome).await.expect("sent");
        (connection, send, recv)
    };
    judge.expects(true);
    let (first, _send, _recv) = answer(row.first).await;
    judge.node().link_up(CLAIMED).await;
    if row.lives {
        judge.node().transport.renew_link(id(CLAIMED));
    } else {
        end(&judge, &first).await;
    }
    let (second, _send, _recv) = answer(row.second).await;
    refused(&what, &within(second.closed()).await, row.code);
    judge.refused(&what, row.code).await;
    judge.shows_refusal(&what, false, row.code.label());
    let link = judge.node().link(CLAIMED);
    assert_eq!(
        (link.links, link.links_total),
        (u32::from(row.lives), 1),
        "{what}"
    );
}

/// A4, A6, A7: what a node has met before.
#[tokio::test(start_paused = true)]
async fn what_was_there_before_decides_about_a_dialer() {
    all(MEETINGS.iter().map(meets_a_dialer)).await;
}

/// A4, A7: the same for who is dialled.
#[tokio::test(start_paused = true)]
async fn what_was_there_before_decides_about_an_acceptor() {
    let rows = MEETINGS.iter().filter(|row| row.as_acceptor);
    all(rows.map(meets_an_acceptor)).await;
}

/// A7: while one newcomer is judged another has to wait; the silent incumbent is told that it was
/// replaced.
#[tokio::test(start_paused = true)]
async fn a_third_boot_has_to_wait_while_a_second_is_judged() {
    let (mut judge, wrong) = faced().await;
    judge.expects(false);
    let connect = async || wrong.dial(Judge::address()).await.expect("TLS");
    let first = connect().await;
    let _first_streams = enter(&first, &of((1, 5, 1))).await;
    judge.node().link_up(CLAIMED).await;
    let second = connect().await;
    let (mut send, mut recv) = greet(&second, &of((2, 6, 1)).encode()).await;
    let third = connect().await;
    let _third_streams = greet(&third, &of((3, 7, 1)).encode()).await;
    refused("the third", &within(third.closed()).await, Code::Busy);
    judge.refused("the third", Code::Busy).await;
    judge.shows_refusal("the third", false, Code::Busy.label());
    assert!(first.close_reason().is_none(), "it may still answer");
    welcome(&mut recv).await;
    refused("the first", &within(first.closed()).await, Code::Replaced);
    send.write_all(&confirm(1)).await.expect("sent");
    judge
        .node()
        .link_until(CLAIMED, |link| link.boot == Some(2))
        .await;
    let link = judge.node().link(CLAIMED);
    assert_eq!((link.links, link.links_max), (1, 1), "{link:?}");
}
