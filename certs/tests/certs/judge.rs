//! What a test says about a chain: accepted or refused, in both roles, for exactly one reason.

use quicraft_certs::{
    CertificateDer, CertificateRefusal as Refusal, PeerRole, Trust, check, recheck,
};
use rcgen::CertificateParams;

use crate::odd::*;

pub(crate) const ROLES: [PeerRole; 2] = [PeerRole::Dialer, PeerRole::Acceptor];

/// Checks a chain in one role, and that a sweep of live links says the same.
#[track_caller]
pub(crate) fn judge(
    role: PeerRole,
    chain: &[CertificateDer<'_>],
    trust: &Trust,
    now: u64,
) -> Result<(), Refusal> {
    let verdict = check(role, &chain[0], &chain[1..], trust, at(now));
    let again = recheck(role, chain, trust, at(now));
    assert_eq!(verdict, again, "a sweep judges like a handshake");
    let identity = verdict?;
    assert_eq!(identity.uri(), URI);
    Ok(())
}

#[track_caller]
pub(crate) fn accepted(chain: &[CertificateDer<'_>], trust: &Trust) {
    for role in ROLES {
        assert_eq!(judge(role, chain, trust, NOW), Ok(()), "{role}");
    }
}

#[track_caller]
pub(crate) fn refused(chain: &[CertificateDer<'_>], trust: &Trust, reason: &Refusal) {
    for role in ROLES {
        assert_eq!(
            judge(role, chain, trust, NOW).as_ref(),
            Err(reason),
            "{role}"
        );
    }
}

/// A certificate with one thing spoiled is refused for that thing, and the same certificate
/// without it is accepted.
#[track_caller]
pub(crate) fn refused_if(change: impl FnOnce(&mut CertificateParams), reason: &Refusal) {
    let ca = Ca::root(ca_params("ca"));
    let trust = ca.trust();
    accepted(&[ca.issue(&node_params())], &trust);
    refused(&[ca.issue(&spoiled(change))], &trust, reason);
}
