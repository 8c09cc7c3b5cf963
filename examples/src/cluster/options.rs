//! What can be asked of the main job on its command line.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;

use crate::kv::store::limits::{SHARDS, VALUE_BYTES};

/// The flags of `kv-cluster`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct Options {
    /// Node processes to start
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<u64>::new().range(2..=16))]
    pub nodes: u64,
    /// Raft groups that the keys are spread over; every node has all of them
    #[arg(long, default_value_t = 16, value_parser = RangedU64ValueParser::<u64>::new().range(1..=SHARDS as u64))]
    pub groups: u64,
    /// Writes, each to a key of its own
    #[arg(long, default_value_t = 20_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub writes: u64,
    /// Clients that write at the same time
    #[arg(long, default_value_t = 64, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub clients: usize,
    /// Bytes of each value
    #[arg(long, default_value_t = 128, value_parser = RangedU64ValueParser::<usize>::new().range(0..=VALUE_BYTES as u64))]
    pub value_bytes: usize,
    /// All keys and values derive from this number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Kill the node that leads the most groups in the middle of the writes, and restart it
    #[arg(long)]
    pub kill_leader: bool,
    /// Start so many more nodes under load and add them, with leaders on all nodes
    #[arg(long, default_value_t = 0, value_name = "NODES", value_parser = RangedU64ValueParser::<u64>::new().range(0..=16))]
    pub grow: u64,
    /// Remove so many nodes under load, the first ones
    #[arg(long, default_value_t = 0, value_name = "NODES", value_parser = RangedU64ValueParser::<u64>::new().range(0..=16))]
    pub shrink: u64,
    /// Restart each node in turn under load: drain it, stop it, start it, and wait until it is back
    #[arg(long)]
    pub rolling_restart: bool,
    /// Writes a second at most while nodes come, go and restart; the job writes until that is done
    #[arg(long, default_value_t = 1_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000_000))]
    pub rate: u64,
    /// Leave the nodes running until ctrl-c, and their folder for good; print their URLs
    #[arg(long)]
    pub keep: bool,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Whether nodes come, go or restart in order.
    #[must_use]
    pub const fn changes(&self) -> bool {
        self.grow > 0 || self.shrink > 0 || self.rolling_restart
    }

    /// How often each client begins a write, so that all together make the rate.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_secs_f64(self.clients as f64 / self.rate as f64)
    }
}
