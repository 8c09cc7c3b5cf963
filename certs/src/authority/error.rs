//! Why an authority says no.

use thiserror::Error;

use crate::{CertificateRefusal, ClusterName, CredentialError, InvalidClusterName};

/// Why an authority cannot be made, read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file of the authority cannot be read, or others can read its key.
    #[error(transparent)]
    File(#[from] CredentialError),
    /// A request cannot be used.
    #[error("the request cannot be used: {detail}")]
    BadRequest {
        /// What is wrong with it.
        detail: String,
    },
    /// A key that is to be certified cannot be used.
    #[error("the key cannot be used ({detail}); use ECDSA P-256, P-384 or Ed25519 in PKCS#8")]
    BadRequestKey {
        /// What is wrong with it.
        detail: String,
    },
    /// A certificate was issued by somebody else.
    #[error("the certificate is not signed by this authority")]
    NotIssuedHere,
    /// A certificate is not that of a node.
    #[error("the certificate is not that of a node: {0}")]
    NotANode(#[from] CertificateRefusal),
    /// The certificate of the authority cannot be used.
    #[error("the authority's certificate cannot be used: {detail}")]
    BadCertificate {
        /// What is wrong with it.
        detail: String,
    },
    /// The key of the authority cannot be used.
    #[error("the authority's key cannot be used: {detail}")]
    BadKey {
        /// What is wrong with it.
        detail: String,
    },
    /// The key is not that of the certificate.
    #[error("the authority's key does not belong to its certificate")]
    KeyMismatch,
    /// The name constraint of the authority is no cluster name.
    #[error("the authority's name constraint is no cluster name")]
    Cluster(#[from] InvalidClusterName),
    /// An intermediate authority makes no further authorities.
    #[error("an intermediate authority cannot have authorities below it")]
    TooDeep,
    /// A date that a certificate cannot hold.
    #[error("{seconds} seconds after 1970 is no date for a certificate")]
    Date {
        /// The value, in seconds since 1970.
        seconds: u64,
    },
    /// The last date is not after the first.
    #[error("the last date ({last}) is not after the first ({first}), in seconds since 1970")]
    Dates {
        /// The first date, in seconds since 1970.
        first: u64,
        /// The last date, in seconds since 1970.
        last: u64,
    },
    /// A DNS name that is not within the cluster, or is no DNS name.
    #[error("{name:?} is no DNS name within cluster {cluster}, which the authority is bound to")]
    Name {
        /// The name that was asked for.
        name: String,
        /// The cluster of the authority.
        cluster: ClusterName,
    },
    /// The cryptographic provider failed.
    #[error("the cryptographic provider failed: {detail}")]
    Crypto {
        /// Its own words.
        detail: String,
    },
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto {
            detail: error.to_string(),
        }
    }
}
