//! Real handshakes of both ends, over buffers in memory.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quicraft_certs::{
    ALPN, Authority, ClusterName, CredentialStore, NodeId, PeerCertificate, Serial, ServerName,
    WallClock, client_config, server_config, server_name,
};
use rustls::client::{ResolvesClientCert, Resumption, TicketRequest};
use rustls::crypto::CryptoProvider;
use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, HandshakeKind, NamedGroup,
    ServerConfig, SignatureScheme,
};

use crate::odd::{CLUSTER, DAY, NOW, at};

fn cluster() -> ClusterName {
    ClusterName::new(CLUSTER).unwrap()
}

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

pub(crate) fn authority(clock: &WallClock) -> Authority {
    Authority::with_clock(cluster(), clock.clone()).unwrap()
}

pub(crate) fn store(authority: &Authority, id: u64) -> Arc<CredentialStore> {
    let issued = authority.issue(node(id)).unwrap();
    CredentialStore::new(issued.credentials(authority).unwrap())
}

/// Both ends after a handshake, or after it failed.
pub(crate) struct Handshake {
    client: Connection,
    server: Connection,
    client_error: Option<Error>,
    pub(crate) server_error: Option<Error>,
}

impl Handshake {
    pub(crate) fn run(
        client: ClientConfig,
        server: ServerConfig,
        name: ServerName<'static>,
    ) -> Self {
        let client = ClientConnection::new(Arc::new(client), Version::V1, name, vec![1]).unwrap();
        let server = ServerConnection::new(Arc::new(server), Version::V1, vec![2]).unwrap();
        let mut ends = Self {
            client: client.into(),
            server: server.into(),
            client_error: None,
            server_error: None,
        };
        loop {
            let sent = carry(&mut ends.client, &mut ends.server, &mut ends.server_error);
            let answered = carry(&mut ends.server, &mut ends.client, &mut ends.client_error);
            if !sent && !answered {
                return ends;
            }
        }
    }

    pub(crate) fn between(dialer: &Arc<CredentialStore>, acceptor: &Arc<CredentialStore>) -> Self {
        Self::run(
            client_config(dialer).unwrap(),
            server_config(acceptor).unwrap(),
            server_name(&cluster(), acceptor.identity().node()),
        )
    }

    #[track_caller]
    pub(crate) fn done(&self) -> &Self {
        assert_eq!((&self.client_error, &self.server_error), (&None, &None));
        assert!(!self.client.is_handshaking());
        assert!(!self.server.is_handshaking());
        self
    }

    fn seen_by_server(&self) -> PeerCertificate {
        PeerCertificate::from_chain(self.server.peer_certificates().unwrap()).unwrap()
    }

    fn seen_by_client(&self) -> PeerCertificate {
        PeerCertificate::from_chain(self.client.peer_certificates().unwrap()).unwrap()
    }
}

/// Carries all bytes of one end to the other, flight by flight; whether there were any.
fn carry(from: &mut Connection, to: &mut Connection, error: &mut Option<Error>) -> bool {
    let mut any = false;
    loop {
        let mut flight = Vec::new();
        let change = from.write_hs(&mut flight);
        if flight.is_empty() && change.is_none() {
            return any;
        }
        any = true;
        if error.is_none() {
            *error = to.read_hs(&flight).err();
        }
    }
}

/// T2, T3: both ends show who they are, over TLS 1.3.
#[test]
fn each_end_proves_itself_to_the_other() {
    let authority = authority(&WallClock::system());
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    let ends = Handshake::between(&one, &two);
    ends.done();
    assert_eq!(ends.seen_by_client().identity(), &two.identity());
    assert_eq!(ends.seen_by_server().identity(), &one.identity());
    assert_eq!(
        ends.seen_by_server().key_hash(),
        one.current().certificate().key_hash()
    );
    assert_eq!(ends.client.alpn_protocol(), Some(ALPN));
    assert_eq!(ends.server.alpn_protocol(), Some(ALPN));
    assert_eq!(ALPN, b"quicraft/1");
    let version = Some(rustls::ProtocolVersion::TLSv1_3);
    assert_eq!(
        (
            ends.client.protocol_version(),
            ends.server.protocol_version()
        ),
        (version, version)
    );
    // The same two the other way round.
    Handshake::between(&two, &one).done();
}

#[test]
fn an_intermediate_is_carried_along() {
    let root = authority(&WallClock::system());
    let below = root.intermediate().unwrap();
    Handshake::between(&store(&below, 1), &store(&root, 2)).done();
    Handshake::between(&store(&root, 2), &store(&below, 1)).done();
}

/// Which node answered is decided after TLS, where the refusal has a code of its own.
/// T3: the URI decides who answered.
#[test]
fn the_name_that_is_asked_for_proves_nothing() {
    let authority = authority(&WallClock::system());
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    let ends = Handshake::run(
        client_config(&one).unwrap(),
        server_config(&two).unwrap(),
        server_name(&cluster(), node(9)),
    );
    ends.done();
    assert_eq!(ends.seen_by_client().identity().node(), node(2));
}

#[test]
fn a_dialer_of_another_ca_is_refused() {
    let clock = WallClock::system();
    let (ours, theirs) = (authority(&clock), authority(&clock));
    let stranger = theirs.issue(node(1)).unwrap();
    let both = format!("{}{}", ours.root_pem(), theirs.root_pem());
    let stranger = stranger
        .credentials_with(&both, "", &Default::default())
        .unwrap();
    let ends = Handshake::between(&CredentialStore::new(stranger), &store(&ours, 2));
    let refusal = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(ends.server_error, Some(refusal));
    assert_eq!(ends.server.alert(), Some(AlertDescription::UnknownCA));
    // The dialer had finished on its side: TLS 1.3 does not tell it in time.
    assert_eq!(ends.client_error, None);
    assert!(!ends.client.is_handshaking());
}

#[test]
fn an_acceptor_of_another_ca_is_refused() {
    let clock = WallClock::system();
    let (ours, theirs) = (authority(&clock), authority(&clock));
    let ends = Handshake::between(&store(&ours, 1), &store(&theirs, 2));
    let refusal = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(ends.client_error, Some(refusal));
    assert_eq!(ends.client.alert(), Some(AlertDescription::UnknownCA));
    assert!(ends.server.is_handshaking());
}

#[derive(Debug)]
struct Shows(Option<Arc<CertifiedKey>>, Arc<Mutex<Vec<usize>>>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.1.lock().unwrap().push(hints.len());
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

/// The certificate of one node with the key of another: what somebody has who recorded a
/// certificate, or copied it without its key.
fn stolen(authority: &Authority, id: u64) -> Arc<CertifiedKey> {
    let certificate = store(authority, id).current().chain().to_vec();
    let key = rcgen::KeyPair::generate().unwrap().serialize_der();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key).into();
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).unwrap();
    Arc::new(CertifiedKey::new(certificate, key))
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    let authority = authority(&WallClock::system());
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    let bad = Error::InvalidCertificate(CertificateError::BadSignature);

    let thief = Arc::new(Shows(Some(stolen(&authority, 1)), Arc::default()));
    let mut client = client_config(&one).unwrap();
    client.client_auth_cert_resolver = Arc::<Shows>::clone(&thief);
    let name = server_name(&cluster(), node(2));
    let ends = Handshake::run(client, server_config(&two).unwrap(), name.clone());
    assert_eq!(ends.server_error.as_ref(), Some(&bad));

    let mut server = server_config(&two).unwrap();
    server.cert_resolver = thief;
    let ends = Handshake::run(client_config(&one).unwrap(), server, name);
    assert_eq!(ends.client_error, Some(bad));
}

/// T2: a dialer shows a certificate.
#[test]
fn a_dialer_without_a_certificate_is_refused_and_learns_no_ca() {
    let authority = authority(&WallClock::system());
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    let hints = Arc::new(Mutex::new(Vec::new()));
    let mut client = client_config(&one).unwrap();
    client.client_auth_cert_resolver = Arc::new(Shows(None, Arc::clone(&hints)));
    // rustls asks a resolver only if it says that it has certificates.
    let ends = Handshake::run(
        client,
        server_config(&two).unwrap(),
        server_name(&cluster(), node(2)),
    );
    assert_eq!(ends.server_error, Some(Error::NoCertificatesPresented));
    assert_eq!(
        ends.server.alert(),
        Some(AlertDescription::CertificateRequired)
    );

    let mut client = client_config(&one).unwrap();
    let own = Some(stolen(&authority, 1));
    client.client_auth_cert_resolver = Arc::new(Shows(own, Arc::clone(&hints)));
    drop(Handshake::run(
        client,
        server_config(&two).unwrap(),
        server_name(&cluster(), node(2)),
    ));
    assert_eq!(hints.lock().unwrap().last(), Some(&0));
}

/// T2: the protocol name.
#[test]
fn the_protocol_name_is_needed() {
    let authority = authority(&WallClock::system());
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    let name = || server_name(&cluster(), node(2));
    for names in [vec![], vec![b"quicraft/2".to_vec()], vec![b"h3".to_vec()]] {
        let mut client = client_config(&one).unwrap();
        client.alpn_protocols.clone_from(&names);
        let ends = Handshake::run(client, server_config(&two).unwrap(), name());
        assert_eq!(
            ends.server_error,
            Some(Error::NoApplicationProtocol),
            "{names:?}"
        );

        let mut server = server_config(&two).unwrap();
        server.alpn_protocols = names;
        let ends = Handshake::run(client_config(&one).unwrap(), server, name());
        assert!(ends.server_error.or(ends.client_error).is_some());
    }
}

/// The provider that this crate was built with decides, and prefers the strongest that it has.
#[test]
fn the_key_exchange_is_that_of_the_provider() {
    let authority = authority(&WallClock::system());
    let ends = Handshake::between(&store(&authority, 1), &store(&authority, 2));
    let group = ends.done().client.negotiated_key_exchange_group();
    let expected = if cfg!(feature = "aws-lc-rs") {
        NamedGroup::X25519MLKEM768
    } else {
        NamedGroup::X25519
    };
    assert_eq!(group.map(|group| group.name()), Some(expected));
    assert_eq!(ends.client.handshake_kind(), Some(HandshakeKind::Full));
    assert!(CryptoProvider::get_default().is_none());
}

/// Who looks at packets in a laboratory sets SSLKEYLOGFILE; a build that was not made for that does
/// not listen to it. The variable is of a process, so the handshake runs in one of its own.
#[test]
fn a_key_log_is_written_only_behind_its_feature() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let test = "handshake::each_end_proves_itself_to_the_other";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("SSLKEYLOGFILE", &file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
    let secrets = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(!secrets.is_empty(), cfg!(feature = "dangerous-key-log"));
}

/// T2: no tickets, no resumption, no 0-RTT.
#[test]
fn nothing_is_resumed() {
    let authority = authority(&WallClock::system());
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    let server = server_config(&two).unwrap();
    // Even for a dialer that wishes to resume, and asks for tickets.
    let mut eager = client_config(&one).unwrap();
    eager.resumption = Resumption::in_memory_sessions(8);
    eager.enable_early_data = true;
    eager.send_ticket_request = Some(TicketRequest {
        new_session_count: 4,
        resumption_count: 4,
    });
    for client in [client_config(&one).unwrap(), eager] {
        for _ in 0..2 {
            let name = server_name(&cluster(), node(2));
            let ends = Handshake::run(client.clone(), server.clone(), name);
            ends.done();
            let Connection::Client(client) = &ends.client else {
                panic!("the client end")
            };
            assert_eq!(client.tls13_tickets_received(), 0);
            assert!(!client.is_early_data_accepted());
            assert!(ends.client.zero_rtt_keys().is_none());
            assert_eq!(ends.client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(ends.server.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
    assert_eq!(server.max_early_data_size, 0);
    assert!(!client_config(&one).unwrap().enable_early_data);
    assert!(!server.ticketer.enabled());
    assert!(!server.session_storage.can_cache());
    assert_eq!(
        (server.send_tls13_tickets, server.max_tls13_tickets),
        (0, 0)
    );
}

/// An acceptor that hands out tickets gets nothing back: our dialer keeps none.
#[test]
fn a_dialer_keeps_no_ticket() {
    let authority = authority(&WallClock::system());
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    let mut server = server_config(&two).unwrap();
    server.send_tls13_tickets = 2;
    server.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    let client = client_config(&one).unwrap();
    for _ in 0..2 {
        let name = server_name(&cluster(), node(2));
        let ends = Handshake::run(client.clone(), server.clone(), name);
        ends.done();
        assert_eq!(ends.client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn a_replaced_certificate_is_used_by_the_next_handshake() {
    let authority = authority(&WallClock::system());
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    let (client, server) = (client_config(&one).unwrap(), server_config(&two).unwrap());
    let run = || {
        let name = server_name(&cluster(), node(2));
        let ends = Handshake::run(client.clone(), server.clone(), name);
        ends.done();
        let serials: [Serial; 2] = [
            ends.seen_by_server().serial().clone(),
            ends.seen_by_client().serial().clone(),
        ];
        serials
    };
    let serial = |store: &CredentialStore| store.current().certificate().serial().clone();
    let before = [serial(&one), serial(&two)];
    assert_eq!(run(), before);
    for (store, id) in [(&one, 1), (&two, 2)] {
        let renewed = authority.issue(node(id)).unwrap();
        store
            .replace(renewed.credentials(&authority).unwrap())
            .unwrap();
    }
    let after = [serial(&one), serial(&two)];
    assert_ne!(before, after);
    assert_eq!(run(), after);
}

/// Old and new CA: both in the bundles, then new certificates, then the old CA leaves.
#[test]
fn a_ca_is_replaced_without_a_gap() {
    let clock = WallClock::system();
    let (old, new) = (authority(&clock), authority(&clock));
    let (one, two) = (store(&old, 1), store(&old, 2));
    let both = format!("{}{}", old.root_pem(), new.root_pem());
    let step = |store: &CredentialStore, from: &Authority, ca: &str, id| {
        let issued = from.issue(node(id)).unwrap();
        let credentials = issued
            .credentials_with(ca, "", &Default::default())
            .unwrap();
        store.replace(credentials).unwrap();
        Handshake::between(&one, &two).done();
        Handshake::between(&two, &one).done();
    };
    step(&one, &old, &both, 1);
    step(&two, &old, &both, 2);
    step(&one, &new, &both, 1);
    step(&two, &new, &both, 2);
    step(&one, &new, new.root_pem(), 1);
    step(&two, &new, new.root_pem(), 2);
    let left_behind = store(&old, 3);
    let ends = Handshake::between(&left_behind, &one);
    assert!(ends.client_error.or(ends.server_error).is_some());
}

/// The verifiers judge by the clock of the store, and by its trust at that moment.
#[test]
fn a_certificate_expires_and_is_revoked_for_the_next_handshake() {
    let clock = WallClock::manual(at(NOW));
    let authority = authority(&clock);
    let (one, two) = (store(&authority, 1), store(&authority, 2));
    Handshake::between(&one, &two).done();

    let revoked = one.current().certificate().serial().clone();
    let mut settings = quicraft_certs::CredentialSettings::default();
    settings.clock = clock.clone();
    let crl = authority.crl(&[revoked]).unwrap();
    let own = authority.issue(node(2)).unwrap();
    let own = own
        .credentials_with(authority.root_pem(), &crl, &settings)
        .unwrap();
    two.replace(own).unwrap();
    let ends = Handshake::between(&one, &two);
    let error = Error::InvalidCertificate(CertificateError::Revoked);
    assert_eq!(ends.server_error, Some(error));

    clock.advance(Duration::from_secs(90 * DAY + 1));
    let ends = Handshake::between(&two, &one);
    let error = Error::InvalidCertificate(CertificateError::Expired);
    assert_eq!(ends.client_error, Some(error));
}
