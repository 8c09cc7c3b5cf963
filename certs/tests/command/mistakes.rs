//! Each mistake: its exit code, and the one line that says what to type instead.

use quicraft_certs::{Authority, AuthorityOptions, WallClock};

use crate::desk::{CA, DAY, Desk, at, authority_of, issued, now, prod};

const ISSUE: &str =
    "node issue --cluster prod.example --id 2 --ca certs --ca-key safe/ca.key --out two";

#[test]
fn words_that_make_no_sense_exit_2() {
    let desk = Desk::empty();
    for (words, text) in [
        ("", "type `quicraft-certs --help`"),
        ("node", "type `quicraft-certs node --help`"),
        ("nodes", "'node'"),
        ("ca", "quicraft-certs ca --help"),
        ("node issue", "--cluster <NAME>"),
        (
            "revoke --ca a --ca-key b",
            "--id <N>|--cert <FILE>|--serial <HEX>",
        ),
        (
            "revoke --ca a --ca-key b --id 1 --serial 2A",
            "cannot be used with",
        ),
        (
            "revoke --ca a --ca-key b --serial xyz",
            "1 to 20 bytes in hexadecimal",
        ),
        ("crl --ca a --ca-key b --days 0", "1..=3650"),
        (
            "ca init --cluster a --out b --ca-key c/d --days 36501",
            "1..=36500",
        ),
        ("bundle --out d", "--ca <FILE>"),
        ("inspect", "<FILE>"),
        ("doctor", "<DIR>"),
        ("verify --ca c", "--cert <FILE>"),
        ("fingerprint --no", "unexpected argument '--no'"),
    ] {
        desk.fails(words, 2, text);
    }
    for (id, text) in [
        ("0", "type a number from 1"),
        ("01", "leading zero"),
        ("+1", "decimal digits"),
        ("18446744073709551616", "larger than"),
        ("x", "decimal digits"),
    ] {
        desk.fails(&ISSUE.replace("--id 2", &format!("--id {id}")), 2, text);
    }
    for (cluster, text) in [
        ("Prod", "upper-case"),
        ("a..b", "type DNS labels in lower case"),
        ("10.1", "number"),
    ] {
        desk.fails(&ISSUE.replace("prod.example", cluster), 2, text);
    }
    assert!(desk.names(".").is_empty());
}

#[test]
fn help_and_version_are_no_mistakes() {
    let desk = Desk::empty();
    assert!(desk.ok("--help").contains("Exit codes: 0 done"));
    assert!(desk.ok("node issue --help").contains("--cluster"));
    assert!(
        desk.ok("needs-renewal --help")
            .contains("exit 0 renew now, 1 not yet, 2 error")
    );
    assert!(desk.ok("--version").starts_with("quicraft-certs 0."));
}

#[test]
fn the_key_of_a_ca_lies_apart() {
    let desk = Desk::empty();
    for (out, key) in [
        ("certs", "certs/ca.key"),
        ("certs", "./certs/ca.key"),
        ("./certs", "certs/ca.key"),
        (".", "ca.key"),
    ] {
        desk.fails(
            &format!("ca init --cluster prod.example --out {out} --ca-key {key}"),
            2,
            "--ca-key in another folder",
        );
    }
    assert!(desk.names(".").is_empty());
    // Through another way to the same folder.
    desk.write("certs/placeholder", "");
    desk.fails(
        "ca init --cluster prod.example --out certs --ca-key certs/../certs/ca.key",
        2,
        "--ca-key in another folder",
    );
    assert_eq!(desk.names("certs"), ["placeholder"]);
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let desk = Desk::with_node();
    let again = "ca init --cluster prod.example --out certs --ca-key safe/ca.key";
    let issue = format!("node issue --cluster prod.example --id 1 {CA} --out one");
    desk.ok("node csr --cluster prod.example --id 3 --out three");
    let files = [
        "certs/ca.crt",
        "safe/ca.key",
        "safe/ca.record.json",
        "one/node-1.crt",
        "one/node-1.key",
        "three/node-3.key",
        "three/node-3.csr",
    ];
    let contents = |desk: &Desk| files.map(|name| desk.read(name));
    let before = contents(&desk);
    for words in [
        again,
        issue.as_str(),
        "node csr --cluster prod.example --id 3 --out three",
        &format!("renew --cert one/node-1.crt {CA}"),
        &format!("renew --cert one/node-1.crt {CA} --new-key"),
        &format!("renew --cert one/node-1.crt {CA} --out one"),
        "bundle --ca certs/ca.crt --out certs",
    ] {
        desk.fails(words, 1, "exists; give another --out, or add --overwrite");
    }
    assert_eq!(contents(&desk), before);
    // Only the certificate is in the way, or only the key.
    for missing in ["one/node-1.crt", "one/node-1.key"] {
        let kept = desk.read(missing);
        std::fs::remove_file(desk.path(missing)).unwrap();
        desk.fails(&issue, 1, "exists");
        assert!(!desk.path(missing).exists());
        desk.write(missing, &kept);
    }
    assert_eq!(
        desk.read("safe/ca.record.json"),
        before[2],
        "nothing was issued"
    );

    desk.warned(&format!("{issue} --overwrite"), "another valid certificate");
    desk.ok("node csr --cluster prod.example --id 3 --out three --overwrite");
    desk.ok("doctor one");
    desk.ok(&format!("{again} --overwrite"));
    let after = contents(&desk);
    for (index, name) in files.iter().enumerate() {
        assert_ne!(before[index], after[index], "{name}");
    }
    #[cfg(unix)]
    assert_eq!(desk.mode("one/node-1.key"), 0o600);
    assert!(desk.names("one").iter().all(|name| !name.ends_with(".new")));
}

#[test]
fn a_ca_that_is_not_there_or_not_whole() {
    let desk = Desk::with_ca();
    desk.fails(
        &ISSUE.replace("--ca certs", "--ca cert"),
        1,
        "ca init --out",
    );
    desk.fails(
        &ISSUE.replace("safe/ca.key", "safe/key"),
        1,
        "safe/key is missing",
    );
    desk.fails(
        &format!("{ISSUE} --record none.json"),
        1,
        "none.json is missing",
    );
    // Of another CA.
    desk.ok("ca init --cluster prod.example --out certs2 --ca-key safe/ca2.key");
    desk.fails(
        &ISSUE.replace("safe/ca.key", "safe/ca2.key"),
        1,
        "safe/ca2.key is not the key of certs/ca.crt; give the --ca-key of this CA",
    );
    desk.fails(
        &format!("{ISSUE} --record safe/ca2.record.json"),
        1,
        "the record of another CA",
    );
    // A bundle is not the CA's own folder.
    desk.ok("bundle --ca certs/ca.crt --ca certs2/ca.crt --out both");
    desk.fails(
        &ISSUE.replace("--ca certs", "--ca both"),
        1,
        "not one with a bundle",
    );
    desk.write("broken/ca.crt", "nonsense");
    desk.fails(
        &ISSUE.replace("--ca certs", "--ca broken"),
        1,
        "broken/ca.crt",
    );
    desk.write("safe/ca.record.json", "{}");
    desk.fails(ISSUE, 1, "restore it from a backup");
    desk.write("safe/ca.key", "nonsense");
    desk.fails(ISSUE, 1, "safe/ca.key holds no usable key");
    assert!(!desk.path("two").exists());
}

#[cfg(unix)]
#[test]
fn keys_that_others_can_read_are_not_used() {
    let desk = Desk::with_node();
    desk.set_mode("safe/ca.key", 0o640);
    desk.fails(ISSUE, 1, "run `chmod 600` on it");
    desk.set_mode("safe/ca.key", 0o600);
    desk.set_mode("one/node-1.key", 0o604);
    desk.fails("fingerprint one/node-1.key", 1, "has mode 604");
    desk.fails(
        "node csr --cluster prod.example --id 1 --key one/node-1.key --out x",
        1,
        "has mode 604",
    );
    desk.fails(
        "verify --cert one/node-1.crt --key one/node-1.key --ca certs",
        1,
        "has mode 604",
    );
}

#[test]
fn a_ca_outside_its_dates() {
    let desk = Desk::empty();
    desk.put_authority(&authority_of(now() - 3651 * DAY));
    desk.fails(ISSUE, 1, "has expired");
    desk.fails(ISSUE, 1, "quicraft-certs ca init");
    desk.fails("bundle --ca certs/ca.crt --out both", 1, "leave it out");
    desk.put_authority(&authority_of(now() + DAY));
    desk.fails(ISSUE, 1, "set the clock of this machine");
}

#[test]
fn what_nodes_would_refuse_is_not_handed_out() {
    let desk = Desk::empty();
    // An intermediate that is valid, below a CA that has expired.
    let mut options = AuthorityOptions::default();
    options.clock = WallClock::manual(at(now() - 100 * DAY));
    options.not_after = Some(at(now() - 10));
    let root = Authority::with_options(prod(), options).unwrap();
    desk.put_authority(&root.intermediate().unwrap());
    desk.warned(&format!("ca adopt {CA}"), "--cert");
    desk.fails(
        ISSUE,
        1,
        "nodes would refuse the new certificate: a certificate of the chain expired",
    );
    assert!(!desk.path("two").exists());
    assert!(!desk.read("safe/ca.record.json").contains("serial"));
}

#[test]
fn an_intermediate_issues_too() {
    let desk = Desk::empty();
    let root = authority_of(now());
    desk.put_authority(&root.intermediate().unwrap());
    desk.warned(&format!("ca adopt {CA}"), "--cert");
    desk.ok(ISSUE);
    desk.write("root.crt", root.root_pem());
    desk.ok("verify --cert two/node-2.crt --key two/node-2.key --ca root.crt");
    desk.ok("doctor two");
}

#[test]
fn the_wrong_cluster_and_the_wrong_node() {
    let desk = Desk::with_node();
    desk.fails(
        &ISSUE.replace("prod.example", "test.example"),
        1,
        "type --cluster prod.example",
    );
    desk.ok("node csr --cluster prod.example --id 7 --out seven");
    let sign =
        format!("node sign --csr seven/node-7.csr --cluster prod.example --id 8 {CA} --out x");
    desk.fails(&sign, 1, "type --id 7 --cluster prod.example");
    desk.fails(
        &sign
            .replace("--id 8", "--id 7")
            .replace("seven/node-7.csr", "one/node-1.crt"),
        1,
        "quicraft-certs node csr",
    );
    desk.fails(
        &sign.replace("seven/node-7.csr", "none.csr"),
        1,
        "none.csr cannot be read",
    );
    desk.fails(
        &format!("node issue --cluster prod.example --id 9 {CA} --out x --dns other.example"),
        1,
        "no DNS name within cluster prod.example",
    );
    // A folder with another CA keeps it.
    desk.ok("ca init --cluster prod.example --out certs2 --ca-key safe/ca2.key");
    desk.fails(
        &format!("{} --overwrite", ISSUE.replace("--out two", "--out certs2")),
        1,
        "quicraft-certs bundle",
    );
    assert_eq!(desk.names("certs2"), ["ca.crt"]);
}

#[test]
fn what_is_not_renewed() {
    let desk = Desk::with_node();
    let foreign = authority_of(now());
    desk.write(
        "foreign/node-1.crt",
        issued(&foreign, now() - 10, now() + DAY).certificate_pem(),
    );
    desk.fails(
        &format!("renew --cert foreign/node-1.crt {CA} --overwrite"),
        1,
        "not issued by this CA",
    );
    desk.fails(
        &format!("renew --cert certs/ca.crt {CA} --out x"),
        1,
        "not that of a node",
    );
    desk.fails(
        &format!("renew --cert none.crt {CA} --out x"),
        1,
        "none.crt",
    );
    desk.fails(
        &format!("renew --cert one/node-1.key {CA} --out x"),
        1,
        "no certificate",
    );
    desk.ok("node csr --cluster prod.example --id 1 --key one/node-1.key --out one");
    desk.ok(&format!("revoke --id 1 {CA}"));
    for words in [
        format!("renew --cert one/node-1.crt {CA} --overwrite"),
        format!("renew --cert one/node-1.crt {CA} --overwrite --new-key"),
        format!("node sign --csr one/node-1.csr --cluster prod.example --id 1 {CA} --out x"),
    ] {
        desk.fails(&words, 1, "revoked");
        desk.fails(&words, 1, "quicraft-certs node issue");
    }
}

#[test]
fn errors_are_one_object_too() {
    let desk = Desk::with_node();
    for (words, exit, reason) in [
        ("node", 2, "usage"),
        ("node issue --id 0", 2, "usage"),
        (ISSUE.replace("--ca certs", "--ca x").as_str(), 1, "no_ca"),
        (ISSUE.replace("safe/ca.key", "x").as_str(), 1, "no_ca_key"),
        (ISSUE.replace("prod", "test").as_str(), 1, "wrong_cluster"),
        (
            ISSUE
                .replace("two", "one")
                .replace("--id 2", "--id 1")
                .as_str(),
            1,
            "path_exists",
        ),
        ("inspect none", 1, "read"),
        ("needs-renewal --cert none", 2, "read"),
        ("doctor none", 1, "no_folder"),
        (&format!("revoke --id 77 {CA}"), 1, "unknown_certificate"),
    ] {
        let (code, object) = desk.json(words);
        assert_eq!(code, exit, "{words}: {object}");
        assert_eq!(object["ok"], false, "{words}");
        assert_eq!(object["reason"], reason, "{words}: {object}");
        assert_eq!(object["exit"], exit, "{words}");
        assert!(!object["error"].as_str().unwrap().is_empty(), "{words}");
    }
}
