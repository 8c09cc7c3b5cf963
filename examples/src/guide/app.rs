//! The application: its commands, its answers, and the state machine. No stop of the guide changes
//! more of it than what stands under "for the manager".

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{BasicNode, EntryPayload, OptionalSend, SnapshotMeta};
use quicraft_manager::{Meta, MetaCommand, MetaReply, MetaState};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// What the application replicates.
    pub Types: D = Command, R = Answer, NodeId = u64, Node = BasicNode
);

/// What a client asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Sets a word.
    Put {
        /// Its name.
        key: String,
        /// What it is from now on.
        value: String,
    },
    /// For the manager: a change of the cluster.
    Cluster(Box<MetaCommand>),
}

/// What applying a command gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The value before.
    Was(Option<String>),
    /// Nothing: an entry of openraft's own.
    Nothing,
    /// For the manager.
    Cluster(MetaReply),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put { .. } => "put",
            Self::Cluster(_) => "a change of the cluster",
        })
    }
}

impl From<MetaCommand> for Command {
    fn from(command: MetaCommand) -> Self {
        Self::Cluster(Box::new(command))
    }
}

impl TryFrom<Answer> for MetaReply {
    type Error = Answer;

    fn try_from(answer: Answer) -> Result<Self, Answer> {
        match answer {
            Answer::Cluster(reply) => Ok(reply),
            other => Err(other),
        }
    }
}

/// The state machine of one group on one node, in memory. Clones are the same machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    held: Arc<Mutex<Held>>,
    /// For the manager: the cluster, in the group that holds it.
    meta: Meta,
}

#[derive(Debug, Clone, Default)]
struct Held {
    last: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    words: BTreeMap<String, String>,
    snapshot: Option<(SnapshotMetaOf<Types>, Vec<u8>)>,
}

impl Machine {
    /// The value of a word, as this node has applied it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        self.held().words.get(key).cloned()
    }

    /// For the manager: the cluster as this node has applied it.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_command(&self, command: Command) -> Answer {
        match command {
            Command::Put { key, value } => Answer::Was(self.held().words.insert(key, value)),
            Command::Cluster(command) => Answer::Cluster(self.meta.apply(&command)),
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Cursor<Vec<u8>>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let held = self.held();
        Ok((held.last, held.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.held().last = Some(entry.log_id);
            let answer = match entry.payload {
                EntryPayload::Blank => Answer::Nothing,
                EntryPayload::Normal(command) => self.apply_command(command),
                EntryPayload::Membership(membership) => {
                    self.held().membership =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
                    Answer::Nothing
                }
            };
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Cursor<Vec<u8>>,
    ) -> io::Result<()> {
        let bytes = snapshot.into_inner();
        let (words, cluster): (_, MetaState) = serde_json::from_slice(&bytes)?;
        *self.held() = Held {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            words,
            snapshot: Some((meta.clone(), bytes)),
        };
        self.meta.install(cluster);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<Types, Cursor<Vec<u8>>>>> {
        let current = self.held().snapshot.clone();
        Ok(current.map(|(meta, bytes)| Snapshot {
            meta,
            snapshot: Cursor::new(bytes),
        }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Cursor<Vec<u8>>>> {
        let mut held = self.held();
        let bytes = serde_json::to_vec(&(&held.words, &*self.meta.state()))?;
        let meta = SnapshotMeta {
            last_log_id: held.last,
            last_membership: held.membership.clone(),
        };
        held.snapshot = Some((meta.clone(), bytes.clone()));
        Ok(Snapshot {
            meta,
            snapshot: Cursor::new(bytes),
        })
    }
}
