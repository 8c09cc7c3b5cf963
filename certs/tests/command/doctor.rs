//! What `doctor` finds, and what it says to type.

use serde_json::Value;

use crate::desk::{CA, DAY, Desk, at, authority_of, issued, now};

/// The exit code, and the findings as `level: what; type: remedy`.
fn asked(desk: &Desk, words: &str) -> (i32, Vec<String>) {
    let (exit, object) = desk.json(&format!("doctor {words}"));
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let findings: Vec<String> = object["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            format!(
                "{}: {}; type: {}",
                text(finding, "level"),
                text(finding, "what"),
                text(finding, "type")
            )
        })
        .collect();
    assert_eq!(object["ok"], exit == 0);
    // People are told the same, but for a clock that may have ticked since.
    let told = desk.run(&format!("doctor {words}"));
    assert_eq!(told.exit, Some(exit));
    let lines = told.out.lines();
    let said: Vec<&str> = lines.filter(|line| line.contains("; type: ")).collect();
    assert_eq!(said.len(), findings.len(), "{told:?}");
    for (line, finding) in said.iter().zip(&findings) {
        let (_, remedy) = finding.split_once("; type: ").unwrap();
        assert!(line.ends_with(remedy), "{told:?}");
    }
    (exit, findings)
}

#[track_caller]
fn finds(desk: &Desk, words: &str, exit: i32, expected: &[&str]) {
    let (code, findings) = asked(desk, words);
    assert_eq!(code, exit, "{findings:?}");
    assert_eq!(findings.len(), expected.len(), "{findings:?}");
    for (finding, text) in findings.iter().zip(expected) {
        assert!(finding.contains(text), "{finding} should hold {text}");
    }
}

#[test]
fn a_healthy_folder() {
    let desk = Desk::with_node();
    finds(&desk, "one", 0, &[]);
    finds(&desk, "one --id 1 --cluster prod.example", 0, &[]);
    let told = desk.ok("doctor one");
    assert!(
        told.contains("spiffe://prod.example/node/1: until 20"),
        "{told}"
    );
    assert!(
        told.ends_with("a node can start with this folder\n"),
        "{told}"
    );
}

#[test]
fn what_is_missing_or_of_somebody_else() {
    let desk = Desk::with_node();
    finds(
        &desk,
        "one --cluster test.example",
        1,
        &["--cluster prod.example"],
    );
    finds(
        &desk,
        "one --id 2",
        1,
        &["node issue --cluster NAME --id 2"],
    );
    finds(&desk, "certs", 1, &["no certificate of a node"]);
    desk.fails("doctor none", 1, "is no folder");
    desk.ok("node csr --cluster prod.example --id 2 --out two");
    std::fs::copy(desk.path("two/node-2.key"), desk.path("one/node-1.key")).unwrap();
    finds(
        &desk,
        "one",
        1,
        &["does not belong to the first certificate"],
    );
    std::fs::remove_file(desk.path("one/node-1.key")).unwrap();
    finds(&desk, "one", 1, &["node-1.key cannot be read"]);
    std::fs::remove_file(desk.path("one/ca.crt")).unwrap();
    let (exit, findings) = asked(&desk, "one");
    assert_eq!(exit, 1);
    assert!(
        findings[0].contains("one/ca.crt is missing"),
        "{findings:?}"
    );
}

#[cfg(unix)]
#[test]
fn permissions() {
    let desk = Desk::with_node();
    desk.set_mode("one/node-1.key", 0o644);
    finds(&desk, "one", 1, &["type: chmod 600 one/node-1.key"]);
    desk.set_mode("one/node-1.key", 0o400);
    desk.set_mode("one", 0o755);
    finds(&desk, "one", 0, &[]);
    desk.set_mode("one", 0o775);
    finds(&desk, "one", 1, &["type: chmod go-w one"]);
}

#[test]
fn dates_of_certificates() {
    let desk = Desk::with_node();
    let authority = desk.authority();
    let put = |not_before: u64, not_after: u64| {
        let node = issued(&authority, not_before, not_after);
        desk.write("one/node-1.crt", node.certificate_pem());
        desk.write("one/node-1.key", node.key_pem());
    };
    put(now() - 540, now() + 360);
    finds(&desk, "one", 0, &[]);
    put(now() - 660, now() + 240);
    finds(
        &desk,
        "one",
        0,
        &["warning: node 1: the certificate ends in"],
    );
    put(now() - 660, now() - 10);
    finds(
        &desk,
        "one",
        1,
        &["type: quicraft-certs renew --cert one/node-1.crt"],
    );
    put(now() + DAY, now() + 2 * DAY);
    finds(&desk, "one", 1, &["set the clock"]);
    // The CA itself: three quarters of a year before its end, and a quarter.
    let long_ago = |days: u64| {
        let authority = authority_of(now() - (3650 - days) * DAY);
        let node = issued(&authority, now() - 10, now() + DAY);
        desk.write("one/ca.crt", authority.root_pem());
        desk.write("one/node-1.crt", node.certificate_pem());
        desk.write("one/node-1.key", node.key_pem());
    };
    long_ago(182);
    finds(&desk, "one", 0, &[]);
    long_ago(179);
    finds(&desk, "one", 0, &["warning: the CA"]);
    // An expired CA may stay in a bundle, but is told.
    let expired = authority_of(now() - 3651 * DAY);
    let valid = authority_of(now());
    let node = issued(&valid, now() - 10, now() + DAY);
    desk.write(
        "one/ca.crt",
        &format!("{}{}", expired.root_pem(), valid.root_pem()),
    );
    desk.write("one/node-1.crt", node.certificate_pem());
    desk.write("one/node-1.key", node.key_pem());
    finds(&desk, "one", 0, &["quicraft-certs bundle, without it"]);
}

#[test]
fn lists() {
    let desk = Desk::with_node();
    let authority = desk.authority();
    let put = |next_update: u64| {
        let list = authority
            .crl_with(&[], at(now() - 9 * DAY), at(next_update))
            .unwrap();
        desk.write("one/crl.pem", &list);
    };
    put(now() + DAY);
    finds(&desk, "one", 0, &[]);
    put(now() + DAY / 2 - 60);
    finds(
        &desk,
        "one",
        0,
        &["warning: one/crl.pem is to be replaced in 11 hours"],
    );
    put(now() - 3600);
    finds(&desk, "one", 0, &["60 minutes ago"]);
    put(now() - 2 * DAY);
    finds(&desk, "one", 1, &["type: quicraft-certs crl"]);
    // The node itself is revoked; the list is of somebody else; it is empty.
    desk.ok(&format!("revoke --id 1 {CA} --out one/crl.pem"));
    finds(&desk, "one", 1, &["revoked"]);
    desk.write("one/crl.pem", &authority_of(now()).crl(&[]).unwrap());
    finds(&desk, "one", 1, &["type: quicraft-certs crl"]);
    desk.write("one/crl.pem", "");
    finds(&desk, "one", 1, &["one/crl.pem"]);
}

#[test]
fn a_clock_that_is_behind() {
    let desk = Desk::with_node();
    let authority = desk.authority();
    let made = |time: u64| {
        let list = authority
            .crl_with(&[], at(time), at(time + 30 * DAY))
            .unwrap();
        desk.write("one/crl.pem", &list);
    };
    made(now() + 240);
    finds(&desk, "one", 0, &[]);
    made(now() + 600);
    finds(&desk, "one", 1, &["the clock is behind"]);
}

#[test]
fn what_does_not_belong_there() {
    let desk = Desk::with_node();
    std::fs::copy(desk.path("safe/ca.key"), desk.path("one/spare.key")).unwrap();
    finds(&desk, "one", 1, &["one/spare.key is the key of the CA"]);
    std::fs::remove_file(desk.path("one/spare.key")).unwrap();
    // As a crash between the two names of a renewal with a new key leaves it.
    desk.ok(&format!(
        "renew --cert one/node-1.crt {CA} --new-key --out new"
    ));
    std::fs::copy(desk.path("new/node-1.key"), desk.path("one/node-1.key")).unwrap();
    std::fs::copy(
        desk.path("new/node-1.crt"),
        desk.path("one/node-1.crt.0123abcd.new"),
    )
    .unwrap();
    let (exit, findings) = asked(&desk, "one");
    assert_eq!(exit, 1);
    let remedy = "mv one/node-1.crt.0123abcd.new one/node-1.crt";
    assert!(findings[0].contains(remedy), "{findings:?}");
    std::fs::rename(
        desk.path("one/node-1.crt.0123abcd.new"),
        desk.path("one/node-1.crt"),
    )
    .unwrap();
    finds(&desk, "one", 0, &[]);
}
