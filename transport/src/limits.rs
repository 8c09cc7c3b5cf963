//! Every bound of the transport, with its unit, its reason, and what happens at it.
//!
//! Settings that a host may change live in `config.rs` and take their defaults from here; what is
//! not a setting is fixed by the protocol or would only hide a fault. The bounds that depend on
//! each other are asserted at the end, at compile time.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

// --- Frames -------------------------------------------------------------------------------------

/// Bytes of the body of one frame on Append and Call (8 MiB). It is announced in the handshake and
/// a peer's smaller limit wins. Past it: `CallError::TooLarge` here, a `TooLarge` refusal there.
pub const FRAME_BODY_BYTES_MAX: usize = 8 * MIB;

/// Bytes of the body of one frame on Control (64 KiB): one frame must not delay the heartbeats
/// behind it by more than half a millisecond at 1 Gbit/s. Past it the link is ended.
pub const CONTROL_BODY_BYTES_MAX: usize = 64 * KIB;

/// Bytes of the largest encoded log entry (4 MiB); half a frame, so that an entry always fits.
/// A larger one is an `EntryTooLarge` event and is not sent.
pub const ENTRY_BYTES_MAX: usize = 4 * MIB;

/// Bytes of one handshake message (4 KiB): a cluster name, fixed fields and room for new ones.
/// Past it the connection is closed with `BAD_HELLO`.
pub const HELLO_BYTES_MAX: usize = 4 * KIB;

/// Bytes of the text of a refusal or a close; longer texts are cut.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 256;

/// Bytes that a frame reader asks quinn for at once, and so the most that it holds ahead of a
/// frame that it is still waiting for.
pub const READ_CHUNK_BYTES_MAX: usize = 64 * KIB;

// --- Windows and byte budgets -------------------------------------------------------------------

/// Bytes that a peer may have sent on all streams of a link without our having read them (32 MiB):
/// 1 Gbit/s at a round trip of 200 ms needs 25 MB in flight. Also the send window.
pub const LINK_WINDOW_BYTES: usize = 32 * MIB;

/// The same for one stream (8 MiB): below the link's window, so that one unread stream cannot take
/// the credit of all others.
pub const STREAM_WINDOW_BYTES: usize = 8 * MIB;

/// Bytes on all streams before a peer is proven (64 KiB).
pub const UNPROVEN_WINDOW_BYTES: usize = 64 * KIB;

/// Bytes of appends in flight on a link; given back by each acknowledgement. Past it the lane stops
/// polling openraft's stream.
pub const APPEND_BUDGET_BYTES: usize = 16 * MIB;

/// Bytes of calls, and of replies over `REPLY_FREE_BYTES_MAX`, in flight on a link. Past it a call
/// waits, to its deadline.
pub const CALL_BUDGET_BYTES: usize = 7 * MIB + 512 * KIB;

/// Bytes of snapshots in flight on a link; given back as the receiver stores them. 4 MiB carry
/// 160 Mbit/s at a round trip of 200 ms; with 8 MiB the burst of a starting snapshot fills the
/// queue of a slow path for so long that more than one heartbeat in a hundred is late.
pub const SNAPSHOT_BUDGET_BYTES: usize = 4 * MIB;

/// Bytes set aside for Control, which has no budget of its own because its queue bounds it.
pub const CONTROL_RESERVE_BYTES: usize = 256 * KIB;

/// A reply of at most this many bytes travels without budget: its number is bounded by the calls in
/// flight. A larger one takes budget until the caller says that it was taken.
pub const REPLY_FREE_BYTES_MAX: usize = 4 * KIB;

// --- Control lane -------------------------------------------------------------------------------

/// Frames that wait to be written on Control. Past it a call is `Unreachable { LaneFull }` at once.
/// 16,384: one heartbeat each for 10,000 groups in one burst, with room for votes.
pub const CONTROL_QUEUE_FRAMES_MAX: usize = 16_384;

/// Bytes of bodies that wait to be written on Control; same reaction. 4 MiB are sixty-four frames of
/// the largest size, or 10,000 heartbeats of 400 bytes.
pub const CONTROL_QUEUE_BYTES_MAX: usize = 4 * MIB;

/// Calls that wait for their answers on Control of one link, and on the shared stream of Call, which
/// has a lower bound of its own. Past it: `LaneFull` at once. Four calls each of what one burst of
/// [`CONTROL_QUEUE_FRAMES_MAX`] holds; a power of two, because it is a part of the calls' ids.
pub const CALLS_WAITING_MAX: usize = 65_536;

/// Calls of a peer on Control that may be running here at once. Past it: refused `Busy`.
pub const CONTROL_HANDLERS_MAX: usize = 16_384;

/// Answers that wait for a place in the queue of Control. A peer that goes on asking and does not
/// read its answers loses the link with `OVERLOADED`.
pub const CONTROL_ANSWERS_MAX: usize = 16_384;

/// Bytes of calls and answers that wait on Control (16 MiB); same reaction.
pub const CONTROL_ANSWER_BYTES_MAX: usize = 16 * MIB;

/// Frames that one write on Control gathers at most: 64 KiB of heartbeats or so.
pub const CONTROL_WRITE_FRAMES_MAX: usize = 256;

// --- Call lane ----------------------------------------------------------------------------------

/// Calls in flight on the Call lane of one link, and so its streams. Past it: `LaneFull` at once. As
/// many of a peer may be running here; one more is refused `Busy`.
pub const CALLS_IN_FLIGHT_MAX: usize = 1_024;

/// Bytes of the largest request that shares its stream with other calls (16 KiB). A larger one takes
/// a stream of its own, because those behind it would wait: 16 KiB are 130 us at 1 Gbit/s, about what
/// one call costs on a loopback.
pub const CALL_SHARED_BYTES_MAX: usize = 16 * KIB;

/// Frames that wait to be written on the shared stream, those of calls that were given up meanwhile
/// included. Past it: `LaneFull` at once. Twice the calls in flight, so that only a stream that
/// stands still comes here.
pub const CALL_QUEUE_FRAMES_MAX: usize = 2 * CALLS_IN_FLIGHT_MAX;

/// Bytes of bodies that wait there (16 MiB): all calls in flight with the largest shared body. Same
/// reaction.
pub const CALL_QUEUE_BYTES_MAX: usize = CALLS_IN_FLIGHT_MAX * CALL_SHARED_BYTES_MAX;

/// Frames that one write on the Call lane gathers at most: 64 KiB of small calls or so.
pub const CALL_WRITE_FRAMES_MAX: usize = 256;

/// Calls of a peer that were read here and whose answers are not written. Past it no further call of
/// the peer is read: one that does not take its answers waits for itself. As many as may run, and as
/// many again whose answers wait.
pub const CALL_ANSWERS_MAX: usize = 2 * CALLS_IN_FLIGHT_MAX;

/// Time for a call that did not bring a deadline (60 s); past it the handler is stopped.
pub const CALL_DEADLINE_DEFAULT: Duration = Duration::from_secs(60);

/// Time that a caller has to say that it took a large reply (60 s), for as long as which the reply
/// holds its bytes of the budget. Past it the stream is given up.
pub const REPLY_TAKEN_LIMIT: Duration = Duration::from_secs(60);

/// Idle streams kept for the next call; one more is finished.
pub const CALL_STREAMS_IDLE_MAX: usize = 64;

// --- Append lane --------------------------------------------------------------------------------

/// Append sessions of one link that may have a stream at once, in each direction.
pub const APPEND_STREAMS_MAX: usize = 4_096;

/// Requests in flight in one session. 256 cover a round trip of 100 ms at 2,560 requests a second.
/// Past it the session stops taking requests.
pub const SESSION_REQUESTS_MAX: usize = 256;

/// A session without a request in flight gives its stream back after this time.
pub const SESSION_IDLE: Duration = Duration::from_secs(10);

/// What arrives of a request or a snapshot is reported to its sender at most this often. Half a second
/// is far below any stall limit, and one small frame in half a second is no load.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(500);

// --- Snapshot lane ------------------------------------------------------------------------------

/// Transfers of one link at once, in each direction. Past it a transfer waits, to its stall limit.
pub const SNAPSHOT_STREAMS_MAX: usize = 4;

/// Bytes of one write of a transfer. Small, so that a higher lane never waits for much.
pub const SNAPSHOT_CHUNK_BYTES: usize = 64 * KIB;

/// The receiver of a transfer reports progress after this many bytes.
pub const SNAPSHOT_PROGRESS_BYTES: u64 = 256 * 1024;

/// A transfer that has not moved for this long is lifted to the priority of appends until it moves:
/// the floor that keeps strict priorities from starving it.
pub const SNAPSHOT_FLOOR: Duration = Duration::from_millis(500);

/// Snapshots that one node sends at once, over all links.
pub const SNAPSHOTS_SENT_MAX: usize = 8;

// --- Admission ----------------------------------------------------------------------------------

/// Time for TLS. A slower peer is dropped; nothing of it is kept.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);

/// Time for each of Hello, Welcome and Confirm after TLS, and for the first frame of a stream. Past
/// it: `HELLO_TIMEOUT`, or the end of the stream.
pub const HELLO_LIMIT: Duration = Duration::from_secs(2);

/// Handshakes of unproven peers at once from which on addresses must be validated first (Retry).
pub const HANDSHAKES_SOFT_MAX: usize = 32;

/// Handshakes of unproven peers at once; further ones are ignored. The arithmetic is at
/// [`TransportConfig::handshakes_max`](crate::TransportConfig::handshakes_max).
pub const HANDSHAKES_HARD_MAX: usize = 128;

/// Those of [`HANDSHAKES_HARD_MAX`] that only known peers at validated addresses may have: as many
/// as a node has dials under way, so that a cluster that comes back meets a flood with room.
pub const HANDSHAKES_RESERVED: usize = 32;

/// Handshakes of unproven peers at once from one validated source; one more is refused.
pub const HANDSHAKES_PER_SOURCE_MAX: usize = 16;

/// Connections whose TLS is done and whose hello is not judged yet. All of them have shown a
/// certificate of the cluster; past it a newcomer is closed with `OVERLOADED`.
pub const HELLOS_PENDING_MAX: usize = 256;

/// The same of one node; same reaction. An honest node has one dial under way, and one more for each
/// that it gave up and that is not judged yet.
pub const HELLOS_PER_NODE_MAX: usize = 8;

/// Bounds of the time that an incumbent has to answer a probe; within them 8 round trips.
pub const PROBE_LIMIT_MIN: Duration = Duration::from_secs(1);
/// See [`PROBE_LIMIT_MIN`].
pub const PROBE_LIMIT_MAX: Duration = Duration::from_secs(3);

/// Probes of one incumbent are at least this far apart, whoever knocks.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A replaced connection may finish its calls for this long.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Time between two looks at the dates of the certificates of live links: an expired one is gone
/// within a second.
pub const CERTIFICATE_SWEEP: Duration = Duration::from_millis(500);

/// Time between two settings of the gauges about certificates.
pub const CERTIFICATE_METRICS_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two looks at the files of the credentials: a list of revoked certificates acts on
/// live links within a second of its writing.
pub const CREDENTIAL_FILES_POLL: Duration = Duration::from_millis(500);

/// After new credentials the links are renewed within this time, each at a moment of its own.
pub const RENEWAL_SPREAD: Duration = Duration::from_secs(5);

/// A link on which the peer said `Done` is kept for this long while another one may be on its way:
/// its last handshake message and the `Done` left together, so this is for lost packets.
pub const HANDOVER_LIMIT: Duration = Duration::from_secs(1);

/// Draining connections to one peer. One more closes the oldest.
pub const DRAINING_MAX: usize = 4;

/// Peers in the roster that were not removed. Past it an entry is refused.
pub const PEERS_MAX: usize = 1_024;

/// Addresses of one peer.
pub const ADDRESSES_MAX: usize = 16;

/// Socket addresses that one dial tries, over all names of the peer.
pub const DIAL_TARGETS_MAX: usize = 32;

/// Time for one name to resolve.
pub const RESOLVE_LIMIT: Duration = Duration::from_secs(2);

/// A peer that was parked by a fatal code is tried again after this time.
pub const PARKED_RETRY: Duration = Duration::from_secs(300);

/// The wait after a TLS alert or a transport error, which anyone on the path can forge.
pub const FORGEABLE_RETRY: Duration = Duration::from_secs(30);

/// The wait after a code that says "later" without a time of its own.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Events kept for a subscriber that does not read; older ones are lost to it (it is told how many).
pub const EVENTS_KEPT_MAX: usize = 1_024;

/// Time between two stateless resets. quinn's 20 ms would let the last of many peers wait for a
/// second packet after our restart; a reset is smaller than what provoked it, so nothing is amplified.
pub const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Streams that a proven peer may open: the sum of the lanes.
pub const STREAMS_MAX: usize = APPEND_STREAMS_MAX + CALLS_IN_FLIGHT_MAX + SNAPSHOT_STREAMS_MAX;

/// Those of [`STREAMS_MAX`] that it is granted at first. quinn keeps an entry for each stream that is
/// granted, opened or not: 512 of them take 58 KiB at each end of each link (measured, of 169 that an
/// idle end holds), and 5,124 eight times as much. Past half of what is granted, four times as many
/// are: a peer that opens thousands at once waits for two round trips, once in the life of a link.
pub const STREAMS_GRANTED_FIRST: usize = 512;

/// Time that the last packets may take at the end of a shutdown: those that close the links leave at
/// once, and a peer that does not answer need not hold us. Past it the socket is taken from quinn.
pub const LAST_PACKETS_LIMIT: Duration = Duration::from_secs(2);

/// Time that tasks have to end once they were stopped, however short the limit of the shutdown is.
/// Past it `ShutdownReport::tasks_ended` is false.
pub const TASKS_END_LIMIT: Duration = Duration::from_secs(2);

/// Bytes of the send and receive buffers asked of the kernel.
pub const SOCKET_BUFFER_BYTES: usize = 4 * MIB;

/// The largest UDP payload; datagrams that leave in one system call must fit together, or the send
/// fails and quinn takes the path for one that drops large packets.
pub const UDP_PAYLOAD_BYTES_MAX: usize = 65_507;

const _: () = {
    assert!(
        APPEND_BUDGET_BYTES + CALL_BUDGET_BYTES + SNAPSHOT_BUDGET_BYTES + CONTROL_RESERVE_BYTES
            <= LINK_WINDOW_BYTES,
        "the lanes together may not ask for more than the link's window"
    );
    assert!(
        FRAME_BODY_BYTES_MAX <= APPEND_BUDGET_BYTES,
        "a frame must fit its lane's budget"
    );
    assert!(
        ENTRY_BYTES_MAX < FRAME_BODY_BYTES_MAX,
        "an entry must fit a frame"
    );
    assert!(CONTROL_BODY_BYTES_MAX <= CONTROL_RESERVE_BYTES);
    assert!(SNAPSHOT_BUDGET_BYTES <= STREAM_WINDOW_BYTES);
    assert!(HELLO_BYTES_MAX <= UNPROVEN_WINDOW_BYTES);
    assert!(SNAPSHOT_PROGRESS_BYTES * 4 <= SNAPSHOT_BUDGET_BYTES as u64);
    assert!(HANDSHAKES_SOFT_MAX + HANDSHAKES_RESERVED <= HANDSHAKES_HARD_MAX);
    assert!(CALLS_IN_FLIGHT_MAX * REPLY_FREE_BYTES_MAX <= 4 * MIB);
    assert!(CALL_SHARED_BYTES_MAX < CALL_BUDGET_BYTES);
    assert!(CALLS_IN_FLIGHT_MAX < CALL_ANSWERS_MAX);
    assert!(CALLS_WAITING_MAX.is_power_of_two());
    assert!(STREAMS_GRANTED_FIRST <= STREAMS_MAX);
};
