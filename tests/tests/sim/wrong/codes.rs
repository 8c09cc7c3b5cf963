//! What a node does that is refused: for every close code, for alerts, and for what anyone on the
//! path can forge.

use std::time::Duration;

use quicraft_tests::sim::{MS, RawHello};
use quicraft_tests::switch::address;
use quicraft_transport::close::{CloseClass, CloseCode};
use quicraft_transport::{Event, LinkState};
use quinn::Connection;
use rustls::CertificateError;
use tokio::time::{Instant, timeout};

use super::forge::node_params;
use super::impostor::{Impostor, Manners, greet, hear, welcome, within};
use super::judge::{CLAIMED, Judge, all, id};
use super::packets::{Closing, Forger};

const SECOND: Duration = Duration::from_secs(1);

/// A parked peer is tried again after this time (PROTOCOL.md, C2).
const PARKED: Duration = Duration::from_secs(300);

/// A node, and an end with a good certificate that refuses it.
async fn faced(change: impl FnOnce(&mut Manners)) -> (Judge, Impostor) {
    let judge = Judge::new().await;
    let mut manners = Manners::showing(judge.ours.issue(&node_params(), &[]));
    change(&mut manners);
    let refusing = Impostor::new(&judge.cluster.switch, address(2), &manners);
    (judge, refusing)
}

fn close(connection: &Connection, code: CloseCode, text: &str) {
    connection.close(code.to_wire().into(), text.as_bytes());
}

/// Takes a dial and refuses it after the hello.
async fn refuse(refusing: &Impostor, code: CloseCode, text: &str) {
    let connection = refusing.accept().await.expect("TLS");
    let _streams = hear(&connection).await.expect("a hello");
    close(&connection, code, text);
    within(refusing.idle()).await;
}

/// It was told the code by the node that it knows, and says so to everybody.
async fn told(judge: &mut Judge, what: &str, code: CloseCode) {
    let (peer, found, class) = judge
        .event(what, |event| match event {
            Event::RefusedByPeer { peer, code, class } => Some((*peer, *code, *class)),
            _ => None,
        })
        .await;
    assert_eq!(
        (peer, found, class),
        (id(CLAIMED), code, code.class()),
        "{what}"
    );
    assert_eq!(
        judge.counts.refusals("peer", code.label()),
        1,
        "{what}: counted"
    );
    if code != CloseCode::Superseded {
        judge.shows_refusal(what, true, code.label());
    }
}

/// Whether the node dials within a time.
async fn dials_within(refusing: &Impostor, limit: Duration) -> bool {
    timeout(limit, refusing.next()).await.is_ok()
}

/// A dialer that is told a code acts on its class.
async fn is_refused(code: &'static CloseCode) {
    let (code, what) = (*code, code.label());
    let (mut judge, refusing) = faced(|_| ()).await;
    judge.expects(true);
    refuse(&refusing, code, "").await;
    told(&mut judge, what, code).await;
    match code.class() {
        CloseClass::Fatal => parks(&mut judge, &refusing, code).await,
        CloseClass::RetryAfter => {
            let reason = waits(&mut judge, what, SECOND, SECOND * 2).await;
            assert!(reason.contains(code.label()), "{reason}");
            assert!(dials_within(&refusing, SECOND * 2).await, "{what}");
        }
        CloseClass::Retry => {
            let reason = waits(&mut judge, what, Duration::ZERO, SECOND).await;
            assert!(reason.contains(code.label()), "{reason}");
            assert!(dials_within(&refusing, SECOND).await, "{what}");
        }
        class => panic!("{class:?} is not in the table"),
    }
}

/// It is told so, is not dialled any more, and comes back after a long time or by an operator.
async fn parks(judge: &mut Judge, refusing: &Impostor, code: CloseCode) {
    let what = code.label();
    let parked = judge.event(what, |event| match event {
        Event::Parked { code, .. } => Some(*code),
        Event::DialFailed { .. } => panic!("{what}: not parked"),
        _ => None,
    });
    assert_eq!(parked.await, code, "{what}");
    let since = Instant::now();
    match judge.node().link(CLAIMED).state {
        LinkState::Parked(reason) => assert!(reason.contains(what), "{reason}"),
        other => panic!("{what}: {other:?}"),
    }
    assert!(
        !dials_within(refusing, PARKED - SECOND).await,
        "{what}: dialled"
    );
    let again = within(refusing.accept()).await.expect("TLS");
    let waited = since.elapsed();
    assert!(waited <= PARKED + SECOND, "{what}: {waited:?}");
    let _streams = hear(&again).await.expect("a hello");
    close(&again, code, "");
    // Parked again; an operator ends it.
    judge
        .event(what, |event| {
            matches!(event, Event::Parked { .. }).then_some(())
        })
        .await;
    judge.node().transport.unpark(id(CLAIMED));
    assert!(dials_within(refusing, 100 * MS).await, "{what}: unparked");
}

/// The wait of a dialer that goes on; the reason is in its status.
async fn waits(judge: &mut Judge, what: &str, from: Duration, to: Duration) -> String {
    let (reason, retry_in) = judge
        .event(what, |event| match event {
            Event::DialFailed {
                reason, retry_in, ..
            } => Some((reason.clone(), *retry_in)),
            Event::Parked { .. } => panic!("{what}: parked"),
            _ => None,
        })
        .await;
    assert!((from..=to).contains(&retry_in), "{what}: {retry_in:?}");
    assert_eq!(
        judge.node().link(CLAIMED).last_problem.as_ref(),
        Some(&reason),
        "{what}"
    );
    reason
}

/// C2, C4: each code, told to a dialer at its hello.
#[tokio::test(start_paused = true)]
async fn a_dialer_acts_on_the_class_of_its_refusal() {
    all(CloseCode::ALL.iter().map(is_refused)).await;
}

/// An acceptor that is told a code at its welcome says so too, and nothing follows: it is the dialer
/// that dials. Its own dials are told the code in their turn.
async fn accepts_and_is_refused(code: &'static CloseCode) {
    let (code, what) = (*code, code.label());
    let (mut judge, refusing) = faced(|_| ()).await;
    judge.expects(false);
    judge.settled().await;
    let connection = refusing.dial(Judge::address()).await.expect("TLS");
    let (_send, mut recv) = greet(&connection, &RawHello::new(CLAIMED, 1).encode()).await;
    welcome(&mut recv).await;
    close(&connection, code, "");
    told(&mut judge, what, code).await;
    assert_eq!(judge.node().link(CLAIMED).state, LinkState::Idle, "{what}");
    judge.has_no_link(what);
}

/// C2: each code, told to an acceptor at its welcome.
#[tokio::test(start_paused = true)]
async fn an_acceptor_that_is_refused_says_so() {
    all(CloseCode::ALL.iter().map(accepts_and_is_refused)).await;
}

/// C2, C4: the wait is the peer's to say, within bounds.
#[tokio::test(start_paused = true)]
async fn a_dialer_waits_as_long_as_it_is_told() {
    for (text, wait) in [
        ("retry_after_ms=5000", 5 * SECOND),
        ("retry_after_ms=30000", 30 * SECOND),
        ("retry_after_ms=30001", 30 * SECOND),
        ("retry_after_ms=99999999999999999999", SECOND),
    ] {
        let (mut judge, refusing) = faced(|_| ()).await;
        judge.expects(true);
        refuse(&refusing, CloseCode::Busy, text).await;
        waits(&mut judge, text, wait, wait + SECOND).await;
    }
}

/// What stands in our status and log is not the peer's to write.
#[tokio::test(start_paused = true)]
async fn a_text_of_the_peer_is_quoted_and_cut() {
    let (mut judge, refusing) = faced(|_| ()).await;
    judge.expects(true);
    let connection = refusing.accept().await.expect("TLS");
    let _streams = hear(&connection).await.expect("a hello");
    let text = format!("\u{1b}[31m\nadmitted {}", "x".repeat(500));
    connection.close(4_711_u32.into(), text.as_bytes());
    let reason = judge.dial_failed("a text").await;
    assert!(
        reason.contains("4711") && reason.contains("admitted"),
        "{reason}"
    );
    assert!(
        !reason.contains(char::is_control) && reason.len() < 250,
        "{reason}"
    );
}

/// An acceptor that does not believe the node's certificate: the alert can be forged.
async fn is_refused_in_tls(error: &'static CertificateError) {
    let what = format!("{error:?}");
    let refuse_with = Some(error.clone());
    let (mut judge, refusing) = faced(|manners| manners.refuses = refuse_with).await;
    judge.expects(true);
    refusing.accept().await.expect_err("it refuses");
    judge.dial_failed(&what).await;
    assert_eq!(
        judge.node().link(CLAIMED).last_refusal,
        None,
        "{what}: nobody is proven to have refused"
    );
    // It goes on by itself.
    assert!(dials_within(&refusing, 31 * SECOND).await, "{what}");
}

/// What verifiers have against a certificate.
const ERRORS: &[CertificateError] = &[
    CertificateError::BadEncoding,
    CertificateError::Expired,
    CertificateError::NotValidYet,
    CertificateError::Revoked,
    CertificateError::UnhandledCriticalExtension,
    CertificateError::UnknownIssuer,
    CertificateError::UnknownRevocationStatus,
    CertificateError::BadSignature,
    CertificateError::InvalidPurpose,
    CertificateError::ApplicationVerificationFailure,
];

/// C3: alerts of every kind that a verifier has.
#[tokio::test(start_paused = true)]
async fn an_alert_parks_nobody() {
    all(ERRORS.iter().map(is_refused_in_tls)).await;
}

/// C3: an end that speaks another protocol, and one that takes no connection.
#[tokio::test(start_paused = true)]
async fn an_end_that_is_something_else_parks_nobody() {
    let (mut judge, refusing) = faced(|manners| manners.alpn = vec![b"quicraft/9".to_vec()]).await;
    judge.expects(true);
    refusing.accept().await.expect_err("another protocol");
    judge.dial_failed("another ALPN").await;
    let (mut judge, refusing) = faced(|_| ()).await;
    judge.expects(true);
    refusing.incoming().await.refuse();
    // Nobody has anything against the node: it is tried again soon.
    waits(&mut judge, "refused", Duration::ZERO, SECOND).await;
    assert!(dials_within(&refusing, SECOND).await);
}

/// Somebody on the path who sees the first packet and answers it first, in the name of the peer: the
/// keys of these packets are public.
async fn is_forged(closing: Closing) {
    let what = format!("{closing:?}");
    let mut judge = Judge::new().await;
    let forger = Forger::new(&judge.cluster.switch, address(2));
    judge.expects(true);
    forger.answer(closing).await;
    let reason = judge.dial_failed(&what).await;
    assert!(reason.starts_with("closed by the peer"), "{what}: {reason}");
    let link = judge.node().link(CLAIMED);
    assert_eq!(link.last_refusal, None, "{what}: it was not the peer");
    assert!(
        timeout(31 * SECOND, forger.seen()).await.is_ok(),
        "{what}: dialled again"
    );
}

/// C3: whatever is forged into the first packets parks nobody, close codes included.
#[tokio::test(start_paused = true)]
async fn a_forged_first_packet_parks_nobody() {
    let codes = CloseCode::ALL.iter();
    let codes = codes.map(|code| Closing::Application(code.to_wire()));
    // Those of RFC 9000, 20.1, and some alerts.
    let alerts = [40, 42, 44, 48, 49, 80, 116, 120].map(|alert| 0x100 + alert);
    let errors = (0..=0x10).chain(alerts).map(Closing::Transport);
    all(codes.chain(errors).map(is_forged)).await;
}

/// C3: so does one behind TLS that comes before its keys are thrown away. Somebody on the path sees
/// to it that the forged packet comes together with the last one of the acceptor's TLS.
#[tokio::test(start_paused = true)]
async fn a_forged_packet_behind_tls_parks_nobody() {
    let mut reasons = Vec::new();
    for datagrams in 1..=6 {
        let what = format!("behind {datagrams} datagrams");
        let mut judge = Judge::new().await;
        let good = Manners::showing(judge.ours.issue(&node_params(), &[]));
        let switch = &judge.cluster.switch;
        let acceptor = Impostor::new(switch, address(3), &good);
        let forger = Forger::new(switch, address(2));
        let removed = Closing::Application(CloseCode::Removed.to_wire());
        let between = tokio::spawn(forger.stand_between(address(3), datagrams, removed));
        let accepting = tokio::spawn(async move {
            // It never answers the hello, so that every dial fails in the end.
            let accepted = acceptor.accept().await;
            within(acceptor.idle()).await;
            accepted.is_ok()
        });
        judge.expects(true);
        reasons.push(judge.dial_failed(&what).await);
        between.abort();
        accepting.abort();
    }
    let seen = |part: &str| reasons.iter().any(|reason| reason.contains(part));
    assert!(seen("REMOVED"), "inside TLS: {reasons:?}");
    assert!(seen("before TLS was confirmed"), "behind it: {reasons:?}");
    assert!(seen("HELLO_TIMEOUT"), "too late: {reasons:?}");
}

/// A dialer that does not believe the node's certificate: the node says what it has heard.
async fn accepts_and_is_refused_in_tls(error: &'static CertificateError) {
    let what = format!("{error:?}");
    let refuse_with = Some(error.clone());
    let (mut judge, refusing) = faced(|manners| manners.refuses = refuse_with).await;
    judge.expects(false);
    judge.settled().await;
    refusing
        .dial(Judge::address())
        .await
        .expect_err("it refuses");
    let reason = judge.handshake_failed(&what).await;
    assert!(reason.starts_with("closed by the peer"), "{what}: {reason}");
    assert_eq!(judge.node().link(CLAIMED).state, LinkState::Idle, "{what}");
    judge.has_no_link(&what);
}

/// C3: the same alerts, from a dialer.
#[tokio::test(start_paused = true)]
async fn an_alert_of_a_dialer_changes_nothing() {
    all(ERRORS.iter().map(accepts_and_is_refused_in_tls)).await;
}
