//! The configuration of a node: every setting present, and all of them checked together.
//!
//! Nothing is opened here. A mistake is one typed error that says what to do.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{AddressError, check_address};
use super::settings::Settings;
use super::store::limits::GROUPS;
use super::types::KvNode;

/// Nodes of a cluster at most, this one included. Raft groups of more than a handful of voters get
/// slower with each; this only catches a peer list that went wrong.
const NODES: usize = 64;

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
        Ok(Self {
            max_requests: usize::try_from(max_requests).unwrap_or(usize::MAX),
            nodes: nodes(node, own, &settings.peers)?,
            groups: ranged("groups", settings.groups, 16, 1..=GROUPS as u64)?,
            raft: raft_times(&settings)?,
            data: required("data", settings.data)?,
            certificates: CertificateFiles {
                ca: required("ca", settings.ca)?,
                cert: required("cert", settings.cert)?,
                key: required("key", settings.key)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        cluster = "kv.example"
        node = 1
        data = "/data"
        listen = "127.0.0.1:7001"
        http = "127.0.0.1:8001"
        peers = ["2=127.0.0.1:7002@127.0.0.1:8002", "3=kv-3:7003@kv-3:8003"]
        ca = "ca.pem"
        cert = "node.pem"
        key = "node.key"
    "#;

    fn settings() -> Settings {
        Settings::from_toml(FILE).unwrap()
    }

    /// The error of the settings after a change.
    fn error(change: impl FnOnce(&mut Settings)) -> ConfigError {
        let mut settings = settings();
        change(&mut settings);
        Config::new(settings).unwrap_err()
    }

    #[test]
    fn the_defaults_are_as_documented() {
        let config = Config::new(settings()).unwrap();
        assert_eq!(config.groups, 16);
        assert_eq!(config.raft.heartbeat, Duration::from_millis(200));
        assert_eq!(config.raft.election_min, Duration::from_millis(1000));
        assert_eq!(config.raft.election_max, Duration::from_millis(2000));
        assert!(config.raft.pre_vote);
        assert_eq!(
            (config.raft.snapshot_every, config.raft.keep_entries),
            (5000, 1000)
        );
        assert_eq!(config.request_timeout, Duration::from_secs(5));
        assert_eq!(config.max_requests, 1024);
        assert_eq!(config.cache_bytes, 32 * 1024 * 1024);
        assert_eq!(
            config.own(),
            KvNode::new("127.0.0.1:7001", "127.0.0.1:8001")
        );
        assert_eq!(config.nodes.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Settings {
            groups: Some(3),
            node: Some(9),
            ..Settings::default()
        };
        let config = Config::new(flags.or(settings())).unwrap();
        assert_eq!((config.groups, config.node), (3, 9));
        let peers = vec!["5=h:1@h:2".to_owned()];
        let flags = Settings {
            peers,
            ..Settings::default()
        };
        let config = Config::new(flags.or(settings())).unwrap();
        assert_eq!(config.nodes.keys().copied().collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn ids_are_checked() {
        let peer = |peer: &str| vec![peer.to_owned()];
        assert!(matches!(
            error(|s| s.node = Some(0)),
            ConfigError::NodeIdZero { .. }
        ));
        assert!(matches!(
            error(|s| s.peers = peer("0=h:1@h:2")),
            ConfigError::NodeIdZero { .. }
        ));
        let own = error(|s| s.peers = peer("1=h:1@h:2"));
        assert!(
            matches!(own, ConfigError::OwnIdAmongPeers { id: 1, .. }),
            "{own}"
        );
        let twice = error(|s| s.peers.push("2=h:1@h:2".to_owned()));
        assert!(
            matches!(twice, ConfigError::DuplicateId { id: 2 }),
            "{twice}"
        );
    }

    #[test]
    fn addresses_are_checked() {
        for peer in ["2", "2=h:1", "x=h:1@h:2", "=h:1@h:2", "-1=h:1@h:2", "+=@"] {
            let error = error(|s| s.peers = vec![peer.to_owned()]);
            assert!(
                matches!(error, ConfigError::MalformedPeer { .. }),
                "{peer}: {error}"
            );
        }
        for peer in ["2=h@h:2", "2=h:1@h:0", "2=h:1@", "2=@h:2", "2=h:1@h:2@h:3"] {
            let error = error(|s| s.peers = vec![peer.to_owned()]);
            assert!(
                matches!(error, ConfigError::MalformedAddress { .. }),
                "{peer}: {error}"
            );
        }
        let bad = error(|s| s.advertise = Some("nowhere".to_owned()));
        assert!(matches!(bad, ConfigError::MalformedAddress { .. }), "{bad}");
        let everywhere = error(|s| s.listen = Some("0.0.0.0:7001".parse().unwrap()));
        assert!(
            matches!(everywhere, ConfigError::NothingToAdvertise { .. }),
            "{everywhere}"
        );
        assert!(
            everywhere.to_string().contains("--advertise"),
            "{everywhere}"
        );
        let everywhere = error(|s| s.http = Some("[::]:7001".parse().unwrap()));
        assert!(
            everywhere.to_string().contains("--advertise-http"),
            "{everywhere}"
        );

        // The same one among two peers, and a peer's the same as this node's.
        let twice = error(|s| s.peers.push("4=KV-3:7003@h:2".to_owned()));
        assert!(
            matches!(
                twice,
                ConfigError::DuplicateAddress {
                    first: 3,
                    second: 4,
                    what: "raft",
                    ..
                }
            ),
            "{twice}"
        );
        let own = error(|s| s.peers.push("4=h:1@127.0.0.1:8001".to_owned()));
        assert!(
            matches!(
                own,
                ConfigError::DuplicateAddress {
                    first: 1,
                    second: 4,
                    what: "http",
                    ..
                }
            ),
            "{own}"
        );
        // UDP and TCP may share one.
        let mut good = settings();
        good.peers = vec!["2=h:1@h:1".to_owned()];
        Config::new(good).unwrap();
    }

    #[test]
    fn numbers_are_checked_at_their_bounds() {
        assert!(matches!(
            error(|s| s.groups = Some(0)),
            ConfigError::OutOfRange { .. }
        ));
        let past = GROUPS as u64 + 1;
        assert!(matches!(
            error(|s| s.groups = Some(past)),
            ConfigError::OutOfRange { .. }
        ));
        let mut most = settings();
        most.groups = Some(GROUPS as u64);
        Config::new(most).unwrap();
        assert!(matches!(
            error(|s| s.heartbeat_ms = Some(1000)),
            ConfigError::Times { .. }
        ));
        assert!(matches!(
            error(|s| s.election_max_ms = Some(1000)),
            ConfigError::Times { .. }
        ));
        let many = |number| {
            (2..=number)
                .map(|id| format!("{id}=h{id}:1@h{id}:2"))
                .collect()
        };
        assert!(matches!(
            error(|s| s.peers = many(65)),
            ConfigError::TooManyNodes { nodes: 65 }
        ));
        let mut most = settings();
        most.peers = many(64);
        Config::new(most).unwrap();
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = error(|s| s.data = None);
        assert!(
            matches!(missing, ConfigError::Missing { name: "data" }),
            "{missing}"
        );
        assert!(matches!(
            error(|s| s.cluster = Some(String::new())),
            ConfigError::Empty { .. }
        ));
        let unknown = Settings::from_toml("nodee = 1").unwrap_err();
        assert!(unknown.to_string().contains("nodee"), "{unknown}");
    }
}
