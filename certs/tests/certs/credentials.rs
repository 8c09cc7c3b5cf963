//! Loading credentials: everything that can be wrong with files, each with its own error.

use std::fs;
use std::path::PathBuf;

use quicraft_certs::{
    Authority, AuthorityFault, CertificateRefusal as Refusal, ClusterName, CredentialError as Bad,
    CredentialFiles, CredentialPem, CredentialSettings, Credentials, InvalidTrust, NodeId,
    PeerRole, TrustLimits, Usage, WallClock,
};
use rcgen::{
    ExtendedKeyUsagePurpose as Eku, GeneralSubtree, KeyPair, KeyUsagePurpose, NameConstraints,
};
use tempfile::TempDir;

use crate::odd::*;

fn settings() -> CredentialSettings {
    let mut settings = CredentialSettings::default();
    settings.clock = WallClock::manual(at(NOW));
    settings
}

/// Good files, to be spoiled one at a time.
struct Folder {
    folder: TempDir,
    authority: Authority,
    files: CredentialFiles,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = ClusterName::new(CLUSTER).unwrap();
        let clock = WallClock::manual(at(NOW));
        let authority = Authority::with_clock(cluster, clock).unwrap();
        let issued = authority.issue(NodeId::new(7).unwrap()).unwrap();
        let files = issued.write(folder.path()).unwrap();
        Self {
            folder,
            authority,
            files,
        }
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn load(&self) -> Result<Credentials, Bad> {
        Credentials::load(&self.files, &settings())
    }

    /// The error of loading; its text names the file.
    #[track_caller]
    fn error(&self, file: &str) -> Bad {
        let error = self.load().unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
        error
    }
}

#[test]
fn good_files_are_loaded() {
    let folder = Folder::new();
    let credentials = folder.load().unwrap();
    assert_eq!(credentials.identity().uri(), URI);
    assert_eq!(credentials.chain().len(), 1);
    assert_eq!(credentials.trust().authorities(), 1);
    assert_eq!(credentials.trust().crls(), 0);
    assert_eq!(credentials.trust().cluster().as_str(), CLUSTER);
}

#[test]
fn a_missing_file_and_one_that_is_none() {
    let mut folder = Folder::new();
    folder.files.ca = folder.folder.path().join("nowhere.crt");
    assert!(matches!(folder.error("nowhere.crt"), Bad::Read { .. }));
    folder.files.ca = folder.folder.path().to_path_buf();
    let name = folder.folder.path().display().to_string();
    assert!(matches!(folder.error(&name), Bad::NotAFile { .. }));
}

#[test]
fn a_file_ends_at_the_limit() {
    let folder = Folder::new();
    let key = fs::read_to_string(&folder.files.key).unwrap();
    let limit = 64 * 1024;
    let fill = |bytes: usize| format!("{}{key}", "#".repeat(bytes - key.len() - 1) + "\n");
    fs::write(&folder.files.key, fill(limit)).unwrap();
    folder.load().unwrap();
    fs::write(&folder.files.key, fill(limit + 1)).unwrap();
    let error = folder.error("node-7.key");
    assert!(
        matches!(error, Bad::FileTooLarge { limit: 65_536, .. }),
        "{error:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_reach() {
    use std::os::unix::fs::PermissionsExt;

    let mut folder = Folder::new();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o601, 0o666] {
        fs::set_permissions(&folder.files.key, fs::Permissions::from_mode(mode)).unwrap();
        let error = folder.error("node-7.key");
        assert!(error.to_string().contains("chmod 600"));
        assert!(matches!(error, Bad::ExposedKey { mode: found, .. } if found == mode));
    }
    folder.files = folder.files.clone().allow_insecure_key_permissions(true);
    folder.load().unwrap();
    folder.files = folder.files.clone().allow_insecure_key_permissions(false);
    for mode in [0o600, 0o400] {
        fs::set_permissions(&folder.files.key, fs::Permissions::from_mode(mode)).unwrap();
        folder.load().unwrap();
    }
}

#[test]
fn what_is_no_key() {
    let folder = Folder::new();
    let good = fs::read_to_string(&folder.files.key).unwrap();
    let spoil = |text: &str| fs::write(&folder.files.key, text).unwrap();
    spoil("");
    assert!(matches!(folder.error("node-7.key"), Bad::NoKey { .. }));
    spoil(&good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    assert!(matches!(
        folder.error("node-7.key"),
        Bad::EncryptedKey { .. }
    ));
    spoil(&format!("{good}{good}"));
    assert!(matches!(
        folder.error("node-7.key"),
        Bad::ManyKeys { found: 2, .. }
    ));
    spoil(&good.replace("-----END", "----END"));
    assert!(matches!(folder.error("node-7.key"), Bad::BadPem { .. }));
    spoil("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert!(matches!(folder.error("node-7.key"), Bad::BadKey { .. }));
    spoil(&KeyPair::generate().unwrap().serialize_pem());
    let error = folder.error("node-7.key");
    assert!(matches!(error, Bad::KeyMismatch { .. }));
    assert!(error.to_string().contains("node-7.crt"));
    spoil(&good);
    folder.load().unwrap();
}

#[test]
fn what_is_no_certificate() {
    let folder = Folder::new();
    let good = fs::read_to_string(&folder.files.cert).unwrap();
    let spoil = |text: &str| fs::write(&folder.files.cert, text).unwrap();
    spoil("");
    assert!(matches!(
        folder.error("node-7.crt"),
        Bad::NoCertificate { .. }
    ));
    spoil(&good.replace("-----END", "----END"));
    assert!(matches!(folder.error("node-7.crt"), Bad::BadPem { .. }));
    spoil("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let error = folder.error("node-7.crt");
    assert!(
        matches!(
            &error,
            Bad::Refused {
                refusal: Refusal::BadEncoding { .. },
                ..
            }
        ),
        "{error:?}"
    );
    // The CA's own certificate in the place of the node's.
    spoil(folder.authority.root_pem());
    let error = folder.error("node-7.crt");
    assert!(
        matches!(
            &error,
            Bad::Refused {
                refusal: Refusal::LeafIsAuthority,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn what_is_no_ca_bundle() {
    let folder = Folder::new();
    let good = folder.authority.root_pem();
    let node = fs::read_to_string(&folder.files.cert).unwrap();
    let spoil = |text: &str| fs::write(&folder.files.ca, text).unwrap();
    let problem = || match folder.error("ca.crt") {
        Bad::Trust { problem, .. } => problem,
        other => panic!("{other:?}"),
    };
    spoil("");
    assert_eq!(problem(), InvalidTrust::NoAuthority);
    spoil(&good.replace("-----END", "----END"));
    assert!(matches!(problem(), InvalidTrust::CaPem { .. }));
    // A node's certificate as a CA would let that node's key speak for anybody.
    spoil(&format!("{good}{node}"));
    assert!(matches!(
        problem(),
        InvalidTrust::Authority {
            entry: 2,
            fault: AuthorityFault::NotAnAuthority { .. }
        }
    ));
    let mut silent = ca_params("silent");
    silent.key_usages = vec![KeyUsagePurpose::CrlSign];
    spoil(&Ca::root(silent).pem());
    assert!(matches!(
        problem(),
        InvalidTrust::Authority {
            entry: 1,
            fault: AuthorityFault::MayNotSign { .. }
        }
    ));
    spoil("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(matches!(
        problem(),
        InvalidTrust::Authority {
            entry: 1,
            fault: AuthorityFault::Malformed { .. }
        }
    ));
    // Another CA: the own certificate is not below it.
    spoil(&Ca::root(ca_params("other")).pem());
    let error = folder.error("node-7.crt");
    assert!(
        matches!(
            &error,
            Bad::Refused {
                refusal: Refusal::UnknownIssuer,
                ..
            }
        ),
        "{error:?}"
    );
    spoil(&format!("{}{good}", Ca::root(ca_params("other")).pem()));
    assert_eq!(folder.load().unwrap().trust().authorities(), 2);
}

/// rcgen writes no URI constraints, so the extension is written by hand: permitted, one URI.
#[test]
fn a_ca_with_a_uri_constraint() {
    let mut params = ca_params("ca");
    let mut subtree = vec![0x30, 14, 0xa0, 12, 0x30, 10, 0x86, 8];
    subtree.extend_from_slice(b".example");
    params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(
        &[2, 5, 29, 30],
        subtree,
    )];
    let ca = Ca::root(params);
    let (certificate, key) = ca.issue_pem(&node_params());
    let ca_pem = ca.pem();
    let pem = CredentialPem::new(ca_pem.as_bytes(), certificate.as_bytes(), key.as_bytes());
    let error = Credentials::from_pem(&pem, &settings()).unwrap_err();
    assert!(
        matches!(
            &error,
            Bad::Trust {
                problem: InvalidTrust::Authority {
                    fault: AuthorityFault::UriConstraint { .. },
                    ..
                },
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn the_crl_of_files() {
    let mut folder = Folder::new();
    let good = folder.authority.crl(&[]).unwrap();
    folder.files = folder.files.clone().with_crl(folder.put("crl.pem", &good));
    assert_eq!(folder.load().unwrap().trust().crls(), 1);
    for text in ["", "nothing"] {
        folder.put("crl.pem", text);
        let error = folder.error("crl.pem");
        assert!(
            matches!(
                &error,
                Bad::Trust {
                    problem: InvalidTrust::NoCrl,
                    ..
                }
            ),
            "{error:?}"
        );
    }
    folder.put(
        "crl.pem",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    );
    assert!(matches!(
        folder.error("crl.pem"),
        Bad::Trust {
            problem: InvalidTrust::Crl { entry: 1, .. },
            ..
        }
    ));
    // A CRL that does not cover our own chain would refuse every peer.
    folder.put(
        "crl.pem",
        &Ca::root(ca_params("other")).crl(&[], NOW, NOW + DAY),
    );
    assert!(matches!(
        folder.error("node-7.crt"),
        Bad::Refused {
            refusal: Refusal::UnknownRevocationStatus,
            ..
        }
    ));
}

#[test]
fn a_stale_crl_is_taken_within_its_grace() {
    let mut folder = Folder::new();
    let grace = TrustLimits::default().crl_grace.as_secs();
    let crl = |next_update| {
        folder
            .authority
            .crl_with(&[], at(NOW - 30 * DAY), at(next_update))
            .unwrap()
    };
    let (within, past) = (crl(NOW - grace + 1), crl(NOW - grace));
    folder.files = folder
        .files
        .clone()
        .with_crl(folder.put("crl.pem", &within));
    let credentials = folder.load().unwrap();
    let stale = credentials.trust().crl_staleness(at(NOW)).unwrap();
    assert!(!stale.refusing);
    folder.put("crl.pem", &past);
    let error = folder.error("node-7.crt");
    assert!(
        error.to_string().contains("fetch the current CRL"),
        "{error}"
    );
}

#[test]
fn the_own_certificate_is_judged_in_both_roles() {
    let ca = Ca::root(ca_params("ca"));
    let load = |params: &rcgen::CertificateParams| {
        let (certificate, key) = ca.issue_pem(params);
        let ca = ca.pem();
        let pem = CredentialPem::new(ca.as_bytes(), certificate.as_bytes(), key.as_bytes());
        Credentials::from_pem(&pem, &settings())
    };
    load(&node_params()).unwrap();
    for (usage, missing) in [
        (Eku::ServerAuth, Usage::ClientAuth),
        (Eku::ClientAuth, Usage::ServerAuth),
    ] {
        let error = load(&spoiled(|params| params.extended_key_usages = vec![usage])).unwrap_err();
        let Bad::Refused { refusal, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(refusal, &Refusal::MissingUsage { usage: missing });
        assert!(
            error.to_string().contains("both extended key usages"),
            "{error}"
        );
    }
    let late = spoiled(|params| params.not_after = date(NOW - 1));
    let error = load(&late).unwrap_err();
    assert!(matches!(
        &error,
        Bad::Refused {
            refusal: Refusal::Expired { .. },
            role: PeerRole::Acceptor,
            ..
        }
    ));
    assert!(error.to_string().contains("clock"), "{error}");
    let mut constrained = ca_params("constrained");
    constrained.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("other.example".to_owned())],
        excluded_subtrees: vec![],
    });
    let constrained = Ca::root(constrained);
    let (certificate, key) = constrained.issue_pem(&node_params());
    let ca_pem = constrained.pem();
    let pem = CredentialPem::new(ca_pem.as_bytes(), certificate.as_bytes(), key.as_bytes());
    assert!(matches!(
        Credentials::from_pem(&pem, &settings()),
        Err(Bad::Refused {
            refusal: Refusal::ConstraintViolated { .. },
            ..
        })
    ));
}

#[test]
fn another_node_or_cluster_than_expected() {
    let folder = Folder::new();
    let mut settings = settings();
    settings.expected_node = NodeId::new(7).ok();
    settings.expected_cluster = ClusterName::new(CLUSTER).ok();
    Credentials::load(&folder.files, &settings).unwrap();
    settings.expected_node = NodeId::new(8).ok();
    let error = Credentials::load(&folder.files, &settings).unwrap_err();
    assert!(matches!(error, Bad::OtherNode { .. }), "{error:?}");
    settings.expected_cluster = ClusterName::new("other.example").ok();
    let error = Credentials::load(&folder.files, &settings).unwrap_err();
    assert!(matches!(error, Bad::OtherCluster { .. }), "{error:?}");
}

#[test]
fn the_number_of_intermediates_ends_at_the_limit() {
    let folder = Folder::new();
    let mut settings = settings();
    settings.limits.max_intermediates = TrustLimits::MAX_INTERMEDIATES;
    Credentials::load(&folder.files, &settings).unwrap();
    settings.limits.max_intermediates += 1;
    let error = Credentials::load(&folder.files, &settings).unwrap_err();
    assert!(matches!(
        error,
        Bad::Trust {
            problem: InvalidTrust::MaxIntermediates { value: 7 },
            ..
        }
    ));
    assert_eq!(TrustLimits::default().max_intermediates, 1);
}
