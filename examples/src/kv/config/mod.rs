//! The configuration of a node: every setting present, and all of them checked together.
//!
//! Nothing but the file is opened here. A mistake is one typed error that says what to do.

mod address;
mod error;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::store::limits::SHARDS;
use super::types::KvNode;

pub use self::address::{AddressError, check_address};
pub use self::error::ConfigError;
pub use self::settings::Settings;

/// Nodes of a cluster at most, this one included. Raft groups of more than a handful of voters get
/// slower with each; this only catches a peer list that went wrong.
const NODES: usize = 64;

/// The files that prove who this node is; they are not opened here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFiles {
    /// The certificate of the cluster's authority.
    pub ca: PathBuf,
    /// This node's certificate.
    pub cert: PathBuf,
    /// This node's key.
    pub key: PathBuf,
    /// The lists of revoked certificates; without it none is revoked.
    pub crl: Option<PathBuf>,
}

/// How Raft behaves, the same for all groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaftTimes {
    /// Between two heartbeats; 200 ms by default.
    pub heartbeat: Duration,
    /// The shortest election timeout; 1 s by default.
    pub election_min: Duration,
    /// The longest election timeout; 2 s by default.
    pub election_max: Duration,
    /// Whether a node asks before it starts an election; it does by default.
    pub pre_vote: bool,
    /// Entries after which a snapshot is made; 5,000 by default.
    pub snapshot_every: u64,
    /// Entries that stay in the log behind a snapshot; 1,000 by default. A node that was away for
    /// less catches up from the log.
    pub keep_entries: u64,
}

/// A whole and checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The cluster's name.
    pub cluster: String,
    /// This node's id.
    pub node: u64,
    /// This node's data folder.
    pub data: PathBuf,
    /// Where to take packets of other nodes.
    pub listen: SocketAddr,
    /// Where to serve HTTP.
    pub http: SocketAddr,
    /// All nodes with the addresses that others reach them at, this one included.
    pub nodes: BTreeMap<u64, KvNode>,
    /// How many groups there are; they are numbered from 0.
    pub groups: u64,
    /// Who this node is.
    pub certificates: CertificateFiles,
    /// How Raft behaves.
    pub raft: RaftTimes,
    /// How long a client's request may take; 5 s by default.
    pub request_timeout: Duration,
    /// Requests for keys that are served at the same time; 1,024 by default. One more is refused
    /// with 503. Each may hold a value, so this bounds their memory.
    pub max_requests: usize,
    /// Memory for the database's cache, in bytes; 32 MiB by default.
    pub cache_bytes: usize,
    /// Calls a second to the other nodes beside Raft, for drills; none by default.
    pub calls_per_second: u64,
    /// Whether whoever asks for a change may have this node die in the middle of it, for drills; not
    /// by default.
    pub drill_changes: bool,
}

impl Config {
    /// Checks settings and fills in the defaults.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: the first thing that is wrong.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let cluster = required("cluster", settings.cluster.clone())?;
        if cluster.is_empty() {
            return Err(ConfigError::Empty { name: "cluster" });
        }
        let node = required("node", settings.node)?;
        if node == 0 {
            return Err(ConfigError::NodeIdZero {
                setting: "--node".to_owned(),
            });
        }
        let listen = required("listen", settings.listen)?;
        let http = required("http", settings.http)?;
        let raft_at = advertised(settings.advertise.clone(), listen, "listen", "advertise")?;
        let http_at = advertised(
            settings.advertise_http.clone(),
            http,
            "http",
            "advertise-http",
        )?;
        let own = KvNode::new(raft_at, http_at);
        let request_timeout = ranged(
            "request-timeout-ms",
            settings.request_timeout_ms,
            5000,
            1..=600_000,
        )?;
        let cache = ranged(
            "cache-mib",
            settings.cache_mib.map(|mib| mib as u64),
            32,
            1..=65_536,
        )?;
        let max_requests = ranged(
            "max-requests",
            settings.max_requests.map(|number| number as u64),
            1024,
            1..=65_536,
        )?;
        let calls_per_second =
            ranged("calls-per-second", settings.calls_per_second, 0, 0..=10_000)?;
        Ok(Self {
            calls_per_second,
            drill_changes: settings.drill_changes.unwrap_or(false),
            max_requests: usize::try_from(max_requests).unwrap_or(usize::MAX),
            nodes: nodes(node, own, &settings.peers)?,
            groups: ranged("groups", settings.groups, 16, 1..=SHARDS as u64)?,
            raft: raft_times(&settings)?,
            data: required("data", settings.data)?,
            certificates: CertificateFiles {
                ca: required("ca", settings.ca)?,
                cert: required("cert", settings.cert)?,
                key: required("key", settings.key)?,
                crl: settings.crl,
            },
            request_timeout: Duration::from_millis(request_timeout),
            cache_bytes: usize::try_from(cache.saturating_mul(1024 * 1024)).unwrap_or(usize::MAX),
            cluster,
            node,
            listen,
            http,
        })
    }

    /// Where others reach this node.
    #[must_use]
    pub fn own(&self) -> KvNode {
        self.nodes.get(&self.node).cloned().unwrap_or_default()
    }
}

fn required<T>(name: &'static str, value: Option<T>) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::Missing { name })
}

fn ranged(
    name: &'static str,
    value: Option<u64>,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let value = value.unwrap_or(default);
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::OutOfRange {
            name,
            value,
            min: *range.start(),
            max: *range.end(),
        })
    }
}

fn checked(setting: String, address: &str) -> Result<String, ConfigError> {
    match check_address(address) {
        Ok(()) => Ok(address.to_owned()),
        Err(reason) => Err(ConfigError::MalformedAddress {
            setting,
            address: address.to_owned(),
            reason,
        }),
    }
}

/// The address to tell others: the one that was set, or else the one that is listened on.
fn advertised(
    set: Option<String>,
    listen: SocketAddr,
    setting: &'static str,
    advertise: &'static str,
) -> Result<String, ConfigError> {
    match set {
        Some(address) => checked(format!("--{advertise}"), &address),
        None if listen.ip().is_unspecified() || listen.port() == 0 => {
            Err(ConfigError::NothingToAdvertise {
                setting,
                listen,
                advertise,
            })
        }
        None => Ok(listen.to_string()),
    }
}

fn nodes(node: u64, own: KvNode, peers: &[String]) -> Result<BTreeMap<u64, KvNode>, ConfigError> {
    let mut nodes = BTreeMap::from([(node, own)]);
    for peer in peers {
        let (id, at) = parse_peer(peer)?;
        if id == node {
            return Err(ConfigError::OwnIdAmongPeers {
                id,
                peer: peer.clone(),
            });
        }
        for (what, address, of) in [
            (
                "raft",
                &at.raft,
                (|node| &node.raft) as fn(&KvNode) -> &String,
            ),
            ("http", &at.http, |node| &node.http),
        ] {
            if let Some((&first, _)) = nodes
                .iter()
                .find(|&(&other, node)| other != id && of(node).eq_ignore_ascii_case(address))
            {
                let address = address.clone();
                return Err(ConfigError::DuplicateAddress {
                    what,
                    address,
                    first,
                    second: id,
                });
            }
        }
        if nodes.insert(id, at).is_some() {
            return Err(ConfigError::DuplicateId { id });
        }
    }
    if nodes.len() > NODES {
        return Err(ConfigError::TooManyNodes { nodes: nodes.len() });
    }
    Ok(nodes)
}

fn parse_peer(peer: &str) -> Result<(u64, KvNode), ConfigError> {
    let malformed = || ConfigError::MalformedPeer {
        peer: peer.to_owned(),
    };
    let (id, addresses) = peer.split_once('=').ok_or_else(malformed)?;
    let (raft, http) = addresses.split_once('@').ok_or_else(malformed)?;
    let id: u64 = id.parse().map_err(|_| malformed())?;
    let setting = || format!("--peer {peer}");
    if id == 0 {
        return Err(ConfigError::NodeIdZero { setting: setting() });
    }
    Ok((
        id,
        KvNode::new(checked(setting(), raft)?, checked(setting(), http)?),
    ))
}

fn raft_times(settings: &Settings) -> Result<RaftTimes, ConfigError> {
    let day = 24 * 60 * 60 * 1000;
    let heartbeat = ranged("heartbeat-ms", settings.heartbeat_ms, 200, 1..=day)?;
    let min = ranged("election-min-ms", settings.election_min_ms, 1000, 1..=day)?;
    let max = ranged("election-max-ms", settings.election_max_ms, 2000, 1..=day)?;
    if heartbeat >= min || min >= max {
        return Err(ConfigError::Times {
            heartbeat,
            min,
            max,
        });
    }
    let entries = 1_000_000_000;
    Ok(RaftTimes {
        heartbeat: Duration::from_millis(heartbeat),
        election_min: Duration::from_millis(min),
        election_max: Duration::from_millis(max),
        pre_vote: settings.pre_vote.unwrap_or(true),
        snapshot_every: ranged("snapshot-every", settings.snapshot_every, 5000, 1..=entries)?,
        keep_entries: ranged("keep-entries", settings.keep_entries, 1000, 0..=entries)?,
    })
}
