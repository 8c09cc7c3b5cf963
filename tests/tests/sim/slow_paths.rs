//! Slow is not dead: what moves is given its time, what does not is given up at its limit.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt};
use quicraft_tests::sim::{ECHO, LIMIT, MS, SimCluster, SimNode, SimSpec, Sink};
use quicraft_tests::switch::{Conditions, host, megabits};
use quicraft_transport::frame::Lane;
use quicraft_transport::link::{CallLane, Request, TransferBody};
use quicraft_transport::service::{CallContext, Service, SessionReplies, SessionRequests};
use quicraft_transport::{CallError, GroupId, Refusal, Registration};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const STALL: Duration = Duration::from_secs(5);
/// The largest log entry, and a little more than its frame needs.
const ENTRY_BYTES: usize = 4 << 20;
/// A megabit a second takes so long for it.
const ENTRY_TIME: Duration = Duration::from_millis((ENTRY_BYTES as u64 * 8) / 1_000);

/// What a service does with what it is given.
const READ_AND_STOP: u16 = 1;
const NEVER_READ: u16 = 2;

/// Answers every request with its length; or reads all and answers nothing; or does not even read.
struct Lengths;

fn length(body: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&body.len().to_be_bytes())
}

impl Service for Lengths {
    fn call(&self, _: CallContext, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        async move { Ok(length(&body)) }.boxed()
    }

    fn session(
        &self,
        context: CallContext,
        requests: SessionRequests,
    ) -> Result<SessionReplies, Refusal> {
        let mut requests = requests;
        let replies = match context.method {
            READ_AND_STOP => futures_util::stream::once(async move {
                while requests.next().await.is_some() {}
                std::future::pending().await
            })
            .boxed(),
            NEVER_READ => futures_util::stream::once(async move {
                let _unread = requests;
                std::future::pending().await
            })
            .boxed(),
            _ => requests.map(|body| Ok(length(&body))).boxed(),
        };
        Ok(replies)
    }

    fn transfer(
        &self,
        context: CallContext,
        _: Bytes,
        mut body: TransferBody,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        async move {
            if context.method == NEVER_READ {
                let _unread = body;
                return std::future::pending().await;
            }
            let mut sink = tokio::io::sink();
            let copied = tokio::io::copy(&mut body, &mut sink).await;
            Ok(copied.map_or_else(|_| Bytes::new(), |read| read.to_be_bytes().to_vec().into()))
        }
        .boxed()
    }
}

/// Two nodes on a path, the second with [`Lengths`].
struct Pair {
    cluster: SimCluster,
    _serving: Registration,
}

const LENGTHS: GroupId = ECHO;

impl Pair {
    async fn on(bandwidth: Option<u64>, change: impl FnOnce(&mut SimSpec)) -> Self {
        let conditions = Conditions {
            bandwidth,
            // A router with room for a fifth of a second.
            queue_bytes: bandwidth.map(|bandwidth| bandwidth / 5),
            ..Conditions::delayed(ROUND_TRIP / 2)
        };
        let mut spec = SimSpec::new(2, 0, ROUND_TRIP).on(conditions);
        change(&mut spec);
        let cluster = SimCluster::start_unlinked(spec).await;
        cluster.linked().await;
        let serving = cluster
            .node(2)
            .transport
            .register(LENGTHS, Arc::new(Lengths));
        let _serving = serving.expect("registered");
        // The streams that the acceptor grants are half a round trip later than the link.
        let first = cluster
            .node(1)
            .call(2, CallLane::Call, LENGTHS, 0, "x", LIMIT);
        first.await.expect("an answer");
        Self { cluster, _serving }
    }

    async fn slow() -> Self {
        Self::on(Some(megabits(1)), |_| {}).await
    }

    fn one(&self) -> &SimNode {
        self.cluster.node(1)
    }
}

/// One request of a session, and what comes of it.
async fn ask(
    from: &SimNode,
    method: u16,
    size: usize,
    stall: Duration,
) -> (Result<Bytes, CallError>, Duration) {
    let start = Instant::now();
    let (mut sender, mut receiver) = from.peer(2).session(LENGTHS, method, stall);
    let sending = async {
        sender.send(Bytes::from(vec![7; size])).await.expect("sent");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = receiver.next() => (answer.expect("an answer or an error"), start.elapsed()),
        () = sending => unreachable!("it never ends"),
    }
}

fn is_timeout(answer: &Result<Bytes, CallError>) -> bool {
    matches!(answer, Err(CallError::Timeout { .. }))
}

/// An entry of the largest size takes half a minute and has a stall limit of five seconds.
/// L5, L7: it is reported as it comes.
#[tokio::test(start_paused = true)]
async fn a_large_request_crosses_a_slow_path() {
    let pair = Pair::slow().await;
    let (answer, took) = ask(pair.one(), 0, ENTRY_BYTES, STALL).await;
    assert_eq!(answer.expect("an answer"), ENTRY_BYTES.to_be_bytes()[..]);
    assert!((ENTRY_TIME..ENTRY_TIME * 2).contains(&took), "{took:?}");
    // One report in half a second, and the answer.
    let reports = received(pair.one(), Lane::Append) - 1;
    let most = took.as_millis() / 500;
    assert!(
        (most / 2..=most).contains(&u128::from(reports)),
        "{reports} reports"
    );
    assert_eq!(pair.one().link(2).links_total, 1, "the same link");
}

fn received(node: &SimNode, lane: Lane) -> u64 {
    let lanes = node.link(2).lanes;
    let found = lanes.iter().find(|found| found.lane == lane);
    found.expect("every lane has its counters").received_frames
}

/// More than the lane's budget waits behind it, of several sessions, and all of it gets through: a
/// wait for the budget lasts as long as the lane moves.
/// L9: the budget.
#[tokio::test(start_paused = true)]
async fn many_large_requests_share_a_slow_path() {
    let pair = Pair::on(Some(megabits(8)), |_| {}).await;
    let asked = join_all((0..6).map(|_| ask(pair.one(), 0, ENTRY_BYTES, STALL))).await;
    for (answer, took) in asked {
        assert_eq!(
            answer.expect("an answer"),
            ENTRY_BYTES.to_be_bytes()[..],
            "{took:?}"
        );
    }
}

/// One group keeps the whole lane full of the largest entries; the small appends of another one pass
/// after what was in flight before them, which is the lane's budget at most.
/// L1, L9: within a lane streams take turns, and so do those who wait for its budget.
#[tokio::test(start_paused = true)]
async fn a_group_that_floods_does_not_starve_another() {
    let pair = Pair::on(Some(megabits(100)), |_| {}).await;
    let quiet = GroupId::new(9_002);
    let serving = pair
        .cluster
        .node(2)
        .transport
        .register(quiet, Arc::new(Lengths));
    let _serving = serving.expect("registered");
    let peer = pair.one().peer(2);
    let (mut sender, mut receiver) = peer.session(LENGTHS, 0, STALL);
    let (flooded, waiting) = tokio::sync::watch::channel(0_u32);
    let flood = async {
        let entry = Bytes::from(vec![7; ENTRY_BYTES]);
        loop {
            sender.send(entry.clone()).await.expect("sent");
        }
    };
    let answers = async {
        while let Some(answer) = receiver.next().await {
            answer.expect("an answer");
            flooded.send_modify(|answers| *answers += 1);
        }
    };
    let small = async {
        let mut waiting = waiting;
        // From here on the flood has all of the budget.
        waiting
            .wait_for(|answers| *answers >= 4)
            .await
            .expect("it goes on");
        let (mut sender, mut receiver) = peer.session(quiet, 0, STALL);
        // For two seconds of the flood, that is.
        while *waiting.borrow() < 12 {
            let start = Instant::now();
            let sent = sender.send(Bytes::from_static(&[7; 200]));
            sent.await.expect("sent");
            let answer = receiver.next().await.expect("it goes on");
            answer.expect("an answer");
            let took = start.elapsed();
            assert!(took < Duration::from_millis(1_500), "{took:?}");
        }
    };
    tokio::select! {
        () = small => {}
        () = flood => unreachable!("it never ends"),
        () = answers => panic!("the flood has ended"),
    }
}

/// What a link has learned of its path is still true after a second without traffic: the next
/// snapshot does not begin in slow start.
#[tokio::test(start_paused = true)]
async fn a_link_keeps_its_speed_over_an_idle_second() {
    let pair = Pair::on(Some(megabits(1_000)), |_| {}).await;
    let peer = pair.one().peer(2);
    let send = async || {
        let (bytes, start) = (8 << 20, Instant::now());
        let request = Request::new(LENGTHS, 0, Bytes::new());
        let zeros = tokio::io::repeat(0).take(bytes);
        let sent = peer.transfer(request, bytes, zeros, STALL);
        sent.await.expect("an answer");
        start.elapsed()
    };
    let first = send().await;
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
        let again = send().await;
        // 67 ms for the bytes, and a round trip each for the head, the last byte and the answer.
        assert!(
            again < 67 * MS + 3 * ROUND_TRIP,
            "{again:?}, first {first:?}"
        );
    }
}

/// What is whole at once is answered without a report.
/// L7: nothing more is sent.
#[tokio::test(start_paused = true)]
async fn requests_on_a_fast_path_are_not_reported() {
    let pair = Pair::on(Some(megabits(1_000)), |_| {}).await;
    for size in [0, 1_000, 100_000, ENTRY_BYTES] {
        let before = received(pair.one(), Lane::Append);
        let (answer, _) = ask(pair.one(), 0, size, STALL).await;
        assert_eq!(answer.expect("an answer"), size.to_be_bytes()[..]);
        assert_eq!(received(pair.one(), Lane::Append) - before, 1, "{size}");
    }
}

/// All bytes are there and the handler does nothing: given up at the limit, and not before.
#[tokio::test(start_paused = true)]
async fn a_stuck_handler_is_given_up_at_its_limit() {
    let pair = Pair::on(None, |_| {}).await;
    for method in [READ_AND_STOP, NEVER_READ] {
        let (answer, took) = ask(pair.one(), method, 1_000, STALL).await;
        assert!(is_timeout(&answer), "{answer:?}");
        assert_eq!(took, STALL);
        let early = timeout(STALL - MS, ask(pair.one(), method, 1_000, STALL)).await;
        assert!(early.is_err(), "{early:?}");
    }
}

/// The handler of a request that came slowly has the whole limit from its last byte on.
#[tokio::test(start_paused = true)]
async fn a_handler_that_sticks_after_a_slow_request_has_its_whole_limit() {
    let pair = Pair::slow().await;
    let size = 1 << 20;
    let (answer, whole) = ask(pair.one(), 0, size, STALL).await;
    answer.expect("an answer");
    let (answer, took) = ask(pair.one(), READ_AND_STOP, size, STALL).await;
    assert!(is_timeout(&answer), "{answer:?}");
    let after = took.saturating_sub(whole);
    // Its last byte is reported within half a second; the queue of the path adds its part.
    assert!(
        (STALL - 250 * MS..STALL + 1_000 * MS).contains(&after),
        "{after:?}"
    );
}

/// Calls, other sessions and snapshots pass on the same link all the time.
#[tokio::test(start_paused = true)]
async fn other_traffic_does_not_keep_a_stuck_session_alive() {
    let pair = Pair::on(None, |_| {}).await;
    let one = pair.one();
    let busy = async {
        loop {
            for lane in [CallLane::Control, CallLane::Call] {
                one.call(2, lane, LENGTHS, 0, "x", LIMIT)
                    .await
                    .expect("an answer");
            }
            ask(one, 0, 100_000, STALL).await.0.expect("an answer");
            let zeros = tokio::io::repeat(0).take(100_000);
            let request = Request::new(LENGTHS, 0, Bytes::new());
            let sent = one.peer(2).transfer(request, 100_000, zeros, LIMIT).await;
            sent.expect("an answer");
            sleep(10 * MS).await;
        }
    };
    let (answer, took) = tokio::select! {
        given_up = ask(one, NEVER_READ, 1_000, STALL) => given_up,
        () = busy => unreachable!("it never ends"),
    };
    assert!(is_timeout(&answer), "{answer:?}");
    assert_eq!(took, STALL);
}

/// A call has its deadline, and nothing else: a large one on a slow path takes as long as it needs.
/// L5, L6, L12: the deadline alone.
#[tokio::test(start_paused = true)]
async fn a_large_call_has_all_the_time_to_its_deadline() {
    let pair = Pair::slow().await;
    let body = Bytes::from(vec![7; ENTRY_BYTES]);
    let call = |limit| {
        let (start, body) = (Instant::now(), body.clone());
        let call = pair.one().call(2, CallLane::Call, LENGTHS, 0, body, limit);
        async move { (call.await, start.elapsed()) }
    };
    let (answer, took) = call(ENTRY_TIME * 2).await;
    assert_eq!(answer.expect("an answer"), ENTRY_BYTES.to_be_bytes()[..]);
    assert!(took > ENTRY_TIME, "{took:?}");
    let (answer, took) = call(ENTRY_TIME / 2).await;
    assert!(is_timeout(&answer), "{answer:?}");
    assert_eq!(took, ENTRY_TIME / 2);
}

/// A node that may send 16 KiB a second takes four seconds for each chunk, and two transfers take
/// turns; their limit is three. The wait is the sender's own, so nobody is given up for it.
/// L8: the sender's own waits.
#[tokio::test(start_paused = true)]
async fn a_low_rate_does_not_stall_a_snapshot() {
    let limit = Duration::from_secs(3);
    let pair = Pair::on(None, |spec| {
        spec.transport.snapshot_bytes_per_second = 16 << 10
    })
    .await;
    let peer = pair.one().peer(2);
    let transfers = (0..2).map(|_| {
        let bytes = 256 << 10;
        let request = Request::new(LENGTHS, 0, Bytes::new());
        let zeros = tokio::io::repeat(0).take(bytes);
        peer.transfer(request, bytes, zeros, limit)
    });
    let start = Instant::now();
    for answer in join_all(transfers).await {
        assert_eq!(
            answer.expect("an answer"),
            (256_u64 << 10).to_be_bytes()[..]
        );
    }
    assert!(
        start.elapsed() > Duration::from_secs(25),
        "{:?}",
        start.elapsed()
    );
}

/// Receivers that store slowly hold the whole budget of the link, and another transfer waits for
/// longer than its limit until it gets some.
#[tokio::test(start_paused = true)]
async fn a_snapshot_waits_for_its_budget_as_long_as_others_move() {
    let pair = Pair::on(None, |_| {}).await;
    let slow = GroupId::new(9_001);
    let sink = Sink::new(256 << 10);
    let serving = pair
        .cluster
        .node(2)
        .transport
        .register(slow, Arc::new(sink));
    let _serving = serving.expect("registered");
    let peer = pair.one().peer(2);
    let send = |group, bytes: u64, limit| {
        let request = Request::new(group, 0, Bytes::new());
        let zeros = tokio::io::repeat(0).take(bytes);
        peer.transfer(request, bytes, zeros, limit)
    };
    // Eight MiB at 256 KiB/s; the budget is four, so it is taken at once and for half a minute.
    let filling = send(slow, 8 << 20, STALL);
    let waiting = async {
        sleep(MS).await;
        let start = Instant::now();
        let answer = send(LENGTHS, 1 << 20, Duration::from_secs(1)).await;
        (answer, start.elapsed())
    };
    let (filled, (waited, took)) = tokio::join!(filling, waiting);
    filled.expect("an answer");
    waited.expect("an answer");
    assert!(took > Duration::from_secs(1), "it had to wait: {took:?}");
}

/// A receiver that takes nothing is given up at the limit.
#[tokio::test(start_paused = true)]
async fn a_stuck_receiver_of_a_snapshot_is_given_up_at_its_limit() {
    let pair = Pair::on(None, |_| {}).await;
    let bytes = 100_000;
    let request = Request::new(LENGTHS, NEVER_READ, Bytes::new());
    let zeros = tokio::io::repeat(0).take(bytes);
    let start = Instant::now();
    let sent = pair
        .one()
        .peer(2)
        .transfer(request, bytes, zeros, STALL)
        .await;
    assert!(is_timeout(&sent), "{sent:?}");
    assert_eq!(start.elapsed(), STALL);
}

/// An entry of two MiB for a follower behind a megabit a second, which takes three times its stall
/// limit: it is sent once, and the group goes on meanwhile.
#[tokio::test(start_paused = true)]
async fn a_large_entry_reaches_a_slow_follower_at_the_first_attempt() {
    let cluster = SimCluster::start(SimSpec::new(3, 1, ROUND_TRIP)).await;
    let leader = cluster.leader(1).await;
    let follower = (1..=3).rfind(|&id| id != leader.id).expect("another");
    let (from, to) = (host(leader.id as u8), host(follower as u8));
    cluster.switch.change_path(from, to, |path| {
        path.bandwidth = Some(megabits(1));
        path.queue_bytes = Some(megabits(1) / 5);
    });
    let size = 2 << 20;
    let sent = cluster.switch.counters(from, to).sent_bytes;
    let start = Instant::now();
    let written = leader.group(1).write(Bytes::from(vec![7; size]));
    written.await.expect("a commit");
    assert!(
        start.elapsed() < 10 * ROUND_TRIP,
        "the other follower is a majority"
    );
    let machine = &cluster.node(follower).group(1).machine;
    timeout(10 * LIMIT, machine.wait_for(1))
        .await
        .expect("the entry");
    assert!(start.elapsed() > 3 * STALL, "{:?}", start.elapsed());
    let sent = cluster.switch.counters(from, to).sent_bytes - sent;
    // Packet headers, repetitions, and heartbeats.
    assert!(sent < size as u64 * 5 / 4, "{sent} bytes for {size}");
    assert_eq!(leader.link(follower).links_total, 1, "the same link");
}
