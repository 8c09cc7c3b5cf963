//! Writes the corpus of the fuzz target `identity`. Only here can odd certificates be made; the keys
//! are thrown away, so the CA of the corpus can never issue anything else.

use std::fs;
use std::path::{Path, PathBuf};

use quicraft_certs::{CertificateDer, PeerRole, TrustLimits, check};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SerialNumber};

use crate::odd::*;

/// The serial number on the CRL.
const REVOKED: &[u8] = &[0x42; 16];

fn tests(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests")
        .join(path)
}

fn good_chains(ca: &Ca, below: &Ca) -> Vec<(&'static str, Vec<CertificateDer<'static>>)> {
    let other_key = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = node_params().signed_by(&key, &ca.issuer).unwrap();
        certificate.der().clone()
    };
    let only_uri = spoiled(|params| params.subject_alt_names = vec![uri(URI)]);
    let largest = "spiffe://prod.example/node/18446744073709551615";
    let largest = spoiled(|params| params.subject_alt_names = vec![uri(largest)]);
    vec![
        ("node", vec![ca.issue(&node_params())]),
        ("only-the-uri", vec![ca.issue(&only_uri)]),
        ("largest-id", vec![ca.issue(&largest)]),
        ("ed25519", vec![other_key(&rcgen::PKCS_ED25519)]),
        ("p384", vec![other_key(&rcgen::PKCS_ECDSA_P384_SHA384)]),
        (
            "intermediate",
            vec![below.issue(&node_params()), below.der()],
        ),
        ("with-the-ca", vec![ca.issue(&node_params()), ca.der()]),
    ]
}

fn bad_params() -> Vec<(&'static str, CertificateParams)> {
    let names = |names: &[(u8, &[u8])]| {
        let names = raw_names(names);
        spoiled(|params| {
            params.subject_alt_names.clear();
            params.custom_extensions = vec![names];
        })
    };
    let written = |text: &str| names(&[(6, text.as_bytes())]);
    vec![
        (
            "no-uri",
            spoiled(|params| params.subject_alt_names = vec![dns(DNS)]),
        ),
        (
            "no-names",
            spoiled(|params| params.subject_alt_names.clear()),
        ),
        (
            "two-uris",
            names(&[(6, URI.as_bytes()), (6, b"spiffe://prod.example/node/8")]),
        ),
        (
            "uri-is-no-text",
            names(&[(6, URI.as_bytes()), (6, b"\xff\xfe")]),
        ),
        ("nul", written("spiffe://prod.example/node/7\0")),
        ("id-zero", written("spiffe://prod.example/node/0")),
        ("leading-zero", written("spiffe://prod.example/node/07")),
        ("sign", written("spiffe://prod.example/node/+7")),
        ("percent", written("spiffe://prod.example/node/%37")),
        ("slash", written("spiffe://prod.example/node/7/")),
        (
            "overflow",
            written("spiffe://prod.example/node/18446744073709551616"),
        ),
        ("other-cluster", written("spiffe://other.example/node/7")),
        (
            "wildcard",
            spoiled(|params| params.subject_alt_names.push(dns("*.prod.example"))),
        ),
        (
            "no-usage",
            spoiled(|params| params.extended_key_usages.clear()),
        ),
        (
            "one-usage",
            spoiled(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
        ),
        (
            "expired",
            spoiled(|params| params.not_after = date(NOW - 1)),
        ),
        (
            "not-yet-valid",
            spoiled(|params| params.not_before = date(NOW + 1)),
        ),
        (
            "revoked",
            spoiled(|params| params.serial_number = Some(SerialNumber::from_slice(REVOKED))),
        ),
        (
            "authority",
            spoiled(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
        ),
    ]
}

#[test]
#[ignore = "writes the committed corpus anew, with other keys"]
fn write_the_corpus_of_the_identity_parser() {
    let ca = Ca::root(ca_params("corpus"));
    let below = ca.below(ca_params("below"));
    let crl = [&ca, &below]
        .map(|ca| ca.crl(&[REVOKED], NOW - DAY, NOW + DAY))
        .concat();
    fs::write(tests("src/fuzz/ca.crt"), ca.pem()).unwrap();
    fs::write(tests("src/fuzz/crl.pem"), &crl).unwrap();
    let trust = trust(&ca.pem(), &crl, TrustLimits::default());
    let folder = tests("fuzz/corpus/identity");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    let write = |name: String, chain: &[CertificateDer<'static>], good: bool| {
        let (leaf, rest) = chain.split_first().unwrap();
        let verdict = check(PeerRole::Dialer, leaf, rest, &trust, at(NOW));
        assert_eq!(verdict.is_ok(), good, "{name}: {verdict:?}");
        let bytes = chain
            .iter()
            .map(|der| der.as_ref())
            .collect::<Vec<_>>()
            .concat();
        fs::write(folder.join(name), bytes).unwrap();
    };
    for (name, chain) in good_chains(&ca, &below) {
        write(format!("valid-{name}"), &chain, true);
    }
    for (name, params) in bad_params() {
        write(format!("invalid-{name}"), &[ca.issue(&params)], false);
    }
    let stranger = Ca::root(ca_params("corpus"));
    let good = ca.issue(&node_params());
    write(
        "invalid-other-ca".to_owned(),
        &[stranger.issue(&node_params())],
        false,
    );
    write("invalid-the-ca-itself".to_owned(), &[ca.der()], false);
    let cut = good[..good.len() - 1].to_vec();
    write("invalid-cut".to_owned(), &[cut.into()], false);
    // What is no certificate takes no part in a path.
    let chain = [good.clone(), vec![0].into()];
    write("valid-garbage-behind".to_owned(), &chain, true);
    let chain = vec![good; quicraft_certs::MAX_PRESENTED + 1];
    write("invalid-too-many".to_owned(), &chain, false);
}
