//! A node of the key-value store: `kv --config node.toml`, or all settings as flags.

use std::process::ExitCode;

use clap::Parser;
use quicraft_examples::kv::process::{NodeArgs, run};

/// A key-value store on many Raft groups, with one QUIC link to each other node
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    node: NodeArgs,
}

fn main() -> ExitCode {
    run(Arguments::parse().node)
}
