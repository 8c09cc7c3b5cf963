//! Certificates for keys that the authority never sees, second certificates, and lists with
//! numbers: what the command builds on.

use std::fs;

use quicraft_certs::{
    Authority, AuthorityError, AuthorityOptions, CertificateDer, CertificateFacts,
    CertificateRefusal, CertificateRequest, ClusterName, CredentialError, CredentialPem,
    CredentialSettings, Credentials, CrlFacts, CrlOptions, IssueOptions, NodeId, NodeIdentity,
    NodeRequest, Revocation, WallClock, is_crl_of, private_key_hash,
};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;

use crate::odd::{CLUSTER, DAY, NOW, URI, at};

fn cluster() -> ClusterName {
    ClusterName::new(CLUSTER).unwrap()
}

fn identity() -> NodeIdentity {
    NodeIdentity::parse_uri(URI).unwrap()
}

fn clock() -> WallClock {
    WallClock::manual(at(NOW))
}

fn authority() -> Authority {
    Authority::with_clock(cluster(), clock()).unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn list(pem: &str) -> CertificateRevocationListDer<'static> {
    CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn load(
    authority: &Authority,
    certificate: &str,
    key: &str,
) -> Result<Credentials, CredentialError> {
    let root = authority.root_pem().as_bytes();
    let pem = CredentialPem::new(root, certificate.as_bytes(), key.as_bytes());
    let mut settings = CredentialSettings::default();
    settings.clock = clock();
    Credentials::from_pem(&pem, &settings)
}

#[test]
fn a_key_is_certified_without_being_shown() {
    let authority = authority();
    let wish = NodeRequest::new(&identity()).unwrap();
    assert!(!wish.request_pem().contains("PRIVATE"));
    assert!(!format!("{wish:?}").contains("PRIVATE"));
    let request = CertificateRequest::from_pem(wish.request_pem().as_bytes()).unwrap();
    assert_eq!(request.claimed(), Some(&identity()));
    assert_eq!(request.key_hash(), wish.key_hash());
    // The node is who the authority says, whatever the request claims.
    let other = NodeId::new(8).unwrap();
    let signed = authority
        .sign(other, &request, &IssueOptions::default())
        .unwrap();
    assert_eq!(signed.identity().node(), other);
    assert_eq!(signed.key_hash(), wish.key_hash());
    assert_eq!(
        (signed.not_before(), signed.not_after()),
        (NOW - 300, NOW + 90 * DAY)
    );
    let credentials = load(&authority, signed.certificate_pem(), wish.key_pem()).unwrap();
    assert_eq!(credentials.identity().node(), other);
    assert_eq!(credentials.certificate().key_hash(), signed.key_hash());
    assert_eq!(credentials.certificate().serial(), signed.serial());
    assert_eq!(
        private_key_hash(wish.key_pem().as_bytes(), "key").unwrap(),
        wish.key_hash()
    );
    // A request for the same key again.
    let again = NodeRequest::with_key(&identity(), wish.key_pem()).unwrap();
    assert_eq!(again.key_hash(), wish.key_hash());
}

#[test]
fn what_is_no_request() {
    let node = authority().issue(NodeId::new(1).unwrap()).unwrap();
    for text in ["", "nonsense", node.certificate_pem(), node.key_pem()] {
        let refused = CertificateRequest::from_pem(text.as_bytes());
        assert!(
            matches!(refused, Err(AuthorityError::BadRequest { .. })),
            "{text}"
        );
    }
    assert!(matches!(
        NodeRequest::with_key(&identity(), "nonsense"),
        Err(AuthorityError::BadRequestKey { .. })
    ));
}

#[test]
fn a_second_certificate_for_a_key() {
    let authority = authority();
    let first = authority.issue(NodeId::new(7).unwrap()).unwrap();
    let second = authority
        .reissue(&der(first.certificate_pem()), &IssueOptions::default())
        .unwrap();
    assert_eq!(second.identity(), first.identity());
    assert_eq!(second.key_hash(), first.certificate().key_hash());
    assert_ne!(second.serial(), first.serial());
    load(&authority, second.certificate_pem(), first.key_pem()).unwrap();

    // Not for the certificate of somebody else, of the authority itself, or of another cluster.
    let refused =
        |certificate: &str| authority.reissue(&der(certificate), &IssueOptions::default());
    let foreign = self::authority().issue(NodeId::new(7).unwrap()).unwrap();
    assert!(matches!(
        refused(foreign.certificate_pem()),
        Err(AuthorityError::NotIssuedHere)
    ));
    assert!(matches!(
        refused(authority.root_pem()),
        Err(AuthorityError::NotANode(
            CertificateRefusal::LeafIsAuthority
        ))
    ));
    assert_eq!(
        authority.issued(&der(first.certificate_pem())).unwrap(),
        identity()
    );
}

#[test]
fn two_authorities_are_no_chain() {
    let (one, two) = (authority(), authority());
    let bundle = format!("{}{}", one.root_pem(), two.root_pem());
    assert!(matches!(
        Authority::from_pem(&bundle, one.key_pem()),
        Err(AuthorityError::BadCertificate { detail }) if detail.contains("two authorities")
    ));
}

#[test]
fn the_life_of_an_authority() {
    let made = |last: u64| {
        let mut options = AuthorityOptions::default();
        options.clock = clock();
        options.not_after = Some(at(last));
        Authority::with_options(cluster(), options)
    };
    // It begins 300 seconds before now, so that is the first end that is too early.
    assert!(matches!(made(NOW - 300), Err(AuthorityError::Dates { .. })));
    let short = made(NOW - 299).unwrap();
    assert_eq!(
        (short.not_before(), short.not_after()),
        (NOW - 300, NOW - 299)
    );
    assert!(matches!(made(u64::MAX), Err(AuthorityError::Date { .. })));
    let read = Authority::from_pem(short.root_pem(), short.key_pem()).unwrap();
    assert_eq!(
        (read.not_before(), read.not_after()),
        (NOW - 300, NOW - 299)
    );
}

#[test]
fn an_authority_is_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let made = authority();
    let (certificate, key) = (folder.path().join("ca.crt"), folder.path().join("ca.key"));
    fs::write(&certificate, made.certificate_pem()).unwrap();
    fs::write(&key, made.key_pem()).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        assert!(matches!(
            Authority::load(&certificate, &key),
            Err(AuthorityError::File(CredentialError::ExposedKey {
                mode: 0o640,
                ..
            }))
        ));
        mode(0o600);
    }
    let read = Authority::load(&certificate, &key).unwrap();
    assert_eq!(read.root_pem(), made.root_pem());
    assert!(matches!(
        Authority::load(&folder.path().join("none"), &key),
        Err(AuthorityError::File(CredentialError::Read { .. }))
    ));
}

#[test]
fn a_list_has_its_number_and_its_dates() {
    let authority = authority();
    let serials = [1, 2].map(|id| {
        let issued = authority.issue(NodeId::new(id).unwrap()).unwrap();
        issued.serial().clone()
    });
    let revoked = [
        Revocation::new(serials[0].clone(), at(NOW - 5)),
        Revocation::new(serials[1].clone(), at(NOW - 3)),
    ];
    let mut options = CrlOptions::default();
    options.number = Some(300);
    let pem = authority.crl_of(&revoked, &options).unwrap();
    let facts = CrlFacts::read(&list(&pem)).unwrap();
    assert_eq!(facts.number, Some(300));
    assert_eq!(
        (facts.this_update, facts.next_update),
        (NOW, Some(NOW + 7 * DAY))
    );
    assert_eq!(facts.revoked, serials.into_iter().collect());
    assert_eq!(
        CertificateFacts::read(&der(authority.root_pem()))
            .unwrap()
            .subject,
        facts.issuer
    );
    assert!(is_crl_of(&list(&pem), &der(authority.root_pem())));
    assert!(!is_crl_of(&list(&pem), &der(self::authority().root_pem())));

    options.this_update = Some(at(NOW));
    options.next_update = Some(at(NOW));
    assert!(matches!(
        authority.crl_of(&[], &options),
        Err(AuthorityError::Dates { .. })
    ));
    options.number = Some(u64::MAX);
    options.next_update = Some(at(NOW + 1));
    let pem = authority.crl_of(&[], &options).unwrap();
    assert_eq!(CrlFacts::read(&list(&pem)).unwrap().number, Some(u64::MAX));
}
