//! Why credentials cannot be used, in words that an operator can act on.

use std::io;

use thiserror::Error;

use crate::{CertificateRefusal, ClusterName, InvalidTrust, NodeId, PeerRole};

/// Why credentials cannot be used.
///
/// Each text names the file, or says that the text was given in memory, and says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// A file cannot be opened or read.
    #[error("{file} cannot be read")]
    Read {
        /// The path.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A path leads to a folder, a pipe or a device.
    #[error("{file} is no regular file")]
    NotAFile {
        /// The path.
        file: String,
    },
    /// A file is larger than anything that belongs there.
    #[error("{file} has more than {limit} bytes; it is probably the wrong file")]
    FileTooLarge {
        /// The path.
        file: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Others on this machine can read or change the key.
    #[error(
        "{file} has mode {mode:03o}, so others can read the key; run `chmod 600` on it, and \
         replace the key if they may have read it"
    )]
    ExposedKey {
        /// The path.
        file: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is no PEM.
    #[error("{file} is no valid PEM: {detail}")]
    BadPem {
        /// The path.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no certificate where the node's certificate should be.
    #[error("{file} holds no certificate (BEGIN CERTIFICATE)")]
    NoCertificate {
        /// The path.
        file: String,
    },
    /// There is no private key where the key should be.
    #[error("{file} holds no private key (BEGIN PRIVATE KEY)")]
    NoKey {
        /// The path.
        file: String,
    },
    /// The key is protected by a pass phrase, and there is nobody to ask for it.
    #[error("{file} is encrypted; decrypt it with `openssl pkcs8` and protect the file instead")]
    EncryptedKey {
        /// The path.
        file: String,
    },
    /// There are several keys, and nothing says which is meant.
    #[error("{file} holds {found} private keys; leave only the one of the certificate")]
    ManyKeys {
        /// The path.
        file: String,
        /// How many there are.
        found: usize,
    },
    /// The key is of a kind that cannot be used, or it is damaged.
    #[error("the key in {file} cannot be used ({detail}); use ECDSA P-256, P-384 or Ed25519")]
    BadKey {
        /// The path.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The key is not that of the certificate.
    #[error("the key in {key} does not belong to the first certificate in {certificate}")]
    KeyMismatch {
        /// The path of the key.
        key: String,
        /// The path of the certificate.
        certificate: String,
    },
    /// The CAs or the CRLs cannot be used.
    #[error("{file}: {problem}")]
    Trust {
        /// The path of the CA bundle, or of the CRLs.
        file: String,
        /// What is wrong with them.
        #[source]
        problem: InvalidTrust,
    },
    /// The own certificate would be refused by a peer with the same trust.
    #[error(
        "peers would refuse the certificate in {file} as that of a {role}: {refusal}; {}",
        refusal.advice()
    )]
    Refused {
        /// The path of the certificate.
        file: String,
        /// At which end of a link.
        role: PeerRole,
        /// Why.
        #[source]
        refusal: CertificateRefusal,
    },
    /// The certificate belongs to another cluster than the settings say.
    #[error("the certificate in {file} is of cluster {found}, expected was {expected}")]
    OtherCluster {
        /// The path of the certificate.
        file: String,
        /// The cluster of the certificate.
        found: ClusterName,
        /// The cluster of the settings.
        expected: ClusterName,
    },
    /// The certificate belongs to another node than the settings say.
    #[error("the certificate in {file} is of node {found}, expected was {expected}")]
    OtherNode {
        /// The path of the certificate.
        file: String,
        /// The node of the certificate.
        found: NodeId,
        /// The node of the settings.
        expected: NodeId,
    },
}
