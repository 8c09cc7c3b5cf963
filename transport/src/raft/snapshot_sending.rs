//! Sends one snapshot to one peer: asks what the peer has kept of it, and sends the rest.
//!
//! Nothing is retried here; openraft does that, with a snapshot that it reads anew. This room must
//! not know how bytes are kept at the other end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::errors::{RPCError, StreamingError};
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::{SnapshotMetaOf, VoteOf};
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout};

use super::errors::{RaftCallError, Route, local_storage_error};
use super::snapshot::{HashedReader, Offer, SnapshotIo, hash_prefix};
use super::snapshot_watch::{SnapshotWatch, Watched};
use super::wire::{
    SnapshotHead, SnapshotOfferReply, SnapshotOfferRequest, SnapshotReply, WireError, encode,
    method,
};
use crate::link::{CallLane, Peer, Request};
use crate::{CallError, Event, RefusalCode, SnapshotDirection, TransportHandle};

/// A snapshot on its way to a peer.
pub(super) struct SnapshotSending<'a, C: RaftTypeConfig, S> {
    pub(super) handle: &'a TransportHandle,
    pub(super) peer: &'a Peer,
    pub(super) route: Route,
    pub(super) io: &'a S,
    pub(super) vote: VoteOf<C>,
    pub(super) meta: SnapshotMetaOf<C>,
    /// The longest time in which nothing moves.
    pub(super) stall_limit: Duration,
}

/// What to do after the peer was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan<C: RaftTypeConfig> {
    /// Send all of it.
    FromZero,
    /// Send what follows, if these bytes are ours.
    Behind(Offer),
    /// Nothing need be sent.
    Done(VoteOf<C>),
}

/// An answer, which may be no offer, or why there is none.
type Answer<C> = Result<Result<SnapshotOfferReply<C>, WireError>, CallError>;

/// What an answer to the question for an offer means for a snapshot of `length` bytes.
///
/// An answer that no correct peer gives never holds a snapshot up: it then starts at 0. An error
/// that would meet the transfer too is the result; so is a peer that does not answer in time, because
/// what it has may be most of the snapshot.
fn plan<C: RaftTypeConfig>(answer: Answer<C>, length: u64) -> Result<Plan<C>, CallError> {
    match answer {
        Ok(Ok(SnapshotOfferReply::Kept(offer))) if (1..=length).contains(&offer.offset) => {
            Ok(Plan::Behind(offer))
        }
        Ok(Ok(SnapshotOfferReply::Applied(vote))) => Ok(Plan::Done(vote)),
        Ok(Ok(SnapshotOfferReply::Nothing | SnapshotOfferReply::Kept(_)) | Err(_)) => {
            Ok(Plan::FromZero)
        }
        Err(CallError::Refused { refusal, .. })
            if matches!(
                refusal.code,
                RefusalCode::UnknownMethod
                    | RefusalCode::Undecodable
                    | RefusalCode::HandlerPanicked
                    | RefusalCode::Internal
            ) =>
        {
            Ok(Plan::FromZero)
        }
        Err(error) => Err(error),
    }
}

impl<C: RaftTypeConfig<NodeId = u64>, S: SnapshotIo> SnapshotSending<'_, C, S> {
    /// Sends it and waits until it is installed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops it; what the peer has stored can be continued.
    pub(super) async fn send(
        &self,
        data: S::Data,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let opened = self.io.open(data).await;
        let (length, mut source) = opened.map_err(|error| self.unreadable(&error))?;
        let answer = self.ask(self.question(length, false)?).await;
        let plan = plan(answer, length).map_err(|error| self.failed(&error))?;
        let (offset, source) = match plan {
            Plan::Done(vote) => return Ok(SnapshotResponse::new(vote)),
            Plan::FromZero => (0, HashedReader::new(source, length)),
            Plan::Behind(offer) => {
                let hasher = self.read_prefix(&mut source, offer.offset).await?;
                if hasher.finalize() != offer.hash {
                    return Err(self.differs(length, offer.offset).await);
                }
                (
                    offer.offset,
                    HashedReader::behind(source, length, offer.offset, hasher),
                )
            }
        };
        if offset > 0 {
            self.handle.raise(Event::SnapshotResumed {
                peer: self.peer.id(),
                group: self.route.group,
                offset,
                length,
            });
        }
        self.transfer(length, offset, source).await
    }

    /// R14: the question what the peer has kept of this snapshot, or the word to throw that away.
    fn question(&self, length: u64, discard: bool) -> Result<Bytes, StreamingError<C>> {
        let (vote, last) = (self.vote.clone(), self.meta.last_log_id.clone());
        encode(&SnapshotOfferRequest::<C>::new(vote, last, length, discard))
            .map_err(|error| self.unusable(error))
    }

    async fn ask(&self, question: Bytes) -> Answer<C> {
        let request = Request::new(self.route.group, method::SNAPSHOT_OFFER, question);
        let deadline = Instant::now() + self.stall_limit;
        let reply = self.peer.call(CallLane::Control, request, deadline).await?;
        Ok(SnapshotOfferReply::decode(&reply))
    }

    /// Reads and hashes what the peer says that it has. It costs the disk as much as sending it
    /// would, so it waits for a place as a transfer does; the transfer then waits for its own.
    async fn read_prefix(
        &self,
        source: &mut S::Source,
        offset: u64,
    ) -> Result<blake3::Hasher, StreamingError<C>> {
        let slot = timeout(self.stall_limit, self.handle.snapshot_slot()).await;
        let _slot = slot.map_err(|_| {
            self.failed(&CallError::Timeout {
                peer: self.peer.id(),
                group: self.route.group,
                address: None,
                limit: self.stall_limit,
            })
        })?;
        let hasher = hash_prefix(source, offset).await;
        hasher.map_err(|error| self.unreadable(&error))
    }

    /// The peer has other bytes: it throws them away, and openraft tries again at once. The source
    /// was read and cannot be read again.
    async fn differs(&self, length: u64, offset: u64) -> StreamingError<C> {
        let Route { target, group, .. } = self.route;
        let question = match self.question(length, true) {
            Ok(question) => question,
            Err(error) => return error,
        };
        match self.ask(question).await {
            Ok(_) => RPCError::from(RaftCallError::OtherBytes {
                target,
                group,
                offset,
            })
            .into(),
            Err(error) => self.failed(&error),
        }
    }

    async fn transfer(
        &self,
        length: u64,
        offset: u64,
        source: impl AsyncRead + Send + Unpin,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let (vote, meta) = (self.vote.clone(), self.meta.clone());
        let head = SnapshotHead::<C>::new(vote, meta, length, offset);
        let Some(transfer_length) = head.transfer_length() else {
            return Err(self.unreadable(&io::Error::other("a snapshot of nearly 2^64 bytes")));
        };
        let head = encode(&head).map_err(|error| self.unusable(error))?;
        let request = Request::new(self.route.group, method::SNAPSHOT, head);
        let what = Watched {
            peer: self.peer.id(),
            group: self.route.group,
            direction: SnapshotDirection::Sent,
            offset,
            length,
        };
        let handle = self.handle.clone();
        let mut watch = SnapshotWatch::begin(what, Arc::new(move |event| handle.raise(event)));
        let source = watch.reads(source);
        let sent = self
            .peer
            .transfer(request, transfer_length, source, self.stall_limit);
        let reply: Bytes = match sent.await {
            Ok(reply) => reply,
            Err(error) => {
                watch.failed(&error);
                return Err(self.failed(&error));
            }
        };
        let response = SnapshotReply::decode(&reply).map_err(|error| self.unusable(error))?;
        watch.done();
        self.handle.raise(Event::SnapshotSent {
            peer: self.peer.id(),
            group: self.route.group,
            bytes: length,
        });
        Ok(response)
    }

    /// Our own snapshot cannot be read.
    fn unreadable(&self, error: &io::Error) -> StreamingError<C> {
        local_storage_error::<C>(&self.meta, error)
    }

    fn failed(&self, error: &CallError) -> StreamingError<C> {
        self.route.streaming_error(&self.meta, error)
    }

    fn unusable(&self, error: impl Into<WireError>) -> StreamingError<C> {
        RPCError::from(self.route.wire(error)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::testing::{GROUP, TestConfig, cut, leader_vote};
    use crate::raft::wire::WireError;
    use crate::{NodeId, Refusal, UnreachableReason};

    fn kept(offset: u64) -> Answer<TestConfig> {
        let hash = blake3::hash(b"prefix");
        Ok(Ok(SnapshotOfferReply::Kept(Offer { offset, hash })))
    }

    fn refused(code: RefusalCode) -> Answer<TestConfig> {
        Err(CallError::Refused {
            peer: NodeId::new(2).unwrap(),
            group: GROUP,
            refusal: Refusal::new(code, "no"),
        })
    }

    /// R14: at the length it is all there but for the hash; one past it is no offer.
    #[test]
    fn an_offer_is_taken_up_to_the_length_and_not_one_past_it() {
        for offset in [1, 999, 1_000] {
            let Ok(Plan::Behind(offer)) = plan(kept(offset), 1_000) else {
                panic!("{offset}");
            };
            assert_eq!(offer.offset, offset);
        }
        for offset in [0, 1_001, u64::MAX] {
            assert_eq!(plan(kept(offset), 1_000).unwrap(), Plan::FromZero);
        }
        assert_eq!(plan(kept(0), 0).unwrap(), Plan::FromZero);
    }

    /// R14: no offer is no obstacle.
    #[test]
    fn a_peer_that_answers_without_an_offer_gets_all_of_it() {
        let nothing = Ok(Ok(SnapshotOfferReply::<TestConfig>::Nothing));
        let garbage = Ok(Err(WireError::Malformed("no tag")));
        let refusals = [
            RefusalCode::UnknownMethod,
            RefusalCode::Undecodable,
            RefusalCode::HandlerPanicked,
            RefusalCode::Internal,
        ];
        let answers = [nothing, garbage].into_iter();
        for answer in answers.chain(refusals.map(refused)) {
            assert_eq!(plan(answer, 1_000).unwrap(), Plan::FromZero);
        }
        let vote = leader_vote(3, 1);
        let applied = Ok(Ok(SnapshotOfferReply::<TestConfig>::Applied(vote)));
        assert_eq!(plan(applied, 1_000).unwrap(), Plan::Done(vote));
    }

    /// What would stop the transfer stops the question; it must not cost what the peer has.
    #[test]
    fn a_peer_that_does_not_answer_is_asked_again() {
        let refusals = [
            RefusalCode::UnknownGroup,
            RefusalCode::Busy,
            RefusalCode::OriginMismatch,
            RefusalCode::Stopped,
            RefusalCode::ShuttingDown,
        ];
        let peer = NodeId::new(2).unwrap();
        let unreachable = CallError::Unreachable {
            peer,
            group: GROUP,
            address: None,
            reason: UnreachableReason::Dialling,
        };
        let timeout = CallError::Timeout {
            peer,
            group: GROUP,
            address: None,
            limit: Duration::from_secs(10),
        };
        let failed = [cut("reset"), unreachable, timeout].map(Err);
        for answer in failed.into_iter().chain(refusals.map(refused)) {
            let error = answer.as_ref().unwrap_err().to_string();
            assert_eq!(plan(answer, 1_000).unwrap_err().to_string(), error);
        }
    }
}
