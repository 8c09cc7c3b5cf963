//! Requests: how a node asks for a certificate without showing its key, and how little of the
//! request is believed.

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, SanType,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{
    FromDer, GeneralName, ParsedExtension, X509CertificationRequest, X509Version,
};
use zeroize::Zeroizing;

use super::AuthorityError;
use crate::NodeIdentity;
use crate::crypto::sha256;

/// A node's wish for a certificate: its key, and the request (CSR) that it sends to its authority.
///
/// The key stays on the node. It is wiped from memory when this is dropped; `Debug` does not show
/// it.
pub struct NodeRequest {
    identity: NodeIdentity,
    request_pem: String,
    key_pem: Zeroizing<String>,
    key_hash: [u8; 32],
}

impl NodeRequest {
    /// Makes a new P-256 key and a request for it.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Crypto`] if the cryptographic provider fails.
    pub fn new(identity: &NodeIdentity) -> Result<Self, AuthorityError> {
        Self::for_key(identity, &KeyPair::generate()?)
    }

    /// Makes a request for a key that the node has already: PKCS#8 in PEM, ECDSA P-256 or P-384,
    /// or Ed25519.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::BadRequestKey`] if the text is no such key, and
    /// [`AuthorityError::Crypto`].
    pub fn with_key(identity: &NodeIdentity, key_pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem).map_err(|error| AuthorityError::BadRequestKey {
            detail: error.to_string(),
        })?;
        Self::for_key(identity, &key)
    }

    fn for_key(identity: &NodeIdentity, key: &KeyPair) -> Result<Self, AuthorityError> {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, format!("node-{}", identity.node()));
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        // For the eyes of the operator, and against files that were mixed up. The authority takes
        // the identity from its operator.
        params.subject_alt_names = vec![
            SanType::URI(identity.uri().try_into()?),
            SanType::DnsName(identity.dns_name().try_into()?),
        ];
        Ok(Self {
            identity: identity.clone(),
            request_pem: params.serialize_request(key)?.pem()?,
            key_pem: Zeroizing::new(key.serialize_pem()),
            key_hash: sha256(&key.subject_public_key_info()),
        })
    }

    /// For whom the certificate is to be.
    #[must_use]
    pub const fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// The request, in PEM (PKCS#10): what the authority gets.
    #[must_use]
    pub fn request_pem(&self) -> &str {
        &self.request_pem
    }

    /// The private key, in PEM (PKCS#8): what nobody gets.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// SHA-256 of the public key, as a roster pins it.
    #[must_use]
    pub const fn key_hash(&self) -> [u8; 32] {
        self.key_hash
    }
}

impl fmt::Debug for NodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRequest")
            .field("identity", &self.identity.uri())
            .field("key", &"[elided]")
            .finish_non_exhaustive()
    }
}

/// A request that an authority has read: its sender has the private key of its public key.
///
/// Nothing else of it is believed. Names, usages and whether it is to be an authority are what the
/// sender wishes; the authority takes none of it into a certificate.
#[derive(Debug)]
pub struct CertificateRequest {
    pub(super) key: SubjectPublicKeyInfo,
    claimed: Option<NodeIdentity>,
    key_hash: [u8; 32],
}

impl CertificateRequest {
    /// Reads a request (PKCS#10 in PEM) and verifies its signature.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::BadRequest`] if the text is no request, is not signed by its own key, or
    /// its key is not ECDSA P-256 or P-384, or Ed25519.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthorityError> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem)
            .map_err(|error| bad(error.to_string()))?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|error| bad(error.to_string()))?;
        let info = &request.certification_request_info;
        if !rest.is_empty() || info.version != X509Version::V1 {
            return Err(bad("it is no request of PKCS#10".to_owned()));
        }
        let key = read_key(info.subject_pki.raw)?;
        request
            .verify_signature()
            .map_err(|_| bad("it is not signed by the key that it names".to_owned()))?;
        Ok(Self {
            key_hash: sha256(info.subject_pki.raw),
            claimed: claimed_identity(&request),
            key,
        })
    }

    /// Whom the sender says that it is, if it says so in our way. It proves nothing; it helps to
    /// notice files that were mixed up.
    #[must_use]
    pub const fn claimed(&self) -> Option<&NodeIdentity> {
        self.claimed.as_ref()
    }

    /// SHA-256 of the public key, as a roster pins it.
    #[must_use]
    pub const fn key_hash(&self) -> [u8; 32] {
        self.key_hash
    }
}

/// Reads a public key (SPKI in DER) that we are asked to certify.
///
/// The algorithm is read from the key itself and not from the signature of whoever sent it, and
/// what would be written into the certificate must be what was read.
pub(super) fn read_key(spki: &[u8]) -> Result<SubjectPublicKeyInfo, AuthorityError> {
    let key = SubjectPublicKeyInfo::from_der(spki).map_err(|error| bad(error.to_string()))?;
    let known = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    if !known.contains(&key.algorithm()) || key.subject_public_key_info() != spki {
        return Err(bad(
            "its key is not ECDSA P-256 or P-384, or Ed25519".to_owned()
        ));
    }
    Ok(key)
}

fn claimed_identity(request: &X509CertificationRequest<'_>) -> Option<NodeIdentity> {
    let mut claims = request
        .requested_extensions()?
        .filter_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(names),
            _ => None,
        })
        .flat_map(|names| &names.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => NodeIdentity::parse_uri(uri).ok(),
            _ => None,
        });
    let claim = claims.next()?;
    claims.next().is_none().then_some(claim)
}

fn bad(detail: String) -> AuthorityError {
    AuthorityError::BadRequest { detail }
}
