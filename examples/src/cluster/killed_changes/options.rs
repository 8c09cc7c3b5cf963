//! What can be asked of the killed changes on the command line.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;

use crate::kv::store::limits::{SHARDS, VALUE_BYTES};

/// The nodes that found the cluster. They stay, and one of them may always be gone.
pub const FOUNDERS: u64 = 3;

/// The flags of `kv-cluster killed-changes`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct KilledChangesOptions {
    /// Changes in which the node that runs them is killed, each at a drawn step of a drawn group
    #[arg(long, default_value_t = 20, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub pairs: usize,
    /// Raft groups that the keys are spread over; every node has all of them
    #[arg(long, default_value_t = 16, value_parser = RangedU64ValueParser::<u64>::new().range(1..=SHARDS as u64))]
    pub groups: u64,
    /// Clients that write at the same time
    #[arg(long, default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub clients: usize,
    /// Writes a second at most; the job writes until all changes are made
    #[arg(long, default_value_t = 200, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000_000))]
    pub rate: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 128, value_parser = RangedU64ValueParser::<usize>::new().range(0..=VALUE_BYTES as u64))]
    pub value_bytes: usize,
    /// Which node dies at which step of which group, and all keys and values, derive from this number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

impl KilledChangesOptions {
    /// How long each client waits between two writes, so that all together make the rate.
    #[must_use]
    pub fn pace(&self) -> Duration {
        Duration::from_secs_f64(self.clients as f64 / self.rate as f64)
    }
}
