//! Why the main job could not be done. Faults that it finds in the cluster are not errors but part
//! of its report.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use quicraft_certs::{AuthorityError, InvalidClusterName, InvalidNodeId, WriteError};
use quicraft_manager::InvalidGroupName;
use tokio::task::JoinError;

/// Why the main job ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A flag does not fit another.
    #[error("--kill-leader needs at least 3 nodes: 2 have no majority when one is gone")]
    TooFewNodes,
    /// More nodes are to go than there are beside a majority.
    #[error("--shrink {shrink} would leave fewer than 3 of {nodes} nodes")]
    TooManyGone {
        /// How many are to go.
        shrink: u64,
        /// How many there are when they do.
        nodes: u64,
    },
    /// A node refused what an operator asked for.
    #[error("{what} was refused: {answer}")]
    Refused {
        /// What was asked.
        what: String,
        /// The answer.
        answer: String,
    },
    /// There is no node at this place.
    #[error("there is no node at place {place}")]
    NoSuchNode {
        /// The place, from 0.
        place: usize,
    },
    /// There is no node with this id.
    #[error("there is no node {node}")]
    NoSuchId {
        /// The id.
        node: u64,
    },
    /// A file or folder of the cluster.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The operating system gives no ports, threads or signals.
    #[error("the operating system refused {what}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The cluster's name is none.
    #[error("the name of the cluster is wrong")]
    ClusterName(#[from] InvalidClusterName),
    /// A node's id is none.
    #[error("the id of a node is wrong")]
    NodeId(#[from] InvalidNodeId),
    /// The name of a group is none.
    #[error("the name of a group is wrong")]
    GroupName(#[from] InvalidGroupName),
    /// No authority, or no certificate from it.
    #[error("the certificates cannot be made")]
    Authority(#[from] AuthorityError),
    /// A certificate cannot be written.
    #[error("the certificates cannot be written")]
    Certificate(#[from] WriteError),
    /// A configuration is no TOML.
    #[error("a configuration cannot be written")]
    Toml(#[from] toml::ser::Error),
    /// No HTTP client.
    #[error("the HTTP client cannot be made")]
    Http(#[from] reqwest::Error),
    /// Other processes took ports each time.
    #[error("other processes took the ports {attempts} times; try again")]
    Ports {
        /// How often it was tried.
        attempts: usize,
    },
    /// A node ended by itself.
    #[error("node {node} ended by itself ({status}); its log says why")]
    NodeEnded {
        /// The node.
        node: u64,
        /// How.
        status: ExitStatus,
    },
    /// Something did not come in time.
    #[error("{what} did not come within {} s; missing: {missing}", limit.as_secs())]
    NotInTime {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// What was missing at the last look.
        missing: String,
    },
    /// A write was not acknowledged in time.
    #[error(
        "write {number} to group {group} was not acknowledged within {} s; the last answer: {last}",
        limit.as_secs()
    )]
    NotAcknowledged {
        /// The number of the write.
        number: u64,
        /// Its group.
        group: u64,
        /// How long it was tried.
        limit: Duration,
        /// The last answer.
        last: String,
    },
    /// A part of the job panicked.
    #[error("a part of the job panicked")]
    Panicked(#[from] JoinError),
    /// Ctrl-c, or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

/// Names what was tried on a file or folder that the system refused.
pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::File {
        action,
        path,
        source,
    }
}
