//! What can be set, as it is written in a TOML file or on the command line; nothing is checked here.
//!
//! Both have the same names, so each setting is described once. A flag wins over the file.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ConfigError;

/// All settings, each of which may be missing.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Settings {
    /// The name of the cluster, as in the certificates
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// This node's id, 1 or more, as in its certificate
    #[arg(long, value_name = "ID")]
    pub node: Option<u64>,
    /// The folder of this node's data; made if it is missing
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Where to take packets of other nodes (UDP)
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where to serve HTTP
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<SocketAddr>,
    /// Where other nodes reach this one, if not at --listen
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where clients reach this node's HTTP, if not at --http
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_http: Option<String>,
    /// Another node of the cluster; give it once for each
    #[arg(long = "peer", value_name = "ID=RAFT_HOST:PORT@HTTP_HOST:PORT")]
    #[serde(default)]
    pub peers: Vec<String>,
    /// How many groups the keys are spread over; never change it once there is data [default: 16]
    #[arg(long, value_name = "NUMBER")]
    pub groups: Option<u64>,
    /// The certificate of the cluster's authority (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// This node's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// This node's key (PEM)
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The lists of revoked certificates, one for each authority (PEM); without it none is revoked
    #[arg(long, value_name = "FILE")]
    pub crl: Option<PathBuf>,
    /// Milliseconds between two heartbeats of a leader [default: 200]
    #[arg(long, value_name = "MS")]
    pub heartbeat_ms: Option<u64>,
    /// The shortest election timeout, in milliseconds [default: 1000]
    #[arg(long, value_name = "MS")]
    pub election_min_ms: Option<u64>,
    /// The longest election timeout, in milliseconds [default: 2000]
    #[arg(long, value_name = "MS")]
    pub election_max_ms: Option<u64>,
    /// Ask whether an election could be won before starting one [default: true]
    #[arg(long, value_name = "BOOL")]
    pub pre_vote: Option<bool>,
    /// Make a snapshot of a group after this many log entries [default: 5000]
    #[arg(long, value_name = "ENTRIES")]
    pub snapshot_every: Option<u64>,
    /// Keep this many entries in the log that a snapshot has already [default: 1000]
    #[arg(long, value_name = "ENTRIES")]
    pub keep_entries: Option<u64>,
    /// How long a client's request may take, in milliseconds [default: 5000]
    #[arg(long, value_name = "MS")]
    pub request_timeout_ms: Option<u64>,
    /// How many requests for keys are served at the same time [default: 1024]
    #[arg(long, value_name = "NUMBER")]
    pub max_requests: Option<usize>,
    /// Memory for the database's cache, in MiB [default: 32]
    #[arg(long, value_name = "MIB")]
    pub cache_mib: Option<usize>,
    /// Calls a second to the other nodes beside Raft, for drills [default: 0]
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub calls_per_second: Option<u64>,
    /// Die in the middle of a change when whoever asks for it says so, for drills [default: false]
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub drill_changes: Option<bool>,
}

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ReadFile`] or [`ConfigError::ParseFile`], which names line and column.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        Self::from_toml(&text).map_err(|source| ConfigError::ParseFile {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Reads TOML.
    ///
    /// # Errors
    ///
    /// The parser's own, for text that is not TOML, an unknown name, or a value of another kind.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// These settings, and for those that are missing the ones of `other`. Peers are one setting:
    /// if any is given here, none of the other's are taken.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            cluster: self.cluster.or(other.cluster),
            node: self.node.or(other.node),
            data: self.data.or(other.data),
            listen: self.listen.or(other.listen),
            http: self.http.or(other.http),
            advertise: self.advertise.or(other.advertise),
            advertise_http: self.advertise_http.or(other.advertise_http),
            peers: if self.peers.is_empty() {
                other.peers
            } else {
                self.peers
            },
            groups: self.groups.or(other.groups),
            ca: self.ca.or(other.ca),
            cert: self.cert.or(other.cert),
            key: self.key.or(other.key),
            crl: self.crl.or(other.crl),
            heartbeat_ms: self.heartbeat_ms.or(other.heartbeat_ms),
            election_min_ms: self.election_min_ms.or(other.election_min_ms),
            election_max_ms: self.election_max_ms.or(other.election_max_ms),
            pre_vote: self.pre_vote.or(other.pre_vote),
            snapshot_every: self.snapshot_every.or(other.snapshot_every),
            keep_entries: self.keep_entries.or(other.keep_entries),
            request_timeout_ms: self.request_timeout_ms.or(other.request_timeout_ms),
            max_requests: self.max_requests.or(other.max_requests),
            cache_mib: self.cache_mib.or(other.cache_mib),
            calls_per_second: self.calls_per_second.or(other.calls_per_second),
            drill_changes: self.drill_changes.or(other.drill_changes),
        }
    }
}
