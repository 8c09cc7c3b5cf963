//! The whole life of a small cluster's certificates, by the command alone.

use quicraft_certs::{CredentialFiles, CredentialSettings, Credentials};

use crate::desk::{CA, Desk};

/// Loads a folder as a node does.
fn load(desk: &Desk, folder: &str, node: u64) -> Credentials {
    let path = |name: &str| desk.path(folder).join(name);
    let mut files = CredentialFiles::new(
        path("ca.crt"),
        path(&format!("node-{node}.crt")),
        path(&format!("node-{node}.key")),
    );
    if path("crl.pem").exists() {
        files = files.with_crl(path("crl.pem"));
    }
    Credentials::load(&files, &CredentialSettings::default()).unwrap()
}

#[test]
fn a_cluster_from_its_first_certificate_to_a_new_ca() {
    let desk = Desk::with_ca();
    // Two nodes make their own keys, the third gets one.
    for node in [1, 2] {
        desk.ok(&format!(
            "node csr --cluster prod.example --id {node} --out n{node}"
        ));
        desk.ok(&format!(
            "node sign --csr n{node}/node-{node}.csr --cluster prod.example --id {node} {CA} --out n{node}"
        ));
    }
    desk.ok(&format!(
        "node issue --cluster prod.example --id 3 {CA} --out n3"
    ));
    for node in [1, 2, 3] {
        let files = format!("--cert n{node}/node-{node}.crt --key n{node}/node-{node}.key");
        desk.ok(&format!(
            "verify {files} --ca certs --cluster prod.example --id {node}"
        ));
        let shown = desk.ok(&format!("inspect n{node}/node-{node}.crt"));
        assert!(shown.starts_with(&format!("certificate of node {node} of prod.example\n")));
        desk.ok(&format!(
            "doctor n{node} --cluster prod.example --id {node}"
        ));
        assert_eq!(
            load(&desk, &format!("n{node}"), node)
                .identity()
                .node()
                .get(),
            node
        );
    }

    // Node 2 is lost. The others get the list, and refuse it.
    desk.ok(&format!("revoke --id 2 {CA}"));
    std::fs::copy(desk.path("certs/crl.pem"), desk.path("n1/crl.pem")).unwrap();
    let refused = desk.run("verify --cert n2/node-2.crt --ca n1");
    assert_eq!(refused.exit, Some(1));
    assert!(refused.out.contains("revoked"), "{refused:?}");
    desk.ok("verify --cert n3/node-3.crt --ca n1");
    desk.ok("doctor n1");
    desk.ok(&format!("crl {CA}"));
    let (_, list) = desk.json("inspect certs/crl.pem");
    assert_eq!(list["entries"][0]["number"], 2);
    assert_eq!(list["entries"][0]["revoked"].as_array().unwrap().len(), 1);

    // Node 1 is renewed with its key, node 3 with a new one.
    let before = (load(&desk, "n1", 1), load(&desk, "n3", 3));
    desk.ok(&format!("renew --cert n1/node-1.crt {CA} --overwrite"));
    desk.ok(&format!(
        "renew --cert n3/node-3.crt {CA} --new-key --overwrite"
    ));
    let after = (load(&desk, "n1", 1), load(&desk, "n3", 3));
    assert_eq!(
        before.0.certificate().key_hash(),
        after.0.certificate().key_hash()
    );
    assert_ne!(
        before.0.certificate().serial(),
        after.0.certificate().serial()
    );
    assert_ne!(
        before.1.certificate().key_hash(),
        after.1.certificate().key_hash()
    );
    change_the_ca(&desk);
}

/// First a node trusts both, then its certificate changes, then the old CA goes.
fn change_the_ca(desk: &Desk) {
    desk.ok("ca init --cluster prod.example --out certs2 --ca-key safe/ca2.key");
    let ca2 = "--ca certs2 --ca-key safe/ca2.key";
    desk.ok(&format!("crl {ca2}"));
    desk.ok("bundle --ca certs/ca.crt --ca certs2/ca.crt --crl certs/crl.pem --crl certs2/crl.pem --out both");
    for name in ["ca.crt", "crl.pem"] {
        std::fs::copy(desk.path("both").join(name), desk.path("n1").join(name)).unwrap();
    }
    desk.ok("doctor n1");
    desk.ok("node csr --cluster prod.example --id 1 --key n1/node-1.key --out n1 --overwrite");
    desk.ok(&format!(
        "node sign --csr n1/node-1.csr --cluster prod.example --id 1 {ca2} --out n1 --overwrite"
    ));
    assert_eq!(load(desk, "n1", 1).trust().authorities(), 2);
    desk.ok("doctor n1");
    desk.ok("bundle --ca certs2/ca.crt --crl certs2/crl.pem --out n1 --overwrite");
    assert_eq!(load(desk, "n1", 1).trust().authorities(), 1);
    let refused = desk.run("verify --cert n3/node-3.crt --ca n1");
    assert_eq!(refused.exit, Some(1), "{refused:?}");
}
