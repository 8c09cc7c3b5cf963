//! What can be asked of the main job on its command line.

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
    /// Leave the nodes running until ctrl-c, and their folder for good; print their URLs
    #[arg(long)]
    pub keep: bool,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}
