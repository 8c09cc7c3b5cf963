//! The questions: inspect, verify, needs-renewal, fingerprint; and `--json` of every command.

use quicraft_certs::NodeId;

use crate::desk::{CA, DAY, Desk, authority_of, issued, now};

#[track_caller]
fn refused(desk: &Desk, words: &str, rule: &str, text: &str) {
    let (exit, object) = desk.json(words);
    assert_eq!(exit, 1, "{words}: {object}");
    assert_eq!(object["ok"], false, "{words}");
    assert_eq!(object["rule"], rule, "{words}: {object}");
    let refusal = object["refusal"].as_str().unwrap();
    assert!(refusal.contains(text), "{words}: {refusal}");
}

#[test]
fn verify_names_the_rule_that_fails() {
    let desk = Desk::with_node();
    let verify = "verify --cert one/node-1.crt --ca certs";
    desk.ok(verify);
    refused(
        &desk,
        &format!("{verify} --id 2"),
        "wrong_node",
        "of node 1, not 2",
    );
    refused(
        &desk,
        &format!("{verify} --cluster test.example"),
        "wrong_cluster",
        "prod.example",
    );
    desk.ok("node csr --cluster prod.example --id 2 --out two");
    refused(
        &desk,
        &format!("{verify} --key two/node-2.key"),
        "key_mismatch",
        "not its key",
    );
    refused(
        &desk,
        "verify --cert certs/ca.crt --ca certs",
        "leaf_is_authority",
        "CA",
    );

    let authority = desk.authority();
    desk.write(
        "late.crt",
        issued(&authority, now() - 200, now() - 100).certificate_pem(),
    );
    refused(
        &desk,
        "verify --cert late.crt --ca certs",
        "expired",
        " seconds ago",
    );
    desk.write(
        "early.crt",
        issued(&authority, now() + DAY, now() + 9 * DAY).certificate_pem(),
    );
    refused(
        &desk,
        "verify --cert early.crt --ca certs",
        "not_yet_valid",
        "clock",
    );
    let foreign = authority_of(now());
    desk.write(
        "other.crt",
        issued(&foreign, now() - 10, now() + DAY).certificate_pem(),
    );
    refused(
        &desk,
        "verify --cert other.crt --ca certs",
        "unknown_issuer",
        "CA bundle",
    );
}

#[test]
fn verify_asks_the_list() {
    let desk = Desk::with_node();
    let verify = "verify --cert one/node-1.crt --ca certs";
    let (authority, foreign) = (desk.authority(), authority_of(now()));
    desk.ok(&format!("revoke --id 1 {CA}"));
    refused(&desk, verify, "revoked", "new key");
    desk.ok("verify --cert one/node-1.crt --ca certs/ca.crt");
    desk.write("foreign.pem", &foreign.crl(&[]).unwrap());
    refused(
        &desk,
        &format!("{verify} --crl foreign.pem"),
        "unknown_revocation_status",
        "one CRL for every CA",
    );
    let old = authority
        .crl_with(
            &[],
            crate::desk::at(now() - 9 * DAY),
            crate::desk::at(now() - 2 * DAY),
        )
        .unwrap();
    desk.write("old.pem", &old);
    refused(
        &desk,
        &format!("{verify} --crl old.pem"),
        "stale_crl",
        "fetch the current CRL",
    );
    // What cannot be asked is a failure, not an answer.
    desk.fails("verify --cert none.crt --ca certs", 1, "none.crt");
    desk.fails("verify --cert one/node-1.crt --ca none", 1, "none");
    desk.fails(
        "verify --cert one/node-1.crt --ca one/node-1.crt",
        1,
        "no CA",
    );
}

#[test]
fn verify_prints_an_answer_for_people() {
    let desk = Desk::with_node();
    assert_eq!(
        desk.ok("verify --cert one/node-1.crt --ca certs"),
        "revocation is not checked, because no CRL was given\n\
         one/node-1.crt is accepted: node 1 of prod.example\n"
    );
    let told = desk.run("verify --cert one/node-1.crt --ca certs --id 3");
    assert_eq!((told.exit, told.err.as_str()), (Some(1), ""));
    assert!(
        told.out
            .ends_with("one/node-1.crt is refused: it is of node 1, not 3\n")
    );
}

#[test]
fn needs_renewal_answers_by_its_exit_code() {
    let desk = Desk::with_node();
    let asked = |words: &str| desk.json(&format!("needs-renewal {words}"));
    assert_eq!(asked("--cert one/node-1.crt").0, 1);
    assert_eq!(asked("--cert one/node-1.crt --within 89").0, 1);
    assert_eq!(asked("--cert one/node-1.crt --within 90").0, 0);
    let authority = desk.authority();
    let after = |name: &str, life: (u64, u64)| {
        desk.write(name, issued(&authority, life.0, life.1).certificate_pem());
    };
    // A minute on either side of two thirds, so that the test may take its time.
    after("almost.crt", (now() - 540, now() + 360));
    after("due.crt", (now() - 660, now() + 240));
    after("past.crt", (now() - 900, now() - 10));
    assert_eq!(asked("--cert almost.crt").0, 1);
    let (exit, due) = asked("--cert due.crt");
    assert_eq!(
        (exit, &due["needs_renewal"], &due["expired"]),
        (0, &true.into(), &false.into())
    );
    let (exit, past) = asked("--cert past.crt");
    assert_eq!(
        (exit, &past["ok"], &past["expired"]),
        (0, &true.into(), &true.into())
    );
    for wrong in [
        "--cert none.crt",
        "--cert one/node-1.key",
        "--cert due.crt --within x",
        "",
    ] {
        let (exit, object) = asked(wrong);
        assert_eq!((exit, &object["ok"]), (2, &false.into()), "{wrong}");
    }
}

#[test]
fn a_fingerprint_is_that_of_the_public_key() {
    let desk = Desk::with_ca();
    desk.ok("node csr --cluster prod.example --id 1 --out one");
    desk.ok(&format!(
        "node sign --csr one/node-1.csr --cluster prod.example --id 1 {CA} --out one"
    ));
    let hashes =
        ["crt", "key", "csr"].map(|kind| desk.ok(&format!("fingerprint one/node-1.{kind}")));
    assert_eq!(hashes[0].len(), 65, "64 digits and the end of the line");
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2]);
    let (_, shown) = desk.json("inspect one/node-1.crt");
    assert_eq!(shown["entries"][0]["key_hash"], hashes[0].trim_end());
    // It survives a renewal that keeps the key.
    desk.ok(&format!("renew --cert one/node-1.crt {CA} --out new"));
    assert_eq!(desk.ok("fingerprint new/node-1.crt"), hashes[0]);
    desk.ok(&format!("crl {CA}"));
    desk.fails("fingerprint certs/crl.pem", 1, "holds no key");
    desk.write("text", "hello");
    desk.fails("fingerprint text", 1, "holds nothing that is known");
}

#[test]
fn inspect_shows_what_is_in_a_file() {
    let desk = Desk::with_ca();
    desk.ok("node csr --cluster prod.example --id 1 --out one");
    desk.ok(&format!(
        "node sign --csr one/node-1.csr --cluster prod.example --id 1 {CA} --out one"
    ));
    desk.ok(&format!("revoke --id 1 {CA}"));
    let all: String = [
        "one/node-1.crt",
        "certs/ca.crt",
        "one/node-1.csr",
        "certs/crl.pem",
        "one/node-1.key",
    ]
    .map(|name| desk.read(name))
    .concat();
    desk.write("all.pem", &all);
    let (exit, shown) = desk.json("inspect all.pem");
    assert_eq!(exit, 0);
    let entries = shown["entries"].as_array().unwrap();
    let kinds: Vec<&str> = entries
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["certificate", "authority", "request", "crl", "private key"]
    );
    assert_eq!(entries[0]["identity"], "spiffe://prod.example/node/1");
    assert_eq!(entries[1]["permitted_dns"][0], "prod.example");
    assert_eq!(entries[2]["claimed"], "spiffe://prod.example/node/1");
    assert_eq!(entries[3]["revoked"][0], entries[0]["serial"]);
    // No part of the key is shown.
    let told = desk.ok("inspect all.pem");
    assert!(told.contains("private key: not shown"));
    let key = desk.read("one/node-1.key");
    let body = key.lines().nth(1).unwrap();
    assert!(!told.contains(body) && !shown.to_string().contains(body));
    desk.write("torn.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    desk.fails("inspect torn.pem", 1, "torn.pem");
    desk.fails("inspect certs", 1, "certs is no regular file");
}

#[test]
fn a_certificate_of_no_node_is_named_so() {
    let desk = Desk::empty();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["node-1.prod.example".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "evil\u{1b}[2J\nname");
    desk.write("web.crt", &params.self_signed(&key).unwrap().pem());
    let told = desk.ok("inspect web.crt");
    assert!(
        told.starts_with("certificate of no node: the certificate has no URI name\n"),
        "{told}"
    );
    assert!(
        !told.contains('\u{1b}'),
        "a name must not move the cursor: {told:?}"
    );
    desk.ok("ca init --cluster prod.example --out certs --ca-key safe/ca.key");
    refused(
        &desk,
        "verify --cert web.crt --ca certs",
        "no_uri",
        "spiffe://<cluster>/node/<id>",
    );
}

#[test]
fn every_command_answers_in_json() {
    let desk = Desk::empty();
    let id = NodeId::new(1).unwrap();
    for (words, field) in [
        (
            "ca init --cluster prod.example --out certs --ca-key safe/ca.key".to_owned(),
            "not_after",
        ),
        (
            format!("node issue --cluster prod.example --id {id} {CA} --out one"),
            "serial",
        ),
        (
            "node csr --cluster prod.example --id 2 --out two".to_owned(),
            "key_hash",
        ),
        (
            format!("node sign --csr two/node-2.csr --cluster prod.example --id 2 {CA} --out two"),
            "identity",
        ),
        (
            format!("renew --cert one/node-1.crt {CA} --out new"),
            "former_serial",
        ),
        (format!("revoke --cert one/node-1.crt {CA}"), "serials"),
        (format!("crl {CA}"), "next_update"),
        (
            "bundle --ca certs/ca.crt --crl certs/crl.pem --out both".to_owned(),
            "authorities",
        ),
        ("inspect one/node-1.crt".to_owned(), "entries"),
        ("verify --cert two/node-2.crt --ca both".to_owned(), "crl"),
        ("fingerprint one/node-1.crt".to_owned(), "key_hash"),
        ("doctor two".to_owned(), "findings"),
    ] {
        let (exit, object) = desk.json(&words);
        assert_eq!(
            (exit, &object["ok"]),
            (0, &true.into()),
            "{words}: {object}"
        );
        assert!(!object[field].is_null(), "{words}: {object}");
        assert!(
            words.starts_with(object["command"].as_str().unwrap()),
            "{words}: {object}"
        );
        assert!(object["warnings"].is_array(), "{words}");
        let said = object.to_string();
        assert!(!said.contains("PRIVATE KEY"), "{words}: {said}");
    }
}
