//! What another implementation says to our certificates: openssl, if it is there, with
//! `-x509_strict`.

#![expect(
    clippy::print_stdout,
    reason = "whoever reads the log must see whether openssl was asked"
)]

use std::process::Command;

use crate::desk::{CA, Desk, Told};

/// Runs openssl; `None`, and a word about it, if there is none.
fn openssl(desk: &Desk, words: &str) -> Option<Told> {
    let output = Command::new("openssl")
        .args(words.split_whitespace())
        .current_dir(desk.folder())
        .output();
    match output {
        Ok(output) => Some(output.into()),
        Err(error) => {
            println!("skipped: what openssl says, because it cannot be run: {error}");
            None
        }
    }
}

#[test]
fn openssl_accepts_what_is_issued() {
    let desk = Desk::with_node();
    desk.ok("node csr --cluster prod.example --id 2 --out two");
    desk.ok(&format!(
        "node sign --csr two/node-2.csr --cluster prod.example --id 2 {CA} --out two"
    ));
    desk.ok(&format!("revoke --id 2 {CA}"));
    let Some(version) = openssl(&desk, "version") else {
        return;
    };
    println!("asked: {}", version.out.trim());
    let accepted = |words: &str| {
        let told = openssl(&desk, words).unwrap();
        assert_eq!(told.exit, Some(0), "{words}: {told:?}");
        told.out
    };
    for purpose in ["sslserver", "sslclient"] {
        for (node, name) in [("one/node-1.crt", "node-1"), ("two/node-2.crt", "node-2")] {
            accepted(&format!(
                "verify -x509_strict -check_ss_sig -purpose {purpose} -verify_hostname \
                 {name}.prod.example -CAfile certs/ca.crt {node}"
            ));
        }
    }
    let with_list =
        "verify -x509_strict -crl_check_all -CRLfile certs/crl.pem -CAfile certs/ca.crt";
    accepted(&format!("{with_list} one/node-1.crt"));
    let refused = openssl(&desk, &format!("{with_list} two/node-2.crt")).unwrap();
    assert_ne!(refused.exit, Some(0));
    assert!(refused.err.contains("certificate revoked"), "{refused:?}");
    accepted("verify -x509_strict -CAfile certs/ca.crt certs/ca.crt");
    accepted("crl -in certs/crl.pem -noout -CAfile certs/ca.crt");
    accepted("req -in two/node-2.csr -noout -verify");

    // The fingerprint is what the documentation says that it is.
    accepted("x509 -in one/node-1.crt -noout -pubkey -out public.pem");
    accepted("pkey -pubin -in public.pem -outform DER -out public.der");
    let hash = accepted("dgst -sha256 -r public.der");
    assert_eq!(
        hash.split_whitespace().next(),
        Some(desk.ok("fingerprint one/node-1.crt").trim())
    );
}

#[test]
fn a_request_of_openssl_is_signed() {
    let desk = Desk::with_ca();
    let request = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=anybody \
                   -keyout one/node-1.key -out one/node-1.csr";
    desk.write("one/placeholder", "");
    let Some(told) = openssl(&desk, request) else {
        return;
    };
    assert_eq!(told.exit, Some(0), "{told:?}");
    #[cfg(unix)]
    desk.set_mode("one/node-1.key", 0o600);
    desk.ok(&format!(
        "node sign --csr one/node-1.csr --cluster prod.example --id 1 {CA} --out one"
    ));
    desk.ok("verify --cert one/node-1.crt --key one/node-1.key --ca one --id 1");
    // A weak key is not certified.
    let weak = "req -new -newkey rsa:1024 -nodes -subj /CN=weak -keyout weak.key -out weak.csr";
    let told = openssl(&desk, weak).unwrap();
    assert_eq!(told.exit, Some(0), "{told:?}");
    desk.fails(
        &format!("node sign --csr weak.csr --cluster prod.example --id 3 {CA} --out x"),
        1,
        "ECDSA P-256 or P-384, or Ed25519",
    );
}
