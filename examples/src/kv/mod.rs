//! The real host: a key-value store sharded over many Raft groups, on durable storage.
//!
//! One process is one node; it holds a replica of every group. The room [`store`] keeps log, vote
//! and state machine of all groups in one database. No file here knows how bytes travel between
//! nodes: a network is given to it.

pub mod folder;
pub mod store;
pub mod types;

pub use folder::{DataFolder, FolderError};
pub use store::{Store, StoreError, StoreOptions};
pub use types::{Applied, Command, KvNode, TypeConfig};
