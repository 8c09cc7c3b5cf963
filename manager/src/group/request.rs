//! The shell around a route: asks this node or another one, waits, and gives up at the deadline.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::linearizable_read::ReadLogId;
use openraft::storage::RaftStateMachine;
use openraft::type_config::alias::LogIdOf;
use openraft::{RaftTypeConfig, ReadPolicy};
use quicraft_transport::link::{CallLane, Request};
use quicraft_transport::raft::{Codec as _, CodecError, RaftCodec};
use quicraft_transport::{CallError, NodeId, RefusalCode};
use rand::RngExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use super::{GroupInner, answer, service};
use crate::forward::{Answer, Missed, Pause, Route, Step, method};
use crate::{NodeAt, RequestError};

/// How a proposal is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOptions {
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// The command may be run twice without harm, because the state machine notices the second one:
    /// then a proposal of unknown fate is made again instead of being reported. Default `false`.
    pub idempotent: bool,
}

impl RequestOptions {
    /// A proposal that is made once, until `deadline`.
    #[must_use]
    pub const fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            idempotent: false,
        }
    }

    /// The same for a command that may be run twice without harm.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }
}

/// A command that was applied.
#[derive(Debug)]
#[non_exhaustive]
pub struct Proposed<C: RaftTypeConfig> {
    /// Its place in the log.
    pub log_id: LogIdOf<C>,
    /// What applying it gave.
    pub response: C::R,
    /// The leader that applied it.
    pub leader: u64,
}

/// What one attempt came to.
enum Attempt<T> {
    Done(T),
    Missed(Missed, String),
    Unknown(String),
    Failed(String),
    Refused(RequestError),
}

/// What is asked of a leader: how this node asks itself, and what another node is sent.
struct Question<'a, T> {
    method: u16,
    /// Whether asking twice does no harm.
    repeatable: bool,
    deadline: Instant,
    here: &'a (dyn Fn() -> BoxFuture<'a, Answer<T>> + Send + Sync),
    body: &'a (dyn Fn() -> Result<Bytes, CodecError> + Send + Sync),
}

pub(super) async fn propose<C, SM>(
    inner: &GroupInner<C, SM>,
    command: C::D,
    options: RequestOptions,
) -> Result<Proposed<C>, RequestError>
where
    C: RaftTypeConfig<NodeId = u64>,
    C::D: Clone,
    SM: RaftStateMachine<C>,
{
    let question = Question {
        method: method::PROPOSE,
        repeatable: options.idempotent,
        deadline: options.deadline,
        here: &|| answer::propose(&inner.raft, command.clone()).boxed(),
        body: &|| {
            let mut body = BytesMut::new();
            RaftCodec::encode(&command, &mut body)?;
            Ok(body.freeze())
        },
    };
    let (leader, (log_id, response)) = ask(inner, &question).await?;
    Ok(Proposed {
        log_id,
        response,
        leader,
    })
}

/// The node that answered, and up to where the state machine of this one must have applied.
pub(super) async fn read_point<C, SM>(
    inner: &GroupInner<C, SM>,
    policy: ReadPolicy,
    deadline: Instant,
) -> Result<(u64, ReadLogId<C>), RequestError>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let byte = service::policy_byte(&policy);
    let question = Question {
        method: method::READ_POINT,
        repeatable: true,
        deadline,
        here: &|| answer::read_point(&inner.raft, policy.clone()).boxed(),
        body: &|| Ok(Bytes::copy_from_slice(&[byte])),
    };
    ask(inner, &question).await
}

async fn ask<C, SM, T>(
    inner: &GroupInner<C, SM>,
    question: &Question<'_, T>,
) -> Result<(u64, T), RequestError>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
    T: Serialize + DeserializeOwned,
{
    let _turn = inner.admit()?;
    let started = Instant::now();
    let mut route = Route::new(inner.me(), inner.others(), inner.pause());
    let mut last = "no leader is known".to_owned();
    while Instant::now() < question.deadline {
        let (node, attempt) = match route.next(inner.leader(), rand::rng().random()) {
            Step::Here => (inner.me(), here(question).await),
            Step::There(node) => (node, there(inner, node, question).await),
            Step::Wait(pause) => {
                inner.wait_leader(pause, question.deadline).await;
                continue;
            }
        };
        match attempt {
            Attempt::Done(result) => return Ok((node, result)),
            Attempt::Missed(why, text) => {
                route.missed(node, why);
                last = format!("{}: {text}", inner.node_at(node));
            }
            Attempt::Unknown(text) if question.repeatable => {
                route.missed(node, Missed::NotNow);
                last = format!("{}: {text}", inner.node_at(node));
            }
            Attempt::Unknown(reason) => {
                return Err(RequestError::Unknown {
                    group: inner.name.clone(),
                    asked: inner.node_at(node),
                    reason,
                });
            }
            Attempt::Failed(reason) => {
                return Err(RequestError::Failed {
                    group: inner.name.clone(),
                    asked: inner.node_at(node),
                    reason,
                });
            }
            Attempt::Refused(error) => return Err(error),
        }
    }
    Err(RequestError::NoLeader {
        group: inner.name.clone(),
        leader: inner.leader().map(|node| inner.node_at(node)),
        waited: started.elapsed(),
        last,
    })
}

async fn here<T>(question: &Question<'_, T>) -> Attempt<T> {
    match timeout_at(question.deadline, (question.here)()).await {
        Ok(answer) => attempt(answer),
        Err(_) => Attempt::Unknown("no answer before the deadline".to_owned()),
    }
}

async fn there<C, SM, T>(
    inner: &GroupInner<C, SM>,
    node: u64,
    question: &Question<'_, T>,
) -> Attempt<T>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
    T: Serialize + DeserializeOwned,
{
    let Ok(id) = NodeId::new(node) else {
        return Attempt::Missed(Missed::Unreachable, "0 is no node".to_owned());
    };
    let body = match (question.body)() {
        Ok(body) => body,
        Err(error) => {
            return Attempt::Refused(RequestError::Unsendable {
                group: inner.name.clone(),
                reason: error.to_string(),
            });
        }
    };
    let request = Request::new(inner.id, question.method, body);
    let peer = inner.handle.peer(id);
    match peer.call(CallLane::Call, request, question.deadline).await {
        Ok(reply) => match Answer::decode(&reply) {
            Ok(answer) => attempt(answer),
            Err(error) => Attempt::Unknown(error.to_string()),
        },
        Err(error) => not_answered(inner, error),
    }
}

fn attempt<T>(answer: Answer<T>) -> Attempt<T> {
    match answer {
        Answer::Done(result) => Attempt::Done(result),
        Answer::NotLeader(leader) => {
            Attempt::Missed(Missed::NotLeader(leader), "it does not lead".to_owned())
        }
        Answer::NotNow(why) => Attempt::Missed(Missed::NotNow, why),
        Answer::Unknown(why) => Attempt::Unknown(why),
        Answer::Failed(why) => Attempt::Failed(why),
    }
}

/// What the transport's errors mean for a request that may be run only once.
fn not_answered<C, SM, T>(inner: &GroupInner<C, SM>, error: CallError) -> Attempt<T>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let text = error.to_string();
    match error {
        CallError::Unreachable { .. } => Attempt::Missed(Missed::Unreachable, text),
        CallError::TooLarge { size, limit, .. } => Attempt::Refused(RequestError::TooLarge {
            group: inner.name.clone(),
            size,
            limit,
        }),
        CallError::Refused { refusal, .. } => match refusal.code {
            RefusalCode::UnknownGroup => Attempt::Missed(Missed::NotHosted, text),
            // Refused before the group saw it.
            RefusalCode::Busy
            | RefusalCode::UnknownMethod
            | RefusalCode::Undecodable
            | RefusalCode::TooLarge
            | RefusalCode::ShuttingDown
            | RefusalCode::Stopped
            | RefusalCode::Corrupt
            | RefusalCode::OriginMismatch
            | RefusalCode::NotResumable
            | RefusalCode::Application(_) => Attempt::Missed(Missed::NotNow, text),
            RefusalCode::DeadlinePassed | RefusalCode::HandlerPanicked | RefusalCode::Internal => {
                Attempt::Unknown(text)
            }
            // A code of a later version says nothing about what was done.
            _ => Attempt::Unknown(text),
        },
        CallError::Cut { .. } | CallError::Timeout { .. } | CallError::Source { .. } => {
            Attempt::Unknown(text)
        }
        // The same for a later kind of error.
        _ => Attempt::Unknown(text),
    }
}

impl<C, SM> GroupInner<C, SM>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    fn admit(&self) -> Result<SemaphorePermit<'_>, RequestError> {
        self.requests.try_acquire().map_err(|error| match error {
            TryAcquireError::Closed => RequestError::Stopped {
                group: self.name.clone(),
            },
            TryAcquireError::NoPermits => RequestError::Overloaded {
                group: self.name.clone(),
                limit: self.config.requests_max,
            },
        })
    }

    fn pause(&self) -> Pause {
        Pause::new(self.config.retry_min, self.config.retry_max)
    }

    /// The other members of the group as this node knows them.
    fn others(&self) -> Vec<u64> {
        let me = self.me();
        let members = self.raft.voter_ids();
        members.filter(|&node| node != me).collect()
    }

    pub(super) fn node_at(&self, node: u64) -> NodeAt {
        let address = NodeId::new(node).ok().filter(|_| node != self.me());
        NodeAt {
            node,
            address: address.and_then(|id| self.handle.peer(id).status().address),
        }
    }

    /// Waits for so long, or until this node takes another one for the leader.
    async fn wait_leader(&self, pause: Duration, deadline: Instant) {
        let mut metrics = self.raft.server_metrics();
        let leader = metrics.borrow_watched().current_leader;
        let changed = async {
            while metrics.changed().await.is_ok() {
                if metrics.borrow_watched().current_leader != leader {
                    return;
                }
            }
            // The Raft has stopped, which the next attempt finds.
            std::future::pending::<()>().await;
        };
        let until = deadline.min(Instant::now() + pause);
        drop(timeout_at(until, pin!(changed)).await);
    }
}
