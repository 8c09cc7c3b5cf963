//! The one check of a certificate, for both roles. It must not know sockets, rosters or which
//! node was expected: what depends on the node is decided after TLS.

use std::cell::Cell;
use std::fmt;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator,
    KeyPurposeId, KeyPurposeIdIter, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::crypto::provider;
use crate::refusal::{Usage, excerpt};
use crate::trust::{Trust, TrustLimits};
use crate::{CertificateRefusal, NodeIdentity};

/// How many certificates a peer may present: its own, as many intermediates as any setting
/// allows, and the trusted CA, which some tools send along. One more is refused before it is
/// looked at, so that a chain cannot cost more work than this.
pub const MAX_PRESENTED: usize = TrustLimits::MAX_INTERMEDIATES + 2;

/// 1.3.6.1.5.5.7.3.1, as the content of a DER object identifier.
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// 1.3.6.1.5.5.7.3.2, as the content of a DER object identifier.
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// Whose certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerRole {
    /// The end that dialled; its certificate is a client's.
    Dialer,
    /// The end that accepted; its certificate is a server's.
    Acceptor,
}

impl PeerRole {
    /// The usages that a node's certificate must permit, that of the role first. Both are needed
    /// in both roles: either end of a pair may dial.
    const fn usages(self) -> [Usage; 2] {
        match self {
            Self::Dialer => [Usage::ClientAuth, Usage::ServerAuth],
            Self::Acceptor => [Usage::ServerAuth, Usage::ClientAuth],
        }
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dialer => "dialer",
            Self::Acceptor => "acceptor",
        })
    }
}

/// What a revocation list beyond its grace means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StaleList {
    /// Nobody new is let in.
    Refuses,
    /// A live link goes on; what the list names is still refused.
    IsTolerated,
}

/// Checks a certificate and returns whose it is.
///
/// In this order, and the first that fails is the answer: form, number of certificates, own
/// dates, both key usages, a path to a trusted CA (signatures, dates, constraints, revocation,
/// number of intermediates, age of the CRLs), a key that TLS takes, exactly one well-formed URI, no
/// wildcard name, own cluster.
///
/// It says nothing about whether the peer holds the key: TLS proves that afterwards. So a caller
/// must not change any state on its answer alone.
///
/// # Errors
///
/// [`CertificateRefusal`] with the exact reason, which is not for the peer; see
/// [`CertificateRefusal::coarse`].
pub fn check(
    role: PeerRole,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    trust: &Trust,
    now: UnixTime,
) -> Result<NodeIdentity, CertificateRefusal> {
    check_with(
        role,
        end_entity,
        intermediates,
        trust,
        now,
        StaleList::Refuses,
    )
}

/// Checks the chain of a live link again, after time has passed or [`Trust`] was replaced.
///
/// The same check as [`check()`], but a stale CRL never ends a live link. What the stale CRL
/// names is refused all the same.
///
/// # Errors
///
/// [`CertificateRefusal`], and the link must end. [`CertificateRefusal::NoCertificate`] for an
/// empty chain.
pub fn recheck(
    role: PeerRole,
    chain: &[CertificateDer<'_>],
    trust: &Trust,
    now: UnixTime,
) -> Result<NodeIdentity, CertificateRefusal> {
    let (end_entity, intermediates) = chain
        .split_first()
        .ok_or(CertificateRefusal::NoCertificate)?;
    check_with(
        role,
        end_entity,
        intermediates,
        trust,
        now,
        StaleList::IsTolerated,
    )
}

fn check_with(
    role: PeerRole,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    trust: &Trust,
    now: UnixTime,
    stale_list: StaleList,
) -> Result<NodeIdentity, CertificateRefusal> {
    let limit = trust.limits().max_intermediates;
    if intermediates.len() >= MAX_PRESENTED {
        return Err(CertificateRefusal::TooManyIntermediates { limit });
    }
    let certificate = EndEntityCert::try_from(end_entity)?;
    for usage in role.usages() {
        check_leaf_usage(&certificate, usage, now)?;
    }
    check_path(&certificate, intermediates, trust, now, stale_list)?;
    check_key(&certificate)?;
    let identity = read_identity(end_entity, &certificate)?;
    if identity.cluster() != trust.cluster() {
        return Err(CertificateRefusal::WrongCluster {
            found: identity.cluster().clone(),
        });
    }
    Ok(identity)
}

/// Asks the path verifier about the certificate alone.
///
/// Its usual check lets a certificate without extended key usage pass for every purpose, and the
/// strict one would demand the usages of the intermediates too, which most CAs do not write into
/// theirs. So the strict one runs on the node's certificate with nothing to build a path from:
/// "no issuer known" is then the answer of a certificate that is good in itself. It costs no
/// signature.
fn check_leaf_usage(
    certificate: &EndEntityCert<'_>,
    usage: Usage,
    now: UnixTime,
) -> Result<(), CertificateRefusal> {
    let required = KeyUsage::required(match usage {
        Usage::ServerAuth => SERVER_AUTH,
        Usage::ClientAuth => CLIENT_AUTH,
    });
    match certificate.verify_for_usage(algorithms(), &[], &[], now, required, None, None) {
        Err(Error::UnknownIssuer) => Ok(()),
        Err(Error::RequiredEkuNotFoundContext(_)) => {
            Err(CertificateRefusal::MissingUsage { usage })
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(CertificateRefusal::Other {
            detail: "a path without a trusted CA".to_owned(),
        }),
    }
}

/// Builds the path to a trusted CA.
fn check_path(
    certificate: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    trust: &Trust,
    now: UnixTime,
    stale_list: StaleList,
) -> Result<(), CertificateRefusal> {
    let limit = trust.limits().max_intermediates;
    // The verifier goes on looking after a refused path and may then report another reason, so
    // the reason is kept here.
    let too_long = Cell::new(false);
    let verify_path = |path: &VerifiedPath<'_>| {
        if path.intermediate_certificates().count() > limit {
            too_long.set(true);
            return Err(Error::MaximumPathDepthExceeded);
        }
        trust.check_dates_of(path.anchor(), now)?;
        if stale_list == StaleList::Refuses {
            trust.check_list_of(path.end_entity().issuer(), now)?;
            for intermediate in path.intermediate_certificates() {
                trust.check_list_of(intermediate.issuer(), now)?;
            }
        }
        Ok(())
    };
    let lists: Vec<&CertRevocationList<'_>> = trust.lists().iter().map(|list| &list.list).collect();
    // Without any list the builder refuses to build, and nothing is checked for revocation.
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        options
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            // The verifier knows no grace; `verify_path` above judges the age of the lists.
            .with_expiration_policy(ExpirationPolicy::Ignore)
            .build()
    });
    let verified = certificate.verify_for_usage(
        algorithms(),
        trust.anchors(),
        intermediates,
        now,
        NodeUsages,
        revocation,
        Some(&verify_path),
    );
    match verified {
        Ok(_) => Ok(()),
        Err(Error::MaximumPathDepthExceeded) => {
            Err(CertificateRefusal::TooManyIntermediates { limit })
        }
        Err(Error::UnknownIssuer) if too_long.get() => {
            Err(CertificateRefusal::TooManyIntermediates { limit })
        }
        Err(Error::RequiredEkuNotFoundContext(context)) => Err(CertificateRefusal::MissingUsage {
            usage: if context.required == KeyUsage::required(SERVER_AUTH) {
                Usage::ServerAuth
            } else {
                Usage::ClientAuth
            },
        }),
        Err(error) => Err(error.into()),
    }
}

/// The smallest RSA key, in bits: what the provider verifies signatures of, and what is strong
/// enough until 2030 by most rules.
const RSA_BITS_MIN: usize = 2_048;

/// Refuses a key whose signature TLS would refuse anyway, with the reason: the signature of a key
/// that is too small only fails.
fn check_key(certificate: &EndEntityCert<'_>) -> Result<(), CertificateRefusal> {
    let der = certificate.subject_public_key_info();
    let malformed = |detail: String| CertificateRefusal::BadEncoding { detail };
    // Behind the header of the sequence stands the identifier, with a header of its own.
    let long_form = der.get(1).filter(|length| **length & 0x80 != 0);
    let header = 2 + long_form.map_or(0, |length| usize::from(length & 0x7f));
    let known = algorithms().iter().any(|algorithm| {
        let identifier = algorithm.public_key_alg_id();
        let found = der.get(header + 2..header + 2 + identifier.len());
        found == Some(&*identifier)
    });
    if !known {
        return Err(CertificateRefusal::WeakOrUnknownKey);
    }
    let (_, key) =
        SubjectPublicKeyInfo::from_der(&der).map_err(|error| malformed(error.to_string()))?;
    match key.parsed().map_err(|error| malformed(error.to_string()))? {
        PublicKey::RSA(key) if key.key_size() < RSA_BITS_MIN => {
            Err(CertificateRefusal::WeakOrUnknownKey)
        }
        _ => Ok(()),
    }
}

/// Every certificate of the path permits both usages, or says nothing about usages. That the
/// node's own certificate does say something is checked before.
struct NodeUsages;

impl ExtendedKeyUsageValidator for NodeUsages {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let (mut any, mut server, mut client) = (false, false, false);
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?;
            any = true;
            server |= purpose == KeyPurposeId::new(SERVER_AUTH);
            client |= purpose == KeyPurposeId::new(CLIENT_AUTH);
            present.push(purpose.to_decoded_oid());
        }
        if !any || (server && client) {
            return Ok(());
        }
        let missing = if server { CLIENT_AUTH } else { SERVER_AUTH };
        Err(Error::RequiredEkuNotFoundContext(
            webpki::RequiredEkuNotFoundContext {
                required: KeyUsage::required(missing),
                present,
            },
        ))
    }
}

/// Reads the identity of a certificate, whoever issued it.
///
/// The URI comes from the parser that verifies paths, so that no two readings of one certificate
/// can differ. That parser skips names that it does not understand, and stops at the first broken
/// one; so a second one looks at all of them, and may only refuse.
pub(crate) fn read_identity(
    der: &CertificateDer<'_>,
    certificate: &EndEntityCert<'_>,
) -> Result<NodeIdentity, CertificateRefusal> {
    let uris = check_names(der)?;
    let uri = {
        let mut names = certificate.valid_uri_names();
        let first = names.next();
        let found = uris.max(usize::from(first.is_some()) + names.count());
        match (first, found) {
            (_, 0) => return Err(CertificateRefusal::NoUri),
            (Some(uri), 1) => uri,
            (None, 1) => {
                return Err(CertificateRefusal::BadEncoding {
                    detail: "the URI name is not text".to_owned(),
                });
            }
            (_, found) => return Err(CertificateRefusal::ManyUris { found }),
        }
    };
    NodeIdentity::parse_uri(uri).map_err(|reason| CertificateRefusal::MalformedUri {
        found: excerpt(uri),
        reason,
    })
}

/// Refuses what no node's certificate may hold, and counts its URI names, broken ones included.
fn check_names(der: &CertificateDer<'_>) -> Result<usize, CertificateRefusal> {
    /// The context tag of a URI among the names of a certificate.
    const URI_TAG: u32 = 6;

    let malformed = |detail: String| CertificateRefusal::BadEncoding { detail };
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed("bytes after the end".to_owned()));
    }
    let key_usage = certificate
        .key_usage()
        .map_err(|error| malformed(error.to_string()))?;
    if key_usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
        return Err(CertificateRefusal::LeafIsAuthority);
    }
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| malformed(error.to_string()))?;
    let mut uris = 0;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(_) => uris += 1,
            GeneralName::Invalid(tag, _) if tag.0 == URI_TAG => uris += 1,
            GeneralName::Invalid(_, _) => {
                return Err(malformed("a name that is not readable".to_owned()));
            }
            GeneralName::DNSName(name) if name.contains('*') => {
                return Err(CertificateRefusal::WildcardName {
                    found: excerpt(name),
                });
            }
            _ => {}
        }
    }
    Ok(uris)
}

fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    provider().signature_verification_algorithms.all
}
