//! What a state machine remembers of the commands that it has run. It must not know who proposes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{CommandId, SessionLimits};

/// What a state machine has to do with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery<R> {
    /// Run it: it was not run before.
    Fresh,
    /// Do not run it: it was run before, with this answer.
    Repeated(R),
    /// Do not run it: it is too old to tell. See [`StaleCommand`].
    Stale,
}

/// The command is too old to tell whether it was run: its answer has left the window of its client,
/// or its client was forgotten. It is not run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("command {} of client {:032x} is too old to tell whether it was run", id.sequence, id.client)]
#[non_exhaustive]
pub struct StaleCommand {
    /// The command.
    pub id: CommandId,
}

/// The last answers of the last clients, for a state machine that runs each command once.
///
/// It changes only by what the log says, so it is the same on every node, and it is bounded by its
/// [`SessionLimits`]. Serialising it is serialising all of that.
///
/// A client that is forgotten is never taken for a new one: every id carries a log index from before
/// the client's first command ([`CommandId::opened`]), and the table knows up to where in the log it
/// has forgotten clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored<R>")]
pub struct SessionTable<R> {
    limits: SessionLimits,
    /// The last use of the client that was forgotten last.
    forgotten: u64,
    clients: BTreeMap<u128, Client<R>>,
    /// The clients by their last use.
    #[serde(skip)]
    uses: BTreeSet<(u64, u128)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Client<R> {
    last_use: u64,
    highest: u64,
    answers: BTreeMap<u64, R>,
}

/// A table as it is written.
#[derive(Deserialize)]
struct Stored<R> {
    limits: SessionLimits,
    forgotten: u64,
    clients: BTreeMap<u128, Client<R>>,
}

impl<R> From<Stored<R>> for SessionTable<R> {
    fn from(stored: Stored<R>) -> Self {
        let clients = stored.clients.iter();
        Self {
            limits: stored.limits,
            forgotten: stored.forgotten,
            uses: clients.map(|(&id, client)| (client.last_use, id)).collect(),
            clients: stored.clients,
        }
    }
}

impl<R> SessionTable<R> {
    /// A table that knows nobody.
    #[must_use]
    pub const fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            forgotten: 0,
            clients: BTreeMap::new(),
            uses: BTreeSet::new(),
        }
    }

    /// Its limits.
    #[must_use]
    pub const fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// How many clients it remembers.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Runs a command unless it was run before, and returns its answer, now or then. `log_index` is
    /// that of its entry; it never decreases from one call to the next.
    ///
    /// # Errors
    ///
    /// [`StaleCommand`]: the command was not run now, and may have been run before.
    pub fn apply(
        &mut self,
        id: CommandId,
        log_index: u64,
        run: impl FnOnce() -> R,
    ) -> Result<R, StaleCommand>
    where
        R: Clone,
    {
        match self.judge(id, log_index) {
            Delivery::Fresh => {
                let answer = run();
                self.record(id, log_index, answer.clone());
                Ok(answer)
            }
            Delivery::Repeated(answer) => Ok(answer.clone()),
            Delivery::Stale => Err(StaleCommand { id }),
        }
    }

    /// What to do with a command. Of a [`Delivery::Fresh`] one the answer has to be recorded, before
    /// the next command is judged. [`SessionTable::apply`] does both.
    pub fn judge(&mut self, id: CommandId, log_index: u64) -> Delivery<&R> {
        let window = u64::from(self.limits.window);
        let Some(client) = self.clients.get_mut(&id.client) else {
            // Whoever was forgotten had used the table after its session was opened.
            let never_seen = id.opened >= self.forgotten && id.sequence > 0;
            return if never_seen {
                Delivery::Fresh
            } else {
                Delivery::Stale
            };
        };
        if id.sequence.saturating_add(window) <= client.highest || id.sequence == 0 {
            return Delivery::Stale;
        }
        let Some(answer) = client.answers.get(&id.sequence) else {
            return Delivery::Fresh;
        };
        self.uses.remove(&(client.last_use, id.client));
        self.uses.insert((log_index, id.client));
        client.last_use = log_index;
        Delivery::Repeated(answer)
    }

    /// Keeps the answer of a command that was just run.
    pub fn record(&mut self, id: CommandId, log_index: u64, answer: R) {
        if !self.clients.contains_key(&id.client) {
            self.make_room();
        }
        let client = self.clients.entry(id.client).or_insert_with(|| Client {
            last_use: log_index,
            highest: 0,
            answers: BTreeMap::new(),
        });
        self.uses.remove(&(client.last_use, id.client));
        self.uses.insert((log_index, id.client));
        client.last_use = log_index;
        client.highest = client.highest.max(id.sequence);
        client.answers.insert(id.sequence, answer);
        let window = u64::from(self.limits.window);
        let oldest = client.highest.saturating_sub(window) + 1;
        client.answers = client.answers.split_off(&oldest);
    }

    /// Forgets whoever has not been heard of for the largest part of the log.
    fn make_room(&mut self) {
        while self.clients.len() >= self.limits.clients as usize {
            let Some((last_use, client)) = self.uses.pop_first() else {
                return;
            };
            self.clients.remove(&client);
            self.forgotten = self.forgotten.max(last_use);
        }
    }
}
