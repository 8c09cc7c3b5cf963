//! The real host: a key-value store sharded over many Raft groups, on durable storage.
//!
//! One process is one node; it holds a replica of every group. The room [`store`] keeps log, vote
//! and state machine of all groups in one database; [`host`] runs a Raft per group on it; [`http`] is
//! the front. They do not know how bytes travel between nodes: a network is given to them. [`node`]
//! puts everything together on the transport, and [`process`] makes a process of it.

mod calls;
pub mod config;
pub mod folder;
pub mod host;
pub mod http;
mod links;
pub mod node;
pub mod process;
pub mod shard;
pub mod status;
#[cfg_attr(unix, path = "stop_unix.rs")]
#[cfg_attr(not(unix), path = "stop_other.rs")]
pub mod stop;
pub mod store;
pub mod types;

pub use config::{Config, ConfigError, Settings};
pub use folder::{DataFolder, FolderError};
pub use host::{GroupRaft, HostError, KvHost};
pub use node::{Node, NodeError};
pub use status::{HandshakeStatus, LinkStatus, NetworkStatus};
pub use store::{Store, StoreError, StoreOptions};
pub use types::{Applied, Command, KvNode, TypeConfig};
