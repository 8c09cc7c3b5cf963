//! What is asked of a group's leader by an operator, as questions. It must not know whether this
//! node hosts the group.

use bytes::{Bytes, BytesMut};
use quicraft_transport::raft::{Codec as _, CodecError, RaftCodec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::goal::{Changed, GroupGoal, GroupProgress, GroupRefusal, Transferred};
use crate::OperationError;
use crate::forward::{Guide, Here, Origin, Question, ask, method};

/// The answer of a leader that may refuse.
pub(crate) type OrRefusal<T> = Result<T, GroupRefusal>;

/// Asks for one step towards a goal.
pub(crate) async fn change(
    origin: &Origin,
    guide: &impl Guide,
    here: Option<Here<'_, OrRefusal<Changed>>>,
    goal: &GroupGoal,
    deadline: Instant,
) -> Result<Changed, OperationError> {
    if let Err(source) = goal.node.validate() {
        let group = origin.name.clone();
        return Err(OperationError::InvalidNode { group, source });
    }
    let body = || encoded(goal);
    let asked = question(method::CHANGE, deadline, here, &body);
    taken(origin, ask(origin, guide, &asked).await?)
}

/// Asks how the group stands.
pub(crate) async fn progress(
    origin: &Origin,
    guide: &impl Guide,
    here: Option<Here<'_, GroupProgress>>,
    deadline: Instant,
) -> Result<GroupProgress, OperationError> {
    let body = || encoded(&());
    let asked = question(method::PROGRESS, deadline, here, &body);
    let (_, progress) = ask(origin, guide, &asked).await?;
    Ok(progress)
}

/// Asks for leadership to be handed over.
pub(crate) async fn transfer(
    origin: &Origin,
    guide: &impl Guide,
    here: Option<Here<'_, OrRefusal<Transferred>>>,
    to: u64,
    deadline: Instant,
) -> Result<Transferred, OperationError> {
    let body = || encoded(&to);
    let asked = question(method::TRANSFER, deadline, here, &body);
    taken(origin, ask(origin, guide, &asked).await?)
}

fn question<'h, 'b, T: Serialize + DeserializeOwned>(
    method: u16,
    deadline: Instant,
    here: Option<Here<'h, T>>,
    body: &'b (dyn Fn() -> Result<Bytes, CodecError> + Send + Sync),
) -> Question<'h, 'b, T> {
    Question {
        method,
        // Each asks for a state of things, which is reached as well by asking twice.
        repeatable: true,
        has_fate: false,
        follows_leader: false,
        deadline,
        here,
        body,
    }
}

fn taken<T>(origin: &Origin, (node, answer): (u64, OrRefusal<T>)) -> Result<T, OperationError> {
    answer.map_err(|refusal| OperationError::Refused {
        group: origin.name.clone(),
        leader: origin.node_at(node),
        refusal,
    })
}

fn encoded<T: Serialize>(value: &T) -> Result<Bytes, CodecError> {
    let mut body = BytesMut::new();
    RaftCodec::encode(value, &mut body)?;
    Ok(body.freeze())
}
