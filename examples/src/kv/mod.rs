//! The real host: a key-value store sharded over many Raft groups, on durable storage.
//!
//! One process is one node; it holds a replica of every group. The room [`store`] keeps log, vote
//! and state machine of all groups in one database; [`groups`] and [`host`] run them on the manager;
//! [`http`] is the front, on which any node answers any request. [`node`] puts everything together on
//! the transport, and [`process`] makes a process of it.

mod calls;
pub mod config;
pub mod die_at;
pub mod folder;
pub mod groups;
pub mod host;
pub mod http;
mod links;
pub mod metrics;
pub mod node;
mod panics;
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
pub use groups::{Groups, KvGroup, OpenError};
pub use host::{HostError, KvHost};
pub use node::{Node, NodeError};
pub use status::{HandshakeStatus, LinkStatus, NetworkStatus};
pub use store::{Store, StoreError, StoreOptions};
pub use types::{Applied, Command, KvNode, TypeConfig};
