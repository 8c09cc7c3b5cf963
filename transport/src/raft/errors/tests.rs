//! Every variant, and what openraft is told of it.

use std::io;

use openraft::errors::ReplicationClosed;

use super::*;
use crate::NodeId;
use crate::raft::codec::CodecError;
use crate::raft::testing::TestConfig;

const GROUP: GroupId = GroupId::new(3);
const ROUTE: Route = Route {
    own: 1,
    target: 2,
    group: GROUP,
};
const PURPOSES: [Purpose; 6] = [
    Purpose::Append,
    Purpose::Heartbeat,
    Purpose::Vote,
    Purpose::PreVote,
    Purpose::TransferLeader,
    Purpose::Snapshot,
];

fn peer() -> NodeId {
    NodeId::new(2).unwrap()
}

fn unreachable(reason: UnreachableReason) -> CallError {
    CallError::Unreachable {
        peer: peer(),
        group: GROUP,
        address: None,
        reason,
    }
}

fn refusal(code: RefusalCode) -> CallError {
    CallError::Refused {
        peer: peer(),
        group: GROUP,
        refusal: Refusal::new(code, "no"),
    }
}

fn timeout() -> CallError {
    let limit = Duration::from_millis(150);
    CallError::Timeout {
        peer: peer(),
        group: GROUP,
        address: None,
        limit,
    }
}

/// A variant, its verdict, and its verdict for a snapshot.
type Row = (CallError, Verdict, Verdict);

/// Every reason not to send anything.
fn not_sent() -> Vec<Row> {
    [
        UnreachableReason::Unknown,
        UnreachableReason::Down("refused".to_owned()),
        UnreachableReason::Dialling,
        UnreachableReason::LaneFull {
            lane: "append",
            limit: 1,
            unit: "streams",
        },
        UnreachableReason::Suspended,
        UnreachableReason::ShuttingDown,
        UnreachableReason::Myself,
    ]
    .map(|reason| {
        (
            unreachable(reason),
            Verdict::Unreachable,
            Verdict::Unreachable,
        )
    })
    .into()
}

/// Every refusal.
fn refused_rows() -> Vec<Row> {
    use Verdict::{Network, Timeout, Unreachable};
    [
        (RefusalCode::UnknownGroup, Unreachable, Unreachable),
        (RefusalCode::UnknownMethod, Unreachable, Unreachable),
        (RefusalCode::Undecodable, Unreachable, Unreachable),
        (RefusalCode::TooLarge, Unreachable, Unreachable),
        (RefusalCode::Busy, Unreachable, Unreachable),
        (RefusalCode::DeadlinePassed, Timeout, Unreachable),
        (RefusalCode::OriginMismatch, Unreachable, Unreachable),
        (RefusalCode::HandlerPanicked, Unreachable, Unreachable),
        (RefusalCode::Stopped, Unreachable, Unreachable),
        (RefusalCode::ShuttingDown, Unreachable, Unreachable),
        (RefusalCode::Corrupt, Unreachable, Unreachable),
        (RefusalCode::Internal, Unreachable, Unreachable),
        (RefusalCode::NotResumable, Network, Network),
        (RefusalCode::Application(1), Unreachable, Unreachable),
    ]
    .map(|(code, verdict, for_a_snapshot)| (refusal(code), verdict, for_a_snapshot))
    .into()
}

/// Every variant.
fn table() -> Vec<Row> {
    use Verdict::{LocalStorage, Network, Timeout, Unreachable};
    let (peer, group) = (peer(), GROUP);
    let cut = |end| CallError::Cut {
        peer,
        group,
        address: None,
        end,
        reason: "reset".to_owned(),
    };
    let too_large = CallError::TooLarge {
        peer,
        group,
        size: 2,
        limit: 1,
    };
    let source = CallError::Source {
        peer,
        group,
        reason: "disk".to_owned(),
    };
    let mut rows = not_sent();
    rows.extend(refused_rows());
    rows.extend([
        (cut(LinkEnd::Lost), Unreachable, Unreachable),
        (cut(LinkEnd::Replaced), Network, Network),
        (cut(LinkEnd::StreamOnly), Network, Network),
        (timeout(), Timeout, Unreachable),
        (too_large, Unreachable, Unreachable),
        (source, Unreachable, LocalStorage),
    ]);
    rows
}

fn told(error: &RPCError<TestConfig>) -> Verdict {
    match error {
        RPCError::Timeout(_) => Verdict::Timeout,
        RPCError::Unreachable(_) => Verdict::Unreachable,
        RPCError::Network(_) => Verdict::Network,
        RPCError::RemoteError(remote) => match remote.source {},
    }
}

#[test]
fn every_error_has_the_verdict_that_was_chosen_for_it() {
    for (error, expected, for_a_snapshot) in table() {
        for purpose in PURPOSES {
            let expected = if purpose == Purpose::Snapshot {
                for_a_snapshot
            } else {
                expected
            };
            assert_eq!(verdict(purpose, &error), expected, "{purpose:?}: {error}");
        }
    }
}

/// Down, replaced, late: the three kinds of an end that openraft acts upon differently.
#[test]
fn only_a_peer_without_a_link_is_an_outage() {
    let outages = table().into_iter().map(|(error, expected, _)| {
        let outage = is_outage(&error);
        // An outage is always told as one; not all that is told as one is an outage.
        assert!(!outage || expected == Verdict::Unreachable, "{error}");
        (error, outage)
    });
    for (error, outage) in outages {
        let expected = match &error {
            CallError::Unreachable { reason, .. } => {
                !matches!(reason, UnreachableReason::LaneFull { .. })
            }
            CallError::Cut { end, .. } => *end == LinkEnd::Lost,
            _ => false,
        };
        assert_eq!(outage, expected, "{error}");
    }
}

#[test]
fn openraft_is_told_the_verdict() {
    let meta = SnapshotMetaOf::<TestConfig>::default();
    for (error, expected, for_a_snapshot) in table() {
        assert_eq!(
            told(&ROUTE.rpc_error(Purpose::Vote, &error)),
            expected,
            "{error}"
        );
        let streaming = match ROUTE.streaming_error::<TestConfig>(&meta, &error) {
            StreamingError::Closed(_) => panic!("only openraft closes"),
            StreamingError::StorageError(_) => Verdict::LocalStorage,
            StreamingError::Timeout(_) => Verdict::Timeout,
            StreamingError::Unreachable(_) => Verdict::Unreachable,
            StreamingError::Network(_) => Verdict::Network,
        };
        assert_eq!(streaming, for_a_snapshot, "{error}");
    }
}

#[test]
fn a_failing_source_can_only_be_a_snapshots() {
    let source = CallError::Source {
        peer: peer(),
        group: GROUP,
        reason: "disk".into(),
    };
    assert_eq!(
        told(&ROUTE.rpc_error(Purpose::Append, &source)),
        Verdict::Unreachable
    );
}

#[test]
fn a_timeout_says_who_waited_for_whom_and_how_long() {
    let expected = [
        (Purpose::Append, RPCTypes::AppendEntries),
        (Purpose::Heartbeat, RPCTypes::AppendEntries),
        (Purpose::Vote, RPCTypes::Vote),
        (Purpose::PreVote, RPCTypes::Vote),
        (Purpose::TransferLeader, RPCTypes::TransferLeader),
    ];
    for (purpose, action) in expected {
        let RPCError::<TestConfig>::Timeout(error) = ROUTE.rpc_error(purpose, &timeout()) else {
            panic!("not a timeout")
        };
        assert_eq!((error.id, error.target, error.action), (1, 2, action));
        assert_eq!(error.timeout, Duration::from_millis(150));
    }
    assert_eq!(Purpose::Snapshot.rpc_type(), RPCTypes::InstallSnapshot);
}

#[test]
fn our_own_errors_name_group_and_values() {
    let entry = OversizedEntry {
        index: 9,
        size: 20,
        limit: 10,
    };
    let too_large = RaftCallError::EntryTooLarge {
        target: 2,
        group: GROUP,
        entry,
    };
    assert_eq!(
        too_large.to_string(),
        "entry 9 of group 3 has 20 bytes, but node 2 takes at most 10"
    );
    let cases = [
        (too_large, Verdict::Unreachable),
        (
            RaftCallError::NoPeer {
                target: 1,
                own: 1,
                group: GROUP,
            },
            Verdict::Unreachable,
        ),
        (
            RaftCallError::StillAway {
                target: 2,
                group: GROUP,
                limit: Duration::from_secs(5),
            },
            Verdict::Unreachable,
        ),
        (
            ROUTE.wire(WireError::Malformed("no tag")),
            Verdict::Unreachable,
        ),
        (
            ROUTE.wire(CodecError::Trailing { rest: 1 }),
            Verdict::Unreachable,
        ),
        (
            RaftCallError::OtherBytes {
                target: 2,
                group: GROUP,
                offset: 9,
            },
            Verdict::Network,
        ),
        (
            RaftCallError::SessionEnded {
                target: 2,
                group: GROUP,
            },
            Verdict::Network,
        ),
    ];
    for (error, expected) in cases {
        assert_eq!(error.verdict(), expected);
        assert_eq!(told(&error.into()), expected);
    }
}

#[test]
fn a_cancelled_and_a_failing_snapshot_are_not_network_errors() {
    let meta = SnapshotMetaOf::<TestConfig>::default();
    let error = local_storage_error::<TestConfig>(&meta, &io::Error::other("disk"));
    assert!(matches!(error, StreamingError::StorageError(_)));
    let closed = StreamingError::<TestConfig>::from(ReplicationClosed::new("over"));
    assert!(matches!(closed, StreamingError::Closed(_)));
}
