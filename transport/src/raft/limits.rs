//! The bounds of the Raft network: what they limit, in which unit, why, and what happens at them.
//!
//! Bounds that lanes and frames have in common stand in the transport's own limits; this room must
//! not repeat them.

use std::time::Duration;

/// Bytes that the codec takes or makes for one value. A longer value is refused, not truncated.
///
/// It bounds one log entry or one snapshot head, because an append frame frames its entries itself.
/// Twice the default frame limit, and so small that the largest decode limit stays reasonable.
pub const CODEC_INPUT_BYTES_MAX: usize = 16 << 20;

/// How many bytes of memory one byte of input may claim while it is decoded.
///
/// bincode claims the full width of a number (up to 16 bytes) that travels as one byte; so 16 is the
/// smallest factor at which no honest value is refused.
pub const CODEC_CLAIM_FACTOR: usize = 16;

/// Entries in one append frame; a longer request is sent as several frames.
///
/// An entry is larger in memory than on the wire (some 150 bytes against 8 for an empty one), so a
/// frame full of the smallest entries is bounded by their number, not only by its bytes.
pub const APPEND_ENTRIES_MAX: usize = 65_536;

/// Bytes of a snapshot that are read, hashed and written at a time.
///
/// Large enough that a file is read in few calls, small enough that hashing one (about 100
/// microseconds) does not hold up other tasks of the thread.
pub const SNAPSHOT_CHUNK_BYTES: usize = 128 << 10;

/// Bytes of a file that is sent that are read in one call, while those before them are sent. A call
/// on a thread for blocking ones costs as much as reading 64 KiB from the page cache; two such pieces
/// are all the memory that a source takes.
pub const FILE_READ_BYTES: usize = 256 << 10;

/// Bytes of the blake3 hash that follows the bytes of a snapshot.
pub const SNAPSHOT_HASH_BYTES: usize = 32;

/// How far a snapshot is, is told at most this often: once a second, as often as anybody looks.
pub const SNAPSHOT_TOLD_INTERVAL: Duration = Duration::from_secs(1);

/// How long a part of a snapshot is kept after its last byte came. Past it, it is thrown away and
/// the snapshot starts again.
///
/// 10 minutes: longer than a data centre needs to come back from a cut link or a failover, short
/// enough that a snapshot that nobody sends any more does not hold its disk or memory for long. One
/// part is kept for each group, so this also bounds how many there are.
pub const PARTIAL_SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(600);

/// Questions and transfers that wait for the task that keeps a group's snapshot. One more is refused
/// `Busy`. 16: a leader has one of each, and some old ones may still be on their way.
pub const SNAPSHOT_CLAIMS_MAX: usize = 16;

/// Bytes of a snapshot that is received into memory, unless the host sets another bound; a longer
/// one is refused before a byte of it is taken. 1 GiB: more than that belongs into a file.
pub const MEMORY_SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// Bytes of a snapshot that is received into a file, unless the host sets another bound; a longer
/// one is refused before a byte of it is taken. 1 TiB: a guard against a nonsensical length.
pub const FILE_SNAPSHOT_BYTES_MAX: u64 = 1 << 40;

/// How many round trips an append session waits for an answer before it counts as stalled, when
/// that is longer than the configured limit. 4: a lost packet, its repetition, and a slow flush.
pub const APPEND_STALL_ROUND_TRIPS: u32 = 4;

/// How long an append request is held for a peer that is away, before openraft is told again that it
/// is. 5 s: a thousand groups wake up two hundred times a second for a dead peer, and an operator who
/// looks at openraft's own errors sees one that is not older than that.
pub const APPEND_HOLD_LIMIT: Duration = Duration::from_secs(5);

/// A peer that has answered an append with entries as quickly as this is near and has a fast disk;
/// commits that go to it wait for entries, see [`APPEND_COMMIT_WINDOW`]. 2 ms: the round trip of a
/// data centre and a flush. On longer paths every request leaves at once.
pub const APPEND_QUICK_MAX: Duration = Duration::from_millis(2);

/// How long a commit that a quick peer is to be told of waits for entries to travel with. 1 ms: the
/// resolution of the timer, and a follower applies that much later when nothing else is written.
pub const APPEND_COMMIT_WINDOW: Duration = Duration::from_millis(1);

/// What openraft waits after a peer that is there has refused an append (its group does not run yet,
/// its lane is full): this at first, twice as long each time, and at most [`APPEND_BACKOFF_MAX`]. A
/// group that is about to start does so within a few of these.
pub const APPEND_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// See [`APPEND_BACKOFF_MIN`]. As long as openraft's own longest: a thousand groups that are not
/// served ask a thousand times a second then.
pub const APPEND_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Heartbeats in one frame; one more begins another frame. 1,024: they are handed out in one go, in a
/// millisecond at most, and a vote behind them waits no longer.
pub const HEARTBEATS_PER_FRAME_MAX: usize = 1_024;

/// Frames of heartbeats to one peer that have left and have no reply. Past it heartbeats are gathered
/// until one has. 1,024: one every 2 ms, for longer than a heartbeat is waited for.
pub const HEARTBEAT_FRAMES_MAX: usize = 1_024;

/// Heartbeats to one peer that are gathered and have not left; one more is refused as `Unreachable`.
/// A group has one at a time, so this is far above the groups of a node.
pub const HEARTBEATS_GATHERED_MAX: usize = 65_536;

/// Heartbeats of one peer that its groups here have not answered; one more is refused `Busy`. It also
/// bounds the tasks that send late answers. A group has one or two, until its deadline.
pub const HEARTBEATS_ANSWERED_MAX: usize = 65_536;

/// Longest window in which heartbeats may be gathered. openraft waits for an answer for 3/4 of its
/// heartbeat interval, which is 50 ms at the least that anybody uses; a window at each end must
/// leave most of that to the network.
pub const HEARTBEAT_WINDOW_MAX: Duration = Duration::from_millis(10);

/// Longest dial backoff that is derived from a Raft configuration, however long its election is.
pub const DERIVED_DIAL_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Shortest and longest idle timeout that is derived from a Raft configuration.
///
/// Below 1.5 s three lost packets in a row on a slow path would end a healthy link; above 30 s a
/// dead one would keep its streams for too long.
pub const DERIVED_IDLE_TIMEOUT: (Duration, Duration) =
    (Duration::from_millis(1_500), Duration::from_secs(30));

/// Shortest and longest assumption about the first round trip that is derived from a Raft
/// configuration: a local network at one end, the default of quinn at the other.
pub const DERIVED_INITIAL_RTT: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(333));
