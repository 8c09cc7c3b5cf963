//! What can be wrong with a configuration; every text says what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::NODES;
use super::address::AddressError;

/// What is wrong with the configuration, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}; check --config", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML, or has a name or value that does not belong there.
    #[error("the configuration file {} is wrong: {source}", path.display())]
    ParseFile {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A setting without a default is missing.
    #[error("{name} is not set; give --{name}, or {name} = ... in the configuration file")]
    Missing {
        /// Its name, the same as a flag and in the file.
        name: &'static str,
    },
    /// A text that must not be empty is.
    #[error("{name} is empty; give --{name} a value")]
    Empty {
        /// The setting.
        name: &'static str,
    },
    /// Node id 0 belongs to nobody.
    #[error("node id 0 is not allowed in {setting}; number the nodes from 1")]
    NodeIdZero {
        /// Where it stands.
        setting: String,
    },
    /// This node's own id is among the peers.
    #[error("peer {peer:?} has this node's own id {id}; list only the other nodes as peers")]
    OwnIdAmongPeers {
        /// The id.
        id: u64,
        /// The peer as it was written.
        peer: String,
    },
    /// Two peers have one id.
    #[error("node id {id} stands twice among the peers; give each node one --peer")]
    DuplicateId {
        /// The id.
        id: u64,
    },
    /// Two nodes have one address.
    #[error("nodes {first} and {second} both have the {what} address {address}; correct one")]
    DuplicateAddress {
        /// `raft` or `http`.
        what: &'static str,
        /// The address.
        address: String,
        /// One node.
        first: u64,
        /// The other node.
        second: u64,
    },
    /// A peer is not written as one.
    #[error("peer {peer:?} is malformed; write it as ID=RAFT_HOST:PORT@HTTP_HOST:PORT")]
    MalformedPeer {
        /// The peer as it was written.
        peer: String,
    },
    /// An address is malformed.
    #[error("the address {address:?} in {setting} is malformed: {reason}; write host:port")]
    MalformedAddress {
        /// Where it stands.
        setting: String,
        /// The address as it was written.
        address: String,
        /// What is wrong with it.
        reason: AddressError,
    },
    /// The node listens everywhere, so nobody knows where to reach it.
    #[error("{listen} in --{setting} is no address to reach this node at; give --{advertise}")]
    NothingToAdvertise {
        /// The setting.
        setting: &'static str,
        /// What it listens on.
        listen: SocketAddr,
        /// The setting that is needed.
        advertise: &'static str,
    },
    /// Too many nodes.
    #[error("{nodes} nodes are more than the {NODES} that a cluster may have; list fewer peers")]
    TooManyNodes {
        /// How many.
        nodes: usize,
    },
    /// A number is outside its bounds.
    #[error("{name} = {value} is not allowed; choose {min} to {max}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Raft's times do not fit each other.
    #[error(
        "heartbeat-ms = {heartbeat}, election-min-ms = {min} and election-max-ms = {max} do not \
         fit; each must be greater than the one before it"
    )]
    Times {
        /// Milliseconds between heartbeats.
        heartbeat: u64,
        /// The shortest election timeout.
        min: u64,
        /// The longest election timeout.
        max: u64,
    },
}
