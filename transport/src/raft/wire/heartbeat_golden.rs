//! The bytes of heartbeats and of their frames, as they are, and what is refused of them. What
//! `golden.rs` says holds here too.

use bytes::{Bytes, BytesMut};
use openraft::impls::leader_id_std;
use openraft::raft::AppendEntriesRequest;
use openraft::type_config::alias::{LogIdOf, VoteOf};
use openraft::vote::RaftLeaderId;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use super::beats::{
    AnswerFrame, BeatAnswer, HEARTBEAT_HEAD_BYTES_MAX, begin, heartbeat_bytes, heartbeats, number,
    put_heartbeat, take_answer,
};
use super::golden::hex;
use super::*;
use crate::raft::limits::HEARTBEATS_PER_FRAME_MAX;
use crate::raft::testing::{TestConfig, leader_vote, log_id};
use crate::{GroupId, Refusal, RefusalCode};

type Request = AppendEntriesRequest<TestConfig>;

fn request(
    vote: VoteOf<TestConfig>,
    prev: Option<LogIdOf<TestConfig>>,
    commit: Option<LogIdOf<TestConfig>>,
) -> Request {
    Request {
        vote,
        prev_log_id: prev,
        entries: Vec::new(),
        leader_commit: commit,
    }
}

fn bytes_of(request: &Request, own: u64) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_heartbeat(request.clone(), own, &mut bytes).unwrap();
    bytes
}

fn parts(request: &Request) -> impl PartialEq + std::fmt::Debug {
    assert!(request.entries.is_empty());
    (request.vote, request.prev_log_id, request.leader_commit)
}

/// R16: both forms of a heartbeat.
#[test]
fn heartbeats_of_a_leader() {
    let vote = leader_vote(3, 1);
    let (own, other) = (|index| Some(log_id(3, 1, index)), Some(log_id(2, 2, 9)));
    let cases = [
        (request(vote, own(300), own(300)), "01ad020103"),
        (request(vote, own(300), own(299)), "01ad02ad0203"),
        (request(vote, own(0), None), "01010003"),
        (request(vote, None, own(0)), "01000203"),
        (request(vote, None, None), "01000003"),
        (request(vote, other, other), "000301010102020901020209"),
        (
            request(vote, own(300), other),
            "00030101010301fb2c0101020209",
        ),
        // Ids that the short form has no number for.
        (
            request(vote, own(u64::MAX), None),
            "00030101010301fdffffffffffffffff00",
        ),
        (
            request(vote, None, own(u64::MAX - 1)),
            "0003010100010301fdfeffffffffffffff",
        ),
    ];
    for (request, golden) in cases {
        let bytes = bytes_of(&request, 1);
        assert_eq!(hex(&bytes), golden);
        let back = decode_heartbeat::<TestConfig>(&bytes, 1).unwrap();
        assert_eq!(parts(&back), parts(&request));
    }
    // What another node's leader says is whole, and so is refused for its origin there.
    assert_eq!(
        hex(&bytes_of(&request(vote, None, None), 2)),
        "000301010000"
    );
}

/// R16: the answers.
#[test]
fn answers_to_a_heartbeat() {
    let prev = Some(log_id(3, 1, 9));
    let cases = [
        (HeartbeatReply::<TestConfig>::Matched, "01"),
        (HeartbeatReply::Conflict, "02"),
        (HeartbeatReply::HigherVote(leader_vote(4, 2)), "03040201"),
    ];
    for (reply, golden) in cases {
        let bytes = reply.encode().unwrap();
        assert_eq!(hex(&bytes), golden);
        assert_eq!(HeartbeatReply::decode(&bytes).unwrap(), reply);
        assert!(reply.judge(prev).is_ok());
    }
    for bad in [&[][..], &[0], &[1, 0], &[2, 0], &[3], &[4]] {
        assert!(
            HeartbeatReply::<TestConfig>::decode(bad).is_err(),
            "{bad:?}"
        );
    }
    let conflict = HeartbeatReply::<TestConfig>::Conflict;
    assert!(matches!(
        conflict.judge(None),
        Err(WireError::Implausible(_))
    ));
}

/// R12, R16: what no correct node sends.
#[test]
fn heartbeats_that_are_none_are_refused() {
    let candidate = request(VoteOf::<TestConfig>::new(3, 1), None, None);
    assert!(matches!(
        decode_heartbeat::<TestConfig>(&bytes_of(&candidate, 1), 1),
        Err(WireError::Implausible(_))
    ));
    for bad in [
        &[][..],
        &[0],
        &[1],
        &[2, 0, 0, 3],
        &[1, 0, 1, 3],
        &[1, 0, 0, 3, 0],
        &[1, 0x80, 0, 0, 3],
    ] {
        assert!(decode_heartbeat::<TestConfig>(bad, 1).is_err(), "{bad:?}");
    }
}

/// R15: a frame of heartbeats.
#[test]
fn frame_of_heartbeats() {
    let mut bytes = BytesMut::new();
    begin(&mut bytes, 300);
    let sent: [(u64, &[u8]); 3] = [(7, b"ab"), (u64::MAX, b""), (128, b"c")];
    for (group, body) in sent {
        let (group, before) = (GroupId::new(group), bytes.len());
        put_heartbeat(&mut bytes, group, body);
        assert_eq!(bytes.len() - before, heartbeat_bytes(group, body.len()));
        assert!(bytes.len() - before <= body.len() + HEARTBEAT_HEAD_BYTES_MAX);
    }
    assert_eq!(
        hex(&bytes),
        "ac02070261 62ffffffffffffffffff0100800101 63".replace(' ', "")
    );
    let (of, rest) = number(&bytes).unwrap();
    assert_eq!(of, 300);
    let got = heartbeats(rest).unwrap();
    assert_eq!(got, sent.map(|(group, body)| (GroupId::new(group), body)));
    // It may end behind any heartbeat, and nowhere else.
    let ends = (0..=rest.len()).filter(|end| heartbeats(&rest[..*end]).is_ok());
    assert_eq!(ends.count(), 4);
}

/// R15: at most 1,024 in a frame.
#[test]
fn the_number_of_heartbeats_in_a_frame_is_bounded() {
    let mut bytes = BytesMut::new();
    for _ in 0..HEARTBEATS_PER_FRAME_MAX {
        put_heartbeat(&mut bytes, GroupId::new(1), b"");
    }
    assert_eq!(heartbeats(&bytes).unwrap().len(), HEARTBEATS_PER_FRAME_MAX);
    put_heartbeat(&mut bytes, GroupId::new(1), b"");
    assert!(matches!(heartbeats(&bytes), Err(WireError::Malformed(_))));
}

fn answers(frame: &Bytes) -> Result<Vec<(usize, BeatAnswer)>, WireError> {
    let (mut rest, mut next, mut answers) = (&frame[..], 0, Vec::new());
    while !rest.is_empty() {
        answers.push(take_answer(frame, &mut rest, &mut next)?);
    }
    Ok(answers)
}

/// R15: a frame of answers, as a reply and behind one.
#[test]
fn frame_of_answers() {
    let said: [(u32, BeatAnswer); 4] = [
        (0, Ok(Bytes::from_static(&[1]))),
        (1, Ok(Bytes::from_static(&[2]))),
        (40, Ok(Bytes::from_static(&[1]))),
        (41, Err(Refusal::new(RefusalCode::Stopped, "no"))),
    ];
    let mut frame = AnswerFrame::new(None, 1_000);
    assert!(frame.is_empty());
    for (place, answer) in &said {
        assert!(frame.put(*place, answer));
    }
    let frame = frame.finish();
    assert_eq!(hex(&frame), "00010102980102 09026e6f".replace(' ', ""));
    let said: Vec<_> = said.map(|(place, answer)| (place as usize, answer)).into();
    assert_eq!(answers(&frame).unwrap(), said);
    let ends = (0..=frame.len()).filter(|end| answers(&frame.slice(..*end)).is_ok());
    assert_eq!(ends.count(), 5);

    let mut late = AnswerFrame::new(Some(300), 1_000);
    assert!(late.put(2, &said[0].1));
    assert_eq!(hex(&late.finish()), "ac0208");
}

/// R15: an answer has a place in a frame.
#[test]
fn answers_to_no_heartbeat_are_refused() {
    let last = u32::try_from(HEARTBEATS_PER_FRAME_MAX).unwrap() - 1;
    for (place, fine) in [(last, true), (last + 1, false)] {
        let mut frame = AnswerFrame::new(None, 1_000);
        assert!(frame.put(place, &Ok(Bytes::from_static(&[1]))));
        assert_eq!(answers(&frame.finish()).is_ok(), fine, "{place}");
    }
    for bad in [
        &[3][..],
        &[1, 2, 9],
        &[2, 0],
        &[0xff; 11],
        &[2, 0x80, 0x80, 4, 0],
    ] {
        assert!(answers(&Bytes::from_static(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn an_answer_that_has_no_room_is_kept_for_the_next_frame() {
    let reply = Ok(Bytes::from_static(&[9; 8]));
    let mut frame = AnswerFrame::new(None, 20);
    assert!(frame.put(0, &reply));
    assert!(frame.put(1, &reply));
    assert!(!frame.put(2, &reply), "30 bytes");
    assert_eq!(answers(&frame.finish()).unwrap().len(), 2);
}

mod term_only {
    //! A group whose log ids have no node in them.
    use super::*;

    openraft::declare_raft_types!(
        pub(super) StdConfig: D = String, R = String,
        LeaderId = leader_id_std::LeaderId<u64, u64>
    );

    #[test]
    fn heartbeats_come_back() {
        let leader = leader_id_std::LeaderId::<u64, u64>::new(3, 1);
        let id = LogIdOf::<StdConfig>::new(leader.to_committed(), 300);
        let request = AppendEntriesRequest::<StdConfig> {
            vote: VoteOf::<StdConfig>::new_committed(3, 1),
            prev_log_id: Some(id),
            entries: Vec::new(),
            leader_commit: Some(id),
        };
        let mut bytes = BytesMut::new();
        encode_heartbeat(request.clone(), 1, &mut bytes).unwrap();
        assert_eq!(hex(&bytes), "01ad020103");
        let back = decode_heartbeat::<StdConfig>(&bytes, 1).unwrap();
        assert_eq!((back.vote, back.prev_log_id), (request.vote, Some(id)));
    }
}

fn any_log_id() -> impl Strategy<Value = Option<LogIdOf<TestConfig>>> {
    let numbers = || prop_oneof![0..4_u64, any::<u64>(), Just(u64::MAX - 1), Just(u64::MAX)];
    let id =
        (1..4_u64, 1..4_u64, numbers()).prop_map(|(term, node, index)| log_id(term, node, index));
    proptest::option::of(id)
}

proptest::proptest! {
    #[test]
    fn any_heartbeat_comes_back(
        term in 1..4_u64, node in 1..4_u64, own in 1..4_u64,
        prev in any_log_id(), commit in any_log_id(),
    ) {
        let request = request(leader_vote(term, node), prev, commit);
        let bytes = bytes_of(&request, own);
        let back = decode_heartbeat::<TestConfig>(&bytes, own).unwrap();
        assert_eq!(parts(&back), parts(&request));
    }

    #[test]
    fn any_frame_comes_back(
        of: u64,
        sent in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..50),
    ) {
        let mut bytes = BytesMut::new();
        begin(&mut bytes, of);
        for (group, body) in &sent {
            put_heartbeat(&mut bytes, GroupId::new(*group), body);
        }
        let (back, rest) = number(&bytes).unwrap();
        assert_eq!(back, of);
        let got: Vec<_> = heartbeats(rest).unwrap();
        let got: Vec<_> = got.iter().map(|(group, body)| (group.get(), body.to_vec())).collect();
        assert_eq!(got, sent);
    }

    #[test]
    fn any_answers_come_back(
        said in proptest::collection::btree_map(0..1_024_u32, (0..4_u8, "[a-z]{0,9}"), 0..50),
    ) {
        let answer = |(kind, text): &(u8, String)| match kind {
            0 => Ok(Bytes::from_static(&[1])),
            1 => Err(Refusal::new(RefusalCode::Application(9), text.clone())),
            _ => Ok(Bytes::from(text.clone())),
        };
        let said: Vec<_> = said.iter().map(|(place, what)| (*place, answer(what))).collect();
        let mut frame = AnswerFrame::new(None, 1 << 20);
        for (place, answer) in &said {
            assert!(frame.put(*place, answer));
        }
        let got = answers(&frame.finish()).unwrap();
        let said: Vec<_> = said.into_iter().map(|(place, answer)| (place as usize, answer)).collect();
        assert_eq!(got, said);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        drop(decode_heartbeat::<TestConfig>(&bytes, 1));
        drop(HeartbeatReply::<TestConfig>::decode(&bytes));
        drop(heartbeats(&bytes));
        drop(number(&bytes).map(|(_, rest)| heartbeats(rest)));
        drop(answers(&Bytes::from(bytes)));
    }
}
