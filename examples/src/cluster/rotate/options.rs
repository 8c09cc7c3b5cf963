//! What can be asked of the rotation on the command line.

use clap::builder::RangedU64ValueParser;

use crate::kv::store::limits::{SHARDS, VALUE_BYTES};

/// The flags of `kv-cluster rotate`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct RotateOptions {
    /// Node processes to start
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<u64>::new().range(2..=16))]
    pub nodes: u64,
    /// Raft groups that the keys are spread over; every node has all of them
    #[arg(long, default_value_t = 4, value_parser = RangedU64ValueParser::<u64>::new().range(1..=SHARDS as u64))]
    pub groups: u64,
    /// Calls between nodes each second beside Raft, of all nodes together
    #[arg(long, default_value_t = 1_000, value_parser = RangedU64ValueParser::<u64>::new().range(16..=100_000))]
    pub calls: u64,
    /// Clients that write at the same time
    #[arg(long, default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub clients: usize,
    /// Bytes of each value
    #[arg(long, default_value_t = 128, value_parser = RangedU64ValueParser::<usize>::new().range(0..=VALUE_BYTES as u64))]
    pub value_bytes: usize,
    /// All keys and values derive from this number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

impl RotateOptions {
    /// The calls of each node.
    pub(in crate::cluster) const fn calls_per_node(&self) -> u64 {
        self.calls.div_ceil(self.nodes)
    }
}
