//! Answers the other nodes' questions. It holds its cluster loosely: a service that is still known to
//! the transport keeps nothing alive.

use std::sync::Weak;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use quicraft_transport::raft::{Codec as _, RaftCodec};
use quicraft_transport::service::{CallContext, Service};
use quicraft_transport::{Refusal, RefusalCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{Act, Close, method};
use crate::cluster::Cluster;

/// The control service of this node.
pub(crate) struct ControlService {
    cluster: Weak<Cluster>,
}

impl ControlService {
    pub(crate) const fn new(cluster: Weak<Cluster>) -> Self {
        Self { cluster }
    }
}

impl Service for ControlService {
    fn call(
        &self,
        context: CallContext,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let cluster = self.cluster.upgrade();
        async move {
            let stopped = || Refusal::new(RefusalCode::Stopped, "the cluster has ended here");
            let cluster = cluster.ok_or_else(stopped)?;
            let from = context.from.node().get();
            match context.method {
                method::IDENTITY => encoded(&cluster.identify(from, context.deadline).await),
                method::SEAT => {
                    let seated = cluster.seat(from, context.deadline).await;
                    encoded(&seated.map_err(not_now)?)
                }
                method::CLOSE => {
                    let close: Close = decoded(&body)?;
                    let closed = cluster.close_group(&close, context.deadline).await;
                    encoded(&closed.map_err(not_now)?)
                }
                method::ACT => {
                    let act: Act = decoded(&body)?;
                    let manager = cluster.manager();
                    let acted = manager.act_here(&act.groups, act.action, context.deadline);
                    encoded(&acted.await)
                }
                method::NEIGHBOURS => {
                    let starting =
                        || Refusal::new(RefusalCode::Busy, "the meta group does not run");
                    encoded(&cluster.neighbours().ok_or_else(starting)?)
                }
                method::STATUS => encoded(&cluster.manager().report()),
                other => Err(Refusal::new(
                    RefusalCode::UnknownMethod,
                    format!("method {other} of the control service"),
                )),
            }
        }
        .boxed()
    }
}

fn not_now(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Busy, why.to_string())
}

fn decoded<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    RaftCodec::decode(body)
        .map_err(|error| Refusal::new(RefusalCode::Undecodable, error.to_string()))
}

fn encoded<T: Serialize>(answer: &T) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    RaftCodec::encode(answer, &mut bytes)
        .map_err(|error| Refusal::new(RefusalCode::Internal, error.to_string()))?;
    Ok(bytes.freeze())
}
