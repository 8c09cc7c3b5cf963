//! Exactly once: a command that is proposed again is not run again.
//!
//! The proposer numbers its commands ([`ClientSession`]), and the state machine keeps the last
//! answers of each client ([`SessionTable`]). This room must not know what a command is, nor the time.
//!
//! A state machine puts a table beside what it holds, in the same snapshot and, if it has one, in the
//! same transaction on disk:
//!
//! ```
//! use quicraft_manager::{CommandId, SessionLimits, SessionTable, StaleCommand};
//! use serde::{Deserialize, Serialize};
//!
//! /// What the group replicates.
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Deposit {
//!     id: CommandId,
//!     cents: u64,
//! }
//!
//! /// What a snapshot holds.
//! #[derive(Serialize, Deserialize)]
//! struct Account {
//!     balance: u64,
//!     sessions: SessionTable<u64>,
//! }
//!
//! impl Account {
//!     /// Called for each entry of the log, in its order, on every node.
//!     fn apply(&mut self, log_index: u64, deposit: &Deposit) -> Result<u64, StaleCommand> {
//!         let balance = &mut self.balance;
//!         self.sessions.apply(deposit.id, log_index, || {
//!             *balance += deposit.cents;
//!             *balance
//!         })
//!     }
//! }
//!
//! let mut account = Account { balance: 0, sessions: SessionTable::new(SessionLimits::default()) };
//! let deposit = Deposit { id: CommandId { client: 7, opened: 0, sequence: 1 }, cents: 100 };
//! assert_eq!(account.apply(4, &deposit), Ok(100));
//! // The answer was lost, and the deposit was proposed again.
//! assert_eq!(account.apply(9, &deposit), Ok(100));
//! assert_eq!(account.balance, 100);
//! ```

mod client;
mod numbers;
mod table;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use client::ClientSession;
pub use table::{Delivery, SessionTable, StaleCommand};

/// Which command of which client. It travels in the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a host may number commands by itself; another field would change its log"
)]
pub struct CommandId {
    /// The client: drawn at random, never used again.
    pub client: u128,
    /// A log index of the group that was applied before the client's first command. By it a table
    /// tells a client that it has forgotten from one that it has never seen.
    pub opened: u64,
    /// The number of the command, from 1. Another command has another number.
    pub sequence: u64,
}

/// How much a [`SessionTable`] keeps: at most `clients` times `window` answers.
///
/// The limits are part of the replicated state: they are the same on every node, travel in snapshots,
/// and stay those with which the table was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionLimits {
    /// Clients that are remembered, at least 1. Default 1,024. One more makes the table forget whoever
    /// has not been heard of for the largest part of the log; a forgotten client gets
    /// [`StaleCommand`] and opens another session.
    pub clients: u32,
    /// Answers that are kept of each client, at least 1, which are the commands that it may have
    /// under way. Default 64.
    pub window: u32,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            clients: 1_024,
            window: 64,
        }
    }
}

impl SessionLimits {
    /// As many clients, and as many answers of each. 0 counts as 1.
    #[must_use]
    pub const fn new(clients: u32, window: u32) -> Self {
        Self {
            clients: at_least_one(clients),
            window: at_least_one(window),
        }
    }
}

const fn at_least_one(number: u32) -> u32 {
    if number == 0 { 1 } else { number }
}
