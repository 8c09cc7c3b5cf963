//! openraft's state machine of one group: applies go to the writer, snapshots are files.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend};

use super::builder::GroupSnapshotBuilder;
use super::error::StoreError;
use super::group::{Group, lock};
use super::inner::{Inner, blocking};
use super::limits::{APPLY_BYTES, APPLY_ENTRIES, META_BYTES};
use super::operation::Operation;
use crate::kv::types::{Command, Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// The state machine of one group.
#[derive(Debug)]
pub struct GroupMachine {
    pub(super) store: Arc<Inner>,
    pub(super) group: Arc<Group>,
}

/// What openraft takes and gives as a snapshot of a group.
pub(super) type GroupSnapshot =
    openraft::type_config::alias::SnapshotOf<TypeConfig, tokio::fs::File>;

impl GroupMachine {
    pub(super) const fn new(store: Arc<Inner>, group: Arc<Group>) -> Self {
        Self { store, group }
    }

    /// Applies one piece and answers whoever waits for its entries.
    async fn apply_piece(&self, piece: &mut Piece) -> Result<(), StoreError> {
        let entries = std::mem::take(&mut piece.entries);
        if entries.is_empty() {
            return Ok(());
        }
        let answers = self
            .store
            .call(&self.group, piece.bytes, |done| Operation::Apply {
                entries,
                answers: Vec::new(),
                done,
            })
            .await?;
        piece.bytes = 0;
        for (responder, answer) in piece.responders.drain(..).zip(answers) {
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }
}

/// Entries that are applied together.
#[derive(Default)]
struct Piece {
    entries: Vec<Entry>,
    responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    bytes: usize,
}

impl Piece {
    fn add(&mut self, (entry, responder): EntryResponder<TypeConfig>) {
        self.bytes += match &entry.payload {
            EntryPayload::Normal(Command::Put { key, value }) => key.len() + value.len(),
            EntryPayload::Normal(Command::Delete { key }) => key.len(),
            EntryPayload::Normal(Command::Meta(_)) => META_BYTES,
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        };
        self.entries.push(entry);
        self.responders.push(responder);
    }

    const fn is_full(&self) -> bool {
        self.bytes >= APPLY_BYTES || self.entries.len() >= APPLY_ENTRIES
    }
}

impl RaftStateMachine<TypeConfig> for GroupMachine {
    type SnapshotData = tokio::fs::File;
    type SnapshotBuilder = GroupSnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let machine = self.group.machine();
        Ok((machine.state.applied, machine.membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut piece = Piece::default();
        while let Some(entry) = entries.next().await {
            piece.add(entry?);
            if piece.is_full() {
                self.apply_piece(&mut piece).await?;
            }
        }
        Ok(self.apply_piece(&mut piece).await?)
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        GroupSnapshotBuilder::new(Arc::clone(&self.store), Arc::clone(&self.group))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Self::SnapshotData,
    ) -> Result<(), io::Error> {
        Ok(self.install(meta, snapshot).await?)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<GroupSnapshot>, io::Error> {
        let group = Arc::clone(&self.group);
        let opened = blocking(move || {
            // Opened under the lock: a newer snapshot removes the file of the one before it.
            lock(&group.snapshot)
                .as_ref()
                .map(super::snapshot::SnapshotFile::open)
                .transpose()
        })
        .await?;
        Ok(opened.map(|(meta, file)| Snapshot {
            meta,
            snapshot: tokio::fs::File::from_std(file),
        }))
    }
}
