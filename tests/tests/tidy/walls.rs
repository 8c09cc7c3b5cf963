//! The walls between the parts: who may name what (ARCHITECTURE.md, walls).

use crate::rule::{allows, at, holds, notices};
use crate::source::{Source, read, tree};

/// The one line of the transport that hands foreign crates on to hosts.
const RE_EXPORT: &str = "pub use {openraft, quinn, rustls};";

/// Wall 1: `frame/`, `admission/` and `life/` are pure.
fn pure_rooms(source: &Source) -> Vec<String> {
    let rooms = ["frame", "admission", "life"].map(|room| format!("transport/src/{room}/"));
    if source.is_test
        || !rooms
            .iter()
            .any(|room| source.path.starts_with(room.as_str()))
    {
        return Vec::new();
    }
    let words = ["async", "await", "quinn", "spawn", "Mutex"];
    let named = words.iter().flat_map(|word| source.naming(word));
    let clocks = source.code().filter(|(_, line)| line.contains("::now("));
    named
        .chain(clocks)
        .map(|(line, _)| {
            at(
                source,
                line,
                "a room without tasks, clocks, locks and sockets",
            )
        })
        .collect()
}

#[test]
fn frame_admission_and_life_are_pure() {
    holds(pure_rooms);
    notices(
        pure_rooms,
        "transport/src/frame/header.rs",
        "async fn read() {}",
    );
    notices(
        pure_rooms,
        "transport/src/admission/screen.rs",
        "use quinn::VarInt;",
    );
    notices(
        pure_rooms,
        "transport/src/admission/record.rs",
        "let t = Instant::now();",
    );
    notices(
        pure_rooms,
        "transport/src/life/mod.rs",
        "async fn dial() {}",
    );
    allows(
        pure_rooms,
        "transport/src/link/dial.rs",
        "async fn dial() {}",
    );
    allows(
        pure_rooms,
        "transport/src/frame/mod.rs",
        "//! Nothing is async or names quinn.",
    );
}

/// Wall 1: only the link and the endpoint name quinn.
fn quinn_at_the_edge(source: &Source) -> Vec<String> {
    let library = ["certs/src/", "transport/src/", "manager/src/"];
    let edge = ["transport/src/link/", "transport/src/endpoint.rs"];
    let starts = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
    if !starts(&library) || starts(&edge) {
        return Vec::new();
    }
    let naming = ["quinn", "quinn_proto", "quinn_udp"]
        .into_iter()
        .flat_map(|word| source.naming(word));
    let found = naming.filter(|(_, line)| {
        let handed_on = source.path == "transport/src/lib.rs" && line.trim() == RE_EXPORT;
        // A close code is a number of quinn's; nothing else of it is used there.
        let number = source.path == "transport/src/close.rs" && line.trim() == "use quinn::VarInt;";
        !handed_on && !number
    });
    found
        .map(|(line, _)| at(source, line, "only link/ and endpoint.rs may name quinn"))
        .collect()
}

#[test]
fn only_the_link_and_the_endpoint_name_quinn() {
    let rule = quinn_at_the_edge;
    holds(rule);
    notices(rule, "transport/src/service.rs", "use quinn::Connection;");
    notices(
        rule,
        "transport/src/close.rs",
        "use quinn::ConnectionError;",
    );
    notices(
        rule,
        "transport/src/raft/codec.rs",
        "fn a(_: quinn_proto::VarInt) {}",
    );
    notices(rule, "transport/src/lib.rs", "pub use quinn::Connection;");
    allows(
        rule,
        "transport/src/link/stream.rs",
        "use quinn::RecvStream;",
    );
    allows(rule, "transport/src/lib.rs", RE_EXPORT);
}

/// Wall 1: only `raft/` names openraft and bincode. What a host or the manager does with them is
/// their own business.
fn raft_in_its_room(source: &Source) -> Vec<String> {
    let below = ["certs/src/", "transport/src/"];
    let is_below = below.iter().any(|place| source.path.starts_with(place));
    if !is_below || source.path.starts_with("transport/src/raft/") {
        return Vec::new();
    }
    let naming = ["openraft", "bincode"]
        .into_iter()
        .flat_map(|word| source.naming(word));
    naming
        .filter(|(_, line)| !(source.path == "transport/src/lib.rs" && line.trim() == RE_EXPORT))
        .map(|(line, _)| {
            at(
                source,
                line,
                "only transport/src/raft/ may name openraft or bincode",
            )
        })
        .collect()
}

#[test]
fn only_raft_names_openraft_and_bincode() {
    let rule = raft_in_its_room;
    holds(rule);
    notices(rule, "transport/src/link/session.rs", "use openraft::Vote;");
    notices(
        rule,
        "transport/src/frame/header.rs",
        "bincode::config::standard();",
    );
    notices(rule, "certs/src/check.rs", "use bincode;");
    allows(
        rule,
        "transport/src/raft/wire/vote.rs",
        "use openraft::Vote;",
    );
    allows(rule, "manager/src/lib.rs", "use openraft::Raft;");
}

/// Wall 1: only `certs` makes certificates and reads the wall clock.
fn certificates_in_their_crate(source: &Source) -> Vec<String> {
    // The wrong certificates of the simulation are none that `certs` would make.
    let forge = source.path.starts_with("tests/tests/sim/wrong/");
    if source.path.starts_with("certs/") || forge {
        return Vec::new();
    }
    let words = ["rcgen", "SystemTime", "UNIX_EPOCH"];
    let found = words.iter().flat_map(|word| {
        source
            .naming(word)
            .map(move |(line, _)| at(source, line, &format!("`{word}` belongs to certs")))
    });
    found.collect()
}

#[test]
fn only_certs_makes_certificates_and_reads_the_wall_clock() {
    let rule = certificates_in_their_crate;
    holds(rule);
    notices(
        rule,
        "transport/src/link/dial.rs",
        "let now = std::time::SystemTime::now();",
    );
    notices(rule, "tests/src/lib.rs", "use rcgen::KeyPair;");
    allows(rule, "certs/src/clock.rs", "use std::time::SystemTime;");
}

/// Wall 4: a `ProvenNode` comes from admission alone. The compiler holds that nobody else can call
/// its constructor; this holds that there is no second one, and that this one stays inside.
fn proof_from_admission(source: &Source) -> Vec<String> {
    if source.path == "transport/src/admission/proof.rs" {
        let makers = source.code().filter(|(_, line)| {
            let makes = line.contains("-> Self") || line.contains("-> ProvenNode");
            makes && line.trim() != "pub(super) const fn new(node: NodeId) -> Self {"
        });
        let open = source.code().filter(|(_, line)| {
            line.contains("pub") && line.contains("node: NodeId,") || line.contains("Default")
        });
        return makers
            .chain(open)
            .map(|(line, _)| at(source, line, "a second way to make a proof"))
            .collect();
    }
    let inside = source.path.starts_with("transport/src/admission/");
    let found = source.code().filter(|(_, line)| {
        let code: String = line.split_whitespace().collect();
        let makes = code.contains("ProvenNode::new(") || code.contains("ProvenNode::for_tests(");
        makes && !source.is_test && !inside || code.contains("forProvenNode{") && !inside
    });
    found
        .map(|(line, _)| at(source, line, "only admission makes a proof"))
        .collect()
}

#[test]
fn only_admission_makes_a_proof() {
    let rule = proof_from_admission;
    holds(rule);
    let proof = "transport/src/admission/proof.rs";
    notices(rule, proof, "pub const fn new(node: NodeId) -> Self {");
    notices(rule, proof, "pub fn trust(node: NodeId) -> Self {");
    notices(rule, proof, "#[derive(Default)]\npub struct ProvenNode {");
    notices(
        rule,
        "transport/src/link/serve.rs",
        "let node = ProvenNode::new(id);",
    );
    notices(
        rule,
        "transport/src/link/serve.rs",
        "impl From<NodeId> for ProvenNode {",
    );
    allows(
        rule,
        proof,
        "pub(super) const fn new(node: NodeId) -> Self {",
    );
}

/// Wall 2: nothing is unbounded.
fn bounded(source: &Source) -> Vec<String> {
    let words = [
        "unbounded_channel",
        "unbounded",
        "UnboundedSender",
        "UnboundedReceiver",
    ];
    let found = words.iter().flat_map(|word| {
        source
            .naming(word)
            .map(move |(line, _)| at(source, line, "a queue without a bound"))
    });
    found.collect()
}

#[test]
fn no_queue_is_unbounded() {
    holds(bounded);
    notices(
        bounded,
        "transport/src/event.rs",
        "let (a, b) = mpsc::unbounded_channel();",
    );
    notices(
        bounded,
        "examples/src/lib.rs",
        "futures::channel::mpsc::unbounded()",
    );
    allows(
        bounded,
        "transport/src/event.rs",
        "// never unbounded\nlet a = mpsc::channel(1);",
    );
}

/// Dependencies point one way: certs, transport, manager, and then tests and examples.
fn one_way(source: &Source) -> Vec<String> {
    let forbidden: &[&str] = match source.path.as_str() {
        "certs/Cargo.toml" => &["quicraft-", "quinn", "openraft", "tokio"],
        "transport/Cargo.toml" => &[
            "quicraft-manager",
            "quicraft-tests",
            "quicraft-examples",
            "rcgen",
        ],
        "manager/Cargo.toml" => &["quicraft-tests", "quicraft-examples", "quinn", "rcgen"],
        _ => return Vec::new(),
    };
    // What tests of a crate need is not what the crate rests on.
    let manifest = source.text.split("[dev-dependencies]").next().unwrap_or("");
    let found = (1..).zip(manifest.lines()).filter(|(_, line)| {
        let dependency = line.contains('=') && !line.starts_with("name") && !line.starts_with('#');
        dependency
            && forbidden
                .iter()
                .any(|name| line.trim_start().starts_with(name))
    });
    found
        .map(|(line, text)| at(source, line, &format!("this crate must not rest on {text}")))
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    holds(one_way);
    notices(
        one_way,
        "certs/Cargo.toml",
        "[dependencies]\nquicraft-transport.workspace = true",
    );
    notices(one_way, "transport/Cargo.toml", "rcgen.workspace = true");
    notices(one_way, "manager/Cargo.toml", "quinn = \"0.11\"");
    allows(
        one_way,
        "transport/Cargo.toml",
        "quicraft-certs.workspace = true",
    );
}

/// The cryptographic provider is a value: nothing sets or asks for the default of the process, and
/// only one file chooses a library.
fn provider_is_a_value(source: &Source) -> Vec<String> {
    let library = ["certs/src/", "transport/src/", "manager/src/"];
    if !library.iter().any(|room| source.path.starts_with(room)) {
        return Vec::new();
    }
    let global = ["install_default", "get_default", "get_default_or_install"];
    let chooses = source.path == "certs/src/crypto.rs";
    let libraries = ["ring", "aws_lc_rs", "default_provider"];
    let named = global
        .into_iter()
        .chain(libraries.into_iter().filter(|_| !chooses))
        .flat_map(|word| source.naming(word));
    named
        .map(|(line, _)| {
            at(
                source,
                line,
                "the provider is a value of certs/src/crypto.rs",
            )
        })
        .collect()
}

#[test]
fn the_crypto_provider_is_a_value() {
    let rule = provider_is_a_value;
    holds(rule);
    notices(
        rule,
        "transport/src/endpoint.rs",
        "rustls::crypto::ring::default_provider().install_default();",
    );
    notices(rule, "certs/src/crypto.rs", "provider.install_default()?;");
    notices(rule, "certs/src/check.rs", "use rustls::crypto::ring;");
    allows(
        rule,
        "certs/src/crypto.rs",
        "use rustls::crypto::ring as library;",
    );
}

/// The scans look at something: each room that a rule guards is there.
#[test]
fn the_guarded_rooms_exist() {
    let tree = tree();
    for room in [
        "transport/src/frame/",
        "transport/src/admission/",
        "transport/src/link/",
        "transport/src/raft/",
    ] {
        let files = tree.iter().filter(|source| source.path.starts_with(room));
        assert!(files.count() >= 3, "{room} is gone");
    }
    assert!(read("transport/src/lib.rs").text.contains(RE_EXPORT));
    assert!(
        read("transport/src/admission/proof.rs")
            .text
            .contains("pub(super) const fn new(")
    );
}
