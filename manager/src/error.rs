//! What a host can get instead of a result, sorted by what it should do next.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use quicraft_transport::{AlreadyRegistered, GroupId};

use crate::group::GroupRefusal;
use crate::{GroupName, InvalidNode};

/// A node as errors name it: its id, and where it was last reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeAt {
    /// The node.
    pub node: u64,
    /// Its address; none for this node itself and for one that was never reached.
    pub address: Option<SocketAddr>,
}

impl fmt::Display for NodeAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "node {} at {address}", self.node),
            None => write!(f, "node {}", self.node),
        }
    }
}

/// Why a proposal or a read has no result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nothing was done: no node served as the leader before the deadline.
    #[error(
        "group {group}: no leader served within {waited:?}{}; last: {last}",
        known(leader)
    )]
    NoLeader {
        /// The group.
        group: GroupName,
        /// Who is believed to lead.
        leader: Option<NodeAt>,
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// Nothing was done: as many requests of this group are under way as may be.
    #[error("group {group}: {limit} requests are under way already")]
    Overloaded {
        /// The group.
        group: GroupName,
        /// How many may be.
        limit: usize,
    },
    /// Nothing was done: the command is larger than what a peer takes.
    #[error("group {group}: a command of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// The group.
        group: GroupName,
        /// Bytes of the command.
        size: usize,
        /// Bytes that a peer takes.
        limit: usize,
    },
    /// Nothing was done: the command has no encoding.
    #[error("group {group}: the command cannot be sent: {reason}")]
    Unsendable {
        /// The group.
        group: GroupName,
        /// Why.
        reason: String,
    },
    /// Nothing was done: the group or this node is being shut down.
    #[error("group {group} is stopped on this node")]
    Stopped {
        /// The group.
        group: GroupName,
    },
    /// **It may be done or not.** The command reached a leader, and its answer did not reach us.
    #[error("group {group}: whether the command was run by {asked} is unknown: {reason}")]
    Unknown {
        /// The group.
        group: GroupName,
        /// Who was asked.
        asked: NodeAt,
        /// What became of the answer.
        reason: String,
    },
    /// The group has failed on the node that was asked. Whether the command was run is unknown.
    #[error("group {group} has failed on {asked}: {reason}")]
    Failed {
        /// The group.
        group: GroupName,
        /// Who was asked.
        asked: NodeAt,
        /// Why.
        reason: String,
    },
}

fn known(leader: &Option<NodeAt>) -> String {
    leader.map_or_else(String::new, |leader| format!(" (leader: {leader})"))
}

impl RequestError {
    /// Whether the same request may be made again without the danger of running it twice: nothing
    /// of it was done, and it can succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NoLeader { .. } | Self::Overloaded { .. } => true,
            Self::TooLarge { .. }
            | Self::Unsendable { .. }
            | Self::Stopped { .. }
            | Self::Unknown { .. }
            | Self::Failed { .. } => false,
        }
    }

    /// Whether the command may have been run although there is no result.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Failed { .. } => true,
            Self::NoLeader { .. }
            | Self::Overloaded { .. }
            | Self::TooLarge { .. }
            | Self::Unsendable { .. }
            | Self::Stopped { .. } => false,
        }
    }
}

/// Why a group does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartGroupError {
    /// The manager has a group of this name already.
    #[error("group {group} is here already")]
    NameTaken {
        /// The name.
        group: GroupName,
    },
    /// The number belongs to another group: two groups would get each other's messages.
    #[error("group {group} cannot have number {id}, which {holder} has")]
    IdTaken {
        /// The new group.
        group: GroupName,
        /// The number.
        id: GroupId,
        /// Who has it.
        holder: GroupName,
    },
    /// The number is served by something else of this process.
    #[error("group {group} cannot be reached by peers")]
    Registered {
        /// The group.
        group: GroupName,
        /// What the transport says.
        #[source]
        source: AlreadyRegistered,
    },
    /// openraft does not start it.
    #[error("group {group} does not start: {reason}")]
    Raft {
        /// The group.
        group: GroupName,
        /// What openraft says.
        reason: String,
    },
    /// The manager is being shut down.
    #[error("group {group} does not start: the manager is shutting down")]
    ShuttingDown {
        /// The group.
        group: GroupName,
    },
}

/// Why an operation on a group did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// It did not end in time. It goes on.
    #[error("group {group}: not done after {limit:?}")]
    Timeout {
        /// The group.
        group: GroupName,
        /// The time that it had.
        limit: Duration,
    },
    /// The group failed.
    #[error("group {group}: {reason}")]
    Failed {
        /// The group.
        group: GroupName,
        /// Why.
        reason: String,
    },
    /// There is no such group on this node.
    #[error("group {group} is not on this node")]
    UnknownGroup {
        /// The group.
        group: GroupName,
    },
    /// No node served as the leader before the deadline. What was asked may be asked again; if an
    /// attempt was cut, `last` says so, and it may be done.
    #[error(
        "group {group}: no leader served within {waited:?}{}; last: {last}",
        known(leader)
    )]
    NoLeader {
        /// The group.
        group: GroupName,
        /// Who is believed to lead.
        leader: Option<NodeAt>,
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// As many requests of this group are under way as may be.
    #[error("group {group}: {limit} requests are under way already")]
    Overloaded {
        /// The group.
        group: GroupName,
        /// How many may be.
        limit: usize,
    },
    /// The group or this node is being shut down.
    #[error("group {group} is stopped on this node")]
    Stopped {
        /// The group.
        group: GroupName,
    },
    /// The change of a node was not done in time. Ask for it again: it goes on where it stopped.
    #[error("group {group}: node {node} is not where it is to be after {limit:?}; last: {last}")]
    Unfinished {
        /// The group.
        group: GroupName,
        /// The node.
        node: u64,
        /// How long it was tried.
        limit: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// What was asked cannot be sent.
    #[error("group {group}: the request cannot be sent: {reason}")]
    Unsendable {
        /// The group.
        group: GroupName,
        /// Why.
        reason: String,
    },
    /// The group has failed on the node that was asked.
    #[error("group {group} has failed on {asked}: {reason}")]
    FailedThere {
        /// The group.
        group: GroupName,
        /// Who was asked.
        asked: NodeAt,
        /// Why.
        reason: String,
    },
    /// The leader does not do it.
    #[error("group {group}: {refusal}, says {leader}")]
    Refused {
        /// The group.
        group: GroupName,
        /// The leader.
        leader: NodeAt,
        /// Why.
        #[source]
        refusal: GroupRefusal,
    },
    /// A node that cannot be; nobody was asked.
    #[error("group {group}: {source}")]
    InvalidNode {
        /// The group.
        group: GroupName,
        /// What is wrong with it.
        #[source]
        source: InvalidNode,
    },
}

impl OperationError {
    /// Whether the same may be asked again with hope. All that can be asked of a group may be asked
    /// twice without harm, so this is only about whether it can succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. }
            | Self::NoLeader { .. }
            | Self::Overloaded { .. }
            | Self::Unfinished { .. } => true,
            Self::Refused { refusal, .. } => refusal.is_retryable(),
            Self::Failed { .. }
            | Self::FailedThere { .. }
            | Self::UnknownGroup { .. }
            | Self::Stopped { .. }
            | Self::Unsendable { .. }
            | Self::InvalidNode { .. } => false,
        }
    }
}

impl From<RequestError> for OperationError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NoLeader {
                group,
                leader,
                waited,
                last,
            } => Self::NoLeader {
                group,
                leader,
                waited,
                last,
            },
            RequestError::Overloaded { group, limit } => Self::Overloaded { group, limit },
            RequestError::Stopped { group } => Self::Stopped { group },
            RequestError::Unsendable { group, reason } => Self::Unsendable { group, reason },
            RequestError::TooLarge { group, size, limit } => Self::Unsendable {
                group,
                reason: format!("{size} bytes are over the limit of {limit}"),
            },
            // What is asked of a group may be asked twice, so it is never left unknown; a node that
            // says so has not served.
            RequestError::Unknown {
                group,
                asked,
                reason,
            } => Self::NoLeader {
                group,
                leader: Some(asked),
                waited: Duration::ZERO,
                last: reason,
            },
            RequestError::Failed {
                group,
                asked,
                reason,
            } => Self::FailedThere {
                group,
                asked,
                reason,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> GroupName {
        GroupName::parse("orders/17").unwrap()
    }

    fn errors() -> [RequestError; 7] {
        let asked = NodeAt {
            node: 2,
            address: Some(([10, 0, 0, 2], 4000).into()),
        };
        [
            RequestError::NoLeader {
                group: group(),
                leader: Some(asked),
                waited: Duration::from_secs(5),
                last: "node 2: its lease has run out".to_owned(),
            },
            RequestError::Overloaded {
                group: group(),
                limit: 4_096,
            },
            RequestError::TooLarge {
                group: group(),
                size: 9,
                limit: 8,
            },
            RequestError::Unsendable {
                group: group(),
                reason: "no".to_owned(),
            },
            RequestError::Stopped { group: group() },
            RequestError::Unknown {
                group: group(),
                asked,
                reason: "cut".to_owned(),
            },
            RequestError::Failed {
                group: group(),
                asked,
                reason: "the disk is full".to_owned(),
            },
        ]
    }

    #[test]
    fn every_error_names_its_group_and_those_of_leadership_the_node_and_its_address() {
        for error in errors() {
            assert!(error.to_string().contains("orders/17"), "{error}");
        }
        for error in [&errors()[0], &errors()[5], &errors()[6]] {
            assert!(
                error.to_string().contains("node 2 at 10.0.0.2:4000"),
                "{error}"
            );
        }
    }

    fn operation_errors() -> [(OperationError, bool); 12] {
        let leader = NodeAt {
            node: 2,
            address: Some(([10, 0, 0, 2], 4000).into()),
        };
        let refused = |refusal| OperationError::Refused {
            group: group(),
            leader,
            refusal,
        };
        let reason = || "no".to_owned();
        let group = group();
        let limit = Duration::from_secs(1);
        let lagging = GroupRefusal::Lagging {
            node: 3,
            entries: Some(1_001),
        };
        let source = InvalidNode::NoAddress { node: 3 };
        let [
            no_leader,
            overloaded,
            too_large,
            unsendable,
            stopped,
            _,
            failed,
        ] = errors();
        [
            (
                OperationError::Timeout {
                    group: group.clone(),
                    limit,
                },
                true,
            ),
            (
                OperationError::Failed {
                    group: group.clone(),
                    reason: reason(),
                },
                false,
            ),
            (
                OperationError::UnknownGroup {
                    group: group.clone(),
                },
                false,
            ),
            (OperationError::InvalidNode { group, source }, false),
            (refused(lagging), true),
            (refused(GroupRefusal::LastVoter { node: 3 }), false),
            (no_leader.into(), true),
            (overloaded.into(), true),
            (too_large.into(), false),
            (unsendable.into(), false),
            (stopped.into(), false),
            (failed.into(), false),
        ]
    }

    #[test]
    fn every_error_of_an_operation_names_its_group_and_says_whether_to_ask_again() {
        for (error, again) in operation_errors() {
            assert!(error.to_string().contains("orders/17"), "{error}");
            assert_eq!(error.is_retryable(), again, "{error}");
        }
        let named = operation_errors();
        for (error, _) in named.iter().filter(|(error, _)| {
            matches!(
                error,
                OperationError::Refused { .. }
                    | OperationError::NoLeader { .. }
                    | OperationError::FailedThere { .. }
            )
        }) {
            assert!(
                error.to_string().contains("node 2 at 10.0.0.2:4000"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_may_have_been_run_is_never_called_retryable() {
        let told = errors().map(|error| (error.is_retryable(), error.is_unknown()));
        let (again, no, unknown) = ((true, false), (false, false), (false, true));
        assert_eq!(told, [again, again, no, no, no, unknown, unknown]);
    }
}
