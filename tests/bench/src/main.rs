//! Measurements of Quicraft. Every figure in the documents names the subcommand that shows it.

mod file_machine;
mod memory;
mod snapshot_memory;

use clap::{Parser, Subcommand};

/// Measures Quicraft.
#[derive(Debug, Parser)]
#[command(name = "quicraft-bench", version, about)]
struct Arguments {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// The resident memory of sender and receiver while a snapshot travels between two processes.
    SnapshotMemory(snapshot_memory::Options),
    /// One of the two processes of `snapshot-memory`; started by it.
    #[command(hide = true)]
    SnapshotMemoryNode(snapshot_memory::NodeOptions),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match Arguments::parse().measurement {
        Measurement::SnapshotMemory(options) => runtime.block_on(snapshot_memory::run(options)),
        Measurement::SnapshotMemoryNode(options) => {
            runtime.block_on(snapshot_memory::run_node(options))
        }
    }
}
