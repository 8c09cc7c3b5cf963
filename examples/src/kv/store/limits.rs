//! Every bound of the store, with its unit, its reason, and what happens at the limit.

use std::time::Duration;

/// Bytes of operations that wait for the writer or are being written. At the limit a caller waits
/// until a commit returned its bytes. 32 MiB is some hundred full append batches: far more than a
/// disk needs to stay busy, and little beside the cache.
pub const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// Operations that wait for the writer; at the limit a caller waits. With hundreds of groups each
/// has room for a few.
pub const QUEUE_OPERATIONS: usize = 4096;

/// Bytes that one commit takes from the queue at most. It bounds how long one fsync can take, and
/// so the time that a vote waits behind it.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Operations that one commit takes from the queue at most.
pub const BATCH_OPERATIONS: usize = 1024;

/// How long a caller waits for its commit before it gives up with `StoreError::Stalled`. A disk
/// that needs longer for 8 MiB is broken, and a node that cannot write must not look alive.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(60);

/// Bytes of log entries that one read for replication returns at most (always at least one entry).
/// openraft limits an append request only in entries, so this is what bounds its bytes.
pub const READ_BYTES: usize = 1024 * 1024;

/// Bytes of commands and number of entries that one apply operation carries at most. It bounds
/// what is in memory while a lagging group catches up.
pub const APPLY_BYTES: usize = 1024 * 1024;

/// See [`APPLY_BYTES`]. One read of openraft's has at most 300 entries.
pub const APPLY_ENTRIES: usize = 512;

/// Bytes of the newest log entries that a group keeps in memory after they are durable, so that
/// replication and applying seldom read the disk. At the limit the oldest are let go. 64 groups
/// cost at most 16 MiB.
pub const TAIL_BYTES: usize = 256 * 1024;

/// Rows that one commit removes at most from purged logs and replaced snapshots. Removing is
/// spread over many commits, so that a purge of 10,000 entries delays no vote.
pub const SWEEP_ROWS: usize = 512;

/// Commits without fsync in a row, after which one is synced although nobody waits for it. redb
/// frees no page before a synced commit, and so the file would grow.
pub const UNSYNCED_COMMITS: u32 = 256;

/// The same in bytes. What was not synced also waits in redb's cache; a snapshot that is being
/// installed would fill all of it.
pub const UNSYNCED_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of one batch of a snapshot that is being installed.
pub const INSTALL_BYTES: usize = 1024 * 1024;

/// Snapshots that are built at the same time, over all groups; others wait. Each reads its group
/// from end to end, and the log needs the disk more.
pub const SNAPSHOT_BUILDS: usize = 2;

/// The longest key, in bytes. A snapshot with a longer one is refused before it is allocated.
pub const KEY_BYTES: usize = 1024;

/// The largest value, in bytes. A snapshot with a larger one is refused before it is allocated.
pub const VALUE_BYTES: usize = 1024 * 1024;

/// The largest header of a snapshot file, in bytes: a log id and a membership, which has one
/// row per node.
pub const SNAPSHOT_HEADER_BYTES: usize = 1024 * 1024;

/// Bytes that one stored record may decode to: an entry with the largest key and value, or a
/// membership. Protects against a damaged length in the file.
pub const RECORD_BYTES: usize = 8 * 1024 * 1024;

/// Groups that the keys can be spread over; a configuration with more is refused.
pub const SHARDS: usize = 4096;

/// Groups that one store serves, which are those of the keys and the one that holds the cluster;
/// opening one more is refused.
pub const GROUPS: usize = SHARDS + 1;

/// What a change of the cluster counts for among the bytes that are applied together: about the
/// largest record of a node.
pub const META_BYTES: usize = 8 * 1024;

/// Memory that redb may use as its cache, by default. Building or installing a snapshot fills it,
/// so it is also most of what either adds to the memory of the process.
pub const CACHE_BYTES: usize = 32 * 1024 * 1024;
