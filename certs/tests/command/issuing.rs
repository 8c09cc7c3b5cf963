//! What is issued, for whom, and what is left on the disk.

use std::process::{Command, Stdio};

use quicraft_certs::{
    CertificateDer, CertificateFacts, ClusterName, NodeId, NodeIdentity, NodeRequest,
};
use rustls_pki_types::pem::PemObject;

use crate::desk::{CA, DAY, Desk, authority_of, command, now};

fn facts(desk: &Desk, name: &str) -> CertificateFacts {
    let der = CertificateDer::from_pem_slice(desk.read(name).as_bytes()).unwrap();
    CertificateFacts::read(&der).unwrap()
}

/// The certificate was made a moment ago, to end after so many days.
#[track_caller]
fn ends_after(facts: &CertificateFacts, days: u64) {
    let left = facts.not_after - now();
    assert!(left <= days * DAY && left > days * DAY - 600, "{left}");
}

#[test]
fn the_files_of_a_ca_and_of_a_node() {
    let desk = Desk::with_node();
    assert_eq!(desk.names("certs"), ["ca.crt"]);
    assert_eq!(
        desk.names("safe"),
        ["ca.key", "ca.record.json", "ca.record.lock"]
    );
    assert_eq!(desk.names("one"), ["ca.crt", "node-1.crt", "node-1.key"]);
    #[cfg(unix)]
    {
        for key in ["safe/ca.key", "safe/ca.record.json", "one/node-1.key"] {
            assert_eq!(desk.mode(key), 0o600, "{key}");
        }
        for folder in ["safe", "certs", "one"] {
            assert_eq!(desk.mode(folder), 0o700, "{folder}");
        }
    }
    let ca = facts(&desk, "certs/ca.crt");
    ends_after(&ca, 3650);
    let authority = ca.authority.unwrap();
    assert_eq!(authority.path_length, Some(1));
    assert_eq!(authority.permitted_dns, ["prod.example"]);
    let node = facts(&desk, "one/node-1.crt");
    ends_after(&node, 90);
    assert!(
        now() - node.not_before >= 300,
        "clocks may differ by 5 minutes"
    );
    assert_eq!(node.uris, ["spiffe://prod.example/node/1"]);
    assert_eq!(node.dns_names, ["node-1.prod.example"]);
}

#[test]
fn days_and_names_are_followed() {
    let desk = Desk::empty();
    desk.ok("ca init --cluster prod.example --out certs --ca-key safe/ca.key --days 40");
    desk.ok(&format!(
        "node issue --cluster prod.example --id 1 {CA} --out one --days 3 --dns raft.prod.example"
    ));
    let node = facts(&desk, "one/node-1.crt");
    ends_after(&node, 3);
    assert_eq!(node.dns_names, ["node-1.prod.example", "raft.prod.example"]);
    // A renewal keeps the names.
    desk.warned(
        &format!("renew --cert one/node-1.crt {CA} --overwrite"),
        "ends with its CA",
    );
    let renewed = facts(&desk, "one/node-1.crt");
    assert_eq!(renewed.dns_names, node.dns_names);
    assert_eq!(renewed.key_hash, node.key_hash);
    assert_eq!(renewed.not_after, facts(&desk, "certs/ca.crt").not_after);
    // Past the end of the CA there is no certificate.
    desk.fails(
        &format!("renew --cert one/node-1.crt {CA} --overwrite --days 41"),
        1,
        "or less, or make a new CA with `quicraft-certs ca init`",
    );
    desk.ok(&format!(
        "renew --cert one/node-1.crt {CA} --overwrite --days 39"
    ));
}

#[test]
fn several_nodes_share_a_folder_with_the_ca() {
    let desk = Desk::with_ca();
    for node in [1, 2] {
        desk.ok(&format!(
            "node issue --cluster prod.example --id {node} {CA} --out certs"
        ));
    }
    assert_eq!(
        desk.names("certs"),
        [
            "ca.crt",
            "node-1.crt",
            "node-1.key",
            "node-2.crt",
            "node-2.key"
        ]
    );
    desk.ok("doctor certs");
}

#[test]
fn nothing_of_a_request_but_its_key_is_used() {
    let desk = Desk::with_ca();
    // A request that wishes to be a CA for everything, as a node that was broken into might send.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wishes = rcgen::CertificateParams::new(vec!["*.prod.example".to_owned()]).unwrap();
    wishes.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    wishes.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    wishes.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    wishes
        .distinguished_name
        .push(rcgen::DnType::CommonName, "root of all");
    let request = wishes.serialize_request(&key).unwrap();
    desk.write("wish.csr", &request.pem().unwrap());
    desk.ok(&format!(
        "node sign --csr wish.csr --cluster prod.example --id 5 {CA} --out five"
    ));
    let node = facts(&desk, "five/node-5.crt");
    assert_eq!(node.authority, None);
    assert_eq!(node.subject, "CN=node-5");
    assert_eq!(node.uris, ["spiffe://prod.example/node/5"]);
    assert_eq!(node.dns_names, ["node-5.prod.example"]);
    assert_eq!(
        node.usages,
        ["Digital Signature", "serverAuth", "clientAuth"]
    );
    // Its key is that of the request.
    desk.write("five/node-5.key", &key.serialize_pem());
    #[cfg(unix)]
    desk.set_mode("five/node-5.key", 0o600);
    desk.ok("verify --cert five/node-5.crt --key five/node-5.key --ca certs --id 5");
}

#[test]
fn a_request_must_be_signed_by_its_own_key() {
    let desk = Desk::with_ca();
    let identity = NodeIdentity::new(
        ClusterName::new("prod.example").unwrap(),
        NodeId::new(1).unwrap(),
    );
    let [one, two] = [(); 2].map(|()| NodeRequest::new(&identity).unwrap());
    let der = |request: &NodeRequest| {
        rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(
            request.request_pem().as_bytes(),
        )
        .unwrap()
        .to_vec()
    };
    // The last bytes are the signature: that of another request does not fit.
    let (mut forged, other) = (der(&one), der(&two));
    let place = forged.len() - 8;
    forged[place..].copy_from_slice(&other[other.len() - 8..]);
    desk.write(
        "forged.csr",
        &quicraft_certs::pem_text("CERTIFICATE REQUEST", &forged),
    );
    desk.fails(
        &format!("node sign --csr forged.csr --cluster prod.example --id 1 {CA} --out one"),
        1,
        "not signed by the key",
    );
    // As it was, it is signed.
    desk.write("one.csr", one.request_pem());
    desk.ok(&format!(
        "node sign --csr one.csr --cluster prod.example --id 1 {CA} --out one"
    ));
}

#[test]
fn other_kinds_of_keys_are_certified() {
    let desk = Desk::with_ca();
    for (id, kind) in [
        (1, &rcgen::PKCS_ECDSA_P384_SHA384),
        (2, &rcgen::PKCS_ED25519),
    ] {
        let key = rcgen::KeyPair::generate_for(kind).unwrap();
        let name = format!("own-{id}.key");
        desk.write(&name, &key.serialize_pem());
        #[cfg(unix)]
        desk.set_mode(&name, 0o600);
        desk.ok(&format!(
            "node csr --cluster prod.example --id {id} --key {name} --out n"
        ));
        desk.ok(&format!(
            "node sign --csr n/node-{id}.csr --cluster prod.example --id {id} {CA} --out n"
        ));
        desk.ok(&format!(
            "verify --cert n/node-{id}.crt --key {name} --ca n --id {id}"
        ));
        // And again, from the certificate alone.
        desk.ok(&format!("renew --cert n/node-{id}.crt {CA} --overwrite"));
        desk.ok(&format!(
            "verify --cert n/node-{id}.crt --key {name} --ca n"
        ));
    }
}

#[test]
fn a_second_certificate_of_a_node_is_told() {
    let desk = Desk::with_node();
    desk.warned(
        &format!("node issue --cluster prod.example --id 1 {CA} --out other"),
        "another valid certificate",
    );
}

#[test]
fn a_ca_of_the_library_is_adopted() {
    let desk = Desk::empty();
    let authority = authority_of(now());
    desk.put_authority(&authority);
    let issue = format!("node issue --cluster prod.example --id 1 {CA} --out one");
    desk.fails(&issue, 1, "ca adopt");
    let lost = authority.issue(NodeId::new(9).unwrap()).unwrap();
    desk.write(
        "certs/crl.pem",
        &authority.crl(std::slice::from_ref(lost.serial())).unwrap(),
    );
    let number = |desk: &Desk| {
        let (_, list) = desk.json("inspect certs/crl.pem");
        list["entries"][0]["number"].as_u64().unwrap()
    };
    let former = number(&desk);
    desk.warned(&format!("ca adopt {CA}"), "--cert");
    desk.fails(&format!("ca adopt {CA}"), 1, "exists");
    desk.ok(&issue);
    // What was revoked before stays revoked, and the numbers go on.
    desk.ok(&format!("crl {CA}"));
    assert_eq!(number(&desk), former + 1);
    desk.write("nine.crt", lost.certificate_pem());
    let refused = desk.run("verify --cert nine.crt --ca certs");
    assert_eq!(refused.exit, Some(1), "{refused:?}");
}

#[test]
fn one_command_at_a_time_works_with_a_ca() {
    let desk = Desk::with_ca();
    let issue = format!("node issue --cluster prod.example --id 1 {CA} --out one");
    desk.ok(&format!("crl {CA}"));
    let lock = std::fs::File::open(desk.path("safe/ca.record.lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    desk.fails(&issue, 1, "try again when it has finished");
    assert!(!desk.path("one").exists());
    drop(lock);
    desk.ok(&issue);
}

#[test]
fn commands_at_once_lose_no_certificate() {
    let desk = Desk::with_ca();
    let running: Vec<_> = (1..=4)
        .map(|node| {
            Command::new(command())
                .args(
                    format!("node issue --cluster prod.example --id {node} {CA} --out n")
                        .split(' '),
                )
                .current_dir(desk.folder())
                .stderr(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut issued = 0;
    for child in running {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => issued += 1,
            // One that finds the record or the folder in use says so, and has issued nothing.
            code => assert_eq!(code, Some(1), "{said}"),
        }
    }
    assert!(issued > 0);
    let record: serde_json::Value =
        serde_json::from_str(&desk.read("safe/ca.record.json")).unwrap();
    let recorded = record["certificates"].as_array().unwrap().len();
    assert!(recorded >= issued, "{recorded} {issued}");
    let certificates = desk.names("n");
    let certificates = certificates
        .iter()
        .filter(|name| name.starts_with("node-") && name.ends_with(".crt"));
    assert_eq!(certificates.count(), issued);
}
