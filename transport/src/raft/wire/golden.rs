//! The bytes of every message, as they are. A test that fails here means a new
//! [`RAFT_WIRE_VERSION`], not new bytes in the test.

use std::collections::BTreeMap;
use std::fmt::Write;

use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::{BasicNode, Membership};

use super::super::codec::{Codec, RaftCodec};
use super::super::heartbeat::HEARTBEATS;
use super::super::snapshot::Offer;
use super::super::testing::{TestConfig, entry, leader_vote, log_id};
use super::super::{CODEC_ID, RAFT_WIRE_VERSION};
use super::*;

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn candidate(term: u64, node: u64) -> VoteOf<TestConfig> {
    VoteOf::<TestConfig>::new(term, node)
}

const LIMITS: FrameLimits = FrameLimits {
    frame_bytes: 1 << 20,
    entry_bytes: 1 << 20,
};

/// R4, V1: the numbers of versions and methods.
#[test]
fn versions() {
    assert_eq!(RAFT_WIRE_VERSION, 3);
    assert_eq!((RaftCodec::ID, CODEC_ID), (1, 1));
    assert_eq!(
        [
            method::APPEND,
            method::HEARTBEAT,
            method::VOTE,
            method::PRE_VOTE,
            method::TRANSFER_LEADER,
            method::SNAPSHOT,
            method::SNAPSHOT_OFFER
        ],
        [1, 2, 3, 4, 5, 6, 7]
    );
    assert_eq!([method::BEATS, method::LATE_ANSWERS], [1, 2]);
    assert_eq!(HEARTBEATS.get(), 0xffff_ffff_ffff_fffe);
}

/// R6, R7: an append frame.
#[test]
fn append_frame() {
    let request = AppendEntriesRequest::<TestConfig> {
        vote: leader_vote(3, 1),
        prev_log_id: Some(log_id(2, 1, 300)),
        entries: vec![entry(3, 1, 301, "ab"), entry(3, 1, 302, "")],
        leader_commit: Some(log_id(2, 1, 299)),
    };
    let mut frames = AppendSplitter::new(request, LIMITS);
    let frame = frames.next_frame().unwrap().unwrap();
    assert!(frames.next_frame().unwrap().is_none());
    assert!(frame.closes);
    assert_eq!(
        hex(&frame.body),
        "0f000000\
         030101\
         010201fb2c01\
         010201fb2b01\
         09000000\
         0301fb2d01\
         01026162\
         07000000\
         0301fb2e01\
         0100"
    );
    let back = decode_append::<TestConfig>(&frame.body).unwrap();
    assert_eq!(back.vote, leader_vote(3, 1));
    assert_eq!(back.prev_log_id, Some(log_id(2, 1, 300)));
    assert_eq!(back.leader_commit, Some(log_id(2, 1, 299)));
    assert_eq!(
        back.entries,
        vec![entry(3, 1, 301, "ab"), entry(3, 1, 302, "")]
    );
}

/// R8: the answers to it.
#[test]
fn append_replies() {
    let cases = [
        (AppendReply::<TestConfig>::Matched(None), "0100"),
        (
            AppendReply::Matched(Some(log_id(3, 1, 302))),
            "01010301fb2e01",
        ),
        (AppendReply::Conflict(log_id(2, 1, 300)), "020201fb2c01"),
        (AppendReply::HigherVote(leader_vote(4, 2)), "03040201"),
    ];
    for (reply, golden) in cases {
        let bytes = reply.encode().unwrap();
        assert_eq!(hex(&bytes), golden);
        assert_eq!(AppendReply::decode(&bytes).unwrap(), reply);
    }
}

/// R9: vote and pre-vote.
#[test]
fn votes() {
    let request = VoteRequest::<TestConfig> {
        vote: candidate(4, 2),
        last_log_id: Some(log_id(3, 1, 9)),
        leadership_transfer: true,
    };
    let bytes = encode(&VoteRequestBody::from(request.clone())).unwrap();
    assert_eq!(hex(&bytes), "0402000103010901");
    assert_eq!(VoteRequestBody::decode(&bytes).unwrap(), request);

    let response = VoteResponse::<TestConfig> {
        vote: candidate(4, 2),
        vote_granted: true,
        last_log_id: None,
    };
    let bytes = encode(&VoteReply::from(response.clone())).unwrap();
    assert_eq!(hex(&bytes), "0402000100");
    assert_eq!(VoteReply::decode(&bytes).unwrap(), response);
}

/// R10: the transfer and its answers.
#[test]
fn transfer_of_leadership() {
    let request =
        TransferLeaderRequest::<TestConfig>::new(leader_vote(4, 2), 3, Some(log_id(4, 2, 9)));
    let bytes = encode(&TransferRequest::from(request.clone())).unwrap();
    assert_eq!(hex(&bytes), "0402010301040209");
    assert_eq!(TransferRequest::decode(&bytes).unwrap(), request);

    let (expected, actual) = (leader_vote(4, 2), leader_vote(5, 1));
    let cases = [
        (Ok(()), "01"),
        (
            Err(TransferLeaderError::VoteChanged { expected, actual }),
            "02040201050101",
        ),
        (
            Err(TransferLeaderError::LogNotFlushed {
                expected: Some(log_id(4, 2, 9)),
                actual: None,
            }),
            "030104020900",
        ),
    ];
    for (response, golden) in cases {
        let bytes = TransferReply::encode::<TestConfig>(&response).unwrap();
        assert_eq!(hex(&bytes), golden);
        assert_eq!(
            TransferReply::decode::<TestConfig>(&bytes).unwrap(),
            response
        );
    }
}

fn meta() -> SnapshotMetaOf<TestConfig> {
    let nodes = BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]);
    let membership = Membership::new(vec![[1, 2].into()], nodes).unwrap();
    SnapshotMetaOf::<TestConfig> {
        last_log_id: Some(log_id(3, 1, 9)),
        last_membership: StoredMembershipOf::<TestConfig>::new(Some(log_id(1, 1, 0)), membership),
    }
}

/// R11: the head of a snapshot and its answer.
#[test]
fn snapshot() {
    for (offset, golden) in [(0, "00"), (999, "fbe703"), (1_000, "fbe803")] {
        let head = SnapshotHead::<TestConfig>::new(leader_vote(3, 1), meta(), 1_000, offset);
        let bytes = encode(&head).unwrap();
        let expected = "030101\
             01030109\
             01010100\
             0102010202\
             0103613a31\
             0203623a32\
             fbe803";
        assert_eq!(hex(&bytes), format!("{expected}{golden}"));
        let back = SnapshotHead::<TestConfig>::decode(&bytes).unwrap();
        assert_eq!((back.length, back.offset), (1_000, offset));
        assert_eq!(back.transfer_length(), Some(1_000 - offset + 32));
        assert_eq!(back.into_parts(), (leader_vote(3, 1), meta()));
    }

    let response = SnapshotResponse::<TestConfig>::new(leader_vote(3, 1));
    let bytes = encode(&SnapshotReply::from(response.clone())).unwrap();
    assert_eq!(hex(&bytes), "030101");
    assert_eq!(SnapshotReply::decode(&bytes).unwrap(), response);
}

/// R14: the question for an offer and its answers.
#[test]
fn snapshot_offer() {
    for (discard, golden) in [(false, "00"), (true, "01")] {
        let (vote, last) = (leader_vote(3, 1), Some(log_id(3, 1, 9)));
        let request = SnapshotOfferRequest::<TestConfig>::new(vote, last, 1_000, discard);
        let bytes = encode(&request).unwrap();
        assert_eq!(hex(&bytes), format!("03010101030109fbe803{golden}"));
        let back = SnapshotOfferRequest::<TestConfig>::decode(&bytes).unwrap();
        assert_eq!(back.discard, discard);
        let head = SnapshotHead::<TestConfig>::new(vote, meta(), 1_000, 7);
        assert_eq!(back.claim(), head.claim());
    }
    let hash = blake3::hash(b"abc");
    let cases = [
        (SnapshotOfferReply::<TestConfig>::Nothing, "01".to_owned()),
        (
            SnapshotOfferReply::Kept(Offer { offset: 3, hash }),
            format!("0203{}", hash.to_hex()),
        ),
        (
            SnapshotOfferReply::Applied(leader_vote(4, 2)),
            "03040201".to_owned(),
        ),
    ];
    for (reply, golden) in cases {
        let bytes = reply.encode().unwrap();
        assert_eq!(hex(&bytes), golden);
        assert_eq!(SnapshotOfferReply::decode(&bytes).unwrap(), reply);
    }
}

/// R12: what openraft would take for granted.
#[test]
fn what_no_correct_node_sends_is_refused() {
    // A candidate's vote in a leader's message, and the other way round.
    let request = |vote, prev, entries| {
        let request = AppendEntriesRequest::<TestConfig> {
            vote,
            prev_log_id: prev,
            entries,
            leader_commit: None,
        };
        AppendSplitter::new(request, LIMITS)
            .next_frame()
            .unwrap()
            .unwrap()
            .body
    };
    let implausible = |result: Result<(), WireError>| {
        assert!(
            matches!(result, Err(WireError::Implausible(_))),
            "{result:?}"
        );
    };
    let append = |bytes: &[u8]| decode_append::<TestConfig>(bytes).map(drop);
    implausible(append(&request(candidate(3, 1), None, Vec::new())));
    implausible(append(&request(
        leader_vote(3, 1),
        None,
        vec![entry(3, 1, 1, "")],
    )));
    let gap = vec![entry(3, 1, 5, ""), entry(3, 1, 7, "")];
    implausible(append(&request(
        leader_vote(3, 1),
        Some(log_id(1, 1, 4)),
        gap,
    )));
    let beyond = Some(log_id(1, 1, u64::MAX));
    implausible(append(&request(
        leader_vote(3, 1),
        beyond,
        vec![entry(3, 1, 0, "")],
    )));

    let vote = VoteRequest::<TestConfig>::new(leader_vote(3, 1), None);
    let vote = encode(&VoteRequestBody::from(vote)).unwrap();
    implausible(VoteRequestBody::<TestConfig>::decode(&vote).map(drop));

    let transfer = TransferLeaderRequest::<TestConfig>::new(candidate(3, 1), 2, None);
    let transfer = encode(&TransferRequest::from(transfer)).unwrap();
    implausible(TransferRequest::<TestConfig>::decode(&transfer).map(drop));

    // A snapshot of a later term than its leader: openraft would panic.
    // So would one without a leader. And nothing lies behind its end.
    for (vote, offset) in [
        (leader_vote(2, 1), 0),
        (candidate(3, 1), 0),
        (leader_vote(3, 1), 2),
    ] {
        let head = encode(&SnapshotHead::<TestConfig>::new(vote, meta(), 1, offset)).unwrap();
        implausible(SnapshotHead::<TestConfig>::decode(&head).map(drop));
    }
    for vote in [leader_vote(2, 1), candidate(3, 1)] {
        let last = meta().last_log_id;
        let question = SnapshotOfferRequest::<TestConfig>::new(vote, last, 1, false);
        let question = encode(&question).unwrap();
        implausible(SnapshotOfferRequest::<TestConfig>::decode(&question).map(drop));
    }
}

/// R12: openraft would end the group's core when it needs the node that is not there.
#[test]
fn a_membership_that_openraft_would_not_make_is_refused() {
    let bytes = |text: &str| -> Vec<u8> {
        let digits = text.as_bytes().chunks(2);
        let texts = digits.map(|pair| std::str::from_utf8(pair).unwrap());
        texts
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    };
    let append = |membership: &str| {
        let entry = format!("03010002{membership}");
        let head = "050000000301010000";
        let frame = format!("{head}{:02x}000000{entry}", entry.len() / 2);
        decode_append::<TestConfig>(&bytes(&frame)).map(drop)
    };
    let snapshot = |membership: &str| {
        let head = format!("0301010103010901010100{membership}fbe80300");
        SnapshotHead::<TestConfig>::decode(&bytes(&head)).map(drop)
    };
    // Groups of voters, then nodes: none at all, one voter, a joint config, a learner beside it.
    let node = |id: &str| format!("{id}03613a31");
    let (one, two) = (node("01"), node("02"));
    let good = [
        "0000".to_owned(),
        format!("01010101{one}"),
        format!("020101010202{one}{two}"),
        format!("01010102{one}{two}"),
    ];
    for membership in good {
        append(&membership).unwrap();
        snapshot(&membership).unwrap();
    }
    let bad = [
        ("an empty group", "010000".to_owned()),
        ("an empty group beside another", format!("0201010001{one}")),
        ("no node", "01010100".to_owned()),
        ("another's node", format!("01010101{two}")),
        ("no node for the second", format!("0102010201{one}")),
        ("no node in the second group", format!("020101010201{one}")),
    ];
    for (what, membership) in bad {
        for result in [append(&membership), snapshot(&membership)] {
            assert!(
                matches!(result, Err(WireError::Implausible(_))),
                "{what}: {result:?}"
            );
        }
    }
}

#[test]
fn malformed_frames_are_refused_at_every_cut() {
    let request = AppendEntriesRequest::<TestConfig> {
        vote: leader_vote(3, 1),
        prev_log_id: None,
        entries: vec![entry(3, 1, 0, "abc"), entry(3, 1, 1, "def")],
        leader_commit: None,
    };
    let body = AppendSplitter::new(request, LIMITS)
        .next_frame()
        .unwrap()
        .unwrap()
        .body;
    let whole = decode_append::<TestConfig>(&body).unwrap().entries.len();
    assert_eq!(whole, 2);
    // A frame may end after any entry, and nowhere else.
    let ends: Vec<_> = (0..body.len())
        .filter(|end| decode_append::<TestConfig>(&body[..*end]).is_ok())
        .collect();
    assert_eq!(ends.len(), 2, "{ends:?}");

    // A length of 4 GiB in a frame of a few bytes.
    let mut long = body.to_vec();
    long[..4].fill(0xff);
    assert!(matches!(
        decode_append::<TestConfig>(&long),
        Err(WireError::Malformed(_))
    ));
    for reply in [&[][..], &[0], &[9, 0]] {
        assert!(AppendReply::<TestConfig>::decode(reply).is_err());
        assert!(TransferReply::decode::<TestConfig>(reply).is_err());
        assert!(SnapshotOfferReply::<TestConfig>::decode(reply).is_err());
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        drop(decode_append::<TestConfig>(&bytes));
        drop(AppendReply::<TestConfig>::decode(&bytes));
        drop(VoteRequestBody::<TestConfig>::decode(&bytes));
        drop(VoteReply::<TestConfig>::decode(&bytes));
        drop(TransferRequest::<TestConfig>::decode(&bytes));
        drop(TransferReply::decode::<TestConfig>(&bytes));
        drop(SnapshotHead::<TestConfig>::decode(&bytes));
        drop(SnapshotReply::<TestConfig>::decode(&bytes));
        drop(SnapshotOfferRequest::<TestConfig>::decode(&bytes));
        drop(SnapshotOfferReply::<TestConfig>::decode(&bytes));
    }

    #[test]
    fn frames_of_any_size_make_up_the_request(
        sizes in proptest::collection::vec(0..60_usize, 0..40), frame in 90..400_usize,
    ) {
        let entries: Vec<_> = (10..)
            .zip(&sizes)
            .map(|(index, size)| entry(3, 1, index, &"x".repeat(*size)))
            .collect();
        let request = AppendEntriesRequest::<TestConfig> {
            vote: leader_vote(3, 1),
            prev_log_id: Some(log_id(2, 1, 9)),
            entries: entries.clone(),
            leader_commit: Some(log_id(2, 1, 8)),
        };
        let limits = FrameLimits { frame_bytes: frame, entry_bytes: 1_000 };
        let mut frames = AppendSplitter::new(request, limits);
        let mut prev = Some(log_id(2, 1, 9));
        let mut got = Vec::new();
        let mut closed = false;
        while let Some(part) = frames.next_frame().unwrap() {
            assert!(!closed && part.body.len() <= frame);
            let decoded = decode_append::<TestConfig>(&part.body).unwrap();
            assert_eq!((&decoded.prev_log_id, &part.prev), (&prev, &prev));
            assert_eq!(decoded.leader_commit, Some(log_id(2, 1, 8)));
            got.extend(decoded.entries);
            prev = part.last;
            closed = part.closes;
        }
        assert!(closed && frames.oversized().is_none());
        assert_eq!(got, entries);
    }
}

#[test]
fn an_entry_at_the_limit_goes_and_one_past_it_stops_the_frames() {
    // An entry of text of n < 251 bytes is n + 6 bytes here.
    let request = |last: usize| AppendEntriesRequest::<TestConfig> {
        vote: leader_vote(3, 1),
        prev_log_id: None,
        entries: vec![
            entry(3, 1, 0, "ok"),
            entry(3, 1, 1, &"x".repeat(last)),
            entry(3, 1, 2, ""),
        ],
        leader_commit: None,
    };
    let limits = FrameLimits {
        frame_bytes: 1_000,
        entry_bytes: 105,
    };
    let mut frames = AppendSplitter::new(request(100), limits);
    let frame = frames.next_frame().unwrap().unwrap();
    assert!(frame.closes && frames.next_frame().unwrap().is_none());
    assert_eq!(
        (frame.last, frames.oversized()),
        (Some(log_id(3, 1, 2)), None)
    );

    let mut frames = AppendSplitter::new(request(101), limits);
    let frame = frames.next_frame().unwrap().unwrap();
    assert_eq!(
        frame.last,
        Some(log_id(3, 1, 0)),
        "what is before it still goes"
    );
    assert_eq!(
        frames.oversized(),
        Some(OversizedEntry {
            index: 1,
            size: 106,
            limit: 105
        })
    );
    assert!(frames.next_frame().unwrap().is_none());
}

#[test]
fn an_entry_that_no_frame_can_hold_stops_the_frames() {
    let request = AppendEntriesRequest::<TestConfig> {
        vote: leader_vote(3, 1),
        prev_log_id: Some(log_id(3, 1, 3)),
        entries: vec![entry(3, 1, 4, &"x".repeat(100))],
        leader_commit: None,
    };
    // Head: 4 + 8 bytes, entry: 4 + 105.
    let limits = FrameLimits {
        frame_bytes: 121,
        entry_bytes: 1_000,
    };
    let mut frames = AppendSplitter::new(request.clone(), limits);
    assert_eq!(frames.next_frame().unwrap().unwrap().body.len(), 121);

    let limits = FrameLimits {
        frame_bytes: 120,
        entry_bytes: 1_000,
    };
    let mut frames = AppendSplitter::new(request, limits);
    assert!(frames.next_frame().unwrap().is_none());
    assert_eq!(
        frames.oversized(),
        Some(OversizedEntry {
            index: 4,
            size: 105,
            limit: 104
        })
    );
}
