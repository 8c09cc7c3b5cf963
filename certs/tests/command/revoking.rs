//! Revoking, and the lists that say so.

use serde_json::Value;

use crate::desk::{CA, DAY, Desk, authority_of, issued, now};

fn list(desk: &Desk, name: &str) -> Value {
    let (exit, shown) = desk.json(&format!("inspect {name}"));
    assert_eq!(exit, 0);
    shown["entries"][0].clone()
}

fn serial(desk: &Desk, name: &str) -> String {
    list(desk, name)["serial"].as_str().unwrap().to_owned()
}

#[test]
fn by_node_by_file_and_by_serial() {
    let desk = Desk::with_node();
    desk.ok(&format!("renew --cert one/node-1.crt {CA} --out renewed"));
    for node in [2, 3] {
        desk.ok(&format!(
            "node issue --cluster prod.example --id {node} {CA} --out n"
        ));
    }
    // All certificates of the node, the renewed one too.
    let (_, told) = desk.json(&format!("revoke --id 1 {CA}"));
    assert_eq!(told["newly_revoked"], 2);
    let (first, second) = (
        serial(&desk, "one/node-1.crt"),
        serial(&desk, "renewed/node-1.crt"),
    );
    let mut expected = vec![first, second];
    desk.ok(&format!("revoke --cert n/node-2.crt {CA}"));
    expected.push(serial(&desk, "n/node-2.crt"));
    let third = serial(&desk, "n/node-3.crt");
    // As openssl prints it in text: lower case, with colons.
    let pairs: Vec<String> = third
        .to_lowercase()
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8(pair.to_vec()).unwrap())
        .collect();
    desk.ok(&format!("revoke --serial {} {CA}", pairs.join(":")));
    expected.push(third);
    expected.sort();
    let crl = list(&desk, "certs/crl.pem");
    assert_eq!(crl["number"], 3);
    assert_eq!(crl["revoked"], serde_json::json!(expected));
    // Once more is no mistake, and makes the list again.
    let told = desk.ok(&format!("revoke --id 1 {CA}"));
    assert!(told.contains("nothing new"), "{told}");
    assert_eq!(list(&desk, "certs/crl.pem")["number"], 4);
}

#[test]
fn what_this_ca_did_not_issue() {
    let desk = Desk::with_node();
    desk.fails(&format!("revoke --id 9 {CA}"), 1, "--cert FILE");
    desk.fails(
        &format!("revoke --serial 4A00C3 {CA}"),
        1,
        "no record of certificate 4A00C3",
    );
    let foreign = authority_of(now());
    desk.write(
        "foreign.crt",
        issued(&foreign, now() - 10, now() + DAY).certificate_pem(),
    );
    desk.fails(
        &format!("revoke --cert foreign.crt {CA}"),
        1,
        "not issued by this CA",
    );
    assert!(!desk.path("certs/crl.pem").exists());
    // One that it has issued without the command is taken down.
    let own = issued(&desk.authority(), now() - 10, now() + DAY);
    desk.write("own.crt", own.certificate_pem());
    desk.ok(&format!("revoke --cert own.crt {CA}"));
    assert_eq!(
        list(&desk, "certs/crl.pem")["revoked"][0],
        own.serial().to_string()
    );
    // What has expired needs no revoking.
    let desk = Desk::with_ca();
    let past = issued(&desk.authority(), now() - 100, now() - 10);
    desk.write("past.crt", past.certificate_pem());
    desk.ok(&format!("revoke --cert past.crt {CA}"));
    desk.fails(&format!("revoke --id 1 {CA}"), 1, "have expired");
}

#[test]
fn the_numbers_only_grow() {
    let desk = Desk::with_ca();
    for number in 1..=3 {
        desk.ok(&format!("crl {CA}"));
        assert_eq!(list(&desk, "certs/crl.pem")["number"], number);
    }
    // Elsewhere, and without the old list.
    desk.ok(&format!("crl {CA} --out lists/new.pem"));
    assert_eq!(list(&desk, "lists/new.pem")["number"], 4);
    std::fs::remove_file(desk.path("certs/crl.pem")).unwrap();
    desk.ok(&format!("crl {CA}"));
    assert_eq!(list(&desk, "certs/crl.pem")["number"], 5);
    // A list with a higher number, made by the library: the next one is above it.
    desk.write("certs/crl.pem", &desk.authority().crl(&[]).unwrap());
    let high = list(&desk, "certs/crl.pem")["number"].as_u64().unwrap();
    desk.ok(&format!("crl {CA}"));
    assert_eq!(list(&desk, "certs/crl.pem")["number"], high + 1);
}

#[test]
fn the_next_update_is_as_asked() {
    let desk = Desk::with_ca();
    let days = |words: &str| {
        desk.ok(&format!("crl {CA} {words}"));
        let der =
            rustls_pki_types::pem::PemObject::from_pem_slice(desk.read("certs/crl.pem").as_bytes())
                .unwrap();
        let facts = quicraft_certs::CrlFacts::read(&der).unwrap();
        (facts.next_update.unwrap() - facts.this_update) / DAY
    };
    assert_eq!(days(""), 30);
    assert_eq!(days("--days 1"), 1);
    assert_eq!(days("--days 3650"), 3650);
}

#[test]
fn only_an_older_list_of_this_ca_is_replaced() {
    let desk = Desk::with_node();
    let foreign = authority_of(now()).crl(&[]).unwrap();
    desk.write("certs/crl.pem", &foreign);
    let before = desk.read("safe/ca.record.json");
    for words in [format!("crl {CA}"), format!("revoke --id 1 {CA}")] {
        desk.fails(&words, 1, "the list of another CA");
    }
    assert_eq!(
        desk.read("safe/ca.record.json"),
        before,
        "nothing was revoked"
    );
    assert_eq!(desk.read("certs/crl.pem"), foreign);
    // Not even beside an own one, in the bundle of a rotation.
    desk.ok(&format!("crl {CA} --out own.pem"));
    desk.write(
        "certs/crl.pem",
        &format!("{foreign}{}", desk.read("own.pem")),
    );
    desk.fails(&format!("crl {CA}"), 1, "the list of another CA");
    desk.fails(&format!("crl {CA} --out one/node-1.crt"), 1, "holds no CRL");
    desk.ok(&format!("crl {CA} --overwrite"));
    desk.ok("verify --cert one/node-1.crt --ca certs");
}

#[test]
fn a_revocation_survives_a_lost_list() {
    let desk = Desk::with_node();
    desk.ok(&format!("revoke --id 1 {CA}"));
    std::fs::remove_file(desk.path("certs/crl.pem")).unwrap();
    desk.ok(&format!("crl {CA}"));
    assert_eq!(
        list(&desk, "certs/crl.pem")["revoked"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
