//! What can be asked of the bad days on the command line.

use clap::builder::RangedU64ValueParser;

use crate::kv::store::limits::{SHARDS, VALUE_BYTES};

/// The flags of `kv-cluster bad-days`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct BadDaysOptions {
    /// Node processes to start
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<u64>::new().range(3..=16))]
    pub nodes: u64,
    /// Raft groups that the keys are spread over; every node has all of them
    #[arg(long, default_value_t = 4, value_parser = RangedU64ValueParser::<u64>::new().range(1..=SHARDS as u64))]
    pub groups: u64,
    /// Kills, stops, pauses, continuations and restarts, all together
    #[arg(long, default_value_t = 200, value_parser = RangedU64ValueParser::<usize>::new().range(2..=100_000))]
    pub events: usize,
    /// Clients that write at the same time
    #[arg(long, default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub clients: usize,
    /// Bytes of each value
    #[arg(long, default_value_t = 128, value_parser = RangedU64ValueParser::<usize>::new().range(0..=VALUE_BYTES as u64))]
    pub value_bytes: usize,
    /// Which node has what trouble when, and all keys and values, derive from this number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave the nodes running until ctrl-c, and their folder for good; print their URLs
    #[arg(long)]
    pub keep: bool,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}
