//! The main job: `kv-cluster --kill-leader`. See the library's `cluster` for what it does.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quicraft_examples::cluster::{Options, run};
use quicraft_examples::kv::process::{self, NodeArgs};

/// Starts a cluster of node processes on this machine, writes to it from many clients, kills the
/// leader of the most groups if told to, and proves that no acknowledged write was lost
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Run one node; the main job starts itself with this
    #[command(hide = true, name = "node")]
    Node(Box<NodeArgs>),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Node(node)) => process::run(*node),
        None => run(&arguments.options),
    }
}
