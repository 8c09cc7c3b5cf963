//! The state machine of a meta group: the manager's [`Meta`] beside notes of the host.
//!
//! It must not know what the manager makes of it.

use std::io::{self, Cursor};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta};
use quicraft_manager::{Meta, MetaState};
use quicraft_transport::raft::{Codec as _, RaftCodec};

use super::types::{MetaAnswer, MetaEntry, MetaTypes};

/// The state machine of the meta group on one node. Clones are the same machine.
#[derive(Debug, Clone, Default)]
pub struct MetaMachine {
    meta: Meta,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    last: Option<LogIdOf<MetaTypes>>,
    membership: StoredMembershipOf<MetaTypes>,
    notes: Vec<String>,
    snapshot: Option<(SnapshotMetaOf<MetaTypes>, Vec<u8>)>,
}

impl MetaMachine {
    /// The part of the manager.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The notes of the host, in the order of the log.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.state().notes.clone()
    }

    /// The last entry that was applied.
    #[must_use]
    pub fn applied(&self) -> Option<u64> {
        self.state().last.as_ref().map(|id| id.index)
    }

    /// Another machine that holds what this one holds now: what a crash leaves behind.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            meta: Meta::restored(MetaState::clone(&self.meta.state())),
            state: Arc::new(Mutex::new(self.state().clone())),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_payload(
        &self,
        id: LogIdOf<MetaTypes>,
        payload: EntryPayload<MetaEntry, u64, openraft::BasicNode>,
    ) -> MetaAnswer {
        let mut state = self.state();
        state.last = Some(id);
        match payload {
            EntryPayload::Blank => MetaAnswer::Noted,
            EntryPayload::Normal(MetaEntry::Note(note)) => {
                state.notes.push(note);
                MetaAnswer::Noted
            }
            EntryPayload::Normal(MetaEntry::Cluster(command)) => {
                MetaAnswer::Cluster(self.meta.apply(&command))
            }
            EntryPayload::Membership(membership) => {
                state.membership = StoredMembershipOf::<MetaTypes>::new(Some(id), membership);
                MetaAnswer::Noted
            }
        }
    }

    fn encoded(&self) -> io::Result<Vec<u8>> {
        let mut bytes = BytesMut::new();
        let (cluster, notes) = (self.meta.state(), self.notes());
        RaftCodec::encode(&(&*cluster, &notes), &mut bytes).map_err(io::Error::other)?;
        Ok(bytes.to_vec())
    }
}

impl RaftStateMachine<MetaTypes> for MetaMachine {
    type SnapshotData = Cursor<Vec<u8>>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<MetaTypes>>, StoredMembershipOf<MetaTypes>), io::Error> {
        let state = self.state();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<MetaTypes>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let answer = self.apply_payload(entry.log_id, entry.payload);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<MetaTypes>,
        snapshot: Self::SnapshotData,
    ) -> Result<(), io::Error> {
        let bytes = snapshot.into_inner();
        let decoded = RaftCodec::decode(&bytes).map_err(io::Error::other)?;
        let (cluster, notes): (MetaState, Vec<String>) = decoded;
        let mut state = self.state();
        *state = State {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            notes,
            snapshot: Some((meta.clone(), bytes)),
        };
        self.meta.install(cluster);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<MetaTypes, Self::SnapshotData>>, io::Error> {
        let current = self.state().snapshot.clone();
        Ok(current.map(|(meta, bytes)| Snapshot {
            meta,
            snapshot: Cursor::new(bytes),
        }))
    }
}

impl RaftSnapshotBuilder<MetaTypes> for MetaMachine {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn build_snapshot(
        &mut self,
    ) -> Result<SnapshotOf<MetaTypes, Cursor<Vec<u8>>>, io::Error> {
        let bytes = self.encoded()?;
        let mut state = self.state();
        let meta = SnapshotMeta {
            last_log_id: state.last,
            last_membership: state.membership.clone(),
        };
        state.snapshot = Some((meta.clone(), bytes.clone()));
        Ok(Snapshot {
            meta,
            snapshot: Cursor::new(bytes),
        })
    }
}
