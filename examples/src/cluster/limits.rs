//! Every bound of the main job, with its reason. A wait that reaches its bound says what was
//! missing.

use std::time::Duration;

/// From the first process to a leader in every group and a link between every two nodes. An idle
/// machine needs two seconds; 64 groups on two busy cores need many more.
pub const START: Duration = Duration::from_secs(90);

/// Starts with other ports, when another process takes one in between.
pub const START_ATTEMPTS: usize = 5;

/// One write with all its retries. Six times the longest election timeout is 12 s; the rest is for
/// machines that are busy with something else.
pub const WRITE: Duration = Duration::from_secs(120);

/// One attempt of a request. The nodes answer within 5 s, if only that the fate of a write is
/// unknown, so silence for longer means that the node is gone.
pub const ATTEMPT: Duration = Duration::from_secs(8);

/// Setting up one TCP connection; on loopback it takes microseconds or will not happen.
pub const CONNECT: Duration = Duration::from_secs(2);

/// After which a connection that nobody used is not used again. A node that stops answers for half a
/// second that it does, and then closes what is idle; a request that crosses with that has no answer.
pub const IDLE: Duration = Duration::from_millis(200);

/// How long a node is not asked that said it is stopping. It says so for half a second, closes its
/// port, hands its groups over and ends; a request that met the closing port would have no answer.
pub const RESTING: Duration = Duration::from_secs(2);

/// The first and the longest wait before an attempt is repeated. The longest is also how exactly
/// the time of a failover is measured.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(80));

/// Between two looks at a node's status, while something is waited for.
pub const POLL: Duration = Duration::from_millis(50);

/// The share of the writes after which the leader is killed, in percent: late enough that there is
/// something to lose, and early enough that most writes meet the failure.
pub const KILL_AT_PERCENT: u64 = 40;

/// Sending a signal takes a shell, and so milliseconds; longer means that the system is in trouble.
pub const SIGNAL: Duration = Duration::from_secs(10);

/// A killed process is gone at once; longer means that the system is in trouble.
pub const KILL: Duration = Duration::from_secs(10);

/// From the kill to the restart: soon enough that the others still hold the old link, whose idle
/// timeout is 4 s.
pub const RESTART_AFTER: Duration = Duration::from_secs(1);

/// For a restarted node to get its ports again, should somebody have taken one meanwhile.
pub const PORTS_AGAIN: Duration = Duration::from_secs(15);

/// For a restarted node to apply what was committed without it.
pub const CATCH_UP: Duration = Duration::from_secs(120);

/// For all nodes to have applied the same in every group, after the last write.
pub const SETTLE: Duration = Duration::from_secs(60);

/// For one read with all its retries.
pub const READ: Duration = Duration::from_secs(30);

/// For all nodes to stop in order when they are told to; those that do not are killed.
pub const STOP: Duration = Duration::from_secs(30);

/// Between two writes of one client while nodes have bad days: a load that meets every event but
/// leaves few enough writes for all to be read back.
pub const PACE: Duration = Duration::from_millis(10);

/// How long a node that is about to be killed may take to say what it has seen; one that cannot
/// answer in this time takes it along.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// From the last event to a cluster at rest, as if nothing had happened.
pub const REST: Duration = Duration::from_secs(10);

/// For the numbers of tasks and descriptors to stand still before the first event.
pub const STEADY: Duration = Duration::from_secs(30);

/// Equal looks in a row that count as standing still: longer than a request takes to clean up.
pub const STEADY_LOOKS: usize = 5;

/// Reads at the same time, when what was written is read back.
pub const READERS: usize = 64;

/// Between two looks at what a node has bound or linked, when milliseconds are measured.
pub const GLANCE: Duration = Duration::from_millis(2);

/// From the first of all processes to the last one's socket.
pub const BOUND: Duration = Duration::from_secs(30);

/// For a step of a rotation: the nodes look at their files twice a second, renew their links within
/// five seconds, and the connections that were replaced drain for five at most. The rest is for a
/// busy machine.
pub const STEP: Duration = Duration::from_secs(60);

/// Load before, between and after the steps of a rotation.
pub const HOLD: Duration = Duration::from_secs(1);

/// Lines of each node's log that are shown when something failed.
pub const LOG_LINES: usize = 30;

/// Lines of a node's log that are shown of its panics: the first has the message and the place, and
/// a few more say whether it was one panic or one after the other.
pub const PANIC_LINES: usize = 5;

/// Within which a write or a read is answered while nodes restart in turn, all attempts included:
/// what an application would wait for. Later, or of unknown fate, is failed.
pub const SERVED: Duration = Duration::from_secs(5);

/// Of so many writes one is read back at once, at another node, while nodes come and go.
pub const READ_EVERY: u64 = 16;

/// One call of an operator. It may be made again, and then goes on.
pub const OPERATION: Duration = Duration::from_secs(60);

/// For a node to come or go, all calls together: on a busy machine every group takes a second.
pub const CHANGE: Duration = Duration::from_secs(300);

/// For a removed node to be told so: it dials the others again and again.
pub const TOLD: Duration = Duration::from_secs(60);
