//! The certificate of an authority itself: how it is made, and how it is read back.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints, PublicKeyData, SerialNumber,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{AuthorityError, CLOCK_SKEW, before, date, random_serial};
use crate::clock::{after, from_timestamp};
use crate::{ClusterName, Serial};

/// How long an authority is valid: 10 years. When it ends, it ends for all nodes at once, so it
/// must not be a date that anybody meets by surprise; trusted CAs can be replaced at any time
/// before, without a restart.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The first and the last second of an authority.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) first: UnixTime,
    pub(super) last: UnixTime,
}

impl Life {
    pub(super) fn starting(now: UnixTime, last: Option<UnixTime>) -> Result<Self, AuthorityError> {
        let first = before(now, CLOCK_SKEW);
        let last = last.unwrap_or_else(|| after(now, AUTHORITY_LIFE));
        if last <= first {
            return Err(AuthorityError::Dates {
                first: first.as_secs(),
                last: last.as_secs(),
            });
        }
        Ok(Self { first, last })
    }
}

pub(super) fn authority_params(
    cluster: &ClusterName,
    path_length: u8,
    life: Life,
) -> Result<CertificateParams, AuthorityError> {
    /// The longest organization and common name of X.509, in characters.
    const NAME_LIMIT: usize = 64;

    let serial = random_serial();
    let mut name = DistinguishedName::new();
    let cut: String = cluster.as_str().chars().take(NAME_LIMIT).collect();
    name.push(DnType::OrganizationName, cut);
    // A part of the serial number makes the name the only one of its kind.
    let mark = Serial::from_der(&serial[..8]);
    name.push(DnType::CommonName, format!("Quicraft CA {mark}"));

    // Every field that matters is set: rcgen's own dates run from 1975 to 4096.
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(life.first)?;
    params.not_after = date(life.last)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(cluster.as_str().to_owned())],
        excluded_subtrees: Vec::new(),
    });
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Reads the cluster of an authority from its name constraint, and its dates; and refuses a key
/// that is not its own: rcgen would sign with any key, and nobody would accept the result.
pub(super) fn read_own(
    der: &CertificateDer<'_>,
    key: &KeyPair,
) -> Result<(ClusterName, Life), AuthorityError> {
    let malformed = |detail: String| AuthorityError::BadCertificate { detail };
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err(AuthorityError::KeyMismatch);
    }
    if !certificate.is_ca() {
        return Err(malformed("it is not that of an authority".to_owned()));
    }
    let constraints = certificate
        .name_constraints()
        .map_err(|error| malformed(error.to_string()))?;
    let mut names = constraints
        .iter()
        .flat_map(|constraints| constraints.value.permitted_subtrees.iter().flatten())
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        });
    match (names.next(), names.next()) {
        (Some(name), None) => {
            let validity = certificate.validity();
            let life = Life {
                first: from_timestamp(validity.not_before.timestamp()),
                last: from_timestamp(validity.not_after.timestamp()),
            };
            Ok((ClusterName::new(name)?, life))
        }
        _ => Err(malformed(
            "it has no name constraint that names its one cluster".to_owned(),
        )),
    }
}

/// Refuses two certificates of which the second has not issued the first: a bundle of two trusted
/// authorities looks like an intermediate with the authority above it, and is something else.
pub(super) fn expect_above(
    own: &CertificateDer<'_>,
    root: &CertificateDer<'_>,
) -> Result<(), AuthorityError> {
    let malformed = |detail: String| AuthorityError::BadCertificate { detail };
    let parse = |der| {
        X509Certificate::from_der(der)
            .map(|(_, certificate)| certificate)
            .map_err(|error| malformed(error.to_string()))
    };
    let (own, root) = (parse(own)?, parse(root)?);
    own.verify_signature(Some(root.public_key())).map_err(|_| {
        malformed("it holds two authorities, and the second has not issued the first".to_owned())
    })
}
