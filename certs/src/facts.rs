//! What certificates and revocation lists say, for the eyes of operators. It must not judge:
//! whoever decides by it has two checks that differ.

use std::collections::BTreeSet;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{
    CertificateRevocationList, FromDer, GeneralName, ParsedExtension, X509Certificate,
};
use x509_parser::public_key::PublicKey;

use crate::clock::from_timestamp;
use crate::credentials::read_key;
use crate::crypto::sha256;
use crate::{CertificateRefusal, CredentialError, Serial};

/// What a certificate says, be it that of a node or of a CA. Reading verifies nothing.
///
/// Texts that its author chose are escaped and cut to 128 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// Its own name.
    pub subject: String,
    /// The name of the CA that issued it.
    pub issuer: String,
    /// Whether it names itself as its issuer.
    pub self_issued: bool,
    /// Its serial number.
    pub serial: Serial,
    /// The first second of validity, since 1970.
    pub not_before: u64,
    /// The last second of validity, since 1970.
    pub not_after: u64,
    /// The kind of its key, such as `ECDSA, 256 bits`.
    pub key_kind: String,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo`, DER): what a roster pins.
    pub key_hash: [u8; 32],
    /// SHA-256 of the whole certificate.
    pub fingerprint: [u8; 32],
    /// Its URI names.
    pub uris: Vec<String>,
    /// Its DNS names.
    pub dns_names: Vec<String>,
    /// What its key may be used for: key usages and extended key usages, by their usual names.
    pub usages: Vec<String>,
    /// What it may do as a CA; `None` if it is none.
    pub authority: Option<AuthorityFacts>,
}

/// What a CA may do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthorityFacts {
    /// How many CAs may follow below it; `None` is any number.
    pub path_length: Option<u32>,
    /// The DNS names to which it is bound, with all that is below them; none is all names. Our
    /// own authorities are bound to their cluster.
    pub permitted_dns: Vec<String>,
}

impl CertificateFacts {
    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// [`CertificateRefusal::BadEncoding`] if the bytes are no certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateRefusal> {
        let malformed = |detail: String| CertificateRefusal::BadEncoding { detail };
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes after the end".to_owned()));
        }
        let validity = certificate.validity();
        let mut facts = Self {
            subject: escaped(&certificate.subject().to_string()),
            issuer: escaped(&certificate.issuer().to_string()),
            self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            serial: Serial::from_der(certificate.raw_serial()),
            not_before: from_timestamp(validity.not_before.timestamp()).as_secs(),
            not_after: from_timestamp(validity.not_after.timestamp()).as_secs(),
            key_kind: key_kind(&certificate),
            key_hash: sha256(certificate.public_key().raw),
            fingerprint: sha256(der),
            uris: Vec::new(),
            dns_names: Vec::new(),
            usages: Vec::new(),
            authority: None,
        };
        facts.read_extensions(&certificate);
        Ok(facts)
    }

    fn read_extensions(&mut self, certificate: &X509Certificate<'_>) {
        let mut permitted = Vec::new();
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(basic) if basic.ca => {
                    self.authority = Some(AuthorityFacts {
                        path_length: basic.path_len_constraint,
                        permitted_dns: Vec::new(),
                    });
                }
                ParsedExtension::NameConstraints(constraints) => {
                    permitted.extend(
                        constraints
                            .permitted_subtrees
                            .iter()
                            .flatten()
                            .filter_map(|subtree| dns_name(&subtree.base)),
                    );
                }
                ParsedExtension::KeyUsage(usage) => {
                    let names = usage.to_string();
                    let names = names
                        .split(',')
                        .map(str::trim)
                        .filter(|name| !name.is_empty());
                    self.usages.extend(names.map(str::to_owned));
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    let named = [
                        (usage.any, "anyExtendedKeyUsage"),
                        (usage.server_auth, "serverAuth"),
                        (usage.client_auth, "clientAuth"),
                        (usage.code_signing, "codeSigning"),
                        (usage.email_protection, "emailProtection"),
                        (usage.time_stamping, "timeStamping"),
                        (usage.ocsp_signing, "OCSPSigning"),
                    ];
                    let present = named.into_iter().filter(|(is_set, _)| *is_set);
                    self.usages.extend(present.map(|(_, name)| name.to_owned()));
                    self.usages
                        .extend(usage.other.iter().map(ToString::to_string));
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        match name {
                            GeneralName::URI(uri) => self.uris.push(escaped(uri)),
                            name => self
                                .dns_names
                                .extend(dns_name(name).as_deref().map(escaped)),
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(authority) = &mut self.authority {
            authority.permitted_dns = permitted;
        }
    }
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    }
}

/// A text for a terminal: control characters cannot move its cursor, and it has an end.
fn escaped(text: &str) -> String {
    const LIMIT: usize = 128;
    text.chars()
        .take(LIMIT)
        .flat_map(char::escape_debug)
        .collect()
}

fn key_kind(certificate: &X509Certificate<'_>) -> String {
    let key = certificate.public_key();
    match key.parsed() {
        Ok(PublicKey::EC(point)) => format!("ECDSA, {} bits", point.key_size()),
        Ok(PublicKey::RSA(key)) => format!("RSA, {} bits", key.key_size()),
        // Ed25519 is known by its identifier alone.
        _ if key.algorithm.algorithm.to_id_string() == "1.3.101.112" => "Ed25519".to_owned(),
        _ => format!("unknown ({})", key.algorithm.algorithm.to_id_string()),
    }
}

/// What a revocation list says. Reading verifies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrlFacts {
    /// The name of the CA, escaped and cut to 128 characters.
    pub issuer: String,
    /// Its number; `None` if it has none, or one above [`u64::MAX`].
    pub number: Option<u64>,
    /// When it was made, in seconds since 1970.
    pub this_update: u64,
    /// When the next one is due, in seconds since 1970; `None` if it does not say.
    pub next_update: Option<u64>,
    /// The serial numbers that it revokes.
    pub revoked: BTreeSet<Serial>,
}

impl CrlFacts {
    /// Reads a revocation list.
    ///
    /// # Errors
    ///
    /// [`CertificateRefusal::BadEncoding`] if the bytes are no revocation list.
    pub fn read(der: &CertificateRevocationListDer<'_>) -> Result<Self, CertificateRefusal> {
        let malformed = |detail: String| CertificateRefusal::BadEncoding { detail };
        let (rest, list) = CertificateRevocationList::from_der(der)
            .map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes after the end".to_owned()));
        }
        let seconds = |timestamp| from_timestamp(timestamp).as_secs();
        Ok(Self {
            issuer: escaped(&list.issuer().to_string()),
            number: list
                .crl_number()
                .and_then(|number| u64::try_from(number).ok()),
            this_update: seconds(list.last_update().timestamp()),
            next_update: list.next_update().map(|time| seconds(time.timestamp())),
            revoked: list
                .iter_revoked_certificates()
                .map(|entry| Serial::from_der(entry.raw_serial()))
                .collect(),
        })
    }
}

/// Whether a revocation list is signed by the key of a CA. Nothing else is looked at: nodes ask for
/// the name and the usages of the CA too.
#[must_use]
pub fn is_crl_of(crl: &CertificateRevocationListDer<'_>, authority: &CertificateDer<'_>) -> bool {
    let list = CertificateRevocationList::from_der(crl);
    let authority = X509Certificate::from_der(authority);
    match (list, authority) {
        (Ok((_, list)), Ok((_, authority))) => {
            list.verify_signature(authority.public_key()).is_ok()
        }
        _ => false,
    }
}

/// SHA-256 of the public half of a private key in PEM, as a roster pins it. `origin` names the
/// text in errors.
///
/// # Errors
///
/// [`CredentialError`] if the text does not hold exactly one key that can be used.
pub fn private_key_hash(pem: &[u8], origin: &str) -> Result<[u8; 32], CredentialError> {
    let key = read_key(pem, origin)?;
    let public = key.public_key().ok_or_else(|| CredentialError::BadKey {
        file: origin.to_owned(),
        detail: "its public half is not known".to_owned(),
    })?;
    Ok(sha256(&public))
}
