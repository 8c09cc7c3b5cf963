//! What our own authority issues, and how it is written to disk.

use std::fs;

use quicraft_certs::{
    Authority, AuthorityError, CertificateDer, ClusterName, Credentials, IssueOptions, NodeId,
    PeerCertificate, WallClock, WriteError,
};
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::odd::{CLUSTER, Ca, DAY, DNS, NOW, URI, at, ca_params};

fn cluster() -> ClusterName {
    ClusterName::new(CLUSTER).unwrap()
}

fn node() -> NodeId {
    NodeId::new(7).unwrap()
}

fn authority() -> Authority {
    Authority::with_clock(cluster(), WallClock::manual(at(NOW))).unwrap()
}

fn seconds(time: i64) -> u64 {
    u64::try_from(time).unwrap()
}

#[test]
fn the_certificate_of_an_authority() {
    let authority = authority();
    let der = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let basic = certificate.basic_constraints().unwrap().unwrap();
    assert!(basic.critical);
    assert!(basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(1));
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    let constraints = certificate.name_constraints().unwrap().unwrap();
    let permitted = constraints.value.permitted_subtrees.as_ref().unwrap();
    assert!(matches!(permitted[..], [ref only] if only.base == GeneralName::DNSName(CLUSTER)));
    let validity = certificate.validity();
    assert_eq!(seconds(validity.not_before.timestamp()), NOW - 300);
    assert_eq!(seconds(validity.not_after.timestamp()), NOW + 3650 * DAY);
}

#[test]
fn the_certificate_of_a_node() {
    let authority = authority();
    let issued = authority.issue(node()).unwrap();
    let der = CertificateDer::from_pem_slice(issued.certificate_pem().as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let basic = certificate.basic_constraints().unwrap().unwrap();
    assert!(!basic.value.ca);
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 1, "digitalSignature and nothing else");
    let extended = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.any);
    assert!(extended.other.is_empty());
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [GeneralName::URI(URI), GeneralName::DNSName(DNS)]
    );
    assert!(
        certificate
            .extensions()
            .iter()
            .any(|extension| extension.oid
                == x509_parser::oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER)
    );
    let validity = certificate.validity();
    assert_eq!(seconds(validity.not_before.timestamp()), NOW - 300);
    assert_eq!(seconds(validity.not_after.timestamp()), NOW + 90 * DAY);
    let serial = certificate.raw_serial();
    assert_eq!(serial.len(), 16);
    assert!(serial[0] & 0x80 == 0, "positive");
    assert_eq!(issued.serial().as_bytes(), serial);
    assert_ne!(authority.issue(node()).unwrap().serial(), issued.serial());
}

#[test]
fn options_are_followed() {
    let authority = authority();
    let mut options = IssueOptions::default();
    options.not_before = Some(at(NOW - 10));
    options.not_after = Some(at(NOW + 10));
    options.extra_dns = vec!["raft.prod.example".to_owned(), CLUSTER.to_owned()];
    let issued = authority.issue_with(node(), &options).unwrap();
    let credentials = issued.credentials(&authority).unwrap();
    assert_eq!(credentials.certificate().not_before(), NOW - 10);
    assert_eq!(credentials.not_after(), NOW + 10);

    options.not_after = Some(at(NOW - 10));
    assert!(matches!(
        authority.issue_with(node(), &options),
        Err(AuthorityError::Dates { .. })
    ));
    options.not_after = Some(at(u64::MAX));
    assert!(matches!(
        authority.issue_with(node(), &options),
        Err(AuthorityError::Date { seconds: u64::MAX })
    ));
    options.not_after = None;
    for name in [
        "other.example",
        "xprod.example",
        "*.prod.example",
        ".prod.example",
        "",
    ] {
        options.extra_dns = vec![name.to_owned()];
        assert!(
            matches!(
                authority.issue_with(node(), &options),
                Err(AuthorityError::Name { .. })
            ),
            "{name}"
        );
    }
}

#[test]
fn every_authority_has_its_own_name() {
    let issuer = |authority: &Authority| {
        let issued = authority.issue(node()).unwrap();
        let credentials = issued.credentials(authority).unwrap();
        credentials.certificate().issuer().to_owned()
    };
    assert_ne!(issuer(&authority()), issuer(&authority()));
}

#[test]
fn the_longest_cluster_name_is_certified() {
    let label = "a".repeat(59);
    let cluster = ClusterName::new(&format!("{label}.{label}.{label}")).unwrap();
    let authority = Authority::new(cluster).unwrap();
    let issued = authority.issue(NodeId::new(u64::MAX).unwrap()).unwrap();
    issued.credentials(&authority).unwrap();
}

#[test]
fn an_authority_survives_its_pem() {
    let made = Authority::new(cluster()).unwrap();
    let read = Authority::from_pem(&made.certificate_pem(), made.key_pem()).unwrap();
    assert_eq!(read.cluster(), made.cluster());
    assert_eq!(read.root_pem(), made.root_pem());
    let issued = read.issue(node()).unwrap();
    issued.credentials(&made).unwrap();

    let below = made.intermediate().unwrap();
    let read = Authority::from_pem(&below.certificate_pem(), below.key_pem()).unwrap();
    let issued = read.issue(node()).unwrap();
    assert_eq!(issued.credentials(&made).unwrap().chain().len(), 2);
    assert!(matches!(read.intermediate(), Err(AuthorityError::TooDeep)));
    // The CRL of a read authority is accepted too.
    let crl = format!("{}{}", read.crl(&[]).unwrap(), made.crl(&[]).unwrap());
    issued
        .credentials_with(made.root_pem(), &crl, &Default::default())
        .unwrap();
}

#[test]
fn a_foreign_key_is_refused() {
    let (one, two) = (authority(), authority());
    assert!(matches!(
        Authority::from_pem(&one.certificate_pem(), two.key_pem()),
        Err(AuthorityError::KeyMismatch)
    ));
    assert!(matches!(
        Authority::from_pem("", one.key_pem()),
        Err(AuthorityError::BadCertificate { .. })
    ));
    assert!(matches!(
        Authority::from_pem(&one.certificate_pem(), "nonsense"),
        Err(AuthorityError::BadKey { .. })
    ));
    let issued = one.issue(node()).unwrap();
    assert!(matches!(
        Authority::from_pem(issued.certificate_pem(), issued.key_pem()),
        Err(AuthorityError::BadCertificate { .. })
    ));
    // A CA that is bound to no cluster.
    let free = Ca::root(ca_params("free"));
    assert!(matches!(
        Authority::from_pem(&free.pem(), &free.issuer.key().serialize_pem()),
        Err(AuthorityError::BadCertificate { .. })
    ));
}

#[test]
fn the_dates_of_a_crl_are_in_order() {
    let authority = authority();
    assert!(authority.crl_with(&[], at(NOW), at(NOW + 1)).is_ok());
    assert!(matches!(
        authority.crl_with(&[], at(NOW), at(NOW)),
        Err(AuthorityError::Dates { .. })
    ));
}

#[test]
fn the_files_of_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("deep/certs");
    let authority = Authority::new(cluster()).unwrap();
    let issued = authority.issue(node()).unwrap();
    let files = issued.write(&inside).unwrap();
    assert_eq!(files.ca, inside.join("ca.crt"));
    assert_eq!(files.cert, inside.join("node-7.crt"));
    assert_eq!(files.key, inside.join("node-7.key"));
    let credentials = Credentials::load(&files, &Default::default()).unwrap();
    assert_eq!(credentials.identity(), issued.identity());
    assert_eq!(credentials.certificate().serial(), issued.serial());

    // A second node shares the folder and its ca.crt.
    let other = authority.issue(NodeId::new(8).unwrap()).unwrap();
    other.write(&inside).unwrap();
    // Nothing is overwritten, whoever issued it, and nothing new is left behind.
    let before = fs::read(&files.key).unwrap();
    let again = authority.issue(node()).unwrap().write(&inside);
    assert!(matches!(again, Err(WriteError::Exists { file }) if file == files.cert));
    assert_eq!(fs::read(&files.key).unwrap(), before);
    let foreign = Authority::new(cluster()).unwrap();
    let ninth = foreign
        .issue(NodeId::new(9).unwrap())
        .unwrap()
        .write(&inside);
    assert!(matches!(ninth, Err(WriteError::Exists { file }) if file == files.ca));
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 5);

    // A key without its certificate in the way: the new certificate is removed again.
    fs::remove_file(&files.cert).unwrap();
    let again = authority.issue(node()).unwrap().write(&inside);
    assert!(matches!(again, Err(WriteError::Exists { file }) if file == files.key));
    assert!(!files.cert.exists());
    assert_eq!(fs::read(&files.key).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn a_key_is_private_from_the_start() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("certs");
    let authority = Authority::new(cluster()).unwrap();
    let files = authority.issue(node()).unwrap().write(&inside).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!(mode(&inside), 0o700);
}

#[test]
fn the_key_hash_is_that_of_the_public_key() {
    let authority = authority();
    let issued = authority.issue(node()).unwrap();
    let der = CertificateDer::from_pem_slice(issued.certificate_pem().as_bytes()).unwrap();
    let read = PeerCertificate::from_chain(std::slice::from_ref(&der)).unwrap();
    // The SPKI of a P-256 key is a fixed header of 26 bytes and a point of 65.
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let spki = certificate.public_key().raw;
    assert_eq!(spki.len(), 91);
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().unwrap().common.hash_provider.hash(spki);
    assert_eq!(read.key_hash(), hash.as_ref());
}
