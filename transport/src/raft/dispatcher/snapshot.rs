//! The answering side of snapshots: what is kept of one, and the bytes of one until it is installed.
//!
//! It must not know where bytes are kept, or what becomes of them when their transfer breaks.

use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::RaftStateMachine;
use openraft::type_config::alias::SnapshotOf;
use tokio::io::AsyncRead;

use super::{RaftService, fatal_refusal, internal, undecodable};
use crate::raft::snapshot::{ReceiveError, SnapshotIo};
use crate::raft::snapshot_watch::{SnapshotWatch, Watched};
use crate::raft::wire::{
    SnapshotHead, SnapshotOfferReply, SnapshotOfferRequest, SnapshotReply, encode,
};
use crate::service::CallContext;
use crate::{Event, Refusal, RefusalCode, SnapshotDirection};

impl<C, SM, S> RaftService<C, SM, S>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C, SnapshotData = S::Data>,
    S: SnapshotIo,
{
    /// R14: what is kept of a snapshot.
    pub(super) async fn snapshot_offer(
        &self,
        context: &CallContext,
        body: &[u8],
    ) -> Result<Bytes, Refusal> {
        let request = SnapshotOfferRequest::<C>::decode(body).map_err(undecodable)?;
        self.check_origin(context, &request.vote)?;
        let reply = if self.has_applied(&request) {
            SnapshotOfferReply::<C>::Applied(request.vote)
        } else {
            let offer = self.keeper.offer(request.claim(), request.discard).await;
            offer
                .map_err(|error| self.not_received(context, error))?
                .map_or(SnapshotOfferReply::Nothing, SnapshotOfferReply::Kept)
        };
        reply.encode().map_err(internal)
    }

    /// Whether this node follows the leader that asks and has applied what is in its snapshot: the
    /// answer to the snapshot itself was lost then. openraft would not install it again.
    fn has_applied(&self, request: &SnapshotOfferRequest<C>) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        request.last_log_id.is_some()
            && metrics.vote == request.vote
            && metrics.last_applied >= request.last_log_id
    }

    /// R11: a snapshot, or the rest of one.
    pub(super) async fn receive_snapshot(
        self,
        context: CallContext,
        head: Bytes,
        announced: u64,
        mut body: impl AsyncRead + Unpin + Send,
    ) -> Result<Bytes, Refusal> {
        let head = SnapshotHead::<C>::decode(&head).map_err(undecodable)?;
        self.check_origin(&context, &head.vote)?;
        let (length, offset) = (head.length, head.offset);
        if head.transfer_length() != Some(announced) {
            let text =
                format!("{length} bytes of a snapshot from {offset} in a transfer of {announced}");
            return Err(Refusal::new(RefusalCode::Corrupt, text));
        }
        let (peer, group) = (context.from.node(), context.group);
        let not_received = |error| self.not_received(&context, error);
        let begun = self.keeper.begin(head.claim(), offset).await;
        let receiving = begun.map_err(not_received)?;
        if offset > 0 {
            (self.raise)(Event::SnapshotResumed {
                peer,
                group,
                offset,
                length,
            });
        }
        let what = Watched {
            peer,
            group,
            direction: SnapshotDirection::Received,
            offset,
            length,
        };
        let mut watch = SnapshotWatch::begin(what, Arc::clone(&self.raise));
        let received = receiving.receive(&mut watch.reads(&mut body)).await;
        let data = match received {
            Ok(data) => data,
            Err(error) => {
                watch.failed(&error);
                return Err(not_received(error));
            }
        };
        let (vote, meta) = head.into_parts();
        let snapshot = SnapshotOf::<C, S::Data> {
            meta,
            snapshot: data,
        };
        let response = self.raft.install_full_snapshot(vote, snapshot).await;
        let response = response.map_err(|fatal| fatal_refusal(&fatal))?;
        watch.done();
        (self.raise)(Event::SnapshotReceived {
            peer,
            group,
            bytes: length,
        });
        encode(&SnapshotReply::from(response)).map_err(internal)
    }

    fn not_received(&self, context: &CallContext, error: ReceiveError) -> Refusal {
        let code = match &error {
            ReceiveError::Short { .. } | ReceiveError::WrongHash { .. } => RefusalCode::Corrupt,
            ReceiveError::Store(source) => {
                // Paths and the like are not the peer's business.
                tracing::error!(target: "quicraft::snapshot", error = %source, "a snapshot was not stored");
                return internal(format_args!(
                    "the snapshot could not be stored: {}",
                    source.kind()
                ));
            }
            ReceiveError::Panicked => {
                (self.raise)(Event::HandlerPanicked {
                    peer: context.from.node(),
                    group: context.group,
                });
                RefusalCode::HandlerPanicked
            }
            ReceiveError::NotKept { .. } => RefusalCode::NotResumable,
            ReceiveError::Outranked | ReceiveError::Superseded | ReceiveError::Busy => {
                RefusalCode::Busy
            }
            ReceiveError::Stopped => RefusalCode::ShuttingDown,
        };
        Refusal::new(code, error.to_string())
    }
}
