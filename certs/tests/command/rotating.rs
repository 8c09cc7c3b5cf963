//! Bundles of several CAs.

use crate::desk::{CA, DAY, Desk, at, now};

fn two_cas() -> Desk {
    let desk = Desk::with_ca();
    desk.ok("ca init --cluster prod.example --out certs2 --ca-key safe/ca2.key");
    desk.ok("ca init --cluster test.example --out test --ca-key safe/test.key");
    desk
}

#[test]
fn a_bundle_holds_each_ca_once() {
    let desk = two_cas();
    desk.ok("bundle --ca certs/ca.crt --ca certs2/ca.crt --out both");
    assert_eq!(desk.names("both"), ["ca.crt"]);
    let (_, told) = desk.json("bundle --ca both/ca.crt --ca certs/ca.crt --out again");
    assert_eq!(told["authorities"], 2);
    assert_eq!(desk.read("both/ca.crt"), desk.read("again/ca.crt"));
    assert_eq!(
        desk.read("both/ca.crt").replace("\r\n", "\n"),
        format!(
            "{}{}",
            desk.read("certs/ca.crt"),
            desk.read("certs2/ca.crt")
        )
        .replace("\r\n", "\n")
    );
    // In place: what is read is read before anything is written.
    desk.ok("bundle --ca both/ca.crt --out both --overwrite");
    assert_eq!(desk.read("both/ca.crt"), desk.read("again/ca.crt"));
    // A node that gets a certificate keeps its bundle.
    desk.ok(&format!(
        "node issue --cluster prod.example --id 1 {CA} --out both"
    ));
    assert_eq!(desk.read("both/ca.crt"), desk.read("again/ca.crt"));
    desk.ok("doctor both");
}

#[test]
fn what_is_no_bundle() {
    let desk = two_cas();
    desk.fails(
        "bundle --ca certs/ca.crt --ca test/ca.crt --out x",
        1,
        "is of cluster test.example, not prod.example",
    );
    desk.fails(
        "bundle --ca certs/ca.crt --cluster test.example --out x",
        1,
        "is of cluster prod.example, not test.example",
    );
    desk.ok(&format!(
        "node issue --cluster prod.example --id 1 {CA} --out one"
    ));
    desk.fails("bundle --ca one/node-1.crt --out x", 1, "no CA");
    desk.fails("bundle --ca safe/ca.key --out x", 1, "no certificate");
    desk.fails(
        "bundle --ca certs/ca.crt --crl certs/ca.crt --out x",
        1,
        "no CRL",
    );
    // As soon as there is one list, every CA needs one.
    desk.ok(&format!("crl {CA}"));
    desk.fails(
        "bundle --ca certs/ca.crt --ca certs2/ca.crt --crl certs/crl.pem --out x",
        1,
        "quicraft-certs crl",
    );
    // A list of none of them, and one that would let nobody in any more.
    desk.ok("crl --ca certs2 --ca-key safe/ca2.key");
    desk.fails(
        "bundle --ca certs/ca.crt --crl certs/crl.pem --crl certs2/crl.pem --out x",
        1,
        "signed by none of the CAs",
    );
    let (authority, day_ago) = (desk.authority(), now() - DAY);
    let list = |next: u64| {
        authority
            .crl_with(&[], at(day_ago - 9 * DAY), at(next))
            .unwrap()
    };
    desk.write("old.pem", &list(day_ago - 60));
    desk.fails(
        "bundle --ca certs/ca.crt --crl old.pem --out x",
        1,
        "make it again",
    );
    assert!(!desk.path("x").exists());
    desk.write("old.pem", &list(day_ago + 60));
    desk.warned(
        "bundle --ca certs/ca.crt --crl old.pem --out y",
        "make it again",
    );
    // A key beside a certificate is not copied.
    desk.write(
        "mixed.pem",
        &format!("{}{}", desk.read("certs/ca.crt"), desk.read("safe/ca.key")),
    );
    desk.ok("bundle --ca mixed.pem --out x");
    assert!(!desk.read("x/ca.crt").contains("PRIVATE"));
}
