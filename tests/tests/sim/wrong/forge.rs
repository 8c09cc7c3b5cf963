//! Makes certificates that our own authority would never issue. It must not know who shows them.

use std::sync::Arc;

use quicraft_certs::{Authority, CertificateDer};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
    SigningKey as _,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use time::OffsetDateTime;

/// 2027-01-15: the date of the whole table.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const DAY: u64 = 24 * 60 * 60;

/// The serial number of every forged node's certificate.
pub(super) const SERIAL: [u8; 16] = [0x41; 16];

/// What an end shows: its chain, and the key that it signs with.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<dyn SigningKey>,
}

/// A CA whose key the forger has.
pub(super) struct Ca {
    pub(super) der: CertificateDer<'static>,
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

pub(super) fn date(seconds: u64) -> OffsetDateTime {
    let seconds = i64::try_from(seconds).expect("a date");
    OffsetDateTime::from_unix_timestamp(seconds).expect("a date")
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A CA without any constraint.
pub(super) fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.not_before = date(NOW - 10 * DAY);
    params.not_after = date(NOW + 1_000 * DAY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A good certificate of node 2; each row spoils one thing in it.
pub(super) fn node_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("node-2");
    params.serial_number = Some(SerialNumber::from_slice(&SERIAL));
    params.not_before = date(NOW - DAY);
    params.not_after = date(NOW + 90 * DAY);
    params.subject_alt_names = vec![uri(&of_node("2")), dns("node-2.sim.example")];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

/// The URI of a node, however its id is spelled.
pub(super) fn of_node(id: &str) -> String {
    format!("spiffe://sim.example/node/{id}")
}

pub(super) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("an IA5 string"))
}

pub(super) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("an IA5 string"))
}

/// The names of a certificate as raw bytes: rcgen writes only well-formed ones.
pub(super) fn raw_names(names: &[(u8, &[u8])]) -> CustomExtension {
    let mut content = Vec::new();
    for (tag, value) in names {
        content.push(0x80 | tag);
        content.push(u8::try_from(value.len()).expect("short"));
        content.extend_from_slice(value);
    }
    assert!(content.len() < 128, "the short form of a length");
    let mut sequence = vec![0x30, u8::try_from(content.len()).expect("short")];
    sequence.append(&mut content);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], sequence)
}

pub(super) fn signing(key: &KeyPair) -> Arc<dyn SigningKey> {
    let der = PrivatePkcs8KeyDer::from(key.serialize_der());
    rustls::crypto::ring::sign::any_supported_type(&der.into()).expect("a key of ours")
}

impl Ca {
    /// The cluster's own authority, in the wrong hands.
    pub(super) fn of(authority: &Authority) -> Self {
        let key = KeyPair::from_pem(authority.key_pem()).expect("a key");
        let pem = authority.root_pem().to_owned();
        let der = pem_to_der(&pem);
        let issuer = Issuer::from_ca_cert_der(&der, key).expect("a CA");
        Self { der, pem, issuer }
    }

    pub(super) fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a CA");
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(super) fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a CA");
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate, its key, and what is sent along.
    pub(super) fn issue(
        &self,
        params: &CertificateParams,
        along: &[&CertificateDer<'static>],
    ) -> Shown {
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("issued");
        let along = along.iter().map(|der| (*der).clone());
        Shown {
            chain: std::iter::once(leaf.der().clone()).chain(along).collect(),
            key: signing(&key),
        }
    }

    /// A certificate for a public key that we have no private one for.
    pub(super) fn issue_for(
        &self,
        params: &CertificateParams,
        public: &impl rcgen::PublicKeyData,
        key: Arc<dyn SigningKey>,
    ) -> Shown {
        let leaf = params.signed_by(public, &self.issuer).expect("issued");
        Shown {
            chain: vec![leaf.der().clone()],
            key,
        }
    }

    /// The certificate with one part of it replaced by another of the same length, and signed anew.
    pub(super) fn resigned(
        &self,
        certificate: &CertificateDer<'_>,
        part: &[u8],
        by: &[u8],
    ) -> CertificateDer<'static> {
        let signed = replaced(inner(certificate), part, by);
        let tbs = &signed[..4 + content_length(&signed)];
        let signature = self.issuer.key().sign(tbs).expect("signed");
        // The algorithm stands behind what is signed, and before the signature.
        let algorithm = &signed[tbs.len()..][..2 + usize::from(signed[tbs.len() + 1])];
        let length = |bytes: usize| u8::try_from(bytes).expect("the short form of a length");
        let mut content = [tbs, algorithm, &[0x03, length(signature.len() + 1), 0]].concat();
        content.extend(signature);
        let size = u16::try_from(content.len()).expect("two bytes of length");
        let mut der = vec![0x30, 0x82];
        der.extend(size.to_be_bytes());
        der.extend(content);
        der.into()
    }

    /// The CA's own certificate and key, as if it were a node.
    pub(super) fn itself(&self) -> Shown {
        Shown {
            chain: vec![self.der.clone()],
            key: signing(self.issuer.key()),
        }
    }
}

/// Signed with its own key.
pub(super) fn self_signed(params: &CertificateParams) -> Shown {
    let key = KeyPair::generate().expect("a key");
    let leaf = params.self_signed(&key).expect("signed");
    Shown {
        chain: vec![leaf.der().clone()],
        key: signing(&key),
    }
}

pub(super) fn pem_to_der(pem: &str) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// The object identifiers of two curves: the usual one, and one that is too small for anybody.
pub(super) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(super) const P192: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01];

/// The certificate of another serial number with the signature of this one.
pub(super) fn with_changed_serial(certificate: &CertificateDer<'_>) -> CertificateDer<'static> {
    replaced(certificate, &SERIAL, &[0x42; 16]).into()
}

fn replaced(bytes: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    assert_eq!(part.len(), by.len(), "the same length");
    let place = bytes.windows(part.len()).position(|window| window == part);
    let place = place.expect("the part is there");
    let mut bytes = bytes.to_vec();
    bytes[place..][..by.len()].copy_from_slice(by);
    bytes
}

/// What a sequence of more than 255 bytes holds.
fn inner(der: &[u8]) -> &[u8] {
    &der[4..][..content_length(der)]
}

fn content_length(der: &[u8]) -> usize {
    assert_eq!(
        der[..2],
        [0x30, 0x82],
        "a sequence with two bytes of length"
    );
    usize::from(u16::from_be_bytes([der[2], der[3]]))
}

/// Signs with what is no signature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scribbles(SignatureScheme);

impl Scribbles {
    pub(super) fn with(scheme: SignatureScheme) -> Arc<dyn SigningKey> {
        Arc::new(Self(scheme))
    }
}

impl SigningKey for Scribbles {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(*self))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Scribbles {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![7; 128])
    }

    fn scheme(&self) -> SignatureScheme {
        self.0
    }
}
