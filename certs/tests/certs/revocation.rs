//! Revocation lists: what they refuse, how old they may be, and which CA they speak for.

use quicraft_certs::{
    CRL_NOTICE, CertificateDer, CertificateRefusal as Refusal, ClusterName, CrlStage, InvalidTrust,
    PeerRole, Trust, TrustLimits, check, recheck,
};
use rcgen::{KeyUsagePurpose, SerialNumber};

use crate::odd::*;

const ROLES: [PeerRole; 2] = [PeerRole::Dialer, PeerRole::Acceptor];
const GRACE: u64 = DAY;
const NEXT: u64 = NOW + 7 * DAY;
const SERIAL: &[u8] = &[0x41; 16];

#[track_caller]
fn judged(chain: &[CertificateDer<'_>], trust: &Trust, now: u64, expected: Result<(), Refusal>) {
    for role in ROLES {
        let verdict = check(role, &chain[0], &chain[1..], trust, at(now)).map(|_| ());
        assert_eq!(verdict, expected, "{role}");
    }
}

#[track_caller]
fn sweeps(chain: &[CertificateDer<'_>], trust: &Trust, now: u64, expected: Result<(), Refusal>) {
    for role in ROLES {
        let verdict = recheck(role, chain, trust, at(now)).map(|_| ());
        assert_eq!(verdict, expected, "{role}");
    }
}

fn with_crl(ca: &Ca, crl: &str) -> Trust {
    trust(&ca.pem(), crl, TrustLimits::default())
}

#[test]
fn a_revoked_certificate_and_its_neighbour() {
    let ca = Ca::root(ca_params("ca"));
    let trust = with_crl(&ca, &ca.crl(&[SERIAL], NOW, NEXT));
    assert_eq!(trust.crls(), 1);
    let revoked = [ca.issue(&node_params())];
    judged(&revoked, &trust, NOW, Err(Refusal::Revoked));
    sweeps(&revoked, &trust, NOW, Err(Refusal::Revoked));
    let neighbour = spoiled(|params| {
        params.serial_number = Some(SerialNumber::from_slice(&[0x42; 16]));
    });
    judged(&[ca.issue(&neighbour)], &trust, NOW, Ok(()));
}

#[test]
fn a_stale_list_lets_in_until_its_grace_ends() {
    let ca = Ca::root(ca_params("ca"));
    let trust = with_crl(&ca, &ca.crl(&[], NOW, NEXT));
    let chain = [ca.issue(&node_params())];
    assert_eq!(trust.crl_next_update(), Some(NEXT));

    assert_eq!(trust.crl_staleness(at(NEXT - 1)), None);
    judged(&chain, &trust, NEXT - 1, Ok(()));

    let stale = trust.crl_staleness(at(NEXT)).unwrap();
    assert_eq!((stale.next_update, stale.refusing), (NEXT, false));
    assert_eq!(stale.issuer, r#""CN=ca""#);
    judged(&chain, &trust, NEXT, Ok(()));
    judged(&chain, &trust, NEXT + GRACE - 1, Ok(()));

    let end = NEXT + GRACE;
    let stale = trust.crl_staleness(at(end)).unwrap();
    assert_eq!((stale.overdue.as_secs(), stale.refusing), (GRACE, true));
    let too_old = Refusal::StaleCrl {
        next_update: NEXT,
        now: end,
    };
    judged(&chain, &trust, end, Err(too_old));
    // It never ends a live link.
    sweeps(&chain, &trust, end, Ok(()));

    let notice = NEXT - CRL_NOTICE.as_secs();
    for (now, stage) in [
        (notice - 1, CrlStage::Fresh),
        (notice, CrlStage::Near),
        (NEXT - 1, CrlStage::Near),
        (NEXT, CrlStage::Stale),
        (end - 1, CrlStage::Stale),
        (end, CrlStage::Refusing),
    ] {
        let due = trust.crl_due(at(now)).unwrap();
        assert_eq!((due.next_update, due.stage), (NEXT, stage), "{now}");
    }
    sweeps(&chain, &trust, NEXT + 50 * DAY, Ok(()));
}

#[test]
fn what_a_stale_list_names_is_refused_for_ever() {
    let ca = Ca::root(ca_params("ca"));
    let trust = with_crl(&ca, &ca.crl(&[SERIAL], NOW, NEXT));
    let chain = [ca.issue(&node_params())];
    for now in [NEXT, NEXT + GRACE, NEXT + 10 * GRACE] {
        judged(&chain, &trust, now, Err(Refusal::Revoked));
        sweeps(&chain, &trust, now, Err(Refusal::Revoked));
    }
}

#[test]
fn the_grace_is_a_setting() {
    let ca = Ca::root(ca_params("ca"));
    let crl = ca.crl(&[], NOW, NEXT);
    let chain = [ca.issue(&node_params())];
    let none = limits(|limits| limits.crl_grace = std::time::Duration::ZERO);
    let strict = trust(&ca.pem(), &crl, none);
    judged(&chain, &strict, NEXT - 1, Ok(()));
    let too_old = Refusal::StaleCrl {
        next_update: NEXT,
        now: NEXT,
    };
    judged(&chain, &strict, NEXT, Err(too_old));
    assert_eq!(TrustLimits::default().crl_grace.as_secs(), GRACE);
}

#[test]
fn the_list_of_another_ca_says_nothing() {
    let ca = Ca::root(ca_params("ca"));
    let other = Ca::root(ca_params("other"));
    let trust = with_crl(&ca, &other.crl(&[], NOW, NEXT));
    let chain = [ca.issue(&node_params())];
    judged(&chain, &trust, NOW, Err(Refusal::UnknownRevocationStatus));
}

/// The name is ours, the key is not: somebody forged a list that revokes nobody.
#[test]
fn a_forged_list() {
    let ca = Ca::root(ca_params("ca"));
    let forger = Ca::root(ca_params("ca"));
    let trust = with_crl(&ca, &forger.crl(&[], NOW, NEXT));
    judged(
        &[ca.issue(&node_params())],
        &trust,
        NOW,
        Err(Refusal::ForeignCrl),
    );
}

#[test]
fn every_ca_of_the_path_needs_a_list() {
    let root = Ca::root(ca_params("root"));
    let below = root.below(ca_params("below"));
    let chain = [below.issue(&node_params()), below.der()];
    let below_list = below.crl(&[], NOW, NEXT);
    let root_list = root.crl(&[], NOW, NEXT);
    let unknown = Err(Refusal::UnknownRevocationStatus);
    judged(&chain, &with_crl(&root, &below_list), NOW, unknown.clone());
    judged(&chain, &with_crl(&root, &root_list), NOW, unknown);
    let both = format!("{below_list}{root_list}");
    judged(&chain, &with_crl(&root, &both), NOW, Ok(()));
}

#[test]
fn a_revoked_intermediate() {
    let root = Ca::root(ca_params("root"));
    let mut params = ca_params("below");
    params.serial_number = Some(SerialNumber::from_slice(&[0x55; 16]));
    let below = root.below(params);
    let lists = format!(
        "{}{}",
        below.crl(&[], NOW, NEXT),
        root.crl(&[&[0x55; 16]], NOW, NEXT)
    );
    let chain = [below.issue(&node_params()), below.der()];
    judged(&chain, &with_crl(&root, &lists), NOW, Err(Refusal::Revoked));
}

#[test]
fn the_age_of_every_list_of_the_path_counts() {
    let root = Ca::root(ca_params("root"));
    let below = root.below(ca_params("below"));
    let chain = [below.issue(&node_params()), below.der()];
    for (root_next, below_next) in [(NOW + 9, NEXT), (NEXT, NOW + 9)] {
        let lists = format!(
            "{}{}",
            below.crl(&[], NOW, below_next),
            root.crl(&[], NOW, root_next)
        );
        let trust = with_crl(&root, &lists);
        judged(&chain, &trust, NOW + 9 + GRACE - 1, Ok(()));
        let too_old = Refusal::StaleCrl {
            next_update: NOW + 9,
            now: NOW + 9 + GRACE,
        };
        judged(&chain, &trust, NOW + 9 + GRACE, Err(too_old));
    }
}

/// The list of a CA that has nothing to do with a chain does not refuse it, but is reported.
#[test]
fn a_stale_list_of_another_ca_refuses_nobody_here() {
    let old = Ca::root(ca_params("old"));
    let new = Ca::root(ca_params("new"));
    let bundle = format!("{}{}", old.pem(), new.pem());
    let lists = format!(
        "{}{}",
        old.crl(&[], NOW, NOW + 9),
        new.crl(&[], NOW, NOW + 60 * DAY)
    );
    let trust = trust(&bundle, &lists, TrustLimits::default());
    let late = NOW + 30 * DAY;
    judged(&[new.issue(&node_params())], &trust, late, Ok(()));
    assert!(trust.crl_staleness(at(late)).unwrap().refusing);
}

/// An operator appends each new list to the file: only the newest counts, wherever it stands.
#[test]
fn the_newest_list_of_a_ca_counts() {
    let ca = Ca::root(ca_params("ca"));
    let old = ca.crl(&[], NOW, NEXT);
    let new = ca.crl(&[SERIAL], NOW + DAY, NEXT + DAY);
    let chain = [ca.issue(&node_params())];
    for lists in [format!("{old}{new}"), format!("{new}{old}")] {
        let trust = with_crl(&ca, &lists);
        assert_eq!(trust.crls(), 1);
        assert_eq!(trust.crl_next_update(), Some(NEXT + DAY));
        judged(&chain, &trust, NOW + DAY, Err(Refusal::Revoked));
    }
}

#[test]
fn an_intermediate_that_may_not_sign_lists() {
    let root = Ca::root(ca_params("root"));
    let mut params = ca_params("below");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let below = root.below(params.clone());
    // The same key with the right to sign lists makes the list that the real one must not make.
    params.key_usages.push(KeyUsagePurpose::CrlSign);
    let key = rcgen::KeyPair::from_pem(&below.issuer.key().serialize_pem()).unwrap();
    let signer = Ca {
        certificate: below.certificate.clone(),
        issuer: rcgen::Issuer::new(params, key),
    };
    let lists = format!("{}{}", signer.crl(&[], NOW, NEXT), root.crl(&[], NOW, NEXT));
    let chain = [below.issue(&node_params()), below.der()];
    judged(
        &chain,
        &with_crl(&root, &lists),
        NOW,
        Err(Refusal::ForeignCrl),
    );
}

#[test]
fn lists_that_cannot_be_used_are_refused_when_they_are_loaded() {
    let cluster = ClusterName::new(CLUSTER).unwrap();
    let ca = Ca::root(ca_params("ca"));
    let twin = Ca::root(ca_params("ca"));
    let load = |ca: &str, crl: &str| {
        let limits = TrustLimits::default();
        Trust::from_pem(cluster.clone(), ca.as_bytes(), crl.as_bytes(), limits).map(|_| ())
    };
    assert_eq!(load(&ca.pem(), "nothing"), Err(InvalidTrust::NoCrl));
    let broken = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    assert!(matches!(
        load(&ca.pem(), broken),
        Err(InvalidTrust::Crl { entry: 1, .. })
    ));
    let good = ca.crl(&[], NOW, NEXT);
    assert!(matches!(
        load(&ca.pem(), &format!("{good}{broken}")),
        Err(InvalidTrust::Crl { entry: 2, .. })
    ));
    let twins = format!("{}{}", ca.pem(), twin.pem());
    assert_eq!(load(&twins, ""), Ok(()));
    assert_eq!(
        load(&twins, &good),
        Err(InvalidTrust::AmbiguousCrl {
            issuer: r#""CN=ca""#.to_owned()
        })
    );
}

/// A list comes from a file that somebody else wrote. A bit changed anywhere is refused when it
/// is loaded, or refuses everybody afterwards; it neither panics nor lets anybody in.
#[test]
fn every_changed_part_of_a_list_is_refused() {
    let ca = Ca::root(ca_params("ca"));
    let good = ca.crl(&[&[0x42; 16]], NOW, NEXT);
    let chain = [ca.issue(&node_params())];
    judged(&chain, &with_crl(&ca, &good), NOW, Ok(()));
    // The last four letters may hold bits that are no part of the list.
    let body = good.find('\n').unwrap() + 1..good.rfind("-----END").unwrap() - 5;
    for position in body {
        // Another letter of base64 changes some of six bits of the list.
        let letter = match &good[position..=position] {
            "\n" | "=" => continue,
            "A" => "B",
            _ => "A",
        };
        let mut spoiled = good.clone();
        spoiled.replace_range(position..=position, letter);
        let cluster = ClusterName::new(CLUSTER).unwrap();
        let limits = TrustLimits::default();
        let loaded = Trust::from_pem(cluster, ca.pem().as_bytes(), spoiled.as_bytes(), limits);
        if let Ok(trust) = loaded {
            let verdict = check(PeerRole::Dialer, &chain[0], &[], &trust, at(NOW));
            assert!(verdict.is_err(), "letter {position}");
        }
    }
}
