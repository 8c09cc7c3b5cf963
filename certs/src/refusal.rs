//! Why a certificate is refused: exact for us, coarse for the peer. It must not know how a
//! certificate is checked.

use std::fmt;

use rustls::CertificateError;
use thiserror::Error;

use crate::{ClusterName, InvalidUri};

/// Why a certificate is refused.
///
/// The exact reason, with its values, is for the local log and for metrics. The peer gets what
/// [`CertificateRefusal::coarse`] leaves of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateRefusal {
    /// The peer sent no certificate at all.
    #[error("no certificate was presented")]
    NoCertificate,
    /// No path leads from the certificate to a trusted CA.
    #[error("the certificate is not issued by a trusted CA")]
    UnknownIssuer,
    /// A certificate of the path, or the trusted CA itself, is past its last date.
    #[error("a certificate of the chain has expired (not after {not_after}, now {now})")]
    Expired {
        /// The last second of validity, since 1970.
        not_after: u64,
        /// Our time, in seconds since 1970.
        now: u64,
    },
    /// A certificate of the path, or the trusted CA itself, is before its first date.
    #[error("a certificate of the chain is not valid yet (not before {not_before}, now {now})")]
    NotYetValid {
        /// The first second of validity, since 1970.
        not_before: u64,
        /// Our time, in seconds since 1970.
        now: u64,
    },
    /// A CRL names the certificate, or an intermediate of its path.
    #[error("the certificate or one of its issuers is revoked")]
    Revoked,
    /// The CRL of an issuer is past its `nextUpdate` by more than the grace.
    #[error("the CRL is stale beyond its grace (next update {next_update}, now {now})")]
    StaleCrl {
        /// When the next CRL was due, in seconds since 1970.
        next_update: u64,
        /// Our time, in seconds since 1970.
        now: u64,
    },
    /// CRLs are configured, but none covers some issuer of the path.
    #[error("CRLs are configured, but none covers an issuer of this chain")]
    UnknownRevocationStatus,
    /// A CRL covers the issuer by name, but is not signed by its key, or the issuer may not sign
    /// CRLs.
    #[error("the CRL of an issuer is not signed by that issuer")]
    ForeignCrl,
    /// The identity is well formed and of another cluster.
    #[error("the certificate belongs to cluster {found}")]
    WrongCluster {
        /// The cluster of the certificate.
        found: ClusterName,
    },
    /// There is no URI among the names. A DNS name alone is no identity.
    #[error("the certificate has no URI name")]
    NoUri,
    /// There are several URIs among the names, so the certificate claims several identities.
    #[error("the certificate has {found} URI names, exactly one is allowed")]
    ManyUris {
        /// How many there are.
        found: usize,
    },
    /// The one URI is not the identity of a node.
    #[error("the URI name {found} is no node identity: {reason}")]
    MalformedUri {
        /// The URI, quoted, escaped and cut to 128 characters.
        found: String,
        /// The rule that it breaks.
        reason: InvalidUri,
    },
    /// A DNS name stands for many nodes.
    #[error("the certificate has the wildcard name {found}")]
    WildcardName {
        /// The name, quoted, escaped and cut to 128 characters.
        found: String,
    },
    /// The certificate may not be used for both ends of a link: it has no extended key usage, or
    /// only one of `serverAuth` and `clientAuth`; or a CA of its path does not permit both.
    #[error("a certificate of the chain lacks the extended key usage {usage}")]
    MissingUsage {
        /// What is missing: `serverAuth` or `clientAuth`.
        usage: Usage,
    },
    /// More intermediates than allowed: in the path, or among what the peer sent.
    #[error("the chain is too long, at most {limit} intermediates are allowed")]
    TooManyIntermediates {
        /// The limit that was passed.
        limit: usize,
    },
    /// The certificate of the node is that of a CA.
    #[error("the certificate of the node may sign certificates or CRLs")]
    LeafIsAuthority,
    /// The certificate breaks a name constraint or path length of a CA above it.
    #[error("the chain breaks a constraint of a CA: {detail}")]
    ConstraintViolated {
        /// Which one.
        detail: &'static str,
    },
    /// A signature in the chain, or of the handshake, is wrong.
    #[error("a signature does not fit its key")]
    BadSignature,
    /// The bytes are no certificate, or one that two parsers read differently.
    #[error("the certificate is malformed: {detail}")]
    BadEncoding {
        /// What is wrong.
        detail: String,
    },
    /// A key or signature algorithm that is too weak or not known here.
    #[error("the chain uses a weak or unknown key or signature algorithm")]
    WeakOrUnknownKey,
    /// Everything else that the path verifier refuses, such as a chain built to cost much work.
    #[error("the certificate is refused: {detail}")]
    Other {
        /// The verifier's own words.
        detail: String,
    },
}

/// A purpose that a certificate permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Usage {
    /// `serverAuth`, 1.3.6.1.5.5.7.3.1: the certificate of an acceptor.
    ServerAuth,
    /// `clientAuth`, 1.3.6.1.5.5.7.3.2: the certificate of a dialer.
    ClientAuth,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerAuth => "serverAuth",
            Self::ClientAuth => "clientAuth",
        })
    }
}

impl CertificateRefusal {
    /// What the peer may know.
    ///
    /// QUIC copies the text of a TLS error into the frame that closes the connection, and the
    /// peer is not proven yet. So every reason becomes a variant without values: no clock, no
    /// CRL date, no name leaves this node. A stale CRL looks like an unknown status, because how
    /// old our CRL is helps somebody who waits for it to be ignored.
    #[must_use]
    pub const fn coarse(&self) -> CertificateError {
        match self {
            Self::UnknownIssuer => CertificateError::UnknownIssuer,
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            Self::Revoked => CertificateError::Revoked,
            Self::StaleCrl { .. } | Self::UnknownRevocationStatus | Self::ForeignCrl => {
                CertificateError::UnknownRevocationStatus
            }
            Self::MissingUsage { .. } => CertificateError::InvalidPurpose,
            Self::BadEncoding { .. } | Self::NoCertificate => CertificateError::BadEncoding,
            Self::BadSignature | Self::WeakOrUnknownKey => CertificateError::BadSignature,
            Self::WrongCluster { .. }
            | Self::NoUri
            | Self::ManyUris { .. }
            | Self::MalformedUri { .. }
            | Self::WildcardName { .. }
            | Self::TooManyIntermediates { .. }
            | Self::LeafIsAuthority
            | Self::ConstraintViolated { .. }
            | Self::Other { .. } => CertificateError::ApplicationVerificationFailure,
        }
    }

    /// A fixed name of the reason, for a metric's label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::StaleCrl { .. } => "stale_crl",
            Self::UnknownRevocationStatus => "unknown_revocation_status",
            Self::ForeignCrl => "foreign_crl",
            Self::WrongCluster { .. } => "wrong_cluster",
            Self::NoUri => "no_uri",
            Self::ManyUris { .. } => "many_uris",
            Self::MalformedUri { .. } => "malformed_uri",
            Self::WildcardName { .. } => "wildcard_name",
            Self::MissingUsage { .. } => "missing_usage",
            Self::TooManyIntermediates { .. } => "too_many_intermediates",
            Self::LeafIsAuthority => "leaf_is_authority",
            Self::ConstraintViolated { .. } => "constraint_violated",
            Self::BadSignature => "bad_signature",
            Self::BadEncoding { .. } => "bad_encoding",
            Self::WeakOrUnknownKey => "weak_or_unknown_key",
            Self::Other { .. } => "other",
        }
    }

    /// What the owner of the certificate does about it, in words for an operator.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NoCertificate => "put the certificate of the node first in this file",
            Self::UnknownIssuer | Self::BadSignature => {
                "add the CA that issued it to the CA bundle, and its intermediates to this file"
            }
            Self::Expired { .. } => "issue a new certificate, or check the clock of this machine",
            Self::NotYetValid { .. } => "check the clock of this machine",
            Self::Revoked => "issue a new certificate with a new key",
            Self::StaleCrl { .. } => "fetch the current CRL",
            Self::UnknownRevocationStatus | Self::ForeignCrl => {
                "give one CRL for every CA of the chain, signed by that CA"
            }
            Self::WrongCluster { .. } => "use the certificate of this cluster",
            Self::NoUri | Self::ManyUris { .. } | Self::MalformedUri { .. } => {
                "issue it with exactly one URI name, spiffe://<cluster>/node/<id>"
            }
            Self::WildcardName { .. } => "issue it without wildcard names",
            Self::MissingUsage { .. } => {
                "issue it with both extended key usages, serverAuth and clientAuth"
            }
            Self::TooManyIntermediates { .. } => "shorten the chain or raise max_intermediates",
            Self::LeafIsAuthority => "use a node's certificate here, not that of a CA",
            Self::ConstraintViolated { .. } => "issue it within the constraints of its CA",
            Self::BadEncoding { .. } => "issue it again",
            Self::WeakOrUnknownKey => {
                "use ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits"
            }
            Self::Other { .. } => "issue it again from a plain CA",
        }
    }
}

impl From<CertificateRefusal> for rustls::Error {
    /// Keeps only what the peer may know.
    fn from(refusal: CertificateRefusal) -> Self {
        Self::InvalidCertificate(refusal.coarse())
    }
}

impl From<webpki::Error> for CertificateRefusal {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::UnknownIssuer => Self::UnknownIssuer,
            E::CertExpired { time, not_after } => Self::Expired {
                not_after: not_after.as_secs(),
                now: time.as_secs(),
            },
            E::CertNotValidYet { time, not_before } => Self::NotYetValid {
                not_before: not_before.as_secs(),
                now: time.as_secs(),
            },
            E::CertRevoked => Self::Revoked,
            E::CrlExpired { time, next_update } => Self::StaleCrl {
                next_update: next_update.as_secs(),
                now: time.as_secs(),
            },
            E::UnknownRevocationStatus => Self::UnknownRevocationStatus,
            E::InvalidCrlSignatureForPublicKey | E::IssuerNotCrlSigner => Self::ForeignCrl,
            E::CaUsedAsEndEntity => Self::LeafIsAuthority,
            E::InvalidSignatureForPublicKey => Self::BadSignature,
            E::PathLenConstraintViolated => Self::ConstraintViolated {
                detail: "path length",
            },
            E::NameConstraintViolation => Self::ConstraintViolated {
                detail: "name constraints",
            },
            E::EndEntityUsedAsCa => Self::ConstraintViolated {
                detail: "an issuer is no CA",
            },
            E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | E::UnsupportedCrlSignatureAlgorithmContext(_)
            | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | E::CertDistrusted => Self::WeakOrUnknownKey,
            error @ (E::BadDer
            | E::BadDerTime
            | E::ExtensionValueInvalid
            | E::InvalidCertValidity
            | E::InvalidSerialNumber
            | E::EmptyEkuExtension
            | E::MalformedDnsIdentifier
            | E::MalformedExtensions
            | E::MalformedNameConstraint
            | E::SignatureAlgorithmMismatch
            | E::TrailingData(_)
            | E::UnsupportedCertVersion
            | E::UnsupportedCriticalExtension) => Self::BadEncoding {
                detail: error.to_string(),
            },
            other => Self::Other {
                detail: other.to_string(),
            },
        }
    }
}

/// A text from a certificate for a log: quoted, escaped, and cut to 128 characters, because its
/// author chose it.
pub(crate) fn excerpt(text: &str) -> String {
    const LIMIT: usize = 128;
    let cut: String = text.chars().take(LIMIT).collect();
    let ellipsis = if cut.len() < text.len() { "..." } else { "" };
    format!("{cut:?}{ellipsis}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_escaped_and_ends_at_the_limit() {
        assert_eq!(excerpt("a\n\u{1b}[31m\0"), r#""a\n\u{1b}[31m\0""#);
        assert_eq!(excerpt(&"x".repeat(128)).len(), 130);
        assert_eq!(
            excerpt(&"x".repeat(129)),
            format!("{:?}...", "x".repeat(128))
        );
    }

    #[test]
    fn no_value_reaches_the_peer() {
        let secret = 987_654_321;
        for refusal in [
            CertificateRefusal::Expired {
                not_after: secret,
                now: secret,
            },
            CertificateRefusal::NotYetValid {
                not_before: secret,
                now: secret,
            },
            CertificateRefusal::StaleCrl {
                next_update: secret,
                now: secret,
            },
            CertificateRefusal::ManyUris { found: 987_654_321 },
            CertificateRefusal::TooManyIntermediates { limit: 987_654_321 },
            CertificateRefusal::WrongCluster {
                found: ClusterName::new("n987654321").unwrap(),
            },
            CertificateRefusal::BadEncoding {
                detail: secret.to_string(),
            },
            CertificateRefusal::Other {
                detail: secret.to_string(),
            },
            CertificateRefusal::WildcardName {
                found: secret.to_string(),
            },
            CertificateRefusal::MalformedUri {
                found: secret.to_string(),
                reason: InvalidUri::Path,
            },
        ] {
            assert!(
                refusal.to_string().contains("987654321") || refusal.label() == "wrong_cluster"
            );
            let error = rustls::Error::from(refusal);
            assert!(!error.to_string().contains("987654321"), "{error}");
            assert!(!format!("{error:?}").contains("987654321"), "{error:?}");
        }
    }
}
