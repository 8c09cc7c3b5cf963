//! A state machine that is nothing but its latest snapshot file, so that what is measured is the
//! transport and not a store.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use quicraft_tests::raft::{Recorded, TypeConfig};
use tokio::fs::File;
use tokio::sync::watch;

#[derive(Debug, Default)]
struct State {
    last: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
}

/// The machine. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct FileMachine {
    state: Arc<Mutex<State>>,
    installed: Arc<watch::Sender<u64>>,
}

impl FileMachine {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            installed: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Bytes of all snapshots that were installed.
    pub(crate) fn installed(&self) -> u64 {
        *self.installed.borrow()
    }
}

impl RaftStateMachine<TypeConfig> for FileMachine {
    type SnapshotData = File;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.last = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                state.membership =
                    StoredMembershipOf::<TypeConfig>::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Recorded {
                    index: entry.log_id.index,
                });
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: File,
    ) -> Result<(), io::Error> {
        let bytes = snapshot.metadata().await?.len();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.last = meta.last_log_id;
            state.membership = meta.last_membership.clone();
        }
        self.installed.send_modify(|installed| *installed += bytes);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, File>>, io::Error> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for FileMachine {
    type SnapshotData = File;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, File>, io::Error> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this machine only receives snapshots",
        ))
    }
}
