//! What an operator asks of a group on one node, and what came of it.

use serde::{Deserialize, Serialize};

/// Something that is done on the node that is asked, not at the group's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GroupAction {
    /// A snapshot of all that the node has applied.
    Snapshot,
    /// The log is forgotten up to this entry, or to the newest snapshot if that is older.
    Purge {
        /// The last entry to forget.
        upto: u64,
    },
    /// The node campaigns. It asks first whether it could win, so that it takes nothing from a leader
    /// that is followed: to move leadership, transfer it.
    Elect,
    /// The node hands its leadership to the voter that follows most closely.
    StepDown,
}

/// What happened, not what was queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ActionOutcome {
    /// There is a snapshot.
    Snapshot {
        /// The last entry in it.
        index: u64,
    },
    /// The log was forgotten.
    Purged {
        /// The last entry that was.
        upto: u64,
    },
    /// The node leads.
    Leads {
        /// The term, as openraft writes it.
        term: String,
    },
    /// Another node leads.
    SteppedDown {
        /// Which.
        leader: u64,
    },
    /// Nothing was done.
    Nothing {
        /// Why.
        reason: String,
    },
}
