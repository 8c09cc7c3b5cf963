//! Asks the control service of another node. It must not know what the answers are for.

use bytes::BytesMut;
use quicraft_transport::link::{CallLane, Request};
use quicraft_transport::raft::{Codec as _, CodecError, RaftCodec};
use quicraft_transport::{CallError, NodeId, TransportHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::wire::CONTROL;

/// Why another node has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// 0 is no node.
    #[error("0 is no node")]
    NoNode,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Question or answer cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// One question and its answer.
pub(crate) async fn ask<Q, A>(
    handle: &TransportHandle,
    node: u64,
    method: u16,
    question: &Q,
    deadline: Instant,
) -> Result<A, ControlError>
where
    Q: Serialize + Sync,
    A: DeserializeOwned,
{
    let node = NodeId::new(node).map_err(|_| ControlError::NoNode)?;
    let mut body = BytesMut::new();
    RaftCodec::encode(question, &mut body)?;
    let request = Request::new(CONTROL, method, body.freeze());
    let peer = handle.peer(node);
    let reply = peer.call(CallLane::Call, request, deadline).await?;
    Ok(RaftCodec::decode(&reply)?)
}
