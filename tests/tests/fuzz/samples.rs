//! Where the corpus comes from: the golden bytes of the wire, and what is wrong with each in turn.

use bytes::{Bytes, BytesMut};
use quicraft_tests::sim::{RawHello, confirm};
use quicraft_transport::frame::{Frame, FrameKind, Lane, PROTOCOL_VERSION};
use quicraft_transport::raft::{CODEC_ID, RAFT_WIRE_VERSION};
use quicraft_transport::{GroupId, TraceContext};

/// A file of the corpus: its name, which says whether it is good, and its bytes.
type Sample = (String, Vec<u8>);

/// The samples of each target. Those of `identity` are certificates, which only `certs` can make.
pub(crate) fn samples() -> Vec<(&'static str, Vec<Sample>)> {
    let mut all = vec![
        ("frame_reader", frames()),
        ("hello", hellos()),
        ("welcome", welcomes()),
        ("confirm", confirms()),
        ("identity_uri", uris()),
        ("transfer_head", transfer_heads()),
        ("refusal", refusals()),
        ("close_text", close_texts()),
        ("admission", walks(0)),
        ("life", walks(1)),
    ];
    all.extend(raft_messages());
    all
}

fn good(name: &str, bytes: impl Into<Vec<u8>>) -> Sample {
    (format!("valid-{name}"), bytes.into())
}

fn bad(name: &str, bytes: impl Into<Vec<u8>>) -> Sample {
    (format!("invalid-{name}"), bytes.into())
}

// --- Frames ---------------------------------------------------------------------------------------

/// Frames as the target reads them: the length of its pieces, and the stream.
fn stream(piece: u8, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = BytesMut::from(&[piece][..]);
    for frame in frames {
        frame.header.encode(&mut bytes);
        bytes.extend_from_slice(&frame.body);
    }
    bytes.to_vec()
}

fn frames() -> Vec<Sample> {
    let call = |size: usize| {
        let body = Bytes::from(vec![7; size]);
        Frame::new(FrameKind::Call, Lane::Append, 1, 9, body).for_group(GroupId::new(3))
    };
    let mut traced = call(20);
    traced.header.trace = Some(TraceContext::new([1; 16], [2; 8]));
    let one = stream(5, &[call(3)]);
    let with = |at: usize, value: u8| {
        let mut bytes = one.clone();
        bytes[1 + at] = value;
        bytes
    };
    vec![
        good("call", one.clone()),
        good("traced", stream(31, &[traced.clone()])),
        good(
            "bare",
            stream(1, &[Frame::bare(FrameKind::Ping, Lane::Control, 1)]),
        ),
        good("several", stream(7, &[call(0), traced, call(512)])),
        bad("nothing", one[..1].to_vec()),
        bad("too-large", stream(9, &[call(513)])),
        bad("cut", one[..one.len() - 1].to_vec()),
        bad("kind", with(0, 11)),
        bad("lane", with(1, 4)),
        bad("flags", with(29, 2)),
        bad("reserved", with(31, 1)),
        bad("length", with(4, 255)),
    ]
}

// --- Handshake ------------------------------------------------------------------------------------

fn hello(change: impl FnOnce(&mut RawHello)) -> Vec<u8> {
    let mut hello = RawHello::new(2, 1);
    change(&mut hello);
    hello.encode().to_vec()
}

fn hellos() -> Vec<Sample> {
    let plain = hello(|_| ());
    let mut longer = plain.clone();
    longer.extend_from_slice(b"later");
    let size = u16::try_from(longer.len() - 8).expect("a short message");
    longer[6..8].copy_from_slice(&size.to_be_bytes());
    let mut magic = plain.clone();
    magic[0] = b'q';
    vec![
        good("hello", plain.clone()),
        good("founded", hello(|hello| hello.cluster_uid = 7)),
        good(
            "versions",
            hello(|hello| (hello.version_min, hello.version_max) = (1, 9)),
        ),
        good("epoch", hello(|hello| hello.epoch = u64::MAX)),
        good("later-fields", longer),
        bad(
            "version",
            hello(|hello| (hello.version_min, hello.version_max) = (PROTOCOL_VERSION + 1, 9)),
        ),
        bad(
            "other-cluster",
            hello(|hello| "other.example".clone_into(&mut hello.cluster)),
        ),
        bad("no-cluster", hello(|hello| hello.cluster.clear())),
        bad("other-uid", hello(|hello| hello.cluster_uid = 8)),
        bad("other-target", hello(|hello| hello.to = 3)),
        bad("other-id", hello(|hello| hello.from = 3)),
        bad("our-id", hello(|hello| hello.from = 1)),
        bad("id-zero", hello(|hello| hello.from = 0)),
        bad("generation", hello(|hello| hello.generation = u64::MAX)),
        bad("codec", hello(|hello| hello.codec = 2)),
        bad("raft-wire", hello(|hello| hello.raft_wire = 1)),
        bad("magic", magic),
        bad("cut", plain[..plain.len() - 1].to_vec()),
        bad("prefix", plain[..8].to_vec()),
    ]
}

/// A welcome by hand, from PROTOCOL.md, H3: what a hello says from `cluster_uid` on.
fn welcome(version: u16, you: u64, change: impl FnOnce(&mut RawHello)) -> Vec<u8> {
    let hello = hello(change);
    let said = &hello[8 + 2 + 2 + 8..];
    let mut bytes = b"QCFT\x02\x00\x00\x00".to_vec();
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&you.to_be_bytes());
    bytes.extend_from_slice(said);
    let size = u16::try_from(bytes.len() - 8).expect("a short message");
    bytes[6..8].copy_from_slice(&size.to_be_bytes());
    bytes
}

fn welcomes() -> Vec<Sample> {
    let plain = welcome(PROTOCOL_VERSION, 1, |_| ());
    let mut kind = plain.clone();
    kind[4] = 1;
    vec![
        good("welcome", plain.clone()),
        good(
            "founded",
            welcome(PROTOCOL_VERSION, 1, |hello| hello.cluster_uid = 7),
        ),
        good(
            "largest-boot",
            welcome(PROTOCOL_VERSION, 1, |hello| hello.boot = u128::MAX),
        ),
        bad("version", welcome(PROTOCOL_VERSION + 1, 1, |_| ())),
        bad("you", welcome(PROTOCOL_VERSION, 3, |_| ())),
        bad("you-zero", welcome(PROTOCOL_VERSION, 0, |_| ())),
        bad(
            "other-node",
            welcome(PROTOCOL_VERSION, 1, |hello| hello.from = 3),
        ),
        bad(
            "codec",
            welcome(PROTOCOL_VERSION, 1, |hello| hello.codec = CODEC_ID + 1),
        ),
        bad(
            "raft-wire",
            welcome(PROTOCOL_VERSION, 1, |hello| {
                hello.raft_wire = RAFT_WIRE_VERSION + 1
            }),
        ),
        bad("kind", kind),
        bad("cut", plain[..40].to_vec()),
    ]
}

fn confirms() -> Vec<Sample> {
    let plain = confirm(7).to_vec();
    vec![
        good("confirm", plain.clone()),
        good("largest", confirm(u64::MAX).to_vec()),
        bad("cut", plain[..15].to_vec()),
        bad("empty", b"QCFT\x03\x00\x00\x00".to_vec()),
        bad("too-long", b"QCFT\x03\x00\x0f\xf9".to_vec()),
    ]
}

fn uris() -> Vec<Sample> {
    vec![
        good("node", "spiffe://prod.example/node/7"),
        good("largest", "spiffe://a.b-c.d/node/18446744073709551615"),
        bad("zero", "spiffe://prod.example/node/0"),
        bad("leading-zero", "spiffe://prod.example/node/07"),
        bad("sign", "spiffe://prod.example/node/+7"),
        bad("percent", "spiffe://prod.example/node/%37"),
        bad("slash", "spiffe://prod.example/node/7/"),
        bad("query", "spiffe://prod.example/node/7?a=b"),
        bad(
            "overflow",
            "spiffe://prod.example/node/18446744073709551616",
        ),
        bad("upper", "spiffe://Prod.example/node/7"),
        bad("scheme", "https://prod.example/node/7"),
        bad("no-text", b"spiffe://prod.example/node/\xff".to_vec()),
    ]
}

// --- Calls ----------------------------------------------------------------------------------------

fn transfer_heads() -> Vec<Sample> {
    vec![
        good("empty", [0; 8]),
        good("largest", [0xff; 8]),
        good(
            "with-a-head",
            [[0, 0, 0, 0, 0, 0, 4, 8], *b"the head"].concat(),
        ),
        bad("cut", [0; 7]),
        bad("nothing", []),
    ]
}

fn refusals() -> Vec<Sample> {
    vec![
        good("busy", b"\x00\x05busy".to_vec()),
        good("application", [0x80, 1]),
        good("unknown", b"\xff\xff".to_vec()),
        good("no-text", b"\x00\x0c\xff\xfe".to_vec()),
        good(
            "long",
            [[0, 12].to_vec(), "é".repeat(200).into_bytes()].concat(),
        ),
        bad("cut", [0]),
    ]
}

fn close_texts() -> Vec<Sample> {
    vec![
        good("wait", "retry_after_ms=1500"),
        good("longest", "retry_after_ms=30000"),
        bad("too-long", "retry_after_ms=30001"),
        bad("largest", "retry_after_ms=18446744073709551616"),
        bad("sign", "retry_after_ms=-1"),
        bad("nothing", ""),
        bad("other", "go away"),
    ]
}

/// Lists of events from a seed (splitmix64), as long as a fuzzer can take in one.
fn walks(seed: u64) -> Vec<Sample> {
    let walk = |number: u64| {
        let mut state = seed * 100 + number;
        let bytes = (0..20).flat_map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (word ^ (word >> 31)).to_be_bytes()
        });
        good(&format!("walk-{number}"), bytes.collect::<Vec<_>>())
    };
    let mut samples: Vec<_> = (1..=12).map(walk).collect();
    samples.push(bad("nothing", []));
    samples
}

// --- Raft -----------------------------------------------------------------------------------------

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit");
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1]));
    bytes
        .map(|byte| u8::try_from(byte).expect("two digits"))
        .collect()
}

/// The golden bytes of `raft/wire/golden.rs`.
fn raft_messages() -> Vec<(&'static str, Vec<Sample>)> {
    let of = |goods: &[&str], bads: &[&str]| {
        let named = |kind: &str, texts: &[&str]| -> Vec<Sample> {
            let numbered = (1..).zip(texts);
            numbered
                .map(|(number, text)| (format!("{kind}-{number}"), hex(text)))
                .collect()
        };
        let mut samples = named("valid", goods);
        samples.extend(named("invalid", bads));
        samples.push(bad("nothing", []));
        samples.push(bad("tag", [9, 0]));
        samples
    };
    let append = "0f000000030101010201fb2c01010201fb2b01\
                  090000000301fb2d0101026162\
                  070000000301fb2e010100";
    let membership = "01020102020103613a310203623a32";
    let head = format!("0301010103010901010100{membership}fbe803");
    let membership = format!("0500000003010100001300000003010002{membership}");
    let no_node = "050000000301010000080000000301000201010100";
    let cut = &append[..append.len() - 2];
    let hash = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    vec![
        (
            "append",
            of(
                &[append, "050000000301010000", &membership],
                &[
                    cut,
                    "050000000301000000",
                    "ffffffff030101",
                    "05000000030101000000",
                    no_node,
                ],
            ),
        ),
        (
            "append_reply",
            of(
                &["0100", "01010301fb2e01", "020201fb2c01", "03040201"],
                &["02", "0101030109ff", "0304020100"],
            ),
        ),
        (
            "vote",
            of(
                &["0402000103010901", "0402000000"],
                &["0402010000", "04020002"],
            ),
        ),
        (
            "vote_reply",
            of(&["0402000100", "0402010101030109"], &["040200"]),
        ),
        (
            "leader_transfer",
            of(
                &["0402010301040209", "0402010300"],
                &["0402000300", "04020103"],
            ),
        ),
        (
            "leader_transfer_reply",
            of(
                &["01", "02040201050101", "030104020900"],
                &["0100", "0204020105"],
            ),
        ),
        (
            "snapshot_head",
            of(
                &[&format!("{head}00"), &format!("{head}fbe703")],
                &[
                    &head,
                    &format!("{head}fbe903"),
                    &format!("02{}00", &head[2..]),
                ],
            ),
        ),
        ("snapshot_reply", of(&["030101", "040200"], &["0301"])),
        (
            "snapshot_offer",
            of(
                &["03010101030109fbe80300", "03010101030109fbe80301"],
                &["03010001030109fbe80300", "03010101030109fbe80302"],
            ),
        ),
        (
            "snapshot_offer_reply",
            of(
                &["01", &format!("0203{hash}"), "03040201"],
                &[&format!("0203{}", &hash[2..])],
            ),
        ),
    ]
}
