//! openraft's log storage of one group: appends, truncation, purge and votes go to the writer.
//!
//! Only a vote is waited for. An append is readable at once, from the tail, and its callback comes
//! with the commit; truncation and purge are seen at once and are committed in order with the rest.

use std::io;
use std::sync::Arc;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};

use super::group::Group;
use super::inner::Inner;
use super::operation::{Flushed, Operation};
use super::reader::GroupLogReader;
use super::schema::encode;
use crate::kv::types::{Entry, LogId, TypeConfig, Vote};

/// The log of one group.
#[derive(Debug)]
pub struct GroupLog {
    store: Arc<Inner>,
    group: Arc<Group>,
}

impl GroupLog {
    pub(super) const fn new(store: Arc<Inner>, group: Arc<Group>) -> Self {
        Self { store, group }
    }
}

impl RaftLogStorage<TypeConfig> for GroupLog {
    type LogReader = GroupLogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let (last_purged_log_id, last_log_id) = self.group.tail.ends();
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        GroupLogReader::new(Arc::clone(&self.store), Arc::clone(&self.group))
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        let saved = self
            .store
            .call(&self.group, 0, |done| Operation::Vote { vote, done });
        Ok(saved.await?)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        let mut held = Vec::new();
        let mut total = 0;
        for entry in entries {
            let bytes = encode(self.group.id, "log entry", &entry)?;
            total += bytes.len();
            held.push((entry.clone(), bytes.len()));
            encoded.push((entry.log_id.index, bytes));
        }
        let slot = self.store.reserve(total).await?;
        // From here nothing waits, so an entry that can be read is also in the queue.
        let mark = self.group.tail.push(held);
        let flushed = Flushed::new(callback);
        slot.send(
            &self.group,
            Operation::Append {
                entries: encoded,
                mark,
                flushed,
            },
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let slot = self.store.reserve(0).await?;
        self.group.tail.truncate(last_log_id);
        let from = last_log_id.map_or(0, |last| last.index + 1);
        slot.send(&self.group, Operation::Truncate { from });
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let slot = self.store.reserve(0).await?;
        self.group.tail.purge(upto);
        slot.send(&self.group, Operation::Purge { upto });
        Ok(())
    }
}
