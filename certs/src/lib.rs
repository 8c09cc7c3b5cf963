//! Who a node is: its identity, its certificate, and whom it believes.
//!
//! A node of Quicraft is a number in a cluster. A certificate proves it: the URI
//! `spiffe://<cluster>/node/<id>` among its names, issued by a CA that the cluster trusts. This
//! crate makes such certificates, loads and checks them, replaces them while the node runs, and
//! turns them into TLS configurations. It opens no socket and starts no task.
//!
//! - [`NodeId`], [`ClusterName`], [`NodeIdentity`]: the names.
//! - [`check()`]: the one check of a certificate, for both ends of a link, with
//!   [`CertificateRefusal`] as its answer that says no. [`recheck()`] is for live links.
//! - [`Trust`], [`Credentials`]: whom we believe, and what we show. Whatever is wrong with them is
//!   found when they are loaded.
//! - [`CredentialStore`]: the current credentials; new ones take their place without a restart.
//! - [`client_config`], [`server_config`]: TLS 1.3 with proof from both ends, and no resumption.
//! - [`PeerCertificate`]: what a peer's certificate says, after the handshake.
//! - [`Authority`]: issues certificates and CRLs, for tests and for small clusters; with
//!   [`NodeRequest`] the key never leaves its node.
//! - [`CertificateFacts`], [`CrlFacts`]: what certificates and CRLs say, for people.
//! - [`StagedFiles`]: files that are old or new after a crash, never half.
//!
//! The command `quicraft-certs` puts these into the hands of operators. It is behind the feature
//! `command`, which is on by default; a host turns it off (`default-features = false`).
//!
//! ```
//! use std::sync::Arc;
//!
//! use quicraft_certs::{Authority, ClusterName, CredentialStore, NodeId};
//! use quicraft_certs::{ReplaceError, client_config, server_config};
//!
//! // An operator does this once, on a machine that is no node.
//! let authority = Authority::new(ClusterName::new("prod.example")?)?;
//! let folder = tempfile::tempdir()?;
//! let files = authority.issue(NodeId::new(1)?)?.write(folder.path())?;
//!
//! // Each node does this when it starts.
//! let credentials = quicraft_certs::Credentials::load(&files, &Default::default())?;
//! let store = CredentialStore::new(credentials);
//! assert_eq!(store.identity().uri(), "spiffe://prod.example/node/1");
//! let dialing = client_config(&store)?;
//! let accepting = server_config(&store)?;
//! # let _ = (dialing, accepting);
//!
//! // Later: a new certificate for the same node. New handshakes use it.
//! let renewed = authority.issue(NodeId::new(1)?)?;
//! store.replace(renewed.credentials(&authority)?)?;
//! assert_eq!(store.generation(), 2);
//!
//! // Another node's certificate is refused, and the former one stays.
//! let other = authority.issue(NodeId::new(2)?)?;
//! let refused = store.replace(other.credentials(&authority)?);
//! assert!(matches!(refused, Err(ReplaceError::OtherIdentity { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authority;
mod check;
mod clock;
mod cluster;
mod credential_error;
mod credentials;
mod crl;
mod crypto;
mod facts;
mod files;
mod identity;
mod log_limit;
mod node_id;
mod peer;
mod pem;
#[cfg_attr(unix, path = "permissions_unix.rs")]
#[cfg_attr(not(unix), path = "permissions_other.rs")]
mod permissions;
mod refusal;
mod serial;
mod staged;
mod store;
mod tls;
mod trust;

pub use authority::{
    Authority, AuthorityError, AuthorityOptions, CertificateRequest, CrlOptions, IssueOptions,
    IssuedNode, NodeCertificate, NodeRequest, Revocation,
};
pub use check::{MAX_PRESENTED, PeerRole, check, recheck};
pub use clock::WallClock;
pub use cluster::{ClusterName, InvalidClusterName};
pub use credential_error::CredentialError;
pub use credentials::{CredentialPem, CredentialSettings, Credentials};
pub use crl::{CRL_NOTICE, CrlDue, CrlStage, CrlStaleness};
pub use facts::{AuthorityFacts, CertificateFacts, CrlFacts, is_crl_of, private_key_hash};
pub use files::{CredentialFiles, FileStamp, read_private_key, read_public};
pub use identity::{InvalidUri, NodeIdentity};
pub use node_id::{InvalidNodeId, NodeId};
pub use peer::PeerCertificate;
pub use pem::pem_text;
pub use refusal::{CertificateRefusal, Usage};
pub use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
pub use serial::{InvalidSerial, Serial};
pub use staged::{Audience, Overwrite, StagedFiles, WriteError};
pub use store::{CredentialStore, ReplaceError};
pub use tls::{
    ALPN, RefusalNote, TlsError, client_config, client_config_noting, server_config,
    server_config_noting, server_name,
};
pub use trust::{AuthorityFault, InvalidTrust, Trust, TrustLimits};
