//! The proposer's side of exactly once. It must not know how a state machine remembers.

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::storage::RaftStateMachine;
use openraft::{RaftTypeConfig, ReadPolicy};
use tokio::time::Instant;

use super::numbers::Numbers;
use super::{CommandId, SessionLimits};
use crate::group::{Group, Proposed, RequestOptions};
use crate::{GroupName, RemoteGroup, RequestError};

type Proposing<C> = BoxFuture<'static, Result<Proposed<C>, RequestError>>;

/// A client of one group whose commands are run once each, however often they are proposed.
///
/// It numbers commands and proposes them as [`RequestOptions::idempotent`], so that one of unknown
/// fate is proposed again until the deadline. The group's state machine has to hold a
/// [`SessionTable`](super::SessionTable).
///
/// Share it by reference: several commands may be under way. When the process ends, so does the
/// session; what was under way then is run once or not at all.
pub struct ClientSession<C: RaftTypeConfig> {
    group: GroupName,
    client: u128,
    opened: u64,
    window: u32,
    numbers: Numbers,
    /// A group that is hosted here, or one that is not.
    propose: Box<dyn Fn(C::D, RequestOptions) -> Proposing<C> + Send + Sync>,
}

impl<C: RaftTypeConfig> fmt::Debug for ClientSession<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("group", &self.group)
            .field("client", &format_args!("{:032x}", self.client))
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}

impl<C> ClientSession<C>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::D: Clone,
{
    /// A new client of a group that this node hosts. It reads the group's log index, and writes
    /// nothing. `limits` are those of the group's table.
    ///
    /// # Errors
    ///
    /// [`RequestError`], as of a read; it may always be called again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn open<SM: RaftStateMachine<C>>(
        group: &Group<C, SM>,
        limits: SessionLimits,
        deadline: Instant,
    ) -> Result<Self, RequestError> {
        let opened = group.read(ReadPolicy::ReadIndex, deadline).await?;
        let (name, group) = (group.name().clone(), group.clone());
        Ok(Self::new(name, opened, limits, move |command, options| {
            let group = group.clone();
            async move { group.propose(command, options).await }.boxed()
        }))
    }

    /// A new client of a group that only other nodes host; otherwise as [`ClientSession::open`].
    ///
    /// # Errors
    ///
    /// As [`ClientSession::open`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn open_remote(
        group: &RemoteGroup<C>,
        limits: SessionLimits,
        deadline: Instant,
    ) -> Result<Self, RequestError> {
        let opened = group.committed(deadline).await?;
        let (name, group) = (group.far().name().clone(), group.clone());
        Ok(Self::new(name, opened, limits, move |command, options| {
            let group = group.clone();
            async move { group.propose(command, options).await }.boxed()
        }))
    }

    fn new(
        group: GroupName,
        opened: u64,
        limits: SessionLimits,
        propose: impl Fn(C::D, RequestOptions) -> Proposing<C> + Send + Sync + 'static,
    ) -> Self {
        let window = limits.window.max(1);
        Self {
            group,
            client: rand::random(),
            opened,
            window,
            numbers: Numbers::new(window),
            propose: Box::new(propose),
        }
    }

    /// Its group.
    #[must_use]
    pub const fn group(&self) -> &GroupName {
        &self.group
    }

    /// Proposes a command, which `command` makes with its id, and returns what running it gave, be it
    /// now or at an attempt before.
    ///
    /// # Errors
    ///
    /// [`RequestError::Overloaded`] if the oldest command under way is as many numbers behind as the
    /// window has; otherwise as [`Group::propose`]. After [`RequestError::Unknown`] do not propose the
    /// same thing again as another command: that one would have another id.
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
                group: self.group.clone(),
                limit: self.window as usize,
            });
        };
        let id = CommandId {
            client: self.client,
            opened: self.opened,
            sequence: number.sequence(),
        };
        let options = RequestOptions::until(deadline).idempotent();
        (self.propose)(command(id), options).await
    }
}
