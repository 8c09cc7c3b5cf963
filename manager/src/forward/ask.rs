//! The shell around a route: asks this node or another one, waits, and gives up at the deadline. It
//! must not know whether this node hosts the group; a [`Guide`] does.

use std::future::Future;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use quicraft_transport::link::{CallLane, Request};
use quicraft_transport::raft::CodecError;
use quicraft_transport::{CallError, NodeId, RefusalCode};
use rand::RngExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::origin::Origin;
use super::route::{Missed, Route, Step};
use super::wire::Answer;
use crate::{NodeAt, RequestError};

/// What this node knows of who leads a group.
pub(crate) trait Guide: Sync {
    /// Whom it takes for the leader.
    fn leader(&self) -> Option<u64>;
    /// The members that are asked in turn while no leader is known; this node is none of them.
    fn others(&self) -> Vec<u64>;
    /// Ends when it takes another node than this one for the leader; never, if it cannot learn that
    /// by itself.
    fn another_than(&self, leader: Option<u64>) -> impl Future<Output = ()> + Send;
    /// Notes that a node has served as the leader, or that it has not.
    fn note(&self, node: u64, served: bool);
}

/// How this node asks itself.
pub(crate) type Here<'a, T> = &'a (dyn Fn() -> BoxFuture<'a, Answer<T>> + Send + Sync);

/// What is asked of a leader: how this node asks itself, and what another node is sent.
pub(crate) struct Question<'h, 'b, T> {
    pub(crate) method: u16,
    /// Whether asking twice does no harm.
    pub(crate) repeatable: bool,
    /// Whether something is done by it, so that an answer that was lost matters to whoever asks.
    pub(crate) has_fate: bool,
    /// Whether what may be repeated is taken to the next leader as soon as one is known. A question
    /// that may itself change the leader waits for the answer of the one that it asked.
    pub(crate) follows_leader: bool,
    pub(crate) deadline: Instant,
    /// None on a node that does not host the group.
    pub(crate) here: Option<Here<'h, T>>,
    pub(crate) body: &'b (dyn Fn() -> Result<Bytes, CodecError> + Send + Sync),
}

/// What one attempt came to.
enum Attempt<T> {
    Done(T),
    Missed(Missed, String),
    Unknown(String),
    Failed(String),
    Refused(RequestError),
}

/// The node that answered, and its answer.
pub(crate) async fn ask<T>(
    origin: &Origin,
    guide: &impl Guide,
    question: &Question<'_, '_, T>,
) -> Result<(u64, T), RequestError>
where
    T: Serialize + DeserializeOwned,
{
    let measure = origin.meter.begin(question.method);
    let answered = answered(origin, guide, question).await;
    measure.end(answered.as_ref().err());
    answered
}

async fn answered<T>(
    origin: &Origin,
    guide: &impl Guide,
    question: &Question<'_, '_, T>,
) -> Result<(u64, T), RequestError>
where
    T: Serialize + DeserializeOwned,
{
    let _turn = origin.admit()?;
    let started = Instant::now();
    let mut route = Route::new(origin.me(), origin.pause());
    let mut last = "no leader is known".to_owned();
    let mut lost = None;
    while Instant::now() < question.deadline {
        let leader = guide.leader();
        // In a statement of its own: the generator is bound to its thread, the request is not.
        let step = route.next(leader, || guide.others(), rand::rng().random());
        let node = match step {
            Step::Here => origin.me(),
            Step::There(node) => node,
            Step::Wait(pause) => {
                let until = question.deadline.min(Instant::now() + pause);
                drop(timeout_at(until, pin!(guide.another_than(leader))).await);
                continue;
            }
        };
        let attempt = attempted(origin, guide, question, node, leader).await;
        guide.note(node, matches!(attempt, Attempt::Done(_)));
        let asked = origin.node_at(node);
        match attempt {
            Attempt::Done(result) => return Ok((node, result)),
            Attempt::Missed(why, text) => {
                route.missed(node, why);
                last = format!("{asked}: {text}");
            }
            Attempt::Unknown(text) if question.repeatable => {
                route.missed(node, Missed::Lost);
                if question.has_fate {
                    lost = Some((asked, text.clone()));
                }
                last = format!("{asked}: {text}");
            }
            Attempt::Unknown(reason) => return Err(unknown(origin, asked, reason)),
            Attempt::Failed(reason) => {
                return Err(RequestError::Failed {
                    group: origin.name.clone(),
                    asked,
                    reason,
                });
            }
            Attempt::Refused(error) => return Err(error),
        }
    }
    // An attempt may have done it, although no later one was answered.
    if let Some((asked, reason)) = lost {
        return Err(unknown(origin, asked, reason));
    }
    Err(RequestError::NoLeader {
        group: origin.name.clone(),
        leader: guide.leader().map(|node| origin.node_at(node)),
        waited: started.elapsed(),
        last,
    })
}

fn unknown(origin: &Origin, asked: NodeAt, reason: String) -> RequestError {
    RequestError::Unknown {
        group: origin.name.clone(),
        asked,
        reason,
    }
}

/// One attempt at `node`, made while this node took `leader` for the leader.
///
/// What may be asked twice is not left with a leader that was replaced: it may be gone, and its link
/// is taken for lost only seconds after another was elected.
async fn attempted<T>(
    origin: &Origin,
    guide: &impl Guide,
    question: &Question<'_, '_, T>,
    node: u64,
    leader: Option<u64>,
) -> Attempt<T>
where
    T: Serialize + DeserializeOwned,
{
    let asked = async {
        if node == origin.me() {
            here(question).await
        } else {
            there(origin, node, question).await
        }
    };
    if !(question.repeatable && question.follows_leader) {
        return asked.await;
    }
    tokio::select! {
        biased;
        attempt = asked => attempt,
        now = another_leads(guide, node, leader) => {
            Attempt::Unknown(format!("no answer before node {now} led"))
        }
    }
}

/// Waits until this node takes another one than `asked` for the leader, whom it takes for it now
/// aside, and returns who that is.
async fn another_leads(guide: &impl Guide, asked: u64, mut leader: Option<u64>) -> u64 {
    loop {
        guide.another_than(leader).await;
        leader = guide.leader();
        match leader {
            Some(now) if now != asked => return now,
            _ => {}
        }
    }
}

async fn here<T>(question: &Question<'_, '_, T>) -> Attempt<T> {
    let Some(here) = question.here else {
        let text = "it does not host the group".to_owned();
        return Attempt::Missed(Missed::NotHosted, text);
    };
    match timeout_at(question.deadline, here()).await {
        Ok(answer) => attempt(answer),
        Err(_) => Attempt::Unknown("no answer before the deadline".to_owned()),
    }
}

async fn there<T>(origin: &Origin, node: u64, question: &Question<'_, '_, T>) -> Attempt<T>
where
    T: Serialize + DeserializeOwned,
{
    let Ok(id) = NodeId::new(node) else {
        return Attempt::Missed(Missed::Unreachable, "0 is no node".to_owned());
    };
    let body = match (question.body)() {
        Ok(body) => body,
        Err(error) => {
            return Attempt::Refused(RequestError::Unsendable {
                group: origin.name.clone(),
                reason: error.to_string(),
            });
        }
    };
    let request = Request::new(origin.id, question.method, body);
    let peer = origin.handle.peer(id);
    match peer.call(CallLane::Call, request, question.deadline).await {
        Ok(reply) => match Answer::decode(&reply) {
            Ok(answer) => attempt(answer),
            Err(error) => Attempt::Unknown(error.to_string()),
        },
        Err(error) => not_answered(origin, error),
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
fn not_answered<T>(origin: &Origin, error: CallError) -> Attempt<T> {
    let text = error.to_string();
    match error {
        CallError::Unreachable { .. } => Attempt::Missed(Missed::Unreachable, text),
        CallError::TooLarge { size, limit, .. } => Attempt::Refused(RequestError::TooLarge {
            group: origin.name.clone(),
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
