//! The path to a trusted CA: signatures, usages, dates, constraints and length.

use quicraft_certs::{
    CertificateDer, CertificateRefusal as Refusal, MAX_PRESENTED, PeerCertificate, PeerRole,
    TrustLimits, Usage, recheck,
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Eku, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints,
};

use crate::judge::{ROLES, accepted, judge, refused, refused_if};
use crate::odd::*;

#[test]
fn another_ca() {
    let ca = Ca::root(ca_params("ca"));
    let other = Ca::root(ca_params("other"));
    let chain = [other.issue(&node_params())];
    refused(&chain, &ca.trust(), &Refusal::UnknownIssuer);
    // Its certificate sent along changes nothing.
    refused(
        &[chain[0].clone(), other.der()],
        &ca.trust(),
        &Refusal::UnknownIssuer,
    );
}

#[test]
fn another_ca_with_our_name() {
    let ca = Ca::root(ca_params("ca"));
    let other = Ca::root(ca_params("ca"));
    let chain = [other.issue(&node_params())];
    refused(&chain, &ca.trust(), &Refusal::BadSignature);
}

#[test]
fn several_cas_are_trusted_at_once() {
    let old = Ca::root(ca_params("old"));
    let new = Ca::root(ca_params("new"));
    let bundle = format!("{}{}", old.pem(), new.pem());
    let trust = trust(&bundle, "", TrustLimits::default());
    assert_eq!(trust.authorities(), 2);
    accepted(&[old.issue(&node_params())], &trust);
    accepted(&[new.issue(&node_params())], &trust);
    refused(
        &[new.issue(&node_params())],
        &old.trust(),
        &Refusal::UnknownIssuer,
    );
}

#[test]
fn both_usages_are_needed_in_both_roles() {
    for (usages, dialer, acceptor) in [
        (vec![], Usage::ClientAuth, Usage::ServerAuth),
        (vec![Eku::ServerAuth], Usage::ClientAuth, Usage::ClientAuth),
        (vec![Eku::ClientAuth], Usage::ServerAuth, Usage::ServerAuth),
        (vec![Eku::CodeSigning], Usage::ClientAuth, Usage::ServerAuth),
        (vec![Eku::Any], Usage::ClientAuth, Usage::ServerAuth),
    ] {
        let ca = Ca::root(ca_params("ca"));
        let chain = [ca.issue(&spoiled(|params| params.extended_key_usages = usages))];
        for (role, usage) in [(PeerRole::Dialer, dialer), (PeerRole::Acceptor, acceptor)] {
            let verdict = judge(role, &chain, &ca.trust(), NOW);
            assert_eq!(verdict, Err(Refusal::MissingUsage { usage }), "{role}");
        }
    }
}

/// Most CAs write no usages into their intermediates; one that does must permit both.
#[test]
fn usages_of_an_intermediate() {
    let root = Ca::root(ca_params("root"));
    let silent = root.below(ca_params("silent"));
    accepted(&[silent.issue(&node_params()), silent.der()], &root.trust());

    let one = root.below({
        let mut params = ca_params("one");
        params.extended_key_usages = vec![Eku::ServerAuth];
        params
    });
    refused(
        &[one.issue(&node_params()), one.der()],
        &root.trust(),
        &Refusal::MissingUsage {
            usage: Usage::ClientAuth,
        },
    );
}

#[test]
fn dates_end_at_their_second() {
    let ca = Ca::root(ca_params("ca"));
    let trust = ca.trust();
    let chain = [ca.issue(&node_params())];
    let (first, last) = (NOW - DAY, NOW + 90 * DAY);
    for role in ROLES {
        assert_eq!(judge(role, &chain, &trust, first), Ok(()));
        assert_eq!(judge(role, &chain, &trust, last), Ok(()));
        assert_eq!(
            judge(role, &chain, &trust, first - 1),
            Err(Refusal::NotYetValid {
                not_before: first,
                now: first - 1,
            })
        );
        assert_eq!(
            judge(role, &chain, &trust, last + 1),
            Err(Refusal::Expired {
                not_after: last,
                now: last + 1,
            })
        );
    }
}

/// The path verifier does not look at the dates of a trusted CA.
#[test]
fn a_trusted_ca_has_dates_too() {
    let mut params = ca_params("old");
    params.not_before = date(NOW - 100 * DAY);
    params.not_after = date(NOW - 1);
    let expired = Ca::root(params);
    refused(
        &[expired.issue(&node_params())],
        &expired.trust(),
        &Refusal::Expired {
            not_after: NOW - 1,
            now: NOW,
        },
    );
    let mut params = ca_params("new");
    params.not_before = date(NOW + 1);
    let early = Ca::root(params);
    refused(
        &[early.issue(&node_params())],
        &early.trust(),
        &Refusal::NotYetValid {
            not_before: NOW + 1,
            now: NOW,
        },
    );
    // An expired CA may stay in the bundle beside a valid one.
    let valid = Ca::root(ca_params("valid"));
    let bundle = format!("{}{}", expired.pem(), valid.pem());
    accepted(
        &[valid.issue(&node_params())],
        &trust(&bundle, "", TrustLimits::default()),
    );
}

/// A CA that was renewed under its name and key: one valid certificate of it is enough.
#[test]
fn a_renewed_ca_beside_its_expired_self() {
    let key = KeyPair::generate().unwrap();
    let mut old = ca_params("ca");
    old.not_after = date(NOW - 1);
    let old = old.self_signed(&key).unwrap();
    let new = ca_params("ca").self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(ca_params("ca"), key);
    let leaf_key = KeyPair::generate().unwrap();
    let chain = [node_params()
        .signed_by(&leaf_key, &issuer)
        .unwrap()
        .der()
        .clone()];
    for bundle in [
        format!("{}{}", old.pem(), new.pem()),
        format!("{}{}", new.pem(), old.pem()),
    ] {
        accepted(&chain, &trust(&bundle, "", TrustLimits::default()));
    }
}

#[test]
fn a_ca_as_leaf() {
    let ca = Ca::root(ca_params("ca"));
    let leaf = spoiled(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    refused(&[ca.issue(&leaf)], &ca.trust(), &Refusal::LeafIsAuthority);
    // The trusted CA itself, and a leaf that may sign without being a CA.
    for role in ROLES {
        let own = [ca.der()];
        assert_eq!(
            judge(role, &own, &ca.trust(), NOW),
            Err(Refusal::LeafIsAuthority)
        );
    }
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        refused_if(
            |params| params.key_usages.push(usage),
            &Refusal::LeafIsAuthority,
        );
    }
}

#[test]
fn self_signed() {
    let ca = Ca::root(ca_params("ca"));
    let key = KeyPair::generate().unwrap();
    let own = node_params().self_signed(&key).unwrap().der().clone();
    refused(&[own], &ca.trust(), &Refusal::UnknownIssuer);
}

/// A node that makes certificates for others.
#[test]
fn a_node_is_no_issuer() {
    let ca = Ca::root(ca_params("ca"));
    let node = ca.below(node_params());
    refused(
        &[node.issue(&node_params()), node.der()],
        &ca.trust(),
        &Refusal::ConstraintViolated {
            detail: "an issuer is no CA",
        },
    );
}

fn with_path_length(name: &str, length: u8) -> CertificateParams {
    let mut params = ca_params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
    params
}

/// The path verifier ignores the path length of a trusted CA, so our own limit must hold.
#[test]
fn the_chain_ends_at_the_limit() {
    let root = Ca::root(with_path_length("root", 0));
    let first = root.below(ca_params("first"));
    let second = first.below(ca_params("second"));
    let one = [first.issue(&node_params()), first.der()];
    let two = [second.issue(&node_params()), second.der(), first.der()];
    for (limit, chain, good) in [
        (0, &one[..], false),
        (1, &one[..], true),
        (1, &two[..], false),
        (2, &two[..], true),
    ] {
        let trust = trust(
            &root.pem(),
            "",
            limits(|limits| limits.max_intermediates = limit),
        );
        if good {
            accepted(chain, &trust);
        } else {
            refused(chain, &trust, &Refusal::TooManyIntermediates { limit });
        }
    }
}

#[test]
fn the_path_length_of_an_intermediate() {
    let root = Ca::root(ca_params("root"));
    let first = root.below(with_path_length("first", 0));
    let second = first.below(ca_params("second"));
    let chain = [second.issue(&node_params()), second.der(), first.der()];
    let trust = trust(
        &root.pem(),
        "",
        limits(|limits| limits.max_intermediates = 3),
    );
    refused(
        &chain,
        &trust,
        &Refusal::ConstraintViolated {
            detail: "path length",
        },
    );
}

#[test]
fn what_is_presented_ends_at_the_limit() {
    let root = Ca::root(ca_params("root"));
    let stranger = Ca::root(ca_params("stranger")).der();
    let chain_of = |length: usize| {
        let mut chain = vec![root.issue(&node_params())];
        chain.resize(length, stranger.clone());
        chain
    };
    accepted(&chain_of(MAX_PRESENTED), &root.trust());
    refused(
        &chain_of(MAX_PRESENTED + 1),
        &root.trust(),
        &Refusal::TooManyIntermediates { limit: 1 },
    );
}

#[test]
fn a_name_constraint() {
    let mut params = ca_params("ca");
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(CLUSTER.to_owned())],
        excluded_subtrees: vec![],
    });
    let ca = Ca::root(params);
    accepted(&[ca.issue(&node_params())], &ca.trust());
    let outside = spoiled(|params| params.subject_alt_names.push(dns("node-7.other.example")));
    refused(
        &[ca.issue(&outside)],
        &ca.trust(),
        &Refusal::ConstraintViolated {
            detail: "name constraints",
        },
    );
}

#[test]
fn bytes_that_are_no_certificate() {
    let ca = Ca::root(ca_params("ca"));
    let good = ca.issue(&node_params());
    for role in ROLES {
        for bytes in [
            &b""[..],
            b"x",
            &good[..good.len() - 1],
            &[good.as_ref(), b"x"].concat(),
        ] {
            let verdict = judge(role, &[CertificateDer::from(bytes)], &ca.trust(), NOW);
            assert!(
                matches!(verdict, Err(Refusal::BadEncoding { .. })),
                "{verdict:?}"
            );
        }
        assert_eq!(
            recheck(role, &[], &ca.trust(), at(NOW)),
            Err(Refusal::NoCertificate)
        );
    }
    assert_eq!(
        PeerCertificate::from_chain(&[]).unwrap_err(),
        Refusal::NoCertificate
    );
}

/// A byte changed anywhere must neither pass nor panic, not in the check and not where the
/// certificate is only read.
#[test]
fn every_changed_byte_is_refused() {
    let ca = Ca::root(ca_params("ca"));
    let trust = ca.trust();
    let good = ca.issue(&node_params());
    for position in 0..good.len() {
        for bit in [0x01, 0x80] {
            let mut bytes = good.to_vec();
            bytes[position] ^= bit;
            let chain = [CertificateDer::from(bytes)];
            assert!(
                judge(PeerRole::Dialer, &chain, &trust, NOW).is_err(),
                "byte {position}, bit {bit:#x}"
            );
            drop(PeerCertificate::from_chain(&chain));
        }
    }
}
