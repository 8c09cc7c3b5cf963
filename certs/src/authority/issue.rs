//! The certificate of a node.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{DnsName, UnixTime};
use std::time::Duration;
use zeroize::Zeroizing;

use super::{
    Authority, AuthorityError, CLOCK_SKEW, IssuedNode, NodeCertificate, before, date, random_serial,
};
use crate::clock::after;
use crate::crypto::sha256;
use crate::{NodeId, NodeIdentity, Serial};

/// How long a node's certificate is valid: 90 days, so that renewing it is routine.
const NODE_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What is different about a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssueOptions {
    /// The first second of validity. Default: 5 minutes ago.
    pub not_before: Option<UnixTime>,
    /// The last second of validity. Default: 90 days from now.
    pub not_after: Option<UnixTime>,
    /// More DNS names, for other tools; they must be within the cluster, and no wildcards.
    /// Default: none.
    pub extra_dns: Vec<String>,
}

/// Certifies a new key.
pub(super) fn issue(
    authority: &Authority,
    node: NodeId,
    options: &IssueOptions,
) -> Result<IssuedNode, AuthorityError> {
    let key = KeyPair::generate()?;
    Ok(IssuedNode {
        certificate: certify(authority, node, options, &key)?,
        key_pem: Zeroizing::new(key.serialize_pem()),
        clock: authority.clock.clone(),
    })
}

/// Certifies a public key. Every field of the certificate is ours; only the key is another's.
pub(super) fn certify(
    authority: &Authority,
    node: NodeId,
    options: &IssueOptions,
    key: &impl PublicKeyData,
) -> Result<NodeCertificate, AuthorityError> {
    let now = authority.clock.now();
    let not_before = options
        .not_before
        .unwrap_or_else(|| before(now, CLOCK_SKEW));
    let not_after = options.not_after.unwrap_or_else(|| after(now, NODE_LIFE));
    if not_after <= not_before {
        return Err(AuthorityError::Dates {
            first: not_before.as_secs(),
            last: not_after.as_secs(),
        });
    }
    let identity = NodeIdentity::new(authority.cluster.clone(), node);
    let serial = random_serial();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("node-{node}"));

    // Every field that matters is set: rcgen's own dates run from 1975 to 4096.
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.subject_alt_names = names(authority, &identity, &options.extra_dns)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;

    let certificate = params.signed_by(key, &authority.issuer)?;
    Ok(NodeCertificate {
        identity,
        serial: Serial::from_der(&serial),
        not_before,
        not_after,
        key_hash: sha256(&key.subject_public_key_info()),
        certificate_pem: format!("{}{}", certificate.pem(), authority.chain_pem),
        root_pem: authority.root_pem.clone(),
    })
}

fn names(
    authority: &Authority,
    identity: &NodeIdentity,
    extra_dns: &[String],
) -> Result<Vec<SanType>, AuthorityError> {
    let mut names = vec![
        SanType::URI(identity.uri().try_into()?),
        SanType::DnsName(identity.dns_name().try_into()?),
    ];
    for name in extra_dns {
        let cluster = &authority.cluster;
        let within = name
            .strip_suffix(cluster.as_str())
            .is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        // `DnsName` refuses wildcards.
        if !within || DnsName::try_from(name.as_str()).is_err() {
            return Err(AuthorityError::Name {
                name: name.clone(),
                cluster: cluster.clone(),
            });
        }
        names.push(SanType::DnsName(name.clone().try_into()?));
    }
    Ok(names)
}
