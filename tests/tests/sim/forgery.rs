//! A Raft message counts only from whom it names.

use bytes::BytesMut;
use openraft::type_config::alias::{LogIdOf, VoteOf};
use quicraft_tests::raft::TypeConfig;
use quicraft_tests::sim::{LIMIT, MS, SimCluster, SimSpec};
use quicraft_transport::link::CallLane;
use quicraft_transport::raft::{Codec, RaftCodec};
use quicraft_transport::{CallError, Event, GroupId, RefusalCode};

/// The number of votes in the header of a call (PROTOCOL.md).
const VOTE: u16 = 3;

/// A vote request in a far term, as the wire has it.
fn vote_request(node: u64) -> BytesMut {
    let vote = VoteOf::<TypeConfig>::new(1_000, node);
    let last: Option<LogIdOf<TypeConfig>> = None;
    let mut body = BytesMut::new();
    RaftCodec::encode(&(vote, last, false), &mut body).expect("a vote");
    body
}

/// R13: over a whole link.
#[tokio::test(start_paused = true)]
async fn a_forged_origin_is_refused() {
    let cluster = SimCluster::start(SimSpec::new(3, 1, 10 * MS)).await;
    let (liar, judge) = (cluster.node(2), cluster.node(1));
    let term = judge.term(1);
    let raised = judge.event(|event| matches!(event, Event::OriginMismatch { .. }));
    let forged = liar.call(
        1,
        CallLane::Control,
        GroupId::new(1),
        VOTE,
        vote_request(3).freeze(),
        LIMIT,
    );
    let (answer, event) = tokio::join!(forged, raised);
    match answer {
        Err(CallError::Refused { refusal, .. }) => {
            assert_eq!(refusal.code, RefusalCode::OriginMismatch, "{refusal}");
        }
        other => panic!("{other:?}"),
    }
    match event {
        Event::OriginMismatch { peer, group, named } => {
            assert_eq!((peer.get(), group.get(), named), (2, 1, 3));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(judge.term(1), term, "nothing has happened to the group");
    // The same bytes under its own name are an answer, on the same link.
    let own = liar.call(
        1,
        CallLane::Control,
        GroupId::new(1),
        VOTE,
        vote_request(2).freeze(),
        LIMIT,
    );
    own.await.expect("an answer");
    assert_eq!(liar.link(1).links_total, 1, "the link lives on");
}
