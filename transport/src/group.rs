//! The id of a Raft group, and the trace that a call may carry.

use std::fmt;

/// One Raft group (or one service of the application) on a node, as it is named on the wire.
///
/// Any number but the two last: `u64::MAX - 1` takes the heartbeats of all groups of a node whose
/// Raft is served here, and `u64::MAX` is the manager's. A service under a number that is taken is
/// refused when it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u64);

impl GroupId {
    /// The group with this number.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for GroupId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

/// The trace of a caller, as W3C Trace Context defines its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TraceContext {
    /// The whole trace.
    pub trace_id: [u8; 16],
    /// The caller's span in it.
    pub span_id: [u8; 8],
}

impl TraceContext {
    /// A trace context of its two ids.
    #[must_use]
    pub const fn new(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self { trace_id, span_id }
    }
}
