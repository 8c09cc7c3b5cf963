//! The one table from what the transport says to what openraft is told.
//!
//! openraft acts on the kind alone: after `Unreachable` it backs off, after `Network` it tries again
//! at once, after `Timeout` too; `StorageError` ends this leader. So each kind is chosen here, for
//! every variant, without a wildcard: a new variant does not compile until somebody has chosen.
//! This room must not know lanes or messages.

use std::time::Duration;

use openraft::errors::{ErrorSource, NetworkError, RPCError, StreamingError, Timeout, Unreachable};
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::{RPCTypes, RaftTypeConfig, StorageError};

use super::wire::{OversizedEntry, WireError};
use crate::{CallError, GroupId, LinkEnd, Refusal, RefusalCode, UnreachableReason};

/// What a call was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Replication of the log.
    Append,
    /// A heartbeat.
    Heartbeat,
    /// A vote.
    Vote,
    /// A pre-vote.
    PreVote,
    /// A transfer of leadership.
    TransferLeader,
    /// A snapshot.
    Snapshot,
}

impl Purpose {
    /// The name that openraft has for it. It has none for a pre-vote.
    const fn rpc_type(self) -> RPCTypes {
        match self {
            Self::Append | Self::Heartbeat => RPCTypes::AppendEntries,
            Self::Vote | Self::PreVote => RPCTypes::Vote,
            Self::TransferLeader => RPCTypes::TransferLeader,
            Self::Snapshot => RPCTypes::InstallSnapshot,
        }
    }

    /// What openraft should do after our own deadline: it retries a snapshot that timed out at once
    /// and for ever, and the whole of it, so there it must back off instead.
    const fn after_deadline(self) -> Verdict {
        match self {
            Self::Append | Self::Heartbeat | Self::Vote | Self::PreVote | Self::TransferLeader => {
                Verdict::Timeout
            }
            Self::Snapshot => Verdict::Unreachable,
        }
    }
}

/// What openraft is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Back off.
    Unreachable,
    /// Try again at once.
    Network,
    /// It took too long; try again at once.
    Timeout,
    /// This node's own storage failed; the leader ends. Only a snapshot can say that.
    LocalStorage,
}

/// The table.
pub(crate) const fn verdict(purpose: Purpose, error: &CallError) -> Verdict {
    match error {
        CallError::Unreachable { reason, .. } => match reason {
            UnreachableReason::Unknown
            | UnreachableReason::Down(_)
            | UnreachableReason::Dialling
            | UnreachableReason::LaneFull { .. }
            | UnreachableReason::Suspended
            | UnreachableReason::ShuttingDown
            | UnreachableReason::Myself => Verdict::Unreachable,
        },
        CallError::Cut { end, .. } => match end {
            // There is no link to try again on.
            LinkEnd::Lost => Verdict::Unreachable,
            LinkEnd::Replaced | LinkEnd::StreamOnly => Verdict::Network,
        },
        CallError::Timeout { .. } => purpose.after_deadline(),
        CallError::Refused { refusal, .. } => refused(purpose, refusal),
        // The same bytes would be too large again.
        CallError::TooLarge { .. } => Verdict::Unreachable,
        CallError::Source { .. } => match purpose {
            Purpose::Snapshot => Verdict::LocalStorage,
            // Nothing but a snapshot has a source; if one ever had, it would not be the storage's.
            Purpose::Append
            | Purpose::Heartbeat
            | Purpose::Vote
            | Purpose::PreVote
            | Purpose::TransferLeader => Verdict::Unreachable,
        },
    }
}

/// Whether an error means that there is no link to the peer: trying again makes sense when there is
/// one, and not before.
pub(crate) const fn is_outage(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { reason, .. } => match reason {
            UnreachableReason::Unknown
            | UnreachableReason::Down(_)
            | UnreachableReason::Dialling
            | UnreachableReason::Suspended
            | UnreachableReason::ShuttingDown
            | UnreachableReason::Myself => true,
            UnreachableReason::LaneFull { .. } => false,
        },
        CallError::Cut { end, .. } => match end {
            LinkEnd::Lost => true,
            LinkEnd::Replaced | LinkEnd::StreamOnly => false,
        },
        CallError::Timeout { .. }
        | CallError::Refused { .. }
        | CallError::TooLarge { .. }
        | CallError::Source { .. } => false,
    }
}

const fn refused(purpose: Purpose, refusal: &Refusal) -> Verdict {
    match refusal.code {
        RefusalCode::DeadlinePassed => purpose.after_deadline(),
        // The next try asks first what the peer has.
        RefusalCode::NotResumable => Verdict::Network,
        // Each of these will be true again in a moment; only time or somebody changes it. A remote
        // Raft that has stopped is among them, because openraft has no way to say that.
        RefusalCode::UnknownGroup
        | RefusalCode::UnknownMethod
        | RefusalCode::Undecodable
        | RefusalCode::TooLarge
        | RefusalCode::Busy
        | RefusalCode::OriginMismatch
        | RefusalCode::HandlerPanicked
        | RefusalCode::Stopped
        | RefusalCode::ShuttingDown
        | RefusalCode::Corrupt
        | RefusalCode::Internal
        | RefusalCode::Application(_) => Verdict::Unreachable,
    }
}

/// Why an exchange with a peer failed, apart from what the transport says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RaftCallError {
    /// Raft asked for a connection to this very node, or to node 0.
    #[error("node {target} is no peer of node {own} (group {group})")]
    NoPeer {
        /// The target.
        target: u64,
        /// This node.
        own: u64,
        /// The group.
        group: GroupId,
    },
    /// A log entry is too large for the peer, so its log cannot grow past it.
    #[error(
        "entry {index} of group {group} has {size} bytes, but node {target} takes at most {limit}",
        index = .entry.index, size = .entry.size, limit = .entry.limit
    )]
    EntryTooLarge {
        /// The peer.
        target: u64,
        /// The group.
        group: GroupId,
        /// The entry.
        entry: OversizedEntry,
    },
    /// A message of ours does not encode, or an answer does not decode.
    #[error("a message of group {group} between this node and node {target} is unusable")]
    Wire {
        /// The peer.
        target: u64,
        /// The group.
        group: GroupId,
        /// Why.
        source: WireError,
    },
    /// What the peer has kept of a snapshot is not what is in ours; it was told to throw it away.
    #[error(
        "node {target} had other bytes of the snapshot of group {group}: the first {offset} differ"
    )]
    OtherBytes {
        /// The peer.
        target: u64,
        /// The group.
        group: GroupId,
        /// Bytes that it had kept.
        offset: u64,
    },
    /// There is still no link to the peer.
    #[error("node {target} is still away from group {group} after {limit:?}")]
    StillAway {
        /// The peer.
        target: u64,
        /// The group.
        group: GroupId,
        /// How long a request was held for it.
        limit: Duration,
    },
    /// The answers of a session ended before all requests were answered.
    #[error("node {target} ended an append session of group {group} with requests unanswered")]
    SessionEnded {
        /// The peer.
        target: u64,
        /// The group.
        group: GroupId,
    },
}

impl RaftCallError {
    /// What openraft is told.
    const fn verdict(&self) -> Verdict {
        match self {
            Self::NoPeer { .. }
            | Self::EntryTooLarge { .. }
            | Self::Wire { .. }
            | Self::StillAway { .. } => Verdict::Unreachable,
            // Ours is read once; the next try begins at 0.
            Self::OtherBytes { .. } | Self::SessionEnded { .. } => Verdict::Network,
        }
    }
}

/// Who calls whom, for errors that say so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// This node.
    pub(crate) own: u64,
    /// The peer.
    pub(crate) target: u64,
    /// The group.
    pub(crate) group: GroupId,
}

impl Route {
    /// An unusable message.
    pub(crate) fn wire(self, source: impl Into<WireError>) -> RaftCallError {
        RaftCallError::Wire {
            target: self.target,
            group: self.group,
            source: source.into(),
        }
    }

    /// What openraft is told about a failed call that is not a snapshot's.
    pub(crate) fn rpc_error<C: RaftTypeConfig<NodeId = u64>>(
        self,
        purpose: Purpose,
        error: &CallError,
    ) -> RPCError<C> {
        match verdict(purpose, error) {
            // Only a snapshot can be told that the storage failed.
            Verdict::Unreachable | Verdict::LocalStorage => Unreachable::new(error).into(),
            Verdict::Network => NetworkError::new(error).into(),
            Verdict::Timeout => self.timeout(purpose, waited(error)).into(),
        }
    }

    /// What openraft is told about a failed transfer of a snapshot.
    pub(crate) fn streaming_error<C: RaftTypeConfig<NodeId = u64>>(
        self,
        meta: &SnapshotMetaOf<C>,
        error: &CallError,
    ) -> StreamingError<C> {
        match verdict(Purpose::Snapshot, error) {
            Verdict::Unreachable => Unreachable::new(error).into(),
            Verdict::Network => NetworkError::new(error).into(),
            Verdict::Timeout => self.timeout(Purpose::Snapshot, waited(error)).into(),
            Verdict::LocalStorage => local_storage_error::<C>(meta, error),
        }
    }

    fn timeout<C: RaftTypeConfig<NodeId = u64>>(
        self,
        purpose: Purpose,
        timeout: Duration,
    ) -> Timeout<C> {
        Timeout {
            action: purpose.rpc_type(),
            id: self.own,
            target: self.target,
            timeout,
        }
    }
}

/// A local snapshot that cannot be read: openraft ends this leader, so that another node leads.
pub(crate) fn local_storage_error<C: RaftTypeConfig>(
    meta: &SnapshotMetaOf<C>,
    error: &(impl std::error::Error + 'static),
) -> StreamingError<C> {
    StorageError::read_snapshot(Some(meta.signature()), C::ErrorSource::from_error(error)).into()
}

impl<C: RaftTypeConfig> From<RaftCallError> for RPCError<C> {
    fn from(error: RaftCallError) -> Self {
        match error.verdict() {
            Verdict::Network => NetworkError::new(&error).into(),
            Verdict::Unreachable | Verdict::Timeout | Verdict::LocalStorage => {
                Unreachable::new(&error).into()
            }
        }
    }
}

/// How long the call waited; a refusal does not say it.
const fn waited(error: &CallError) -> Duration {
    match error {
        CallError::Timeout { limit, .. } => *limit,
        CallError::Unreachable { .. }
        | CallError::Cut { .. }
        | CallError::Refused { .. }
        | CallError::TooLarge { .. }
        | CallError::Source { .. } => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
