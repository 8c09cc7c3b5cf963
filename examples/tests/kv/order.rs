//! What openraft takes for granted of one group's log, in any order of its operations and beside other
//! groups: what was appended before a vote is durable when the vote is, callbacks come in the order of
//! their appends, and a read sees what was asked for last. A log that breaks one of these panics
//! openraft's core later and elsewhere.

use std::collections::BTreeMap;
use std::io;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use openraft::testing::log_id as openraft_log_id;
use openraft::type_config::alias::OneshotReceiverOf;
use quicraft_examples::kv::TypeConfig;
use quicraft_examples::kv::store::GroupLog;
use quicraft_examples::kv::types::{Entry, LogId, Vote};

use crate::disk::Disk;
use crate::entries::{append, put, store_on};

/// Operations on each group of a run.
const OPERATIONS: u64 = 120;

/// Numbers that follow from a seed: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What the log holds if nothing goes wrong.
#[derive(Default)]
struct Model {
    term: u64,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

impl Model {
    fn id(&self, index: u64) -> LogId {
        openraft_log_id::<TypeConfig>(self.term, 1, index)
    }

    fn last(&self) -> Option<LogId> {
        let last = self.entries.values().next_back().map(|entry| entry.log_id);
        last.or(self.purged)
    }

    async fn is_what_is_read(&self, log: &mut GroupLog) {
        let state = log.get_log_state().await.unwrap();
        assert_eq!(state.last_log_id, self.last());
        assert_eq!(state.last_purged_log_id, self.purged);
        let read = log.get_log_reader().await.try_get_log_entries(..).await;
        let held: Vec<_> = self.entries.values().cloned().collect();
        assert_eq!(read.unwrap(), held);
    }
}

/// Random operations on one group, each checked at once.
async fn group_in_any_order(mut log: GroupLog, seed: u64) -> Model {
    let mut dice = Dice(seed);
    let mut model = Model {
        term: 1,
        ..Model::default()
    };
    let mut pending: Vec<OneshotReceiverOf<TypeConfig, io::Result<()>>> = Vec::new();
    for step in 0..OPERATIONS {
        match dice.below(10) {
            0 => {
                model.term += 1;
                log.save_vote(&Vote::new(model.term, 1)).await.unwrap();
                for flushed in pending.drain(..) {
                    // It is durable before the vote after it, so there is nothing to wait for.
                    let called = flushed.now_or_never();
                    called.unwrap().unwrap().unwrap();
                }
            }
            1 | 2 if !model.entries.is_empty() => {
                let first = *model.entries.keys().next().unwrap();
                let from = first + dice.below(model.entries.len() as u64);
                drop(model.entries.split_off(&from));
                log.truncate_after(model.last()).await.unwrap();
            }
            3 if model.entries.len() > 3 => {
                let upto = model.entries.values().nth(1).unwrap().log_id;
                model.entries = model.entries.split_off(&(upto.index + 1));
                model.purged = Some(upto);
                log.purge(upto).await.unwrap();
            }
            _ => {
                let next = model.last().map_or(0, |last| last.index + 1);
                let entries: Vec<_> = (next..=next + dice.below(3))
                    .map(|index| Entry {
                        log_id: model.id(index),
                        ..put(index, "key", format!("step {step}"))
                    })
                    .collect();
                let indexed = entries
                    .iter()
                    .map(|entry| (entry.log_id.index, entry.clone()));
                model.entries.extend(indexed);
                pending.push(append(&mut log, entries).await);
            }
        }
        model.is_what_is_read(&mut log).await;
        // From the newest on: when one was called back, all before it were.
        let mut waiting = Vec::new();
        let mut newer = false;
        while let Some(mut flushed) = pending.pop() {
            if (&mut flushed).now_or_never().is_some() {
                newer = true;
            } else {
                assert!(!newer, "a callback has overtaken the one before it");
                waiting.push(flushed);
            }
        }
        waiting.reverse();
        pending = waiting;
    }
    // A vote is behind everything else.
    model.term += 1;
    log.save_vote(&Vote::new(model.term, 1)).await.unwrap();
    model
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_appends_truncations_and_purges_keep_their_order() {
    for seed in 1..=8 {
        let disk = Disk::new();
        let (_folder, store) = store_on(disk.clone());
        let groups = (0..4).map(|group| {
            let log = store.group(group).unwrap().0;
            // Without tokio's budget, which makes a callback that is there look as if it were not.
            let any_order = group_in_any_order(log, seed * 100 + group);
            tokio::spawn(tokio::task::unconstrained(any_order))
        });
        let models = join_all(groups).await;
        store.close().await.unwrap();
        let (_folder, store) = store_on(disk.crash(0));
        for (group, model) in (0..).zip(models) {
            let (model, mut log) = (model.unwrap(), store.group(group).unwrap().0);
            model.is_what_is_read(&mut log).await;
            let vote = log.get_log_reader().await.read_vote().await.unwrap();
            assert_eq!(vote, Some(Vote::new(model.term, 1)));
        }
    }
}
