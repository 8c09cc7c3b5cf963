//! The proposer's side of exactly once. It must not know how a state machine remembers.

use std::fmt;

use openraft::storage::RaftStateMachine;
use openraft::{RaftTypeConfig, ReadPolicy};
use tokio::time::Instant;

use super::numbers::Numbers;
use super::{CommandId, SessionLimits};
use crate::group::{Group, Proposed, RequestOptions};
use crate::{GroupName, RequestError};

/// A client of one group whose commands are run once each, however often they are proposed.
///
/// It numbers commands and proposes them as [`RequestOptions::idempotent`], so that one of unknown
/// fate is proposed again until the deadline. The group's state machine has to hold a
/// [`SessionTable`](super::SessionTable).
///
/// Share it by reference: several commands may be under way. When the process ends, so does the
/// session; what was under way then is run once or not at all.
pub struct ClientSession<C: RaftTypeConfig, SM: RaftStateMachine<C>> {
    group: Group<C, SM>,
    client: u128,
    opened: u64,
    window: u32,
    numbers: Numbers,
}

impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> fmt::Debug for ClientSession<C, SM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("group", &self.group)
            .field("client", &format_args!("{:032x}", self.client))
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

impl<C, SM> ClientSession<C, SM>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::D: Clone,
    SM: RaftStateMachine<C>,
{
    /// A new client. It reads the group's log index, and writes nothing. `limits` are those of the
    /// group's table.
    ///
    /// # Errors
    ///
    /// [`RequestError`], as of a read; it may always be called again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn open(
        group: &Group<C, SM>,
        limits: SessionLimits,
        deadline: Instant,
    ) -> Result<Self, RequestError> {
        let opened = group.read(ReadPolicy::ReadIndex, deadline).await?;
        Ok(Self {
            group: group.clone(),
            client: rand::random(),
            opened,
            window: limits.window.max(1),
            numbers: Numbers::new(limits.window.max(1)),
        })
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        self.group.name()
    }

    /// Proposes a command, which `command` makes with its id, and returns what running it gave, be it
    /// now or at an attempt before.
    ///
    /// # Errors
    ///
    /// [`RequestError::Overloaded`] if the oldest command under way is as many numbers behind as the
    /// window has; otherwise as [`Group::propose`]. After [`RequestError::NoLeader`] the command may
    /// have been run too, once at most: an attempt before the last may have been of unknown fate.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the command is run once or not at all.
    pub async fn propose(
        &self,
        deadline: Instant,
        command: impl FnOnce(CommandId) -> C::D,
    ) -> Result<Proposed<C>, RequestError> {
        let Some(number) = self.numbers.take() else {
            return Err(RequestError::Overloaded {
                group: self.group.name().clone(),
                limit: self.window as usize,
            });
        };
        let id = CommandId {
            client: self.client,
            opened: self.opened,
            sequence: number.sequence(),
        };
        let options = RequestOptions::until(deadline).idempotent();
        self.group.propose(command(id), options).await
    }
}
