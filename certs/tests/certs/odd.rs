//! Certificates that our own authority would never issue.

use std::time::Duration;

use quicraft_certs::{CertificateDer, ClusterName, Trust, TrustLimits, UnixTime};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use time::OffsetDateTime;

/// 2027-01-15: the date of all these tests.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 24 * 60 * 60;

pub(crate) const CLUSTER: &str = "prod.example";
pub(crate) const URI: &str = "spiffe://prod.example/node/7";
pub(crate) const DNS: &str = "node-7.prod.example";

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

pub(crate) fn date(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap()
}

pub(crate) fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A CA, trusted or below another one.
pub(crate) struct Ca {
    pub(crate) certificate: Certificate,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

pub(crate) fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.not_before = date(NOW - 10 * DAY);
    params.not_after = date(NOW + 1000 * DAY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Ca {
    pub(crate) fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.signed_by(&key, &self.issuer).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Issues a node's certificate; nobody needs its key to check it.
    pub(crate) fn issue(&self, params: &CertificateParams) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().clone()
    }

    /// Issues a node's certificate with its key, both in PEM.
    pub(crate) fn issue_pem(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn crl(&self, revoked: &[&[u8]], this_update: u64, next_update: u64) -> String {
        let list = CertificateRevocationListParams {
            this_update: date(this_update),
            next_update: date(next_update),
            crl_number: SerialNumber::from_slice(&this_update.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: date(this_update),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub(crate) fn trust(&self) -> Trust {
        trust(&self.pem(), "", TrustLimits::default())
    }
}

pub(crate) fn trust(ca: &str, crl: &str, limits: TrustLimits) -> Trust {
    let cluster = ClusterName::new(CLUSTER).unwrap();
    Trust::from_pem(cluster, ca.as_bytes(), crl.as_bytes(), limits).unwrap()
}

pub(crate) fn limits(change: impl FnOnce(&mut TrustLimits)) -> TrustLimits {
    let mut limits = TrustLimits::default();
    change(&mut limits);
    limits
}

/// A good node's certificate; each test spoils one thing in it.
pub(crate) fn node_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("node-7");
    params.serial_number = Some(SerialNumber::from_slice(&[0x41; 16]));
    params.not_before = date(NOW - DAY);
    params.not_after = date(NOW + 90 * DAY);
    params.subject_alt_names = vec![uri(URI), dns(DNS)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

pub(crate) fn spoiled(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = node_params();
    change(&mut params);
    params
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(crate) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// The names of a certificate as raw bytes: rcgen writes only well-formed ones.
pub(crate) fn raw_names(names: &[(u8, &[u8])]) -> CustomExtension {
    let mut content = Vec::new();
    for (tag, value) in names {
        content.push(0x80 | tag);
        content.push(u8::try_from(value.len()).unwrap());
        content.extend_from_slice(value);
    }
    assert!(content.len() < 128, "the short form of a length");
    let mut sequence = vec![0x30, u8::try_from(content.len()).unwrap()];
    sequence.append(&mut content);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], sequence)
}
