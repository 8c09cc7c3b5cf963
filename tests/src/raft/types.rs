//! What the Raft groups of the tests replicate.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// Groups that replicate opaque bytes between nodes with a `u64` id.
    pub TypeConfig:
        D = Command,
        R = Recorded,
        NodeId = u64,
        Node = openraft::BasicNode,
);

/// Opaque bytes to replicate. They are shared, not copied, wherever they pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command(pub Bytes);

impl Command {
    /// A command of these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for Command {
    /// Only the length: a log line must not hold a payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The answer to a command: where it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The index of the log entry.
    pub index: u64,
}
