//! What is told about a refused certificate: little to the peer, all to the log and the observer.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use quicraft_certs::{
    CredentialStore, PeerRole, WallClock, client_config, server_config, server_name,
};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::handshake::{Handshake, authority, node, store};
use crate::odd::{NOW, at};

thread_local! {
    /// What this thread has logged.
    static LOGGED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Collects what each thread logs, for the whole process: a subscriber of one scope only would lose
/// lines whenever another test's thread makes tracing forget who is interested.
struct Log;

/// Runs `work` and returns what it logged in this thread.
fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| tracing::subscriber::set_global_default(Log).unwrap());
    LOGGED.take();
    let result = work();
    (result, LOGGED.take())
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Fields<'a>(&'a mut String);
        impl Visit for Fields<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, " {field}={value:?}").unwrap();
            }
        }
        LOGGED.with_borrow_mut(|text| {
            text.push_str(event.metadata().target());
            event.record(&mut Fields(text));
            text.push('\n');
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// QUIC copies the error's text into the frame that closes the connection. It must not show our
/// clock or the dates of our CRL, which the local log has.
#[test]
fn the_peer_learns_no_detail_and_the_log_has_it() {
    let clock = WallClock::manual(at(NOW));
    let authority = authority(&clock);
    let mut settings = quicraft_certs::CredentialSettings::default();
    settings.clock = clock.clone();
    settings.limits.crl_grace = Duration::ZERO;
    let crl = authority.crl_with(&[], at(NOW), at(NOW + 77)).unwrap();
    let two = authority.issue(node(2)).unwrap();
    let two = two
        .credentials_with(authority.root_pem(), &crl, &settings)
        .unwrap();
    let (one, two) = (store(&authority, 1), CredentialStore::new(two));
    Handshake::between(&one, &two).done();
    clock.advance(Duration::from_secs(88));

    let (ends, log) = logged(|| Handshake::between(&one, &two));
    let error = ends.server_error.unwrap();
    assert_eq!(
        error.to_string(),
        "invalid peer certificate: UnknownRevocationStatus"
    );
    assert!(!format!("{error:?}").contains(|character: char| character.is_ascii_digit()));

    let line = log.lines().find(|line| line.contains("refused")).unwrap();
    assert!(line.starts_with("quicraft::link"), "{line}");
    for part in [
        "node=2",
        "role=dialer",
        "stale_crl",
        "1800000077",
        "1800000088",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn every_refusal_is_told_to_the_observer() {
    let clock = WallClock::system();
    let (ours, theirs) = (authority(&clock), authority(&clock));
    let (one, two) = (store(&ours, 1), store(&theirs, 2));
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    assert!(one.on_refusal(move |role, refusal| {
        sink.lock().unwrap().push((role, refusal.label()));
    }));
    assert!(!one.on_refusal(|_, _| {}), "there is one only");
    for _ in 0..12 {
        drop(Handshake::between(&one, &two));
    }
    let expected = vec![(PeerRole::Acceptor, "unknown_issuer"); 12];
    assert_eq!(*told.lock().unwrap(), expected);
}

/// Whoever can reach the socket can cause refusals, but not fill a disk with them.
#[test]
fn refusals_are_logged_within_bounds() {
    let clock = WallClock::manual(at(NOW));
    let (ours, theirs) = (authority(&clock), authority(&clock));
    let (one, two) = (store(&ours, 1), store(&theirs, 2));
    let client = client_config(&one).unwrap();
    let refused = || {
        let server = server_config(&two).unwrap();
        let name = server_name(one.identity().cluster(), node(2));
        drop(Handshake::run(client.clone(), server, name));
    };
    let ((), log) = logged(|| {
        for _ in 0..15 {
            refused();
        }
        clock.advance(Duration::from_secs(1));
        refused();
    });
    let lines = log.lines().filter(|line| line.contains("refused"));
    assert_eq!(lines.count(), 11);
    assert!(log.lines().last().unwrap().contains("left_out=5"), "{log}");
}
