//! The names of a certificate: exactly one identity, in exactly one spelling.

use quicraft_certs::{
    CertificateRefusal as Refusal, ClusterName, InvalidClusterName, InvalidNodeId, InvalidUri,
    PeerCertificate, PeerRole,
};
use rcgen::CertificateParams;

use crate::judge::{ROLES, accepted, judge, refused_if};
use crate::odd::*;

fn malformed(text: &str, reason: InvalidUri) -> Refusal {
    Refusal::MalformedUri {
        found: format!("{text:?}"),
        reason,
    }
}

#[test]
fn another_cluster() {
    refused_if(
        |params| params.subject_alt_names = vec![uri("spiffe://other.example/node/7"), dns(DNS)],
        &Refusal::WrongCluster {
            found: ClusterName::new("other.example").unwrap(),
        },
    );
    // A cluster below ours is another one, though our name constraint permits its names.
    refused_if(
        |params| params.subject_alt_names = vec![uri("spiffe://a.prod.example/node/7")],
        &Refusal::WrongCluster {
            found: ClusterName::new("a.prod.example").unwrap(),
        },
    );
}

#[test]
fn a_dns_name_is_no_identity() {
    refused_if(
        |params| params.subject_alt_names = vec![dns(DNS)],
        &Refusal::NoUri,
    );
    refused_if(|params| params.subject_alt_names.clear(), &Refusal::NoUri);
}

#[test]
fn the_own_dns_name_is_not_needed() {
    let ca = Ca::root(ca_params("ca"));
    let chain = [ca.issue(&spoiled(|params| params.subject_alt_names = vec![uri(URI)]))];
    accepted(&chain, &ca.trust());
}

#[test]
fn two_identities() {
    let two = |second| {
        move |params: &mut CertificateParams| {
            params.subject_alt_names = vec![uri(URI), uri(second)];
        }
    };
    let reason = Refusal::ManyUris { found: 2 };
    refused_if(two("spiffe://prod.example/node/8"), &reason);
    refused_if(two(URI), &reason);
    refused_if(two("https://prod.example/"), &reason);
}

/// The path verifier's list of URIs leaves out those that are not UTF-8, and ends at a broken
/// name. Neither may hide a second identity.
#[test]
fn a_second_identity_does_not_hide() {
    refused_if(
        |params| {
            params.subject_alt_names.clear();
            params.custom_extensions = vec![raw_names(&[(6, URI.as_bytes()), (6, b"\xff\xfe")])];
        },
        &Refusal::ManyUris { found: 2 },
    );
    refused_if(
        |params| {
            params.subject_alt_names.clear();
            params.custom_extensions = vec![raw_names(&[(6, b"\xff\xfe")])];
        },
        &Refusal::BadEncoding {
            detail: "the URI name is not text".to_owned(),
        },
    );
    let ca = Ca::root(ca_params("ca"));
    let hidden = ca.issue(&spoiled(|params| {
        params.subject_alt_names.clear();
        // Tag 31 is no name, and the parsers stop there in different ways.
        params.custom_extensions = vec![raw_names(&[(6, URI.as_bytes()), (31, b"x"), (6, b"y")])];
    }));
    for role in ROLES {
        let verdict = judge(role, std::slice::from_ref(&hidden), &ca.trust(), NOW);
        assert!(
            matches!(
                verdict,
                Err(Refusal::BadEncoding { .. } | Refusal::ManyUris { .. })
            ),
            "{verdict:?}"
        );
    }
}

#[test]
fn malformed_uris() {
    use InvalidUri as Bad;
    for (text, reason) in [
        (
            "spiffe://prod.example/node/0",
            Bad::Node(InvalidNodeId::Zero),
        ),
        (
            "spiffe://prod.example/node/07",
            Bad::Node(InvalidNodeId::LeadingZero),
        ),
        (
            "spiffe://prod.example/node/+7",
            Bad::Node(InvalidNodeId::NotDecimal),
        ),
        (
            "spiffe://prod.example/node/%37",
            Bad::Node(InvalidNodeId::NotDecimal),
        ),
        (
            "spiffe://prod.example/node/7/",
            Bad::Node(InvalidNodeId::NotDecimal),
        ),
        (
            "spiffe://prod.example/node/7?a",
            Bad::Node(InvalidNodeId::NotDecimal),
        ),
        (
            "spiffe://prod.example/node/7\0",
            Bad::Node(InvalidNodeId::NotDecimal),
        ),
        (
            "spiffe://prod.example/node/",
            Bad::Node(InvalidNodeId::Empty),
        ),
        (
            "spiffe://prod.example/node/18446744073709551616",
            Bad::Node(InvalidNodeId::TooLarge),
        ),
        (
            "spiffe://Prod.example/node/7",
            Bad::Cluster(InvalidClusterName::UpperCase),
        ),
        ("spiffe://prod.example/workload/7", Bad::Path),
        ("SPIFFE://prod.example/node/7", Bad::Scheme),
        ("https://prod.example/node/7", Bad::Scheme),
    ] {
        refused_if(
            |params| params.subject_alt_names = vec![uri(text)],
            &malformed(text, reason),
        );
    }
}

#[test]
fn a_wildcard_name() {
    for name in ["*.prod.example", "*", "node-*.prod.example"] {
        refused_if(
            |params| params.subject_alt_names = vec![uri(URI), dns(name)],
            &Refusal::WildcardName {
                found: format!("{name:?}"),
            },
        );
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let ca = Ca::root(ca_params("ca"));
    let leaf = ca.issue(&node_params());
    let read = PeerCertificate::from_chain(&[leaf.clone(), ca.der()]).unwrap();
    assert_eq!(read.identity().uri(), URI);
    assert_eq!(read.serial().to_string(), "41".repeat(16));
    assert_eq!(read.issuer(), r#""CN=ca""#);
    assert_eq!(read.not_before(), NOW - DAY);
    assert_eq!(read.not_after(), NOW + 90 * DAY);
    assert_eq!(read.chain(), [leaf, ca.der()]);
    assert_eq!(
        read.recheck(PeerRole::Dialer, &ca.trust(), at(NOW))
            .unwrap()
            .uri(),
        URI
    );
}
