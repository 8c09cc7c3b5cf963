//! Wrong certificates, each shown by a dialer and by an acceptor.

use quicraft_certs::{PeerRole, Serial};
use quicraft_tests::sim::RawHello;
use quicraft_tests::switch::address;
use quicraft_transport::close::CloseCode;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose as Eku, IsCa,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::SignatureScheme;

use super::forge::*;
use super::impostor::{Impostor, Manners, Refused, enter, hear, say, within};
use super::judge::{CLAIMED, Judge, all, assert_coarse, at, told};

/// What a wrong certificate comes to, at both ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The judge refuses inside TLS: the alert that the other end sees, and what the judge records.
    Alert(u8, &'static str),
    /// The judge refuses at the hello or the welcome: the code that the other end is told.
    Code(CloseCode),
    /// The other end has nothing to show and gives up with this alert.
    GivesUp(u8),
    /// The judge cannot speak with it, whatever it shows.
    Unspoken(u8),
    /// It cannot come to this in this role.
    Never,
}

/// A row of the table: what is wrong, how to make it, and what it comes to in each role of the wrong
/// end.
struct Row {
    what: &'static str,
    manners: fn(&Judge) -> Manners,
    /// The node that the wrong end says it is.
    says: u64,
    as_dialer: End,
    as_acceptor: End,
}

/// Refused inside TLS.
const fn tls(
    what: &'static str,
    manners: fn(&Judge) -> Manners,
    alert: u8,
    reason: &'static str,
) -> Row {
    Row {
        what,
        manners,
        says: CLAIMED,
        as_dialer: End::Alert(alert, reason),
        as_acceptor: End::Alert(alert, reason),
    }
}

/// Refused after TLS, by the node that it proves.
const fn node(
    what: &'static str,
    manners: fn(&Judge) -> Manners,
    says: u64,
    as_dialer: End,
    as_acceptor: End,
) -> Row {
    Row {
        what,
        manners,
        says,
        as_dialer,
        as_acceptor,
    }
}

/// A certificate of the cluster's authority with one thing spoiled.
fn spoiled(judge: &Judge, change: impl FnOnce(&mut CertificateParams)) -> Manners {
    let mut params = node_params();
    change(&mut params);
    Manners::showing(judge.ours.issue(&params, &[]))
}

/// The same, with one other URI.
fn named(judge: &Judge, uris: &[&str]) -> Manners {
    spoiled(judge, |params| {
        params.subject_alt_names = uris.iter().map(|text| uri(text)).collect();
    })
}

fn id_text(judge: &Judge, text: &str) -> Manners {
    named(judge, &[&of_node(text)])
}

/// A good certificate of a node.
fn proving(judge: &Judge, node: u64) -> Manners {
    id_text(judge, &node.to_string())
}

/// A chain of CAs below one that the judge believes and that constrains nothing, and a good leaf
/// under the last.
fn deep(judge: &Judge, depth: usize) -> Manners {
    let root = Ca::root(ca_params("root"));
    judge.trusts(&[&root], "");
    let mut chain: Vec<Ca> = Vec::new();
    for level in 0..depth {
        let params = ca_params(&format!("level {level}"));
        let above = chain.last().unwrap_or(&root);
        let below = above.below(params);
        chain.push(below);
    }
    let along: Vec<_> = chain.iter().rev().map(|ca| &ca.der).collect();
    let last = chain.last().unwrap_or(&root);
    Manners::showing(last.issue(&node_params(), &along))
}

/// An RSA key of 1,024 bits.
struct SmallKey(Vec<u8>);

impl SmallKey {
    fn new() -> Self {
        // A modulus of the right size; nobody gets as far as using it.
        let mut der = vec![0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00];
        der.extend([0xc5; 127]);
        der.extend([0xc5, 0x02, 0x03, 0x01, 0x00, 0x01]);
        Self(der)
    }
}

impl PublicKeyData for SmallKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

fn with_lists(judge: &Judge, crl: &str) -> Manners {
    judge.trusts(&[], crl);
    spoiled(judge, |_| ())
}

const TABLE: &[Row] = &[
    // --- The chain ---------------------------------------------------------------------------------
    tls(
        "another CA",
        |_| Manners::showing(Ca::root(ca_params("other")).issue(&node_params(), &[])),
        48,
        "unknown_issuer",
    ),
    tls(
        "another CA that is sent along",
        |_| {
            let other = Ca::root(ca_params("other"));
            Manners::showing(other.issue(&node_params(), &[&other.der]))
        },
        48,
        "unknown_issuer",
    ),
    tls(
        "another CA with the name of ours",
        |judge| {
            let mut params = ca_params("twin");
            let real = Ca::root(params.clone());
            judge.trusts(&[&real], "");
            params.serial_number = None;
            Manners::showing(Ca::root(params).issue(&node_params(), &[]))
        },
        51,
        "bad_signature",
    ),
    tls(
        "self-signed",
        |_| Manners::showing(self_signed(&node_params())),
        48,
        "unknown_issuer",
    ),
    tls(
        "the CA's own certificate",
        |judge| Manners::showing(judge.ours.itself()),
        49,
        "leaf_is_authority",
    ),
    tls(
        "a CA certificate used as a leaf",
        |judge| {
            spoiled(judge, |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
            })
        },
        49,
        "leaf_is_authority",
    ),
    tls(
        "a leaf that may sign certificates",
        |judge| {
            spoiled(judge, |params| {
                params.key_usages.push(KeyUsagePurpose::KeyCertSign)
            })
        },
        49,
        "leaf_is_authority",
    ),
    tls(
        "a sub-CA below the depth that is permitted",
        |judge| deep(judge, 2),
        49,
        "too_many_intermediates",
    ),
    tls(
        "a sub-CA below the path length of the one above it",
        |judge| {
            judge.trusts_to_depth(&[], "", 2);
            let mut params = ca_params("one");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let below = judge.ours.below(params);
            let lowest = below.below(ca_params("two"));
            Manners::showing(lowest.issue(&node_params(), &[&lowest.der, &below.der]))
        },
        49,
        "constraint_violated",
    ),
    tls(
        "a chain that is too long to look at",
        |judge| deep(judge, 7),
        49,
        "too_many_intermediates",
    ),
    tls(
        "an intermediate that is not sent",
        |judge| {
            let below = judge.ours.below(ca_params("one"));
            Manners::showing(below.issue(&node_params(), &[]))
        },
        48,
        "unknown_issuer",
    ),
    tls(
        "an intermediate that permits one usage",
        |judge| {
            let mut params = ca_params("one");
            params.extended_key_usages = vec![Eku::ServerAuth];
            let below = judge.ours.below(params);
            Manners::showing(below.issue(&node_params(), &[&below.der]))
        },
        43,
        "missing_usage",
    ),
    tls(
        "a name outside the constraint of the CA",
        |judge| {
            spoiled(judge, |params| {
                params.subject_alt_names.push(dns("node-2.other.example"))
            })
        },
        49,
        "constraint_violated",
    ),
    // --- Usages and dates --------------------------------------------------------------------------
    tls(
        "no EKU",
        |judge| spoiled(judge, |params| params.extended_key_usages.clear()),
        43,
        "missing_usage",
    ),
    tls(
        "only clientAuth",
        |judge| {
            spoiled(judge, |params| {
                params.extended_key_usages = vec![Eku::ClientAuth]
            })
        },
        43,
        "missing_usage",
    ),
    tls(
        "only serverAuth",
        |judge| {
            spoiled(judge, |params| {
                params.extended_key_usages = vec![Eku::ServerAuth]
            })
        },
        43,
        "missing_usage",
    ),
    tls(
        "any usage",
        |judge| spoiled(judge, |params| params.extended_key_usages = vec![Eku::Any]),
        43,
        "missing_usage",
    ),
    tls(
        "expired a second ago",
        |judge| spoiled(judge, |params| params.not_after = date(NOW - 1)),
        45,
        "expired",
    ),
    tls(
        "not valid for a second more",
        |judge| spoiled(judge, |params| params.not_before = date(NOW + 1)),
        45,
        "not_yet_valid",
    ),
    tls(
        "an intermediate that has expired",
        |judge| {
            let mut params = ca_params("one");
            params.not_after = date(NOW - 1);
            let below = judge.ours.below(params);
            Manners::showing(below.issue(&node_params(), &[&below.der]))
        },
        45,
        "expired",
    ),
    // --- Revocation --------------------------------------------------------------------------------
    tls(
        "revoked",
        |judge| {
            let serial: Serial = "41".repeat(16).parse().expect("a serial number");
            with_lists(
                judge,
                &judge.cluster.authority.crl(&[serial]).expect("a CRL"),
            )
        },
        44,
        "revoked",
    ),
    tls(
        "a stale CRL",
        |judge| {
            let crl = judge
                .cluster
                .authority
                .crl_with(&[], at(NOW), at(NOW + DAY));
            let manners = with_lists(judge, &crl.expect("a CRL"));
            // A day of validity, a day of grace, and a second.
            judge.clock.set(at(NOW + 2 * DAY + 1));
            manners
        },
        48,
        "stale_crl",
    ),
    tls(
        "only the CRL of another CA",
        |judge| {
            let other = Ca::root(ca_params("other"));
            let crl = judge.cluster.authority.crl(&[]).expect("a CRL");
            judge.trusts(&[&other], &crl);
            Manners::showing(other.issue(&node_params(), &[]))
        },
        48,
        "unknown_revocation_status",
    ),
    // --- Names -------------------------------------------------------------------------------------
    tls(
        "another cluster",
        |judge| named(judge, &["spiffe://other.example/node/2"]),
        49,
        "wrong_cluster",
    ),
    tls(
        "a cluster below ours",
        |judge| named(judge, &["spiffe://a.sim.example/node/2"]),
        49,
        "wrong_cluster",
    ),
    tls(
        "a cluster above ours",
        |judge| named(judge, &["spiffe://example/node/2"]),
        49,
        "wrong_cluster",
    ),
    tls(
        "no URI",
        |judge| {
            spoiled(judge, |params| {
                params.subject_alt_names = vec![dns("sim.example")]
            })
        },
        49,
        "no_uri",
    ),
    tls(
        "the DNS name of the node alone",
        |judge| {
            spoiled(judge, |params| {
                params.subject_alt_names = vec![dns("node-2.sim.example")]
            })
        },
        49,
        "no_uri",
    ),
    tls(
        "no names at all",
        |judge| spoiled(judge, |params| params.subject_alt_names.clear()),
        49,
        "no_uri",
    ),
    tls(
        "an address alone",
        |judge| {
            spoiled(judge, |params| {
                params.subject_alt_names = vec![SanType::IpAddress(address(2).ip())]
            })
        },
        49,
        "no_uri",
    ),
    tls(
        "two URIs",
        |judge| named(judge, &[&of_node("2"), &of_node("3")]),
        49,
        "many_uris",
    ),
    tls(
        "the same URI twice",
        |judge| named(judge, &[&of_node("2"), &of_node("2")]),
        49,
        "many_uris",
    ),
    tls(
        "a second URI of another kind",
        |judge| named(judge, &[&of_node("2"), "https://sim.example/"]),
        49,
        "many_uris",
    ),
    tls(
        "a second URI that is no text",
        |judge| {
            spoiled(judge, |params| {
                params.subject_alt_names.clear();
                let uris: [(u8, &[u8]); 2] =
                    [(6, b"spiffe://sim.example/node/2"), (6, b"\xff\xfe")];
                params.custom_extensions = vec![raw_names(&uris)];
            })
        },
        49,
        "many_uris",
    ),
    tls(
        "a wildcard among the DNS names",
        |judge| {
            spoiled(judge, |params| {
                params.subject_alt_names.push(dns("*.sim.example"))
            })
        },
        49,
        "wildcard_name",
    ),
    // --- Spellings of the URI ----------------------------------------------------------------------
    tls("id 0", |judge| id_text(judge, "0"), 49, "malformed_uri"),
    tls(
        "a leading zero",
        |judge| id_text(judge, "02"),
        49,
        "malformed_uri",
    ),
    tls(
        "a plus sign",
        |judge| id_text(judge, "+2"),
        49,
        "malformed_uri",
    ),
    tls(
        "a minus sign",
        |judge| id_text(judge, "-2"),
        49,
        "malformed_uri",
    ),
    tls(
        "a percent sign",
        |judge| id_text(judge, "%32"),
        49,
        "malformed_uri",
    ),
    tls(
        "a slash at the end",
        |judge| id_text(judge, "2/"),
        49,
        "malformed_uri",
    ),
    tls(
        "two slashes",
        |judge| named(judge, &["spiffe://sim.example//node/2"]),
        49,
        "malformed_uri",
    ),
    tls(
        "an overflow",
        |judge| id_text(judge, "18446744073709551618"),
        49,
        "malformed_uri",
    ),
    tls(
        "a wildcard",
        |judge| id_text(judge, "*"),
        49,
        "malformed_uri",
    ),
    tls("a NUL", |judge| id_text(judge, "2\0"), 49, "malformed_uri"),
    tls(
        "a query",
        |judge| id_text(judge, "2?a"),
        49,
        "malformed_uri",
    ),
    tls("a space", |judge| id_text(judge, " 2"), 49, "malformed_uri"),
    tls("no id", |judge| id_text(judge, ""), 49, "malformed_uri"),
    tls(
        "hexadecimal",
        |judge| id_text(judge, "0x2"),
        49,
        "malformed_uri",
    ),
    tls(
        "an upper-case cluster",
        |judge| named(judge, &["spiffe://SIM.example/node/2"]),
        49,
        "malformed_uri",
    ),
    tls(
        "a port",
        |judge| named(judge, &["spiffe://sim.example:1/node/2"]),
        49,
        "malformed_uri",
    ),
    tls(
        "another path",
        |judge| named(judge, &["spiffe://sim.example/workload/2"]),
        49,
        "malformed_uri",
    ),
    tls(
        "another scheme",
        |judge| named(judge, &["https://sim.example/node/2"]),
        49,
        "malformed_uri",
    ),
    tls(
        "an upper-case scheme",
        |judge| named(judge, &["SPIFFE://sim.example/node/2"]),
        49,
        "malformed_uri",
    ),
    // --- Encoding and keys -------------------------------------------------------------------------
    tls(
        "a critical extension that nobody knows",
        |judge| {
            spoiled(judge, |params| {
                let mut extension =
                    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 5, 5], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions = vec![extension];
            })
        },
        42,
        "bad_encoding",
    ),
    tls(
        "bytes behind the end",
        |judge| {
            let mut manners = spoiled(judge, |_| ());
            let shown = manners.shown.as_mut().expect("shown");
            let mut longer = shown.chain[0].to_vec();
            longer.push(0);
            shown.chain[0] = longer.into();
            manners
        },
        42,
        "bad_encoding",
    ),
    tls(
        "bytes that are no certificate",
        |judge| {
            let mut manners = spoiled(judge, |_| ());
            manners.shown.as_mut().expect("shown").chain[0] = vec![0x30; 40].into();
            manners
        },
        42,
        "bad_encoding",
    ),
    tls(
        "a changed byte",
        |judge| {
            let mut manners = spoiled(judge, |_| ());
            let shown = manners.shown.as_mut().expect("shown");
            shown.chain[0] = with_changed_serial(&shown.chain[0]);
            manners
        },
        51,
        "bad_signature",
    ),
    tls(
        "a good certificate without its key",
        |judge| {
            // Certificates are public: whoever has seen a handshake of the node can show its own.
            let mut manners = spoiled(judge, |_| ());
            manners.shown.as_mut().expect("shown").key = judge.ours.issue(&node_params(), &[]).key;
            manners
        },
        51,
        "bad_signature",
    ),
    tls(
        "a weak key",
        |judge| {
            let shown = judge.ours.issue_for(
                &node_params(),
                &SmallKey::new(),
                Scribbles::with(SignatureScheme::RSA_PSS_SHA256),
            );
            Manners::showing(shown)
        },
        51,
        "weak_or_unknown_key",
    ),
    tls(
        "a key of an unknown type",
        |judge| {
            let shown = judge.ours.issue(&node_params(), &[]);
            let chain = vec![judge.ours.resigned(&shown.chain[0], P256, P192)];
            Manners::showing(Shown {
                chain,
                key: Scribbles::with(SignatureScheme::ECDSA_NISTP256_SHA256),
            })
        },
        51,
        "weak_or_unknown_key",
    ),
    // --- None --------------------------------------------------------------------------------------
    node(
        "no certificate at all",
        |_| Manners {
            shown: None,
            ..Manners::showing(self_signed(&node_params()))
        },
        CLAIMED,
        End::Alert(116, "no_certificate"),
        End::GivesUp(49),
    ),
    node(
        "an end that never asks for ours",
        |judge| Manners {
            asks: false,
            ..proving(judge, CLAIMED)
        },
        CLAIMED,
        End::Never,
        End::Code(CloseCode::IdMismatch),
    ),
    // --- What it speaks ----------------------------------------------------------------------------
    node(
        "another protocol",
        |judge| Manners {
            alpn: vec![b"quicraft/9".to_vec()],
            ..proving(judge, CLAIMED)
        },
        CLAIMED,
        End::Unspoken(120),
        End::GivesUp(120),
    ),
    node(
        "no protocol",
        |judge| Manners {
            alpn: Vec::new(),
            ..proving(judge, CLAIMED)
        },
        CLAIMED,
        End::Unspoken(120),
        End::GivesUp(120),
    ),
    // --- The node that it proves -------------------------------------------------------------------
    node(
        "the id of another node",
        |judge| proving(judge, 3),
        CLAIMED,
        End::Code(CloseCode::IdMismatch),
        End::Code(CloseCode::IdMismatch),
    ),
    node(
        "the id of another node, and says so",
        |judge| proving(judge, 3),
        3,
        End::Code(CloseCode::NotMember),
        End::Code(CloseCode::WrongTarget),
    ),
    node(
        "the judge's own id",
        |judge| proving(judge, 1),
        1,
        End::Code(CloseCode::SelfId),
        End::Code(CloseCode::SelfId),
    ),
    node(
        "the judge's own id, in another name",
        |judge| proving(judge, 1),
        CLAIMED,
        End::Code(CloseCode::SelfId),
        End::Code(CloseCode::SelfId),
    ),
    node(
        "another key than the pinned one",
        |judge| {
            judge.pins([7; 32]);
            proving(judge, CLAIMED)
        },
        CLAIMED,
        End::Code(CloseCode::KeyNotPinned),
        End::Code(CloseCode::KeyNotPinned),
    ),
];

/// The wrong end dials.
async fn dials(row: &Row) {
    let what = format!("{} (dialer)", row.what);
    let mut judge = Judge::new().await;
    let wrong = Impostor::new(&judge.cluster.switch, address(2), &(row.manners)(&judge));
    judge.expects(false);
    let hello = RawHello::new(row.says, 1).encode();
    let ended = match wrong.dial(Judge::address()).await {
        // With TLS 1.3 a dialer believes that it is in before anybody has looked at what it shows.
        Ok(connection) => say(&connection, &hello).await,
        Err(error) => error,
    };
    let learnt = Refused::by(&ended);
    assert_coarse(&what, learnt.text());
    match row.as_dialer {
        End::Alert(alert, reason) => {
            assert!(
                matches!(learnt, Refused::Alert(seen, _) if seen == alert),
                "{what}: {learnt:?}"
            );
            let role = PeerRole::Dialer;
            let detail = judge.refused_certificate(&what, role, reason).await;
            let failed = judge.handshake_failed(&what).await;
            assert!(failed.contains(&detail), "{what}: {failed}");
            // Nothing is known of a node because of it: it has not proven that it is one.
            assert_eq!(judge.node().link(CLAIMED).last_refusal, None, "{what}");
        }
        End::Code(code) => {
            assert_eq!(learnt, told(code), "{what}");
            judge.refused(&what, code).await;
        }
        End::Unspoken(alert) => {
            assert!(
                matches!(learnt, Refused::Alert(seen, _) if seen == alert),
                "{what}: {learnt:?}"
            );
            judge.handshake_failed(&what).await;
        }
        End::GivesUp(_) | End::Never => unreachable!("{what}"),
    }
    judge.has_no_link(&what);
}

/// The wrong end is dialled.
async fn accepts(row: &Row) {
    let what = format!("{} (acceptor)", row.what);
    let mut judge = Judge::new().await;
    let wrong = Impostor::new(&judge.cluster.switch, address(2), &(row.manners)(&judge));
    judge.expects(true);
    let ended = match wrong.accept().await {
        Ok(connection) => match hear(&connection).await {
            Ok((mut send, _recv, _generation)) => {
                let welcome = RawHello::new(row.says, asked(&connection)).encode_welcome();
                drop(send.write_all(&welcome).await);
                within(connection.closed()).await
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    if let End::GivesUp(alert) = row.as_acceptor {
        let reason = judge.dial_failed(&what).await;
        assert!(
            reason.contains(&format!("error {alert}")),
            "{what}: {reason}"
        );
        return judge.has_no_link(&what);
    }
    let learnt = Refused::by(&ended);
    assert_coarse(&what, learnt.text());
    match row.as_acceptor {
        End::Alert(alert, reason) => {
            assert!(
                matches!(learnt, Refused::Alert(seen, _) if seen == alert),
                "{what}: {learnt:?}"
            );
            let role = PeerRole::Acceptor;
            let detail = judge.refused_certificate(&what, role, reason).await;
            let failed = judge.dial_failed(&what).await;
            assert!(failed.contains(&detail), "{what}: {failed}");
            judge.shows_refusal(&what, false, reason);
        }
        End::Code(code) => {
            assert_eq!(learnt, told(code), "{what}");
            judge.refused(&what, code).await;
            let reason = judge.dial_failed(&what).await;
            assert!(reason.contains(code.label()), "{what}: {reason}");
            judge.shows_refusal(&what, false, code.label());
        }
        End::Unspoken(_) | End::GivesUp(_) | End::Never => unreachable!("{what}"),
    }
    judge.has_no_link(&what);
}

/// Whom an honest acceptor finds in the certificate of who has dialled it.
fn asked(connection: &quinn::Connection) -> u64 {
    if connection.peer_identity().is_some() {
        1
    } else {
        77
    }
}

/// T3, A1, C3, C4: each wrong certificate, shown by a dialer.
#[tokio::test(start_paused = true)]
async fn a_dialer_with_a_wrong_certificate_is_refused() {
    let rows = TABLE.iter();
    let possible = rows.filter(|row| !matches!(row.as_dialer, End::Never));
    all(possible.map(dials)).await;
}

/// T3, A1, C3, C4: each wrong certificate, shown by an acceptor.
#[tokio::test(start_paused = true)]
async fn an_acceptor_with_a_wrong_certificate_is_refused() {
    let rows = TABLE.iter();
    let possible = rows.filter(|row| !matches!(row.as_acceptor, End::Never));
    all(possible.map(accepts)).await;
}

/// Without this one every row might be refused for what is wrong with the test.
#[tokio::test(start_paused = true)]
async fn the_certificate_that_is_spoiled_is_good() {
    let judge = Judge::new().await;
    let good = spoiled(&judge, |_| ());
    let wrong = Impostor::new(&judge.cluster.switch, address(2), &good);
    judge.expects(false);
    let connection = wrong.dial(Judge::address()).await.expect("TLS");
    let (_send, _recv) = enter(&connection, &RawHello::new(CLAIMED, 1)).await;
    judge.node().link_up(CLAIMED).await;
}

/// The table is what the issue of it is about, so it does not shrink unseen.
#[test]
fn the_table_is_whole() {
    let roles = |row: &Row| [row.as_dialer, row.as_acceptor];
    let rows = TABLE.iter().flat_map(roles);
    let refused = rows.filter(|end| !matches!(end, End::Never)).count();
    assert!(refused >= 120, "{refused} rows");
}
