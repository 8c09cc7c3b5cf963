//! A state machine that records every command it applied.
//!
//! It must not know the log or the network. It lives in memory; a test that restarts a node hands
//! the same machine over, or a new one, which openraft then fills from the log and the snapshot.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta};
use tokio::sync::watch;

use super::snapshots::SnapshotStore;
use super::types::{Command, Recorded, TypeConfig};

/// A command that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The index of its log entry.
    pub index: u64,
    /// Its bytes.
    pub command: Bytes,
}

/// The state machine of one group on one node. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct Machine<S> {
    state: Arc<Mutex<State>>,
    /// The number of commands applied so far, to wait for.
    count: Arc<watch::Sender<usize>>,
    snapshots: S,
}

#[derive(Debug, Clone, Default)]
struct State {
    last: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
    applied: Vec<Applied>,
    /// The current snapshot, built here or received.
    snapshot: Option<(SnapshotMetaOf<TypeConfig>, Bytes)>,
    snapshots_installed: u64,
}

impl<S: SnapshotStore> Machine<S> {
    /// A machine that has applied nothing and keeps its snapshots in `snapshots`.
    #[must_use]
    pub fn new(snapshots: S) -> Self {
        Self {
            state: Arc::default(),
            count: Arc::new(watch::Sender::new(0)),
            snapshots,
        }
    }

    /// Another machine that holds what this one holds now: what a process that dies at this moment
    /// leaves behind.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.state().clone();
        Self {
            count: Arc::new(watch::Sender::new(state.applied.len())),
            state: Arc::new(Mutex::new(state)),
            snapshots: self.snapshots.clone(),
        }
    }

    /// Every command applied so far, in order.
    #[must_use]
    pub fn applied(&self) -> Vec<Applied> {
        self.state().applied.clone()
    }

    /// How many snapshots of others this machine has installed.
    #[must_use]
    pub fn snapshots_installed(&self) -> u64 {
        self.state().snapshots_installed
    }

    /// Waits until at least `count` commands are applied. Give it a deadline of the test's choice.
    pub async fn wait_for(&self, count: usize) {
        let mut counts = self.count.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        if counts.wait_for(|&now| now >= count).await.is_err() {
            unreachable!("the machine holds the sender");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(
        &mut self,
        id: LogIdOf<TypeConfig>,
        payload: EntryPayload<Command, u64, openraft::BasicNode>,
    ) {
        self.last = Some(id);
        match payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(Command(command)) => self.applied.push(Applied {
                index: id.index,
                command,
            }),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembershipOf::<TypeConfig>::new(Some(id), membership);
            }
        }
    }
}

/// Index, length and bytes of each command, big-endian. Only tests read it, and only tests wrote it.
fn encode(applied: &[Applied]) -> Bytes {
    let mut bytes = BytesMut::new();
    for Applied { index, command } in applied {
        bytes.put_u64(*index);
        bytes.put_u64(command.len() as u64);
        bytes.put_slice(command);
    }
    bytes.freeze()
}

fn decode(mut bytes: Bytes) -> io::Result<Vec<Applied>> {
    let cut_short = || io::Error::new(io::ErrorKind::UnexpectedEof, "a snapshot was cut short");
    let mut applied = Vec::new();
    while bytes.has_remaining() {
        let index = bytes.try_get_u64().map_err(|_| cut_short())?;
        let length = bytes.try_get_u64().map_err(|_| cut_short())?;
        let length = usize::try_from(length).map_err(|_| cut_short())?;
        if length > bytes.len() {
            return Err(cut_short());
        }
        applied.push(Applied {
            index,
            command: bytes.split_to(length),
        });
    }
    Ok(applied)
}

impl<S: SnapshotStore> RaftStateMachine<TypeConfig> for Machine<S> {
    type SnapshotData = S::Data;
    type SnapshotBuilder = MachineSnapshotBuilder<S>;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        let state = self.state();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let index = entry.log_id.index;
            let count = {
                let mut state = self.state();
                state.apply(entry.log_id, entry.payload);
                state.applied.len()
            };
            self.count.send_replace(count);
            if let Some(responder) = responder {
                responder.send(Recorded { index });
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        MachineSnapshotBuilder {
            machine: self.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Self::SnapshotData,
    ) -> Result<(), io::Error> {
        let bytes = self.snapshots.read(snapshot).await?;
        let applied = decode(bytes.clone())?;
        let count = applied.len();
        {
            let mut state = self.state();
            state.last = meta.last_log_id;
            state.membership = meta.last_membership.clone();
            state.applied = applied;
            state.snapshot = Some((meta.clone(), bytes));
            state.snapshots_installed += 1;
        }
        self.count.send_replace(count);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Self::SnapshotData>>, io::Error> {
        let current = self.state().snapshot.clone();
        let Some((meta, bytes)) = current else {
            return Ok(None);
        };
        let snapshot = self.snapshots.open(&bytes).await?;
        Ok(Some(Snapshot { meta, snapshot }))
    }
}

/// Builds a snapshot of what the machine has applied when it is asked.
#[derive(Debug)]
pub struct MachineSnapshotBuilder<S> {
    machine: Machine<S>,
}

impl<S: SnapshotStore> RaftSnapshotBuilder<TypeConfig> for MachineSnapshotBuilder<S> {
    type SnapshotData = S::Data;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, S::Data>, io::Error> {
        let (meta, bytes) = {
            let mut state = self.machine.state();
            let meta = SnapshotMeta {
                last_log_id: state.last,
                last_membership: state.membership.clone(),
            };
            let bytes = encode(&state.applied);
            state.snapshot = Some((meta.clone(), bytes.clone()));
            (meta, bytes)
        };
        let snapshot = self.machine.snapshots.open(&bytes).await?;
        Ok(Snapshot { meta, snapshot })
    }
}
