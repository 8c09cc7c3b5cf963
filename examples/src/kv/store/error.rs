//! Why the store failed, and what that means for the node.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why the store failed. Every one but [`StoreError::TooManyGroups`] is fatal for the group that
/// asked, and a failed commit for all groups: what is durable is then no longer known.
///
/// It is `Clone` because one failed commit fails everybody who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused something.
    #[error("the database failed to {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Arc<redb::Error>,
    },
    /// A stored record of a group cannot be decoded.
    #[error("group {group}: the stored {what} is damaged: {reason}")]
    Damaged {
        /// The group.
        group: u64,
        /// Which record.
        what: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// A record cannot be encoded.
    #[error("group {group}: cannot encode {what}: {reason}")]
    Encode {
        /// The group.
        group: u64,
        /// Which record.
        what: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The log has a hole: an entry between two others is missing.
    #[error("group {group}: the log has no entry {index}, but later ones")]
    Hole {
        /// The group.
        group: u64,
        /// The missing index.
        index: u64,
    },
    /// An entry was applied that is not above the last applied one.
    #[error("group {group}: entry {index} was applied again, the last applied is {applied}")]
    AppliedAgain {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
        /// The last applied index.
        applied: u64,
    },
    /// A snapshot file is not what it should be.
    #[error("group {group}: the snapshot is refused: {reason}")]
    Snapshot {
        /// The group.
        group: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file beside the database failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// A commit did not return in time.
    #[error("no commit within {} s; the disk does not answer", waited.as_secs())]
    Stalled {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The store was shut down, or its writer died.
    #[error("the store is closed")]
    Closed,
    /// The store already serves as many groups as it may.
    #[error("group {group} is one more than the {limit} groups that a store serves")]
    TooManyGroups {
        /// The group that was refused.
        group: u64,
        /// The limit.
        limit: usize,
    },
}

impl StoreError {
    /// Wraps any of redb's errors with what was being done.
    pub(crate) fn database<E: Into<redb::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Database {
            action,
            source: Arc::new(error.into()),
        }
    }

    /// Wraps an error of a file with what was being done to it.
    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File {
            action,
            path,
            source: Arc::new(error),
        }
    }
}

/// openraft's storage traits speak `io::Error`; the typed error stays inside as its source.
impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}
