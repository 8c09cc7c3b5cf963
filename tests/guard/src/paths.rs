//! The paths whose instructions are counted. Each makes ready what it needs, does its work once inside
//! [`guarded_work`], and looks at what came out, so that nothing is left out by a clever compiler.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, try_join_all};
use openraft::Vote;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::AppendEntriesRequest;
use openraft::type_config::alias::{EntryOf, LogIdOf};
use openraft::vote::RaftLeaderId;
use quicraft_tests::raft::{Command, TypeConfig};
use quicraft_tests::sim::{SimCluster, SimSpec};
use quicraft_transport::frame::{Frame, FrameAssembler, FrameKind, Lane};
use quicraft_transport::fuzzing;
use quicraft_transport::link::{CallLane, Peer, Request};
use quicraft_transport::service::{CallContext, Service};
use quicraft_transport::{GroupId, NodeId, Refusal};
use tokio::time::Instant;

use crate::Failure;

/// One of them.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// How far from the baseline it may be, in either direction.
    pub(crate) tolerance_percent: f64,
    pub(crate) run: fn() -> Result<(), Failure>,
}

/// A path without a runtime takes the same each time; 2 % are for dependencies whose patch releases
/// move a little, and an extra copy of a body costs more.
const ALONE_PERCENT: f64 = 2.0;

/// Over a link, ports, keys and the seeds of hash maps differ from run to run.
const LINK_PERCENT: f64 = 5.0;

/// All of them.
pub(crate) const ALL: &[Path] = &[
    Path {
        name: "encode",
        tolerance_percent: ALONE_PERCENT,
        run: encode,
    },
    Path {
        name: "decode",
        tolerance_percent: ALONE_PERCENT,
        run: decode,
    },
    Path {
        name: "lane-send",
        tolerance_percent: ALONE_PERCENT,
        run: lane_send,
    },
    Path {
        name: "lane-receive",
        tolerance_percent: ALONE_PERCENT,
        run: lane_receive,
    },
    Path {
        name: "call",
        tolerance_percent: LINK_PERCENT,
        run: call,
    },
    Path {
        name: "dispatch",
        tolerance_percent: LINK_PERCENT,
        run: dispatch,
    },
];

/// Runs one once.
pub(crate) fn run(name: &str) -> Result<(), Failure> {
    let path = ALL.iter().find(|path| path.name == name);
    (path.ok_or("no path has this name")?.run)()
}

/// The only function in which instructions are counted; valgrind is told its name.
#[inline(never)]
fn guarded_work<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Entries of an append request, and the bytes of the command in each.
const ENTRIES: u64 = 64;
const COMMAND_BYTES: usize = 256;

fn request() -> AppendEntriesRequest<TypeConfig> {
    let leader = LeaderId::new(3, 1).to_committed();
    let log_id = |index| LogIdOf::<TypeConfig>::new(leader, index);
    let entry = |index| {
        let command = Command::new(vec![7; COMMAND_BYTES]);
        EntryOf::<TypeConfig>::new_normal(log_id(index), command)
    };
    AppendEntriesRequest {
        vote: Vote::new_committed(3, 1),
        prev_log_id: Some(log_id(1_000)),
        entries: (1_001..=1_000 + ENTRIES).map(entry).collect(),
        leader_commit: Some(log_id(999)),
    }
}

fn encode() -> Result<(), Failure> {
    let request = request();
    let frame = guarded_work(|| fuzzing::append_frame(request))?.ok_or("no frame")?;
    same(
        frame.len() > ENTRIES as usize * COMMAND_BYTES,
        "a frame is too small",
    )
}

fn decode() -> Result<(), Failure> {
    let frame = fuzzing::append_frame(request())?.ok_or("no frame")?;
    let decoded = guarded_work(|| fuzzing::append_request::<TypeConfig>(&frame));
    same(
        decoded.is_some_and(|decoded| decoded.entries == request().entries),
        "other entries",
    )
}

/// Frames of a lane, and the bytes of the body in each: what 256 callers have ready together.
const FRAMES: u64 = 256;
const BODY_BYTES: usize = 256;
const BODY: Bytes = Bytes::from_static(&[3; BODY_BYTES]);

fn frames() -> Vec<Frame> {
    let frame = |id| Frame::new(FrameKind::Call, Lane::Call, 0, id, BODY);
    (1..=FRAMES).map(frame).collect()
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().start_paused(true).build()?)
}

fn lane_send() -> Result<(), Failure> {
    let (runtime, frames) = (runtime()?, frames());
    let chunks = guarded_work(|| runtime.block_on(fuzzing::leaving(frames)));
    same(chunks.len() == 1, "frames did not leave together")
}

/// A piece of a stream: the part of it in one ordinary datagram.
const PIECE_BYTES: usize = 1_400;

fn lane_receive() -> Result<(), Failure> {
    let mut stream = BytesMut::new();
    for chunk in runtime()?.block_on(fuzzing::leaving(frames())) {
        stream.extend_from_slice(&chunk);
    }
    let pieces: Vec<_> = stream
        .chunks(PIECE_BYTES)
        .map(Bytes::copy_from_slice)
        .collect();
    let mut assembler = FrameAssembler::new(BODY_BYTES);
    let received = guarded_work(|| {
        let mut received = Vec::new();
        for piece in pieces {
            assembler.push(piece);
            while let Some(frame) = assembler.next_frame()? {
                received.push(frame);
            }
        }
        Ok::<_, Failure>(received)
    })?;
    same(received == frames(), "other frames")
}

/// Where the calls go.
const GROUP: GroupId = GroupId::new(1);
/// Each caller calls so often.
const ROUNDS: usize = 8;
const CALLERS: usize = 256;
/// In virtual time, of which the link's round trip takes 2 ms.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Whole calls on the Call lane: both ends, quinn and TLS included.
fn call() -> Result<(), Failure> {
    over_a_link(CallLane::Call)
}

/// The same on Control, where a frame is handed to its group's service beside those of all others.
fn dispatch() -> Result<(), Failure> {
    over_a_link(CallLane::Control)
}

struct Echo;

impl Service for Echo {
    fn call(&self, _: CallContext, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(std::future::ready(Ok(body)))
    }
}

fn over_a_link(lane: CallLane) -> Result<(), Failure> {
    let runtime = runtime()?;
    let spec = SimSpec::new(2, 0, Duration::from_millis(2));
    let cluster = runtime.block_on(SimCluster::start(spec));
    let _serving = {
        // Its tasks, if it ever starts any, belong to the runtime.
        let _inside = runtime.enter();
        cluster.node(2).transport.register(GROUP, Arc::new(Echo))?
    };
    let peer = cluster.node(1).transport.peer(NodeId::new(2)?);
    // Once before it counts: windows are open then, and buffers have their size.
    runtime.block_on(calls(&peer, lane))?;
    let answered = guarded_work(|| runtime.block_on(calls(&peer, lane)))?;
    same(answered == CALLERS * ROUNDS, "calls were not answered")
}

/// All calls of all callers. Returns how many were answered with their body.
async fn calls(peer: &Peer, lane: CallLane) -> Result<usize, Failure> {
    let deadline = Instant::now() + CALL_LIMIT;
    let callers = (0..CALLERS).map(|_| async move {
        let mut answered = 0;
        for _ in 0..ROUNDS {
            let request = Request::new(GROUP, 0, BODY);
            answered += usize::from(peer.call(lane, request, deadline).await? == BODY);
        }
        Ok::<_, Failure>(answered)
    });
    Ok(try_join_all(callers).await?.into_iter().sum())
}

fn same(fine: bool, otherwise: &'static str) -> Result<(), Failure> {
    if fine { Ok(()) } else { Err(otherwise.into()) }
}
